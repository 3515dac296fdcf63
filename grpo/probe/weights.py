"""Weights under which correctness, the first reward, outranks every combination of the others.

    w_first · (best - worst of the first)  >  Σ_k |w_k| · (best - worst of part k)

with the values as observed in completions and in texts that game the rewards.  Then no wrong completion, however well
it is written, is above a right one that is written badly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

ROOM = 0.5  # of what correctness is worth, for all others together


@dataclass(frozen=True, slots=True)
class Ranking:
    """What correctness is worth, and what the others add up to; `suggested` are weights by name, where others win."""

    first: float
    others: float
    suggested: Mapping[str, float]

    @property
    def holds(self) -> bool:
        return self.first > self.others


def rank(weights: Mapping[str, float], ranges: Mapping[str, float]) -> Ranking:
    """`ranges`: best less worst of each reward, as observed."""
    name, *rest = weights
    first = abs(weights[name]) * (ranges[name] or 1.0)  # one that is constant here: 0 or 1, as "solved" has it
    others = math.fsum(abs(weights[part]) * ranges[part] for part in rest)
    if first > others or not first:
        return Ranking(first, others, {})
    factor = ROOM * first / others
    scaled = {part: _rounded_down(weights[part] * factor) if ranges[part] else weights[part] for part in rest}
    return Ranking(first, others, {name: weights[name], **scaled})


def _rounded_down(weight: float) -> float:
    """Towards 0, to two digits: 0.1379 → 0.13."""
    if not weight:
        return weight
    digits = 1 - math.floor(math.log10(abs(weight)))
    return math.copysign(math.floor(round(abs(weight) * 10**digits, 6)) / 10**digits, weight)
