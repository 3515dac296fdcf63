"""What AdamW moves: float32 masters of the weights, and two moments of their gradients, 12 bytes a number together.

They live beside the weights (`Resident`), or in host memory (`Offloaded`), from where they visit the device once per
update, a chunk at a time: while one is stepped there, the next is on its way in and the one before on its way out.  The
gradients never leave the device, the arithmetic is the same in both places, and so is every bit that comes out.

The other way would be to send the gradients out and step on the host.  For 1.54 billion numbers:

    visiting    18.5 GB in and 18.5 GB out at once: 0.4 s at 50 GB/s (PCIe 5), 0.8 s at 25 GB/s (PCIe 4); AdamW on the
                device, 43 GB of its memory, is hidden behind that
    stepping    6.2 GB out, 3.1 GB in, and between them 43 GB of the host's memory by its processors: 0.3 s at the
    there       150 GB/s of a whole server, 2 s at the 20 GB/s of the few cores that come with a rented GPU

So visiting depends on the bus alone, costs the processors nothing, and is at worst twice the other's best.

Only page-locked memory crosses at the speed of the bus and beside the computation.  It is locked once, in three pieces:
PyTorch's own `pin_memory` would round each up to a power of two.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from grpo.errors import LearningError

BETAS = (0.9, 0.99)  # the second shorter than the usual 0.999: runs are a few hundred steps

CHUNK = 2**23  # numbers: 32 MiB of masters and of each moment, a millisecond or two of the bus
SLOTS = 3  # chunks on the device at a time: one comes, one is stepped, one goes; 288 MiB
ALIGNED = 64  # numbers: where weights begin in a chunk, so that vectors are cut as in a weight by itself

Weights = Mapping[str, nn.Parameter]


class Masters(Protocol):
    @property
    def masters(self) -> Mapping[str, Tensor]:
        """Float32, by weight."""
        ...

    def step(self, gradients: Mapping[str, Tensor], lr: float) -> None:
        """The weights that have a float32 gradient make one step of AdamW."""
        ...

    def moments(self, name: str) -> Mapping[str, Tensor]:
        """ "exp_avg", "exp_avg_sq" and "step" of a weight: live."""
        ...


class Resident:
    """Masters and moments beside the weights; a float32 weight is its own master."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.masters = {
            name: weight if weight.dtype == torch.float32 else weight.detach().float()
            for name, weight in weights.items()
        }
        self._moments: dict[str, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], lr: float) -> None:
        masters, moments = [self.masters[name] for name in gradients], [self.moments(name) for name in gradients]
        exp_avgs, exp_avg_sqs, steps = ([own[key] for own in moments] for key in ("exp_avg", "exp_avg_sq", "step"))
        _adamw(masters, list(gradients.values()), exp_avgs, exp_avg_sqs, steps, lr)
        for name in gradients:
            if self.masters[name] is not self.weights[name]:
                self.weights[name].copy_(self.masters[name])

    def moments(self, name: str) -> Mapping[str, Tensor]:
        """Made when they are first asked for: after the first backward pass, which may need the memory."""
        if name not in self._moments:
            master = self.masters[name].detach()
            zeros = {key: torch.zeros_like(master) for key in ("exp_avg", "exp_avg_sq")}
            self._moments[name] = {"step": torch.zeros((), device=master.device), **zeros}
        return self._moments[name]


@dataclass(frozen=True, slots=True)
class Part:
    """Numbers of one weight that are in one chunk."""

    name: str
    number: int  # of the weight
    of_weight: slice
    of_chunk: slice


