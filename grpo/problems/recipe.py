"""The generated task of `grpo pipeline r1-quickstart`: two kinds of problems, and data for every stage of a recipe.

    sum        7-2+9-5         <think>7-2=5+9=14-5=9</think><answer>9</answer>
    maximum    max 7,2,9,5     <think></think><answer>9</answer>

Sums are what reasoning is for: they are those of `grpo.problems.arithmetic`.  A maximum is read off, and stands for all
else that a model can do and that training on reasoning alone may cost it.

    pretraining   what a base model has seen: sums answered in haste, or with care and often with a slip; maxima
    cold-start    a few sums worked out with care, as people do: one in four has a slip
    sums          sums without solutions, for reinforcement learning
    general       maxima with solutions, to be mixed into fine-tuning
    all           sums and maxima without solutions
    test          sums and maxima that occur in no other split, with a column `type`

The slips are there to be learned away: a model that was shown them makes them as often, and only a reward that looks at
the answer tells it not to.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from grpo.errors import DataError
from grpo.problems import arithmetic

Row = dict[str, Any]

SIZES = {"pretraining": 22_000, "cold-start": 300, "sums": 5_000, "general": 1_000, "all": 5_000, "test": 400}  # rows
GENERAL = 0.2  # of rows in a split with both kinds are maxima
HASTY, SLIP = 0.5, 0.2  # of the sums in "pretraining"
SLIP_OF_PEOPLE = 0.25  # of the sums in "cold-start"


def rows(split: str) -> list[Row]:
    """The rows of a split, always the same; `solution` is a column of those for fine-tuning.

    Example: `{"id": "recipe/test/4", "problem": "max 3,9,4", "answer": "9", "type": "maximum"}`.
    """
    if split not in SIZES:
        raise DataError(f"builtin:recipe: there is no split {split!r}; it has {', '.join(SIZES)}")
    rng = random.Random(f"recipe/{split}")
    sums, maxima = _sums(rng, split), _maxima(rng, split)
    share = {"cold-start": 0.0, "sums": 0.0, "general": 1.0}.get(split, GENERAL)
    kinds = (maxima if rng.random() < share else sums for _ in range(SIZES[split]))
    return [{"id": f"recipe/{split}/{i}", **next(kind)} for i, kind in enumerate(kinds)]


def _sums(rng: random.Random, split: str) -> Iterator[Row]:
    worked = {"pretraining": (HASTY, SLIP), "cold-start": (0.0, SLIP_OF_PEOPLE)}.get(split)
    for problem, terms in arithmetic.problems(rng, held_out=split == "test"):
        row = {"problem": problem, "answer": str(sum(terms)), "type": "sum"}
        if worked:
            hasty, slip = worked
            row["solution"] = arithmetic.worked(rng, terms, hasty=hasty, slip=slip)
        yield row


def _maxima(rng: random.Random, split: str) -> Iterator[Row]:
    """Of 3 to 5 digits: 18,648 problems, in any order, without end."""
    seen: set[str] = set()
    while True:
        digits = rng.sample(range(1, 10), rng.randint(3, 5))
        problem = "max " + ",".join(map(str, digits))
        if problem in seen or arithmetic.is_held_out(problem) != (split == "test"):
            continue
        seen.add(problem)
        row = {"problem": problem, "answer": str(max(digits)), "type": "maximum"}
        if split in ("pretraining", "general"):
            row["solution"] = arithmetic.written("", max(digits))
        yield row
