"""From groups to tensors.

A `Batch` holds completion positions only.  How the prompts in front of them are computed is the policy's private
matter (`grpo.learning.packed`).  Every token of a row carries the *weight* with which it enters the loss, so the
loss is a plain sum: whatever way a batch is split, the parts add up to the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to learn from, padded on the right to the longest one.

    prompts       one tuple of token ids per row (S differs from row to row)
    tokens_BT     int64; 0 in the padding
    weights_BT    float32; > 0 at each token of the row, 0 in the padding: there is no other mask
    advantages_B  float32
    logprobs      float32 [B, T] by name: what other models say of the same tokens.  "sampler" always, "old" where
                  several updates share the batch, "reference" where there is a KL penalty; 0 in the padding
    """

    prompts: tuple[tuple[int, ...], ...]
    tokens_BT: Tensor
    weights_BT: Tensor
    advantages_B: Tensor
    logprobs: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        shape = self.tokens_BT.shape
        if self.weights_BT.shape != shape or any(other.shape != shape for other in self.logprobs.values()):
            raise ValueError(f"Batch: tokens, weights and log-probabilities must all have the shape {tuple(shape)}")
        if len(self.prompts) != shape[0] or self.advantages_B.shape != shape[:1]:
            raise ValueError(f"Batch: prompts and advantages must count {shape[0]} rows")
        if not bool((self.weights_BT > 0).any(dim=1).all()):
            raise ValueError("Batch: every row needs a token with weight; leave rows without one out")

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        lengths: list[int] = (self.weights_BT > 0).sum(dim=1).tolist()
        return lengths

    @property
    def n_tokens(self) -> int:
        return int((self.weights_BT > 0).sum())

    def with_logprobs(self, name: str, logprobs_BT: Tensor) -> Batch:
        """The same batch that also knows what the model called `name` says of its tokens."""
        logprobs = {**self.logprobs, name: logprobs_BT}
        return Batch(self.prompts, self.tokens_BT, self.weights_BT, self.advantages_B, logprobs)

    def rows(self, index: Sequence[int]) -> Batch:
        """The rows in `index`, padded no longer than they need."""
        longest = max(self.lengths[i] for i in index)
        rows = torch.as_tensor(index)
        return Batch(
            tuple(self.prompts[i] for i in index),
            self.tokens_BT[rows, :longest],
            self.weights_BT[rows, :longest],
            self.advantages_B[rows],
            {name: other[rows, :longest] for name, other in self.logprobs.items()},
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One completion on its way into a batch; `weight` is that of each of its tokens."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    sampler_logprobs: tuple[float, ...]
    advantage: float
    weight: float


def collate(rows: Sequence[Row]) -> Batch:
    """`rows`, at least one, as a batch in the same order."""

    def padded(values: Sequence[Sequence[float]], dtype: torch.dtype) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence([torch.tensor(row, dtype=dtype) for row in values], batch_first=True)

    return Batch(
        prompts=tuple(row.prompt for row in rows),
        tokens_BT=padded([row.tokens for row in rows], torch.int64),
        weights_BT=padded([[row.weight] * len(row.tokens) for row in rows], torch.float32),
        advantages_B=torch.tensor([row.advantage for row in rows], dtype=torch.float32),
        logprobs={"sampler": padded([row.sampler_logprobs for row in rows], torch.float32)},
    )