class Offloaded:
    """Masters and moments in host memory, all weights in a row; the weights are on one device."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.device = next(iter(weights.values())).device
        self.places: dict[str, slice] = {}
        self.size = 0
        for name, weight in weights.items():
            self.places[name] = slice(self.size, self.size + weight.numel())
            self.size += weight.numel() + -weight.numel() % ALIGNED
        self.chunks = [self._parts(start, start + CHUNK) for start in range(0, self.size, CHUNK)]
        self.rows = {key: page_locked(self.size, self.device) for key in ("master", "exp_avg", "exp_avg_sq")}
        self.steps = {name: torch.zeros(()) for name in weights}
        self.masters = {name: self._of(name, "master") for name in weights}
        for name, weight in weights.items():
            self.masters[name].copy_(weight.detach())

    def _parts(self, start: int, stop: int) -> list[Part]:
        parts = []
        for number, (name, place) in enumerate(self.places.items()):
            low, high = max(start, place.start), min(stop, place.stop)
            if low < high:
                of_weight = slice(low - place.start, high - place.start)
                parts.append(Part(name, number, of_weight, slice(low - start, high - start)))
        return parts

    def _of(self, name: str, key: str) -> Tensor:
        return self.rows[key][self.places[name]].view(self.weights[name].shape)

    def moments(self, name: str) -> Mapping[str, Tensor]:
        return {"step": self.steps[name], **{key: self._of(name, key) for key in ("exp_avg", "exp_avg_sq")}}

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], lr: float) -> None:
        device: Any = getattr(torch, self.device.type)  # torch.cuda; or torch.cpu, whose streams do nothing
        here, inward, outward = device.current_stream(), device.Stream(), device.Stream()
        width = min(CHUNK, self.size)
        slots = [torch.empty(len(self.rows), width, device=self.device) for _ in range(SLOTS)]
        gone: list[Any] = [None] * SLOTS
        counts = torch.stack(list(self.steps.values())).to(self.device)
        inward.wait_stream(here)  # what the slots' memory was before may still be read
        for number, parts in enumerate(self.chunks):
            start, turn = number * CHUNK, number % SLOTS
            slot = slots[turn][:, : self.size - start]
            with device.stream(inward):
                if gone[turn] is not None:
                    inward.wait_event(gone[turn])
                for row, values in zip(slot, self.rows.values(), strict=True):
                    row.copy_(values[start : start + CHUNK], non_blocking=True)
                come = inward.record_event()
            here.wait_event(come)
            self._step(slot, [part for part in parts if part.name in gradients], gradients, counts.clone(), lr)
            stepped = here.record_event()
            with device.stream(outward):
                outward.wait_event(stepped)
                for row, values in zip(slot, self.rows.values(), strict=True):
                    values[start : start + CHUNK].copy_(row, non_blocking=True)
                gone[turn] = outward.record_event()
        device.synchronize()  # the host may read, and the slots' memory may become something else
        for name in gradients:
            self.steps[name] += 1

    def _step(
        self, slot: Tensor, parts: list[Part], gradients: Mapping[str, Tensor], counts: Tensor, lr: float
    ) -> None:
        """The numbers of `parts` in a chunk on the device; `counts`, steps so far by weight, are spoiled."""
        if not parts:
            return
        masters, exp_avgs, exp_avg_sqs = ([row[part.of_chunk] for part in parts] for row in slot)
        flat = [gradients[part.name].reshape(-1)[part.of_weight] for part in parts]
        _adamw(masters, flat, exp_avgs, exp_avg_sqs, [counts[part.number] for part in parts], lr)
        for part, master in zip(parts, masters, strict=True):
            self.weights[part.name].view(-1)[part.of_weight].copy_(master)


def _adamw(
    masters: list[Tensor],
    gradients: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    steps: list[Tensor],
    lr: float,
) -> None:
    """In place, `steps` too.  No weight decay: at a rate of 1e-6 a decay of 0.01 would take 1e-5 of a weight in a
    thousand steps."""
    adamw(
        masters, gradients, exp_avgs, exp_avg_sqs, [], steps,
        fused=True, amsgrad=False, beta1=BETAS[0], beta2=BETAS[1], lr=lr, weight_decay=0.0, eps=1e-8, maximize=False,
    )  # fmt: skip


def page_locked(numbers: int, device: torch.device) -> Tensor:
    """Zeros in host memory: float32, page-locked where the device is a GPU.  Raises `LearningError`."""
    memory = torch.zeros(numbers, dtype=torch.float32)
    if device.type == "cuda":
        runtime: Any = torch.cuda.cudart()
        refused = int(runtime.cudaHostRegister(memory.data_ptr(), memory.nbytes, 0))
        if refused:
            raise LearningError(
                f"optim.offload: {memory.nbytes / 2**30:.1f} GiB of host memory cannot be locked for copies to the GPU "
                f"(CUDA error {refused}); free host memory, train an adapter (model.lora_rank), or set "
                "optim.offload = false"
            )
        weakref.finalize(memory, runtime.cudaHostUnregister, memory.data_ptr())
    return memory
