"""A small model learns to write functions that pass their tests: the whole way, in the real sandbox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.usefixtures("sandbox")
def test_the_recipe_functions_improves_on_held_out_problems_on_a_cpu(tmp_path):
    command = [sys.executable, "-c", "from grpo.cli import main; main()", "train", "functions", "--out", str(tmp_path)]
    # Half the recipe's cold start and some more speed: enough to see it learn.
    changes = ("sampling.backend=transformers", "model.device=cpu", "sft.steps=300", "optim.lr=2e-4", "run.steps=12")
    for change in (*changes, "eval.limit=100"):
        command += ["--set", change]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    before, *_, after = [row["eval/pass@1"] for row in rows if "eval/pass@1" in row]
    # 29 % of the held-out problems are right without brackets; the recipe as it stands went from there to 100 %.
    assert before < 0.6
    assert after > before + 0.2
