"""Labelled pairs, where a checkout has them beside it: accuracy does not fall below what was reached."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rewards.math_answer import gold_problem
from rewards.math_answer.audit import judge_row

DATA = Path(os.environ.get("GRPO_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))
SCORED = ("core", "rule", "hard")

pytestmark = pytest.mark.skipif(not (DATA / "verifier").is_dir(), reason=f"no labelled pairs at {DATA / 'verifier'}")


def rows(name: str) -> list[dict[str, Any]]:
    with open(DATA / "verifier" / f"{name}.jsonl", encoding="utf-8") as handle:
        return [
            row for row in map(json.loads, handle) if row.get("tier", "rule") in SCORED and row["label"] is not None
        ]


@pytest.mark.parametrize(
    ("name", "wrong", "false_positives"),
    [
        ("adversarial", 0, 0),
        ("hardverify", 0, 0),
        ("math500_preds", 0, 0),
        ("metamorphic", 0, 0),
        ("unit_math_verify", 1, 0),
        ("unit_misc", 0, 0),
        ("gsm8k_solutions", 0, 0),
    ],
)
def test_labels(name: str, wrong: int, false_positives: int) -> None:
    differ = [row for row in rows(name) if judge_row(row, "eval").ok != row["label"]]
    assert len(differ) <= wrong, [row["id"] for row in differ]
    assert sum(not row["label"] for row in differ) <= false_positives


@pytest.mark.parametrize(
    "name", ["adversarial", "hardverify", "math500_preds", "metamorphic", "gsm8k_solutions", "stress"]
)
def test_labels_under_the_policy_for_training(name: str) -> None:
    assert [row["id"] for row in rows(name) if judge_row(row, "train").ok != row["label"]] == []


def golds() -> list[Any]:
    found: list[Any] = []
    for name, column in (("math500", "answer"), ("aime25", "expected_answer"), ("amc23", "answer")):
        with open(DATA / "math" / f"{name}.jsonl", encoding="utf-8") as handle:
            found += [json.loads(line)[column] for line in handle]
    with open(DATA / "math" / "math_train_7500.json", encoding="utf-8") as handle:
        found += [row["final_answer"] for row in json.load(handle)]
    with open(DATA / "math" / "olympiadbench.jsonl", encoding="utf-8") as handle:
        found += [",".join(json.loads(line)["final_answer"]) for line in handle]
    with open(DATA / "gsm8k" / "test.jsonl", encoding="utf-8") as handle:
        found += [json.loads(line)["answer"] for line in handle]
    return found


def test_golds_of_the_well_known_sets_can_be_used() -> None:
    rejected = [reason for gold in golds() if (reason := gold_problem(gold)) is not None]
    assert len(rejected) == 3, rejected  # two are empty, one is prose; docs/verifier.md lists them
