"""Hidden states of a batch's tokens as the textbook has it: prompt and completion of each row, padded on the right.

Causal attention needs no mask for padding behind a row.  This is what shared prompts (`grpo.learning.packed`) are
checked against, and what serves the architectures that cannot share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from grpo.learning.batch import Sequences


class Padded:
    """A model's body, `states` from input ids [B, L] to [B, L, D], over rows that each have their own prompt."""

    def __init__(self, states: Callable[[Tensor], Tensor]) -> None:
        self.states = states

    def microbatches(self, sequences: Sequences, tokens: int) -> Iterator[list[int]]:
        """Indices of rows that together, padded, fill at most `tokens`; a longer row goes alone.

        Sorted by length, longest first: little padding, and if memory does not suffice it shows at once.
        """
        sizes = _sizes(sequences)
        part: list[int] = []
        for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
            if part and (len(part) + 1) * sizes[part[0]] > tokens:
                yield part
                part = []
            part.append(i)
        if part:
            yield part

    def tokens(self, sequences: Sequences, rows: Sequence[int]) -> int:
        """What rows cost together, without padding."""
        sizes = _sizes(sequences)
        return sum(sizes[i] for i in rows)

    def hidden_states(self, rows: Sequences, device: torch.device) -> tuple[Tensor, int, int]:
        """The states [N, D] that predict the N tokens of `rows`, row by row; tokens computed; padding among them."""
        sizes, lengths = _sizes(rows), rows.lengths
        ids_BL = torch.zeros(len(sizes), max(sizes), dtype=torch.int64)
        for row, (prompt, length) in enumerate(zip(rows.prompts, lengths, strict=True)):
            ids_BL[row, : sizes[row]] = torch.cat([torch.tensor(prompt), rows.tokens_BT[row, : length - 1]])
        states_BLD = self.states(ids_BL.to(device))
        # What predicts a completion's tokens are the last states of its row before the padding.
        pieces = [states_BLD[row, size - lengths[row] : size] for row, size in enumerate(sizes)]
        return torch.cat(pieces), ids_BL.numel(), ids_BL.numel() - sum(sizes)


def _sizes(sequences: Sequences) -> list[int]:
    """Tokens of each row that predict something: all but the last."""
    return [len(prompt) + length - 1 for prompt, length in zip(sequences.prompts, sequences.lengths, strict=True)]


def states_of(model: Any, ids_BL: Tensor) -> Tensor:
    found: Tensor = model.base_model(input_ids=ids_BL, use_cache=False).last_hidden_state
    return found


def logits_of(model: Any, ids_BL: Tensor) -> Tensor:
    found: Tensor = model(input_ids=ids_BL, use_cache=False).logits
    return found
