"""What completions of the start model earned, as numbers: pure functions of scored groups.

The total reward of completion i is R_i = Σ_k w_k v_ki, and a policy gradient sees only how it differs within its group.
So the variance that counts is that within groups, and the share of it that part k has is

    share_k = Σ_i w_k (v_ki - mean_k) (R_i - mean) / Σ_i (R_i - mean)²          cov(part, total) / var(total)

with the means of i's group, summed over all groups.  The shares add up to 1; one below 0 is a part that pulls against
the rest.  An objective that divides by a group's deviation blows small differences up, so the same is said of the
advantages: of Σ_i A_i², the share that comes from each part.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, pstdev, quantiles

from grpo.estimates import Estimate, estimate
from grpo.objectives import GroupRewards, Objective, zero_variance
from grpo.objectives.advantages import centred, group_std
from grpo.types import ScoredGroup

REASONS = 4  # shown of each reward
Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Distribution:
    """Of the values that are there; `counts` has each where there are at most five different ones."""

    n: int
    mean: float
    sd: float
    quartiles: tuple[float, float, float, float, float]  # lowest, first, median, third, highest
    counts: Mapping[float, int] | None

    @classmethod
    def of(cls, values: Values) -> Distribution | None:
        """None: there are none."""
        there = sorted(value for value in values if value is not None)
        if not there:
            return None
        cuts = quantiles(there, n=4, method="inclusive") if len(there) > 1 else there * 3
        counts = Counter(there)
        five = (there[0], cuts[0], cuts[1], cuts[2], there[-1])
        return cls(len(there), fmean(there), pstdev(there), five, dict(counts) if len(counts) <= 5 else None)

    @property
    def range(self) -> float:
        return self.quartiles[4] - self.quartiles[0]


@dataclass(frozen=True, slots=True)
class Part:
    """One reward.  The shares are of the variance within groups and of the advantages; None: there is none."""

    name: str
    weight: float
    values: Distribution | None
    variance: float | None
    advantages: float | None
    with_length: float | None  # Pearson's r within groups
    reasons: tuple[tuple[str, int], ...]  # the most frequent


@dataclass(frozen=True, slots=True)
class Signal:
    """Shares of groups: in which the objective tells completions apart, and in which the first reward does."""

    useful: Estimate
    by_first: float
    per_step: Estimate  # groups


@dataclass(frozen=True, slots=True)
class Study:
    total: Distribution | None
    with_length: float | None  # of the total
    unscored: int  # completions
    parts: tuple[Part, ...]
    correlations: Mapping[str, float | None]  # "math × layout" → Pearson's r within groups
    signal: Signal


def study(
    scored: Sequence[ScoredGroup], weights: Mapping[str, float], objective: Objective, *, problems_per_step: int
) -> Study:
    """`weights` are those of the rewards by name, of which the first says whether a completion is right."""
    totals = [list(group.rewards) for group in scored]
    lengths: list[Values] = [[len(c.token_ids) for c in group.group.completions] for group in scored]
    columns = {name: [[by_name[name].value for by_name in group.scores] for group in scored] for name in weights}
    variances = variance_shares(totals, columns, weights)
    advantages = advantage_shares(scored, weights, objective)
    parts = tuple(
        Part(
            name,
            weight,
            Distribution.of(_flat(columns[name])),
            variances.get(name),
            advantages.get(name),
            correlation(columns[name], lengths),
            reasons(by_name[name].why for group in scored for by_name in group.scores),
        )
        for name, weight in weights.items()
    )
    return Study(
        Distribution.of(_flat(totals)),
        correlation(totals, lengths),
        sum(reward is None for reward in _flat(totals)),
        parts,
        {f"{a} × {b}": correlation(columns[a], columns[b]) for a, b in combinations(weights, 2)},
        signal(scored, weights, objective, problems_per_step),
    )


def variance_shares(
    totals: Sequence[Values], columns: Mapping[str, Sequence[Values]], weights: Mapping[str, float]
) -> dict[str, float]:
    """Of each part in the variance within groups; nothing where there is no variance."""
    deviations = [centred(group) for group in totals]
    whole = math.fsum(d * d for group in deviations for d in group)
    if not whole:
        return {}
    # Σ w_k (v - mean) (R - mean) = Σ w_k v (R - mean), because the deviations of a group add up to 0.
    return {
        name: weights[name] * math.fsum((v or 0.0) * d for vs, ds in zip(columns[name], deviations, strict=True)
        for v, d in zip(vs, ds, strict=True)) / whole
        for name in weights
    }  # fmt: skip


def advantage_shares(
    scored: Sequence[ScoredGroup], weights: Mapping[str, float], objective: Objective
) -> dict[str, float]:
    """Of each part in Σ A².  An advantage is made of pieces, one of each part, up to a factor of its group."""
    groups = [GroupRewards.of(group, weights) for group in scored]
    advantages = objective.advantages(groups, objective.settings)
    sums = dict.fromkeys(weights, 0.0)
    for group, a_G in zip(groups, advantages, strict=True):
        pieces = _pieces(group, objective)
        summed = [math.fsum(column) for column in zip(*pieces.values(), strict=True)]
        square = math.fsum(x * x for x in summed)
        factor = math.fsum(a * x for a, x in zip(a_G, summed, strict=True)) / square if square else 0.0
        for name, piece in pieces.items():
            sums[name] += factor * math.fsum(a * x for a, x in zip(a_G, piece, strict=True))
    whole = math.fsum(sums.values())
    return {name: value / whole for name, value in sums.items()} if whole else {}


def _pieces(group: GroupRewards, objective: Objective) -> dict[str, list[float]]:
    """What the objective adds up of each part, for each completion of the group."""
    name = objective.settings.advantages
    if name == "pass_at_k":  # knows right and wrong only
        return (
            {next(iter(group.parts), ""): objective.advantages([group], objective.settings)[0]} if group.parts else {}
        )
    normalised = group_std if name == "gdpo" else centred
    return {part: [weight * x for x in normalised(values)] for part, (weight, values) in group.parts.items()}


def correlation(one: Sequence[Values], other: Sequence[Values]) -> float | None:
    """Pearson's r of the deviations from the groups' means, where both are there; None: one of them is constant."""
    xs, ys = list[float](), list[float]()
    for x_G, y_G in zip(one, other, strict=True):
        both = [(x, y) for x, y in zip(x_G, y_G, strict=True) if x is not None and y is not None]
        if both:
            x_mean, y_mean = (fmean(column) for column in zip(*both, strict=True))
            xs += [x - x_mean for x, _ in both]
            ys += [y - y_mean for _, y in both]
    below = math.sqrt(math.fsum(x * x for x in xs) * math.fsum(y * y for y in ys))
    return math.fsum(x * y for x, y in zip(xs, ys, strict=True)) / below if below > 1e-12 else None


def signal(
    scored: Sequence[ScoredGroup], weights: Mapping[str, float], objective: Objective, problems_per_step: int
) -> Signal:
    first = next(iter(weights))
    useful = estimate([float(objective.has_signal(GroupRewards.of(group, weights))) for group in scored], 1)
    by_first = fmean(not zero_variance([by_name[first].value for by_name in group.scores]) for group in scored)
    per_step = Estimate(*(problems_per_step * share for share in (useful.mean, useful.low, useful.high)))
    return Signal(useful, by_first, per_step)


def reasons(whys: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """The most frequent, with numbers and quotations taken out: what differs between completions is no reason."""
    counted = Counter(_as_reason(why) for why in whys if why)
    return tuple(counted.most_common(REASONS))


def _as_reason(why: str) -> str:
    why = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "…", " ".join(why.split()))
    return re.sub(r"-?\d+(?:[.,/]\d+)*", "#", why)


def _flat(groups: Iterable[Values]) -> list[float | None]:
    return [value for group in groups for value in group]
