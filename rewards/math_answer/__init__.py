r"""Is the answer in this text the gold answer?  A rule-based judge of mathematics, as a function and as a reward.

    >>> from rewards.math_answer import verify
    >>> verify(r"\frac{1}{2}", r"… so the answer is \boxed{0.5}.")
    Verdict(ok=True, reason='same number', stage='rational', extracted='0.5', ms=…)

The path of an answer has a folder for each part, and each says in its `__init__` what it is for:

    completion ─▶ find: which part is the answer ─▶ read: text to a tree of `nodes` ─▶ compare: the ladder of equality
                                                                                         └ compute: numbers

`leniency` is what is forgiven.  `verdict` walks the whole path, `reward` makes a score of it, `batch` and its `worker`
judge many pairs over `processes`, `audit` judges a file.  docs/verifier.md has the reasons and the figures.

No text ever reaches `eval`, `sympify` or `parse_expr`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewards.math_answer.reward import gold_problem, math
from rewards.math_answer.verdict import Verdict, verify, verify_answer

__all__ = ["Verdict", "gold_problem", "math", "verify", "verify_all", "verify_answer"]


def verify_all(pairs: Sequence[tuple[str | int | float, str]], policy: str = "train", **options: Any) -> list[Verdict]:
    """Verdicts for many (gold, completion) pairs over worker processes; see `batch.verify_all` for the options."""
    from rewards.math_answer import batch  # subprocess and selectors: not for those who judge one at a time

    return batch.verify_all(pairs, policy, **options)
