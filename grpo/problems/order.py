"""Which problems a step works on: a pure function of the step.

Problems are gone through epoch after epoch, each in its own order fixed by `(seed, epoch)`.  Because step `step` is
computed and not remembered, a resumed run goes on where it stood without any saved position: there is none to get
wrong, also on the boundary between two epochs.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T")


def draw(problems: Sequence[T], step: int, count: int, *, seed: int, shuffle: bool) -> list[T]:
    """The `count` problems of step `step`, counted from 0.

    Steps follow each other without a gap: a step may end one epoch and begin the next, and within an epoch nothing
    is left out or repeated.  Where `count` exceeds the number of problems, a step spans several epochs.
    Example: `draw("abc", 1, 2, seed=0, shuffle=False) == ["c", "a"]`.
    """
    total = len(problems)
    if total == 0:
        raise ValueError("draw: problems must not be empty")
    places = (divmod(position, total) for position in range(step * count, (step + 1) * count))
    if not shuffle:
        return [problems[index] for _, index in places]
    return [problems[_order(total, seed, epoch)[index]] for epoch, index in places]


@lru_cache(maxsize=4)  # a step touches one epoch or two; shuffling a million problems at every step would be felt
def _order(total: int, seed: int, epoch: int) -> tuple[int, ...]:
    order = list(range(total))
    random.Random(f"{seed}/{epoch}").shuffle(order)  # text is hashed whole: neighbouring seeds share nothing
    return tuple(order)
