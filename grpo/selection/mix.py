"""How many rows of each source, which of them, and in which order.

With weights w and n rows kept of each source, times `repeat`, the mix is the largest one whose parts are w / Σ w: the
source that runs out first ends it.  `rows` makes it smaller.  Parts are rounded by largest remainder, so each is within
one row of its share.  Without weights everything is written.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from grpo.config import Source
from grpo.errors import ConfigError

Row = TypeVar("Row")


def check_weights(sources: Sequence[Source]) -> None:
    """Before anything is read.  Raises `ConfigError`."""
    weighted = [source.weight is not None for source in sources]
    if any(weighted) and not all(weighted):
        lacking = sources[weighted.index(False)].use
        raise ConfigError(f"select.source: {lacking} has no weight and others have; give all of them one, or none")
    for source in sources:
        if source.weight is None and source.repeat > 1:
            raise ConfigError(
                f"select.source: {source.use} has repeat = {source.repeat} and no weight; rows are repeated to reach a "
                "weight, so give the sources weights"
            )


def parts(sources: Sequence[Source], kept: Sequence[int], rows: int | None) -> list[int]:
    """Rows to write of each source, of which `kept` were kept.  Raises `ConfigError` where `rows` are not there."""
    most = [count * source.repeat for source, count in zip(sources, kept, strict=True)]
    weights = [
        float(count) if source.weight is None else source.weight for source, count in zip(sources, most, strict=True)
    ]
    shares = [weight / sum(weights) for weight in weights]
    limits = [int(count / share + 1e-9) for count, share in zip(most, shares, strict=True)]
    total = min(limits) if sources[0].weight is not None else sum(most)
    if rows is not None and rows > total:
        scarce = sources[limits.index(min(limits))].use
        cure = "lower it, or collect more"
        if sources[0].weight is not None:
            cure = f"{scarce} has too few for its weight: lower rows or the weight, raise its repeat, or collect more"
        raise ConfigError(f"select.rows = {rows}: there are {total} to write; {cure}")
    return _rounded(shares, min(total, rows or total), most)


def _rounded(shares: Sequence[float], total: int, most: Sequence[int]) -> list[int]:
    """`total` in these shares, whole numbers, by largest remainder; none above its `most`."""
    exact = [share * total for share in shares]
    whole = [min(int(part + 1e-9), limit) for part, limit in zip(exact, most, strict=True)]
    order = sorted(range(len(shares)), key=lambda i: (whole[i] - exact[i], i))
    for i in [i for i in order if whole[i] < most[i]][: total - sum(whole)]:
        whole[i] += 1
    return whole


def mixed(
    streams: Sequence[Callable[[], Iterator[Row]]], kept: Sequence[int], wanted: Sequence[int], seed: int
) -> Iterator[Row]:
    """`wanted` rows of each stream, which begins anew at each call and has `kept`, evenly among each other's.

    Of a stream's rows a random part is taken, in order; those that are written twice come again after the others.
    """
    taken = [
        _part(stream, count, want, random.Random(f"{seed}/mix/{index}"))
        for index, (stream, count, want) in enumerate(zip(streams, kept, wanted, strict=True))
    ]
    placed = [_placed(rows, want, index) for index, (rows, want) in enumerate(zip(taken, wanted, strict=True))]
    yield from (row for *_, row in heapq.merge(*placed, key=lambda one: one[:2]))


def _placed(rows: Iterator[Row], count: int, index: int) -> Iterator[tuple[float, int, Row]]:
    """Each row with its place in the whole, from 0 to 1."""
    yield from (((number + 0.5) / count, index, row) for number, row in enumerate(rows))


def _part(stream: Callable[[], Iterator[Row]], count: int, want: int, draw: random.Random) -> Iterator[Row]:
    """All rows as often as they go into `want`, then a random part of them (selection sampling: Knuth, TAOCP 2,
    3.4.2, algorithm S)."""
    if not count:
        return
    for _ in range(want // count):
        yield from stream()
    left = want % count
    for number, row in enumerate(stream() if left else ()):
        if draw.random() * (count - number) < left:
            left -= 1
            yield row
