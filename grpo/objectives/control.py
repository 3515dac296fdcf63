"""The control of a run: the same step with its rewards dealt out at random, so that nothing can be learned from them.

Random rewards have raised benchmarks (arXiv 2506.10947: by 21 points on MATH-500 for Qwen2.5-Math-7B), so a benchmark
that rises does not show that the rewards are right.  A run with `run.control = "random-reward"` tells how much comes
from everything else: the format that training brings, the bias of the clip, the temperature, luck.

What each completion earned, in all and from each reward, is a record.  The records of a step are permuted among all its
completions, so advantages have the same distribution of rewards to work with, and in expectation no completion is
better off than any other, neither within its group nor by its problem.  What a completion did not get a reward for
(None) stays without.  Nothing else changes: problems, scores, metrics, and which groups dynamic sampling and a
curriculum choose go by the rewards as they are.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from grpo.config import Config
from grpo.errors import ConfigError
from grpo.objectives.advantages import GroupRewards

# What the groups of a step earned, and the step → what advantages see of it.
Control = Callable[[Sequence[GroupRewards], int], list[GroupRewards]]


def as_they_are(groups: Sequence[GroupRewards], step: int) -> list[GroupRewards]:
    return list(groups)


def shuffled(groups: Sequence[GroupRewards], step: int, *, seed: int) -> list[GroupRewards]:
    """The records of all completions that were judged, permuted among them: a function of the seed and the step."""
    totals = [list(group.totals) for group in groups]
    parts = [{name: list(values) for name, (_, values) in group.parts.items()} for group in groups]
    judged = [(g, i) for g, group in enumerate(groups) for i, r in enumerate(group.totals) if r is not None]
    dealt = random.Random(f"{seed}/control/{step}").sample(judged, len(judged))
    for (g, i), (from_g, from_i) in zip(judged, dealt, strict=True):
        totals[g][i] = groups[from_g].totals[from_i]
        for name, values in parts[g].items():
            values[i] = groups[from_g].parts[name][1][from_i]
    return [
        replace(group, totals=t, parts={name: (weight, p[name]) for name, (weight, _) in group.parts.items()})
        for group, t, p in zip(groups, totals, parts, strict=True)
    ]


def choose_control(config: Config) -> Control:
    return as_they_are if config.run.control is None else partial(shuffled, seed=config.run.seed)


def check_control(config: Config) -> None:
    """Raises `ConfigError` where nothing is learned from rewards, so that there is nothing to shuffle."""
    asked = f'run.control = "{config.run.control}"'
    if config.run.control is None:
        return
    if config.distill.is_full:
        raise ConfigError(f'{asked} with distill.mode = "full": its loss reads no rewards; leave the control out')
    if not any(reward.weight for reward in config.reward):
        raise ConfigError(f"{asked}: every reward has weight 0, so there is nothing to shuffle; leave the control out")
