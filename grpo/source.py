"""Where a step's problems and its randomness come from: functions of the step, the seed, and what is in a checkpoint.

So a run that is resumed goes on bit for bit, and a step that was recorded can be run again.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

from grpo.config import Curriculum
from grpo.problems import SolveRates, draw, draw_by_difficulty
from grpo.types import Prompt


def sampling_seed(seed: int, step: int, round: int = 0) -> int:
    """Of the draws of a round of sampling; step 0 is what comes before the first, evaluations too."""
    return random.Random(f"{seed}/sampling/{step}" + (f"/{round}" if round else "")).getrandbits(32)


class StepSource:
    """The problems and seeds of step `step`.

    Without a curriculum problems come in an order that the seed fixes, after the first `drawn`; with one, by their
    solve rates, those `without` only where no others are left.  `drawn` counts on as prompts are taken, and `taken` are
    the problems.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        *,
        step: int,
        drawn: int,
        seed: int,
        curriculum: Curriculum,
        rates: SolveRates,
        without: Collection[str] = (),
    ) -> None:
        self.drawn = drawn
        self.taken: set[str] = set()
        self._all, self._step, self._seed = prompts, step, seed
        self._curriculum, self._rates, self._without = curriculum, rates, without

    def prompts(self, count: int) -> list[Prompt]:
        if self._curriculum.is_on:
            seed = f"{self._seed}/curriculum/{self._step}/{self.drawn}"
            without = self.taken.union(self._without)
            chosen = draw_by_difficulty(self._all, self._rates, count, self._curriculum, seed=seed, without=without)
        else:
            chosen = draw(self._all, self.drawn, count, seed=self._seed)
        self.drawn += count
        self.taken |= {prompt.problem.id for prompt in chosen}
        return chosen

    def seed(self, round: int) -> int:
        return sampling_seed(self._seed, self._step, round)
