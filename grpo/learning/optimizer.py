"""AdamW that always steps in float32, and its learning rate as a function of the step.

A step of 1e-6 on a weight of 0.02 is lost in bfloat16, whose neighbours there are 1.2e-4 apart: a run would learn
nothing and say nothing.  So weights in lower precision have a float32 *master*, which the optimizer moves and from
which they are rounded anew after every update.  Masters and moments may live in host memory (`offload`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

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

    def __init__(self, model: nn.Module, settings: Optim, saved_as: Mapping[str, torch.dtype] | None = None) -> None:
        """`saved_as`: in what type a weight is saved with the model, where that is not its own."""
        self.weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.sums: dict[str, Tensor] = {}  # float32 gradients of weights in lower precision, beside the weights
        self.masters = {name: self._master(name, weight, settings.on_host) for name, weight in self.weights.items()}
        saved = saved_as or {name: weight.dtype for name, weight in self.weights.items()}
        self.rounded = {name for name in self.weights if saved[name] != torch.float32}
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
            self.round_masters()
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
            for key, value in self._moments(master).items():
                state[f"{key}.{name}"] = value
            if name in self.rounded:
                state[f"master.{name}"] = master.detach()
        return state

    def _moments(self, master: Tensor) -> dict[str, Tensor]:
        """PyTorch makes them in a weight's first step; they may be asked for before."""
        moments: dict[str, Tensor] = self.adamw.state[master]
        if not moments:
            moments["step"] = torch.zeros((), device=master.device)
            moments |= {key: torch.zeros_like(master, requires_grad=False) for key in ("exp_avg", "exp_avg_sq")}
        return moments
