"""Batches made by hand: one `Row` per completion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from grpo.learning.batch import Batch, Sequences, Targets, padded, spread


@dataclass(frozen=True)
class Row:
    """A completion with one advantage and one weight for all of its tokens."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    sampler_logprobs: tuple[float, ...]
    advantage: float
    weight: float


def collate(rows: Sequence[Row]) -> Batch:
    sequences = Sequences.of([(row.prompt, row.tokens) for row in rows])
    real_BT = sequences.real_BT
    per_token = {
        "sampler": padded([row.sampler_logprobs for row in rows], torch.float32),
        "advantages": spread([row.advantage for row in rows], real_BT),
    }
    return Batch(sequences, Targets(real_BT, spread([row.weight for row in rows], real_BT), per_token))
