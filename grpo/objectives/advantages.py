"""How much better than its group each completion is.

The group is its own baseline: no value model.  A completion that could not be judged (None) is no part of any baseline
and gets 0, and so does a *zero-variance group*, whose rewards are all equal.  Deviations are the unbiased ones with
1e-4 added, as in TRL.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from statistics import stdev

from grpo import config
from grpo.errors import LearningError
from grpo.types import ScoredGroup

Rewards = Sequence[float | None]  # of the completions of one group
EPSILON = 1e-4  # added to every standard deviation


@dataclass(frozen=True, slots=True)
class GroupRewards:
    """What the completions of one group earned: in all, and from each reward, with its weight in the sum.

    Rewards of weight 0, which are only watched, are no part.
    """

    totals: Rewards
    parts: Mapping[str, tuple[float, Rewards]]

    @classmethod
    def of(cls, scored: ScoredGroup, weights: Mapping[str, float]) -> GroupRewards:
        judged = [reward is not None for reward in scored.rewards]
        columns = {
            name: [score[name].value if counts else None for score, counts in zip(scored.scores, judged, strict=True)]
            for name in weights
        }
        return cls(scored.rewards, {name: (weight, columns[name]) for name, weight in weights.items() if weight})

    @property
    def first(self) -> Rewards:
        """Of the first reward that counts: the one that says whether a problem was solved."""
        return next((values for _, values in self.parts.values()), self.totals)

    def plus(self, name: str, values: Sequence[float]) -> GroupRewards:
        """With one reward more, of weight 1."""
        totals = [None if r is None else r + value for r, value in zip(self.totals, values, strict=True)]
        return GroupRewards(totals, {**self.parts, name: (1.0, list(values))})


# Of all groups of a step → of each completion of each.
Advantages = Callable[[Sequence[GroupRewards], config.Objective], list[list[float]]]


def zero_variance(rewards_G: Rewards) -> bool:
    """Whether the group says nothing about which completion is better; rounding noise is no opinion."""
    judged = [r for r in rewards_G if r is not None]
    return not judged or max(judged) - min(judged) <= 1e-6 * max(1.0, max(map(abs, judged)))


def centred(rewards_G: Rewards) -> list[float]:
    """r - mean."""
    judged = [r for r in rewards_G if r is not None]
    if zero_variance(rewards_G):
        return [0.0] * len(rewards_G)
    mean = math.fsum(judged) / len(judged)
    return [0.0 if r is None else r - mean for r in rewards_G]


def group_std(rewards_G: Rewards) -> list[float]:
    """(r - mean) / std: GRPO, arXiv 2402.03300 section 4.1.2."""
    if zero_variance(rewards_G):
        return [0.0] * len(rewards_G)
    divisor = stdev([r for r in rewards_G if r is not None]) + EPSILON
    return [a / divisor for a in centred(rewards_G)]


def leave_one_out(rewards_G: Rewards) -> list[float]:
    """r - mean of the others, which is n / (n - 1) · (r - mean): RLOO, arXiv 2402.14740."""
    n = sum(r is not None for r in rewards_G)
    return [n / max(1, n - 1) * a for a in centred(rewards_G)]


def max_rl(rewards_G: Rewards) -> list[float]:
    """(r - mean) / mean: MaxRL, arXiv 2602.02710.  The fewer solved it, the more a solution counts."""
    judged = [r for r in rewards_G if r is not None]
    if any(r < 0 for r in judged):
        raise LearningError(
            f'objective.advantages = "max_rl" divides by the mean reward, and a reward is {min(judged):g}; it needs '
            "rewards of 0 and more: give penalties a weight of 0, or choose another objective"
        )
    mean = math.fsum(judged) / max(1, len(judged))
    return [a / mean if mean > 0 else 0.0 for a in centred(rewards_G)]


def pass_at_k(rewards_G: Rewards, *, k: int) -> list[float]:
    """The mean over all subsets of k completions of GRPO's advantage with the best of k as the reward, in closed form:
    arXiv 2508.10751 eq. 8-11.  A completion is right or wrong: its reward is at least 1, or less."""
    right = [r is not None and r >= 1 for r in rewards_G]
    n = sum(r is not None for r in rewards_G)
    wrong = n - sum(right)
    if n < k:
        return [0.0] * len(rewards_G)
    mean = 1 - comb(wrong, k) / comb(n, k)  # share of the subsets that hold a right one
    spread = math.sqrt(mean * (1 - mean))
    if not spread:
        return [0.0] * len(rewards_G)
    of_right = (1 - mean) / spread
    of_wrong = (1 - mean - comb(wrong - 1, k - 1) / comb(n - 1, k - 1)) / spread
    return [
        0.0 if r is None else of_right if is_right else of_wrong for r, is_right in zip(rewards_G, right, strict=True)
    ]


def best_of_k(groups: Sequence[GroupRewards], settings: config.Objective) -> list[list[float]]:
    """`pass_at_k` of the first reward, the one that says whether a completion is right, with the k of the settings."""
    return [pass_at_k(group.first, k=settings.pass_k) for group in groups]


def batch_std(groups: Sequence[GroupRewards], settings: config.Objective) -> list[list[float]]:
    """(r - mean of the group) / std of all rewards of the step: TRL's `scale_rewards = "batch"`, arXiv 2508.08221."""
    divisor = _std([r for group in groups for r in group.totals if r is not None]) + EPSILON
    return [[a / divisor for a in centred(group.totals)] for group in groups]


