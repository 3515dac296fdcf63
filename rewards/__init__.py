"""Rewards for language models that reason: plain functions that score one completion.

A reward takes the completion's text and the problem's own columns, and returns a number or a `Score`:

    from rewards import Score

    def brief(completion: str, problem: Mapping[str, Any]) -> Score:
        words = len(completion.split())
        return Score(float(words <= problem["budget"]), why=f"{words} words")

It is synchronous, sees one completion, and sets no time limit of its own: whoever calls it owns the timeout.
A completion may be any text, so what a model can cause is a score with a reason, never an exception.

What it needs of a problem, how long a call may take and what a rejected gold answer means, a reward declares:

    from rewards import declare

    @declare(needs=("answer",), timeout=20.0)
    def proved(completion: str, problem: Mapping[str, Any]) -> float: ...

`rewards.math_answer` judges answers of mathematics; its `verify` is here too:

    from rewards import verify

    verify("1/2", r"so the answer is \\boxed{0.5}").ok

This package imports nothing from `grpo`, torch or vLLM, and works from any trainer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rewards.contract import (
    Declaration,
    Failure,
    RejectedGolds,
    Reward,
    Score,
    declaration_of,
    declare,
)

if TYPE_CHECKING:
    from rewards.math_answer import Verdict, verify, verify_all, verify_answer

__all__ = [
    "Declaration",
    "Failure",
    "RejectedGolds",
    "Reward",
    "Score",
    "Verdict",
    "declaration_of",
    "declare",
    "verify",
    "verify_all",
    "verify_answer",
]


def __getattr__(name: str) -> Any:
    """`rewards.verify` and its kin, loaded when asked for: whoever writes a reward of their own needs none of it."""
    if name in ("Verdict", "verify", "verify_all", "verify_answer"):
        from rewards import math_answer

        return getattr(math_answer, name)
    raise AttributeError(f"module 'rewards' has no attribute {name!r}")
