"""The reward `math`: 1 where the completion's answer is the gold answer, else 0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewards.contract import Score, declare
from rewards.math_answer.compare.ladder import compare
from rewards.math_answer.compare.normal import normal_form
from rewards.math_answer.find.extract import extract
from rewards.math_answer.leniency import TRAIN, named
from rewards.math_answer.nodes import Words
from rewards.math_answer.verdict import gold_answer, judge


@declare(needs=("answer",))
def math(completion: str, problem: Mapping[str, Any], *, policy: str = "train") -> Score:
    """1.0 where the answer in `completion` equals `problem["answer"]` as mathematics.  `why` says what decided."""
    leniency = named(policy)
    gold = problem["answer"]
    if gold is None:
        return Score.none("the problem has no gold answer")
    found = extract(completion, leniency)
    if found.node is None:
        return Score(0.0, answer=None, why=found.reason, parsed=False)
    same, _ = judge(gold, found, leniency)
    if same.stage == "gold":
        return Score.none(same.reason)
    return Score(float(bool(same)), normal_form(found.node), f"{same.stage}: {same.reason}", parsed=True)


def gold_problem(gold: Any) -> str | None:
    """Why a gold answer cannot be used, or None where it can: it must be read, and equal itself."""
    if gold is None or isinstance(gold, bool) or not isinstance(gold, str | int | float):
        return f"the gold answer is {type(gold).__name__}; it must be text or a number"
    right = gold_answer(gold)
    if right.node is None:
        return f"the gold answer {str(gold)[:80]!r} cannot be read: {right.reason}"
    if isinstance(right.node, Words) and len(right.node.text.split()) > 12:
        return f"the gold answer {str(gold)[:80]!r} is prose, which can only be compared word by word"
    same = compare(right.node, right.node, TRAIN)
    return None if same else f"the gold answer {str(gold)[:80]!r} does not equal itself: {same.reason}"