def whitened(groups: Sequence[GroupRewards], settings: config.Objective) -> list[list[float]]:
    """r - mean of the group, over the deviation of that: REINFORCE++ with baseline, arXiv 2501.03262."""
    return _whitened([group.totals for group in groups], [centred(group.totals) for group in groups])


def gdpo(groups: Sequence[GroupRewards], settings: config.Objective) -> list[list[float]]:
    """Each reward normalised in its group, then their weighted sum whitened over the step: GDPO, arXiv 2601.05242.

    A sum that is normalised as a whole cannot tell a right answer without layout from a wrong one with it.
    """
    sums = []
    for group in groups:
        normalised = [[weight * a for a in group_std(values)] for weight, values in group.parts.values()]
        columns = zip(*normalised, strict=True) if normalised else [()] * len(group.totals)  # none: all only watched
        sums.append([math.fsum(column) for column in columns])
    return _whitened([group.totals for group in groups], sums)


def _whitened(rewards: Sequence[Rewards], values: Sequence[Sequence[float]]) -> list[list[float]]:
    """(x - mean) / std over all completions that were judged."""
    judged = [
        x for r_G, x_G in zip(rewards, values, strict=True) for r, x in zip(r_G, x_G, strict=True) if r is not None
    ]
    mean, divisor = math.fsum(judged) / max(1, len(judged)), _std(judged) + EPSILON
    return [
        [0.0 if r is None else (x - mean) / divisor for r, x in zip(r_G, x_G, strict=True)]
        for r_G, x_G in zip(rewards, values, strict=True)
    ]


def _std(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def by_group(function: Callable[[Rewards], list[float]]) -> Advantages:
    """Of each group by itself, from the sum of its rewards."""

    def of_all(groups: Sequence[GroupRewards], settings: config.Objective) -> list[list[float]]:
        return [function(group.totals) for group in groups]

    of_all.__doc__ = function.__doc__  # `grpo explain` shows it
    return of_all


ADVANTAGES: Mapping[str, Advantages] = {
    "group_std": by_group(group_std),
    "group_mean": by_group(centred),
    "leave_one_out": by_group(leave_one_out),
    "max_rl": by_group(max_rl),
    "pass_at_k": best_of_k,
    "batch_std": batch_std,
    "whitened": whitened,
    "gdpo": gdpo,
}
