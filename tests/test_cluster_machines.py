"""Runs over two Ray nodes, both of them on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytest.importorskip("ray")


@pytest.mark.slow
def test_a_run_over_two_nodes_is_the_run_of_one_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.two_nodes", str(tmp_path)]
    # As `ray start` has it, which gives nobody a token; Ray reads it when it is imported, and clusters of this process
    # have left their own.
    env = os.environ | {"RAY_AUTH_MODE": "disabled"}
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
