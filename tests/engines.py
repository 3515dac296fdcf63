"""Engines and samplers that do what a test needs at one point, and otherwise what the real ones do.

They are handed to `train(…, open_engine=…)`: nothing is patched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from grpo import engines
from grpo.engine import Models, Update
from grpo.engine.local import LocalEngine
from grpo.learning.batch import Batch, Loss, Terms
from grpo.sampling import Sampler
from grpo.types import Group, Prompt, SamplingParams


class Wrapped:
    """An engine whose every verb may be overridden; `step` is that of the weights it serves."""

    def __init__(self, inner: LocalEngine, step: int) -> None:
        self.inner, self.step = inner, step
        self.name, self.remarks = inner.name, inner.remarks

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> Iterator[tuple[int, Group]]:
        return self.inner.sample(prompts, n, params)

    def publish(self, step: int) -> float:
        gap = self.inner.publish(step)
        self.step = step
        return gap


def opening(kind: Callable[[LocalEngine, int], Any]) -> Any:
    """For `train(…, open_engine=…)`: the real engine in a wrapper."""

    def open_engine(*arguments: Any, step: int, **options: Any) -> Any:
        return kind(engines.open_engine(*arguments, step=step, **options), step)

    return open_engine


def opening_here(kind: Callable[[LocalEngine, int], Any]) -> Any:
    """The same, of an engine in this process, whatever the settings say of a cluster."""

    def open_engine(*arguments: Any, step: int, folder: Path, **options: Any) -> Any:
        return kind(engines.open_local_engine(*arguments, step=step, **options), step)

    return open_engine


def with_sampler(change: Callable[[Sampler], Any]) -> Any:
    """For `train(…, open_engine=…)`: the real engine with another sampler in it."""

    def open_engine(config: Any, *arguments: Any, **options: Any) -> Any:
        inner = engines.open_engine(config, *arguments, **options)
        tolerance = engines.canary.tolerance(config.model.dtype, config.sampling.sync_tolerance)
        return LocalEngine(Models(inner.policy, {}), change(inner.sampler), inner.tokenizer, tolerance=tolerance)

    return open_engine


class Calling(Wrapped):
    """Calls `before(engine, is_evaluation)` whenever it is asked to sample; what it raises goes through."""

    def __init__(self, inner: LocalEngine, step: int, before: Callable[[Wrapped, bool], None]) -> None:
        super().__init__(inner, step)
        self.before = before

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> Iterator[tuple[int, Group]]:
        self.before(self, params.temperature == 0)
        return super().sample(prompts, n, params)


class Threaded(Wrapped):
    """May be asked to sample by any thread while the policy learns: each call has the sampler to itself, and so has
    each hand-over of weights.  Before a call comes `before(engine, is_evaluation)`, in the thread that asks."""

    def __init__(
        self, inner: LocalEngine, step: int, before: Callable[[Wrapped, bool], None] = lambda engine, evaluating: None
    ) -> None:
        super().__init__(inner, step)
        self.before, self.lock, self.last = before, Lock(), list[Group]()
        inner._asleep = True  # so it never sends the sampler to sleep, which others may be using

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> Iterator[tuple[int, Group]]:
        self.before(self, params.temperature == 0)
        with self.lock:
            found = list(self.inner.sampler.sample(prompts, n, params))
            self.last = [group for _, group in found]
        yield from found

    def publish(self, step: int) -> float:
        with self.lock:
            self.inner.sampler.load_weights(self.inner.policy.weights(), step)
            self.step = step
            return self.inner._canary.check(self.last, step)


class NotPublishing(Wrapped):
    """Cannot publish the weights of step 5."""

    def publish(self, step: int) -> float:
        if step == 5:
            from grpo.errors import SamplerError

            raise SamplerError("the canary is dead")
        return super().publish(step)


class WithoutNumbers(Wrapped):
    """Its losses are no numbers."""

    def update(self, batch: Batch, loss: Loss, lr: float) -> Update:
        return self.inner.update(batch, lambda logprobs, targets: Terms(logprobs.sum() * float("nan")), lr)


class Answering(Wrapped):
    """Evaluations answer "right" for the share of problems that `shares` has for the step, and "wrong" for the rest."""

    def __init__(self, inner: LocalEngine, step: int, shares: dict[int, float]) -> None:
        super().__init__(inner, step)
        self.shares = shares

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> Iterator[tuple[int, Group]]:
        from dataclasses import replace

        for index, group in super().sample(prompts, n, params):
            if params.temperature == 0:
                right = index < self.shares[self.step] * len(prompts)
                text = "right" if right else "wrong"
                group = replace(group, completions=tuple(replace(c, text=text) for c in group.completions))
            yield index, group


class ForgetfulSampler:
    """Takes no weights."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.name = inner, inner.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def load_weights(self, named_tensors: object, step: int) -> None:
        self.inner._step = step


class HalfDeafSampler(ForgetfulSampler):
    """Takes all weights but those of the embedding."""

    def load_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]], step: int) -> None:  # type: ignore[override]
        own = self.inner._model.state_dict()
        arrived = ((name, own[name].clone() if "embed" in name else tensor) for name, tensor in named_tensors)
        self.inner.load_weights(arrived, step)
