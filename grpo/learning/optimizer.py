"""AdamW that always steps in float32, and its learning rate as a function of the step.

A step of 1e-6 on a weight of 0.02 is lost in bfloat16, whose neighbours there are 1.2e-4 apart: a run would learn
nothing and say nothing.  So weights in lower precision have a float32 *master*, which the optimizer moves and from
which they are rounded anew after every update.  Masters and moments may live in host memory (`offload`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from grpo.config import Optim
from grpo.learning.masters import Masters, Offloaded, Resident


def constant(progress: float) -> float:
    return 1.0


def linear(progress: float) -> float:
    return 1.0 - progress


def cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


SCHEDULES: Mapping[str, Callable[[float], float]] = {"constant": constant, "linear": linear, "cosine": cosine}


def learning_rate(settings: Optim, step: int, steps: int) -> float:
    """For step `step` of `steps`, counted from 0.  Never 0, so that no step is wasted."""
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, steps - settings.warmup_steps)
    return settings.lr * SCHEDULES[settings.lr_scheduler_type](progress)


class AdamW:
    """AdamW over float32 masters of a model's trainable weights, which live on the weights' device or on the host
    (`grpo.learning.masters`).

    Gradients of lower precision are added up in float32 as soon as the backward pass has made them, so many
    micro-batches lose nothing to rounding.  They stay on the device, where their norm is taken and clipped.
    """

    def __init__(self, model: nn.Module, settings: Optim, saved_as: Mapping[str, torch.dtype] | None = None) -> None:
        """`saved_as`: in what type a weight is saved with the model, where that is not its own."""
        self.weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.sums: dict[str, Tensor] = {}  # float32 gradients of weights in lower precision, beside the weights
        for name, weight in self.weights.items():
            if weight.dtype != torch.float32:
                weight.register_post_accumulate_grad_hook(partial(_add_up, self.sums, name))
        self.kept: Masters = Offloaded(self.weights) if settings.on_host else Resident(self.weights)
        saved = saved_as or {name: weight.dtype for name, weight in self.weights.items()}
        self.rounded = {name for name in self.weights if saved[name] != torch.float32}
        self.max_grad_norm = settings.max_grad_norm

    @property
    def masters(self) -> Mapping[str, Tensor]:
        return self.kept.masters

    def step(self, lr: float) -> float:
        """One update; returns the gradient norm before clipping.

        If the norm is not finite nothing moves.  Gradients are gone afterwards either way.
        """
        gradients = self.take_gradients()
        norm = float(nn.utils.get_total_norm(gradients.values()))
        if math.isfinite(norm):
            if norm > self.max_grad_norm:
                for gradient in gradients.values():
                    gradient.mul_(self.max_grad_norm / norm)
            self.kept.step(gradients, lr)
        return norm

    def take_gradients(self) -> dict[str, Tensor]:
        """The float32 gradients that have been added up, by weight; then there are none."""
        gradients = {}
        for name, weight in self.weights.items():
            gradient, weight.grad = self.sums.pop(name, weight.grad), None
            if gradient is not None:
                gradients[name] = gradient
        return gradients

    @torch.no_grad()
    def round_masters(self) -> None:
        """The weights become what their masters are; to be called after writing into `state`."""
        for name, weight in self.weights.items():
            if self.masters[name] is not weight:
                weight.copy_(self.masters[name])

    def state(self) -> dict[str, Tensor]:
        """What makes the next step, beside the weights as they are saved: the live tensors, to be read or written into.

        "exp_avg.<weight>" and "exp_avg_sq.<weight>" are the moments, "step.<weight>" counts, and "master.<weight>" is
        there where the saved weight is rounded.  After writing, call `round_masters`.
        """
        state = {}
        for name, master in self.masters.items():
            for key, value in self.kept.moments(name).items():
                state[f"{key}.{name}"] = value
            if name in self.rounded:
                state[f"master.{name}"] = master.detach()
        return state


def _add_up(sums: dict[str, Tensor], name: str, weight: Tensor) -> None:
    """A hook of the weight.  It knows the sums and not their optimizer: Python's collector does not see through hooks,
    and a weight that held its optimizer would never be freed, nor its masters and moments."""
    assert weight.grad is not None
    gradient, weight.grad = weight.grad.float(), None
    sums[name] = sums[name].add_(gradient) if name in sums else gradient
