"""The largest micro-batch that a run can come to, before its first step.

What does not fit shows in the first minute and not at step 120, when all completions happen to be long; and the
estimate from shapes is held against what was seen.  On GPUs only: a CPU's memory has no end of its own, the system
takes it from others first and then ends the process, so there would be nothing to catch and nothing to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from grpo.learning.batch import Batch, Sequences, Targets, Terms, spread

ON = {"cuda"}  # devices


@dataclass(frozen=True, slots=True)
class Worst:
    """The longest row that can occur, in tokens of prompt and completion, and what may give way where the micro-batch
    of such rows does not fit: tokens at a time, down to `least_tokens`, and then gradient checkpointing."""

    prompt: int
    completion: int
    least_tokens: int
    may_checkpoint: bool

    @property
    def row(self) -> int:
        return self.prompt + self.completion


@dataclass(frozen=True, slots=True)
class Seen:
    """What was computed in the end, and the most that it took besides weights and optimizer."""

    tokens: int
    checkpointing: bool
    gib: float


def largest(worst: Worst, tokens: int, *, vocabulary: int, groups: int) -> Batch:
    """`groups` groups, a rank's each, of as many of the longest rows as a micro-batch of `tokens` has room for, and one
    that fills it up."""
    each = worst.completion - 1  # a completion's last token is not computed
    room = max(tokens - worst.prompt, each)
    whole, rest = divmod(room, each) if each else (1, 0)
    lengths = [worst.completion] * whole + [rest + 1] * (rest > 0)
    rows = [
        ([(group + place) % vocabulary for place in range(worst.prompt)], [0] * length)
        for group in range(groups)
        for length in lengths
    ]
    sequences = Sequences.of(rows)
    real_BT = sequences.real_BT
    return Batch(sequences, Targets(real_BT, spread([1 / int(real_BT.sum())] * len(rows), real_BT)))


def mean_logprob(logprobs_BT: Tensor, targets: Targets) -> Terms:
    return Terms((targets.weights_BT * logprobs_BT).sum())


class Gauge:
    """GiB of the GPU at the most since `measured` began, beyond what was taken then."""

    gib = 0.0


@contextmanager
def measured(device: torch.device) -> Iterator[Gauge]:
    gauge = Gauge()
    if device.type != "cuda":
        yield gauge
        return
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    yield gauge
    gauge.gib = (torch.cuda.max_memory_allocated(device) - before) / 2**30
