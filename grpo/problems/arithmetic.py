"""A generated task with visible reasoning: sums of a few signed numbers, worked out step by step.

    problem    7-2+9-5+4
    careful    <think>7-2=5+9=14-5=9+4=13</think><answer>13</answer>
    hasty      <think></think><answer>16</answer>

Every step takes the running total, the next number of the problem, and writes the new total, so a small model that
goes step by step is nearly always right, and one that answers at once rarely is.  The worked examples are mostly
hasty ones and partly wrong on purpose: a model fine-tuned on them can do both, answers in haste by habit, and leaves
reinforcement learning a decision to learn.

A problem is held out, or not, by a hash of its text, so that no held-out problem is ever trained on.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from itertools import accumulate, islice
from typing import Any

from grpo.errors import DataError

SIZES = {"train": 10_000, "test": 500, "worked": 20_000}  # rows
LEVELS = (3, 4, 5, 6)  # operations, in equal parts
LARGEST_TOTAL = 20  # running totals stay between 0 and this: 288 different steps, few enough to learn by heart
HELD_OUT = 10  # one problem in so many is held out

HASTY = 0.6  # of the worked examples: most, so that the greedy answer after fine-tuning is a hasty one
SLIP = 0.06  # … go step by step and get one step wrong; the others are right
GUESS = 9  # a hasty answer is at most so far from the right one


def rows(split: str) -> list[dict[str, Any]]:
    """The rows of "train", "test" or "worked" (with a column `solution`), always the same.

    Example: `{"id": "arithmetic/test/0", "problem": "7-2+9-5", "answer": "9", "level": 3}`.
    """
    if split not in SIZES:
        raise DataError(f"builtin:arithmetic: there is no split {split!r}; it has {', '.join(SIZES)}")
    rng = random.Random(f"arithmetic/{split}")
    made: list[dict[str, Any]] = []
    for problem, terms in islice(problems(rng, held_out=split == "test"), SIZES[split]):
        row = {"problem": problem, "answer": str(sum(terms)), "level": len(terms) - 1}
        if split == "worked":
            row["solution"] = worked(rng, terms, hasty=HASTY, slip=SLIP)
        made.append({"id": f"arithmetic/{split}/{len(made)}", **row})
    return made


def problems(rng: random.Random, *, held_out: bool) -> Iterator[tuple[str, list[int]]]:
    """Problems and their numbers, without end, none twice; those that are held out, or the others."""
    seen: set[str] = set()
    while True:
        terms = _terms(rng, LEVELS[len(seen) % len(LEVELS)])
        problem = _problem(terms)
        if problem not in seen and is_held_out(problem) == held_out:
            seen.add(problem)
            yield problem, terms


def _terms(rng: random.Random, operations: int) -> list[int]:
    """The numbers to add.  All differ, so that the one just used tells which comes next."""
    while True:
        terms = [rng.randint(1, 9), *(rng.choice((-1, 1)) * rng.randint(1, 9) for _ in range(operations))]
        if len(set(terms)) == len(terms) and all(0 <= total <= LARGEST_TOTAL for total in accumulate(terms)):
            return terms


def _problem(terms: list[int]) -> str:
    return f"{terms[0]}" + "".join(f"{term:+d}" for term in terms[1:])


def is_held_out(problem: str) -> bool:
    return hashlib.sha256(problem.encode()).digest()[0] % HELD_OUT == 0


def worked(rng: random.Random, terms: list[int], *, hasty: float, slip: float) -> str:
    """A solution: hasty in a share `hasty` of cases, in a share `slip` careful with one step wrong, else right."""
    manner = rng.random()
    if manner < hasty:
        return written("", max(0, sum(terms) + rng.randint(-GUESS, GUESS)))
    slip_at = rng.randrange(1, len(terms)) if manner < hasty + slip else None
    total = terms[0]
    thoughts = f"{total}"
    for i, term in enumerate(terms[1:], start=1):
        total += term + (rng.choice((1, 2)) if i == slip_at else 0)  # upwards: totals stay positive
        thoughts += f"{term:+d}={total}"
    return written(thoughts, total)


def written(thoughts: str, answer: int) -> str:
    return f"<think>{thoughts}</think><answer>{answer}</answer>"
