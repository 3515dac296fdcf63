"""AdamW that always steps in float32, and its learning rate as a function of the step.

A step of 1e-6 on a weight of 0.02 is lost in bfloat16, whose neighbours there are 1.2e-4 apart: a run would learn
nothing and say nothing.  So weights in lower precision have a float32 *master*, which the optimizer moves and from
which they are rounded anew after every update.  Masters and moments may live in host memory (`offload`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from grpo.config import Optim


def constant(progress: float) -> float:
    return 1.0


def linear(progress: float) -> float:
    return 1.0 - progress


def cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


BETAS = (0.9, 0.99)  # the second shorter than the usual 0.999: runs are a few hundred steps

SCHEDULES: Mapping[str, Callable[[float], float]] = {"constant": constant, "linear": linear, "cosine": cosine}


def learning_rate(settings: Optim, step: int, steps: int) -> float:
    """For step `step` of `steps`, counted from 0.  Never 0, so that no step is wasted."""
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, steps - settings.warmup_steps)
    return settings.lr * SCHEDULES[settings.lr_scheduler_type](progress)


class AdamW:
    """`torch.optim.AdamW` over float32 masters of a model's trainable weights.

    Gradients of lower precision are added up in float32 as soon as the backward pass has made them, so many
    micro-batches lose nothing to rounding.  With `offload` they cross to the host once per update.
    """

    def __init__(self, model: nn.Module, settings: Optim) -> None:
        self.weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.sums: dict[str, Tensor] = {}  # float32 gradients of weights in lower precision, beside the weights
        self.masters = {name: self._master(name, weight, settings.offload) for name, weight in self.weights.items()}
        self.max_grad_norm = settings.max_grad_norm
        # No weight decay: at a rate of 1e-6 a decay of 0.01 would take 1e-5 of a weight in a thousand steps.
        self.adamw = torch.optim.AdamW(self.masters.values(), lr=settings.lr, betas=BETAS, weight_decay=0.0, fused=True)

    def _master(self, name: str, weight: nn.Parameter, offload: bool) -> Tensor:
        if weight.dtype == torch.float32 and not (offload and weight.is_cuda):
            return weight

        def add_up(weight: Tensor) -> None:
            assert weight.grad is not None
            grad, weight.grad = weight.grad.float(), None
            self.sums[name] = self.sums[name].add_(grad) if name in self.sums else grad

        weight.register_post_accumulate_grad_hook(add_up)
        device = torch.device("cpu") if offload else weight.device
        return weight.detach().to(device, torch.float32, copy=True).requires_grad_()

    def step(self, lr: float) -> float:
        """One update; returns the gradient norm before clipping.

        If the norm is not finite nothing moves.  Gradients are gone afterwards either way.
        """
        self._gather()
        norm = float(nn.utils.get_total_norm([m.grad for m in self.masters.values() if m.grad is not None]))
        if math.isfinite(norm):
            nn.utils.clip_grads_with_norm_(self.masters.values(), self.max_grad_norm, torch.tensor(norm))
            for group in self.adamw.param_groups:
                group["lr"] = lr
            self.adamw.step()
            self._round()
        self.adamw.zero_grad(set_to_none=True)
        return norm

    def take_gradients(self) -> dict[str, Tensor]:
        """The float32 gradients that have been added up, by weight; then there are none."""
        self._gather()
        gradients = {name: master.grad for name, master in self.masters.items() if master.grad is not None}
        self.adamw.zero_grad(set_to_none=True)
        return gradients

    def _gather(self) -> None:
        """Where weights have masters, hand these the gradients that were added up beside the weights."""
        for name in list(self.sums):
            self.masters[name].grad = self.sums.pop(name).to(self.masters[name].device)

    @torch.no_grad()
    def _round(self) -> None:
        for name, weight in self.weights.items():
            if self.masters[name] is not weight:
                weight.copy_(self.masters[name])

    def state(self) -> dict[str, Any]:
        own = {name: master for name, master in self.masters.items() if master is not self.weights[name]}
        return {"adamw": self.adamw.state_dict(), "masters": own}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Any]) -> None:
        self.adamw.load_state_dict(state["adamw"])
        for name, master in state["masters"].items():
            self.masters[name].copy_(master)
        self._round()
