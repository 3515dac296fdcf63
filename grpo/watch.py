"""After each step: what makes its numbers worthless is said, or ends the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from grpo.algorithm import StepResult
from grpo.errors import LearningError, RewardError
from grpo.metrics import FAILURES, Row

BAD_STEPS = 3  # in a row without a usable gradient; then the run stops
IDLE_STEPS = 10  # in a row in which no group carried a signal; then it is said


class Watch:
    """What was said so far.  `warn` says it; `failed_batch` is where a batch goes whose gradients were not finite."""

    def __init__(self, warn: Callable[[str], None], failed_batch: Path) -> None:
        self._warn, self._failed_batch = warn, failed_batch
        self._idle_steps = 0
        self._failures: dict[str, float] = {}  # shares that were said, by kind

    def rewards(self, row: Row) -> None:
        """A reward that cannot answer looks like a model that cannot solve: it is said, and in full it ends the run."""
        for kind in FAILURES:
            share = row[f"completions/{kind}"]
            if share >= 1:
                raise RewardError(
                    f"every call of every reward ended in a {kind} in step {row['step']}: nothing was judged; the "
                    "reasons are in rollouts/, which `grpo show` reads"
                )
            if share > self._failures.get(kind, 0.0):
                self._warn(f"{share:.1%} of the rewards' calls ended in a {kind}; see rollouts/ with `grpo show`")
                self._failures[kind] = 2 * share  # said again when it has doubled

    def updates(self, result: StepResult, bad_steps: int) -> int:
        """Gradients that are not finite were not applied; a few in a row are a fault, not bad luck.

        `bad_steps` counts steps in a row with such gradients before this one; returns the new count.
        """
        skipped = [update for update in result.updates if not update.moved]
        bad_steps = bad_steps + 1 if skipped else 0 if result.updates else bad_steps
        if skipped and bad_steps >= BAD_STEPS:
            torch.save(skipped[0].batch, self._failed_batch)
            raise LearningError(
                f"gradients were not finite in {bad_steps} steps in a row, so nothing was learned in them (loss of the "
                f"last: {skipped[0].totals['loss']}); its batch is in {self._failed_batch}; lower optim.lr, or look at "
                "the batch"
            )
        self._idle_steps = 0 if result.updates else self._idle_steps + 1
        if self._idle_steps and self._idle_steps % IDLE_STEPS == 0:
            self._warn(
                f"no group carried a signal in {self._idle_steps} steps: all completions of each problem get the same "
                "reward (zero-variance groups), and nothing is learned; `grpo show` has the reasons"
            )
        return bad_steps
