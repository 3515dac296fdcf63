"""Which problems come next: a pure function of how many were drawn before.

Problems are gone through epoch after epoch, each in its own order fixed by `(seed, epoch)`.  All that a resumed run
must know is how many were drawn, so nothing is skipped or repeated, also on the boundary between two epochs.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T")


def draw(problems: Sequence[T], drawn: int, count: int, *, seed: int) -> list[T]:
    """The `count` problems that come after the first `drawn`.

    Within an epoch nothing is left out or repeated; a draw may end one epoch and begin the next, and where `count`
    exceeds the number of problems it spans several.
    """
    total = len(problems)
    if total == 0:
        raise ValueError("draw: problems must not be empty")
    places = (divmod(position, total) for position in range(drawn, drawn + count))
    return [problems[_order(total, seed, epoch)[index]] for epoch, index in places]


@lru_cache(maxsize=4)  # a step touches one epoch or two; shuffling a million problems at every step would be felt
def _order(total: int, seed: int, epoch: int) -> tuple[int, ...]:
    order = list(range(total))
    random.Random(f"{seed}/{epoch}").shuffle(order)  # text is hashed whole: neighbouring seeds share nothing
    return tuple(order)
