"""Rewards for language models that reason: plain functions that score one completion.

A reward takes the completion's text and the problem's own columns, and returns a number or a `Score`:

    from rewards import Score

    def brief(completion: str, problem: Mapping[str, Any]) -> Score:
        words = len(completion.split())
        return Score(float(words <= problem["budget"]), why=f"{words} words")

It is synchronous, sees one completion, and sets no time limit of its own: whoever calls it owns the deadline.
A completion may be any text, so what a model can cause is a score with a reason, never an exception.

`rewards.math_answer` judges answers of mathematics; its `verify` is here too:

    from rewards import verify

    verify("1/2", r"so the answer is \\boxed{0.5}").ok

This package imports nothing from `grpo`, torch or vLLM, and works from any trainer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewards.math_answer import Verdict, verify, verify_all, verify_answer

__all__ = ["Reward", "Score", "Verdict", "verify", "verify_all", "verify_answer"]


@dataclass(frozen=True, slots=True)
class Score:
    """What a reward says of one completion.

    `value` is the reward, any finite number; `None` means that the completion could not be judged: it leaves its
    group's baseline and is counted, because "could not be judged" is not "wrong".  `answer` is what was extracted as
    the answer, in a normal form so that equal answers are equal strings (maj@k votes with it).  `why` is the reason,
    in words a person reads in `samples.jsonl`.  `parsed` says whether an answer was found that could be read at all;
    it is `None` for rewards that look for none.

    Example: `Score(1.0, answer="42", why="equal as rationals", parsed=True)`.
    """

    value: float | None
    answer: str | None = None
    why: str = ""
    parsed: bool | None = None

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"Score.value: must be a finite number or None (given {self.value})")

    @classmethod
    def none(cls, why: str) -> Score:
        """The completion could not be judged, and `why`."""
        return cls(None, why=why)


Reward = Callable[[str, Mapping[str, Any]], float | Score]


def __getattr__(name: str) -> Any:
    """`rewards.verify` and its kin, loaded when asked for: whoever writes a reward of their own needs none of it."""
    if name in ("Verdict", "verify", "verify_all", "verify_answer"):
        from rewards import math_answer

        return getattr(math_answer, name)
    raise AttributeError(f"module 'rewards' has no attribute {name!r}")
