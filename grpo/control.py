"""A control run: the same problems, completions, budget and rewards, but each completion gets another one's rewards.

Random rewards have raised benchmarks (arXiv 2506.10947: + 21.4 points on MATH-500 for Qwen2.5-Math-7B), so a gain alone
does not show that the rewards taught it.  What is shuffled is the record of a completion, its total with all its parts,
among all completions of a step: what is learned from has the same distribution, and says nothing.  Which problems are
sampled, and whether another round is, goes by the true rewards, so the budget is that of the run; so do all metrics but
`groups/useful`, which is about what was learned from.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import islice

from grpo.objectives import GroupRewards

Rewarded = Callable[[Sequence[GroupRewards], int], Sequence[GroupRewards]]  # of a step's groups, and its number


def as_they_are(groups: Sequence[GroupRewards], step: int) -> Sequence[GroupRewards]:
    return groups


def random_reward(seed: int) -> Rewarded:
    """What a run with this seed gives in each step: a function of the seed and the step alone."""

    def shuffled(groups: Sequence[GroupRewards], step: int) -> Sequence[GroupRewards]:
        places = [(group, index) for group in groups for index in range(len(group.totals))]
        random.Random(f"{seed}/control/{step}").shuffle(places)
        from_there = iter(places)
        return [_of(group, list(islice(from_there, len(group.totals)))) for group in groups]

    return shuffled


def _of(group: GroupRewards, places: Sequence[tuple[GroupRewards, int]]) -> GroupRewards:
    """What the completions at `places` earned, as the rewards of `group`."""
    parts = {
        name: (weight, [source.parts[name][1][index] for source, index in places])
        for name, (weight, _) in group.parts.items()
    }
    return GroupRewards([source.totals[index] for source, index in places], parts)
