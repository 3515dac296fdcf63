"""A metric over some steps in a row: its mean, and how far that may be off."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from grpo.run.columns import known

STEPS = 20  # of a window
SURE = 2.0  # standard errors on either side

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """A mean with its bounds."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Window:
    """Some steps in a row."""

    rows: Sequence[Row]

    def __getitem__(self, key: str) -> Span | None:
        """None where fewer than half of the steps have the metric.  Bounds are ± two standard errors over the steps, as
        if these were independent; that they are not is why an alarm needs two windows."""
        values = known(self.rows, key)
        if len(values) < max(2, len(self.rows) / 2):
            return None
        mean, error = fmean(values), stdev(values) / math.sqrt(len(values))
        return Span(mean, mean - SURE * error, mean + SURE * error)

    def total(self, key: str) -> float:
        return sum(known(self.rows, key))


def windows(rows: Sequence[Row]) -> tuple[Window, Window, Window] | None:
    """(the first steps, the ones before the last, the last), which overlap in no step; None while there are too few."""
    if len(rows) < 3 * STEPS:
        return None
    return Window(rows[:STEPS]), Window(rows[-2 * STEPS : -STEPS]), Window(rows[-STEPS:])
