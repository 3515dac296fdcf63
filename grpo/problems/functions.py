"""A generated task of programming: a chain of operations in, a Python function out, judged by calling it.

    problem    +3*2-5
    careful    def f(x):x=x+3;x=x*2;x=x-5;return x
    hasty      def f(x):return x+3*2-5

The operations are meant from left to right.  The hasty one-liner forgets the brackets, as beginners do, and is right
only where Python's own order happens to agree; the careful function takes one step after the other and is right.
The worked examples are mostly hasty, so a model fine-tuned on them can do both, is hasty by habit, and leaves
reinforcement learning a decision to learn: which of the two passes the tests.

A problem is held out, or not, by a hash of its text, so that no held-out problem is ever trained on.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any

from grpo.errors import DataError

SIZES = {"train": 4_000, "test": 200, "worked": 6_000}  # rows
LEVELS = (3, 4)  # operations, in equal parts
HELD_OUT = 10  # one problem in so many is held out
HASTY = 0.7  # of the worked examples; the others are careful, and right
INPUTS = (0, 1, 2, 7, -3, 100)  # the tests: enough to tell any two chains of these lengths apart

Operation = tuple[str, int]  # Example: ("+", 3)


def rows(split: str) -> list[dict[str, Any]]:
    """The rows of "train", "test" or "worked" (with a column `solution`), always the same.

    Example: `{"id": "functions/test/0", "problem": "+3*2-5", "entry": "f", "tests": [{"args": [0], "returns": 1}, …],
    "reference": "def f(x):x=x+3;x=x*2;x=x-5;return x", "level": 3}`.
    """
    if split not in SIZES:
        raise DataError(f"builtin:functions: there is no split {split!r}; it has {', '.join(SIZES)}")
    rng = random.Random(f"functions/{split}")
    made: dict[str, dict[str, Any]] = {}
    while len(made) < SIZES[split]:
        chain = _chain(rng, LEVELS[len(made) % len(LEVELS)])
        problem = "".join(f"{sign}{operand}" for sign, operand in chain)
        if problem in made or _is_held_out(problem) != (split == "test"):
            continue
        row = _row(problem, chain)
        if split == "worked":
            row["solution"] = _hasty(chain) if rng.random() < HASTY else _careful(chain)
        made[problem] = {"id": f"functions/{split}/{len(made)}", **row}
    return list(made.values())


def _chain(rng: random.Random, length: int) -> list[Operation]:
    """Operations whose operands all differ, so that the one just used tells which comes next; one is a product."""
    operands = rng.sample(range(2, 10), length)
    product = rng.randrange(length)
    return [("*" if i == product else rng.choice("+-"), operand) for i, operand in enumerate(operands)]


def _row(problem: str, chain: list[Operation]) -> dict[str, Any]:
    return {
        "problem": problem,
        "entry": "f",
        "tests": [{"args": [x], "returns": _applied(chain, x)} for x in INPUTS],
        "reference": _careful(chain),
        "level": len(chain),
    }


def _applied(chain: list[Operation], x: int) -> int:
    for sign, operand in chain:
        x = x * operand if sign == "*" else x + operand if sign == "+" else x - operand
    return x


def _careful(chain: list[Operation]) -> str:
    steps = "".join(f"x=x{sign}{operand};" for sign, operand in chain)
    return f"def f(x):{steps}return x"


def _hasty(chain: list[Operation]) -> str:
    return "def f(x):return x" + "".join(f"{sign}{operand}" for sign, operand in chain)


def _is_held_out(problem: str) -> bool:
    return hashlib.sha256(problem.encode()).digest()[0] % HELD_OUT == 0
