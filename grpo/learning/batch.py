"""A batch is two things: what a model reads, and what a loss reads.

`Sequences` are prompts and the completions that continue them.  A model turns them into one log-probability per token
of a completion, and needs nothing else; so a reference, a teacher and an evaluation take sequences alone.  `Targets`
say what a loss makes of those tokens: which of them it is about (the *mask*), how much each counts (its *weight*), and
any number of named values per token.  The two are different: a token may be read and not learned from (what a tool
answered), or learned from with weight 0.

The weights are made once per update and travel with the tokens, so a loss is a plain sum: nobody divides inside, and
gradient accumulation over micro-batches of any size adds up to the whole.

How the prompts are computed is the policy's private matter (`grpo.learning.packed`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

Numbers = Sequence[float] | NDArray[Any]  # of one row


@dataclass(frozen=True, slots=True)
class Sequences:
    """Prompts with one completion each, padded on the right to the longest completion.

    prompts    one tuple of token ids per row
    tokens_BT  int64, the completions; 0 in the padding
    lengths    tokens of each completion, at least 1
    """

    prompts: tuple[tuple[int, ...], ...]
    tokens_BT: Tensor
    lengths: tuple[int, ...]

    def __post_init__(self) -> None:
        B, T = self.tokens_BT.shape
        if not len(self.prompts) == len(self.lengths) == B:
            raise ValueError(f"Sequences: prompts and lengths must count {B} rows")
        if not all(1 <= length <= T for length in self.lengths):
            raise ValueError(f"Sequences: a completion must have 1 to {T} tokens (given {self.lengths})")

    @classmethod
    def of(cls, pairs: Sequence[tuple[Sequence[int], Numbers]]) -> Sequences:
        """From (prompt, completion) pairs of token ids, at least one pair."""
        prompts = tuple(tuple(prompt) for prompt, _ in pairs)
        completions = [completion for _, completion in pairs]
        return cls(prompts, padded(completions, torch.int64), tuple(map(len, completions)))

    @property
    def real_BT(self) -> Tensor:
        """bool: where there is a token, and not padding."""
        return torch.arange(self.tokens_BT.shape[1]) < torch.tensor(self.lengths).unsqueeze(1)

    def rows(self, index: Sequence[int]) -> Sequences:
        """The rows in `index`, padded no longer than they need."""
        lengths = tuple(self.lengths[i] for i in index)
        tokens_BT = self.tokens_BT[torch.as_tensor(index), : max(lengths)]
        return Sequences(tuple(self.prompts[i] for i in index), tokens_BT, lengths)


@dataclass(frozen=True, slots=True)
class Targets:
    """What a loss reads of each token of a completion.

    mask_BT     bool: the tokens that the loss is about; all others count nowhere, not even in a sequence's ratio
    weights_BT  float32: how much a token counts in the sum; may be 0 anywhere
    per_token   float32 [B, T] by name: "advantages", and log-probabilities by whose they are: "sampler", "old" (the
                policy before the step's first update), "reference", "teacher"
    """

    mask_BT: Tensor
    weights_BT: Tensor
    per_token: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.mask_BT.shape
        for name, values in {"weights": self.weights_BT, **self.per_token}.items():
            if values.shape != shape:
                raise ValueError(f"Targets: {name} must have the shape {tuple(shape)} of the mask")
        # On a GPU to look is to wait for it, and what is there was looked at before it went.
        if not self.mask_BT.is_cuda and bool((self.weights_BT[~self.mask_BT] != 0).any()):
            raise ValueError("Targets: a token outside the mask must have weight 0")

    def __getitem__(self, name: str) -> Tensor:
        return self.per_token[name]

    def having(self, **per_token: Tensor) -> Targets:
        """The same targets that also have these values, or others in their place."""
        return Targets(self.mask_BT, self.weights_BT, {**self.per_token, **per_token})

    def rows(self, index: Sequence[int], length: int) -> Targets:
        """The rows in `index`, cut after `length` tokens."""
        rows = torch.as_tensor(index)
        return self._each(lambda values_BT: values_BT[rows, :length])

    def to(self, device: torch.device) -> Targets:
        return self._each(lambda values_BT: values_BT.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Targets:
        per_token = {name: change(values_BT) for name, values_BT in self.per_token.items()}
        return Targets(change(self.mask_BT), change(self.weights_BT), per_token)


@dataclass(frozen=True, slots=True)
class Batch:
    """The two halves of what one optimizer update learns from."""

    sequences: Sequences
    targets: Targets

    def __post_init__(self) -> None:
        if self.targets.mask_BT.shape != self.sequences.tokens_BT.shape:
            raise ValueError(
                f"Batch: targets must have the shape {tuple(self.sequences.tokens_BT.shape)} of the tokens"
            )
        if bool(self.targets.mask_BT[~self.sequences.real_BT].any()):
            raise ValueError("Batch: the mask must not cover padding")

    @property
    def n_tokens(self) -> int:
        """Tokens that the loss is about."""
        return int(self.targets.mask_BT.sum())

    def rows(self, index: Sequence[int]) -> Batch:
        sequences = self.sequences.rows(index)
        return Batch(sequences, self.targets.rows(index, sequences.tokens_BT.shape[1]))


@dataclass(frozen=True, slots=True)
class Terms:
    """What a loss makes of some rows.

    `loss` is a sum that goes backwards.  `sums` are added up over rows and micro-batches, `peaks` keep the largest;
    neither has a gradient.
    """

    loss: Tensor
    sums: Mapping[str, Tensor] = field(default_factory=dict)
    peaks: Mapping[str, Tensor] = field(default_factory=dict)


Loss = Callable[[Tensor, Targets], Terms]  # (log-probabilities or divergences [B, T], what is made of them) → terms


def padded(rows: Sequence[Numbers], dtype: torch.dtype) -> Tensor:
    """Rows of unequal length as [B, T], 0 behind the shorter ones."""
    values_BT = torch.zeros(len(rows), max(map(len, rows)), dtype=dtype)
    for values_T, row in zip(values_BT.numpy(), rows, strict=True):
        values_T[: len(row)] = row
    return values_BT


def spread(values_B: Sequence[float], real_BT: Tensor) -> Tensor:
    """One value per row for each token of it: float32 [B, T], 0 in the padding."""
    return torch.tensor(values_B, dtype=torch.float32).unsqueeze(1) * real_BT
