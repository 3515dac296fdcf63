"""A metric over some steps in a row: its mean, and how far that may be off."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grpo.run.columns import known

STEPS = 20  # of a window
SURE = 2.0  # standard errors on either side

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """A mean and `off`, two of its standard errors: how far it may be off."""

    mean: float
    off: float = 0.0

    @property
    def low(self) -> float:
        return self.mean - self.off

    @property
    def high(self) -> float:
        return self.mean + self.off

    def since(self, start: Span) -> Span:
        """The change from `start` to here."""
        return Span(self.mean - start.mean, math.hypot(self.off, start.off))


@dataclass(frozen=True)
class Window:
    """Some steps in a row."""

    rows: Sequence[Row]
    _asked: dict[str, Span | None] = field(default_factory=dict, compare=False, repr=False)

    def __getitem__(self, key: str) -> Span | None:
        """None where fewer than half of the steps have the metric.  Standard errors are over the steps, as if these
        were independent; that they are not is why an alarm needs two windows."""
        if key not in self._asked:
            self._asked[key] = self._span(known(self.rows, key))
        return self._asked[key]

    def _span(self, values: Sequence[float]) -> Span | None:
        n = len(values)
        if n < max(2, len(self.rows) / 2):
            return None
        mean = sum(values) / n
        variance = sum((value - mean) ** 2 for value in values) / (n - 1)
        return Span(mean, SURE * math.sqrt(variance / n))

    def total(self, key: str) -> float:
        return sum(known(self.rows, key))

    def names(self, prefix: str) -> list[str]:
        """Of the metrics that begin with it."""
        return sorted({name for row in self.rows for name in row if name.startswith(prefix)})


def windows(rows: Sequence[Row]) -> tuple[Window, Window, Window] | None:
    """(the first steps, the ones before the last, the last), which overlap in no step; None while there are too few."""
    if len(rows) < 3 * STEPS:
        return None
    return Window(rows[:STEPS]), Window(rows[-2 * STEPS : -STEPS]), Window(rows[-STEPS:])
