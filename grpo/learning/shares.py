"""Who computes what of a batch: one process all of it, several ranks a share each.

Every rank is given the whole batch, works out everybody's share and takes its own.  A share is whole groups, so that
each prompt is computed once; sums over rows are then added up over ranks, and what comes out is the same on each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from grpo.learning.batch import Sequences, Targets, Terms
from grpo.learning.logprobs import Body, Computation, choose_computation
from grpo.learning.packed import by_prompt

T = TypeVar("T")


class Ranks(Protocol):
    """The processes that hold a model together, seen from one of them.  All call the same verbs in the same order."""

    rank: int
    size: int
    computation: Computation
    dtypes: Mapping[str, torch.dtype]  # of the model's parameters in its files

    def run(self, compute: Callable[..., T], *arguments: Any) -> T:
        """`compute`, where it finds the model's weights whole."""
        ...

    def add_up(self, values: Tensor) -> Tensor:
        """The sum over ranks of a tensor on the CPU."""
        ...

    def add_up_totals(self, totals: Totals) -> Totals: ...

    def whole(self, tensor: Tensor) -> Tensor:
        """All of a weight, a gradient or a buffer, on the device that computes."""
        ...

    def weight(self, parameter: Tensor) -> Tensor:
        """All of a parameter, as the model computes with it."""
        ...

    def once(self, act: Callable[[], None]) -> None:
        """The first rank acts while the others wait; what it raises is raised by all."""
        ...


class Alone:
    """One process with a model of its own."""

    rank, size = 0, 1

    def __init__(self, model: Any, *, float32_head: bool = False) -> None:
        self.computation = choose_computation(model, float32_head=float32_head)
        self.dtypes = {name: weight.dtype for name, weight in model.named_parameters()}

    def run(self, compute: Callable[..., T], *arguments: Any) -> T:
        return compute(*arguments)

    def add_up(self, values: Tensor) -> Tensor:
        return values

    def add_up_totals(self, totals: Totals) -> Totals:
        return totals

    def whole(self, tensor: Tensor) -> Tensor:
        return tensor

    def weight(self, parameter: Tensor) -> Tensor:
        return parameter

    def once(self, act: Callable[[], None]) -> None:
        act()


@dataclass(frozen=True, slots=True)
class Share:
    """One rank's part of a batch: indices of its micro-batches' rows, and of rows that fill up.

    A forward pass gathers the weights from all ranks, so all must make as many: who has fewer micro-batches computes a
    row of somebody else's in their place, for nothing.
    """

    microbatches: list[list[int]]
    fillers: list[list[int]]


def share(sequences: Sequences, body: Body, tokens: int, *, rank: int, size: int) -> Share:
    """Rank `rank`'s, of `size`, in micro-batches of at most `tokens`.  A function of its arguments alone."""
    parts = []
    for rows in _balanced(sequences, body, size):
        inner = body.microbatches(sequences.rows(rows), tokens) if rows else ()
        parts.append([[rows[i] for i in index] for index in inner])
    shortest = min(range(len(sequences.prompts)), key=lambda row: (body.tokens(sequences, [row]), row))
    missing = max(map(len, parts)) - len(parts[rank])
    return Share(parts[rank], [[shortest]] * missing)


def _balanced(sequences: Sequences, body: Body, size: int) -> list[list[int]]:
    """The rows of each of `size` ranks: whole groups, the largest first, each to whoever has the fewest tokens yet."""
    rows: list[list[int]] = [[] for _ in range(size)]
    load = [0] * size
    sizes = [(body.tokens(sequences, group), group) for group in by_prompt(sequences)]
    for tokens, group in sorted(sizes, key=lambda item: (-item[0], item[1])):
        least = load.index(min(load))
        rows[least] += group
        load[least] += tokens
    return [sorted(own) for own in rows]


def no_loss(logprobs_BT: Tensor, targets: Targets) -> Terms:
    """Of a filler: its gradient is 0, also where a product with 0 would not be."""
    return Terms(logprobs_BT.masked_fill(torch.ones_like(logprobs_BT, dtype=torch.bool), 0.0).sum())


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums and peaks by name, over micro-batches and ranks."""

    sums: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)

    def add(self, sums: Mapping[str, Any], peaks: Mapping[str, Any]) -> None:
        for name, value in _numbers(sums).items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        for name, value in _numbers(peaks).items():
            self.peaks[name] = max(self.peaks.get(name, -math.inf), value)

    @classmethod
    def over(cls, parts: Sequence[Totals]) -> Totals:
        total = cls()
        for part in parts:
            total.add(part.sums, part.peaks)
        return total


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Of tensors and numbers.  The tensors come from their device in one copy: each waits for all that it computes."""
    tensors = [value.double() for value in values.values() if isinstance(value, Tensor)]
    copied = iter(torch.stack(tensors).tolist() if tensors else ())
    return {name: next(copied) if isinstance(value, Tensor) else float(value) for name, value in values.items()}
