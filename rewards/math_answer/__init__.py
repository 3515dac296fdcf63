"""First version: box or answer tag, compared as strings and exact fractions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from rewards import Score


def _answer(text: str) -> str | None:
    for pattern in (r"\\boxed\{([^{}]*)\}", r"<answer>([^<]*)</answer>", r"####([^\n]*)"):
        found = re.findall(pattern, text.rpartition("</think>")[2])
        if found:
            return str(found[-1]).strip()
    return None


def _normal(text: str) -> str:
    text = text.strip().replace(",", "").replace("$", "").rstrip(".")
    try:
        return str(Fraction(text))
    except (ValueError, ZeroDivisionError):
        return text


def gold_problem(gold: str | int | float) -> str | None:
    """Why the gold answer cannot be parsed, or None."""
    return None if str(gold).strip() else "the gold answer is empty"


def math(completion: str, problem: Mapping[str, Any]) -> Score:
    answer = _answer(completion)
    if answer is None:
        return Score(0.0, why="no answer found", parsed=False)
    gold = str(problem["answer"])
    equal = _normal(answer) == _normal(_answer(gold) or gold)
    return Score(float(equal), answer=_normal(answer), why="equal" if equal else "different", parsed=True)
