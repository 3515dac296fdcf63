"""AdamW over float32 masters, and the learning rate."""

from __future__ import annotations

import copy
import gc
import math
import weakref
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from grpo.config import Optim
from grpo.learning import masters
from grpo.learning.masters import BETAS
from grpo.learning.optimizer import AdamW, learning_rate


def linear(dtype: torch.dtype) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 3, bias=False).to(dtype)


def steps(model: nn.Linear, optimizer: AdamW, count: int, lr: float) -> None:
    inputs = torch.linspace(-1, 1, 8, dtype=model.weight.dtype).reshape(2, 4)
    for _ in range(count):
        model(inputs).float().pow(2).sum().backward()
        optimizer.step(lr)


def test_steps_too_small_for_bfloat16_add_up_in_the_master() -> None:
    model = linear(torch.bfloat16)
    nn.init.constant_(model.weight, 0.3)
    before = model.weight.detach().clone()
    optimizer = AdamW(model, Optim())
    steps(model, optimizer, 1, 1e-5)
    assert torch.equal(model.weight, before)  # a step of 1e-5 is lost in a weight of 0.3 …
    steps(model, optimizer, 400, 1e-5)
    assert not torch.equal(model.weight, before)  # … but not the sum of four hundred
    assert torch.equal(model.weight, optimizer.masters["weight"].to(torch.bfloat16))


def test_bfloat16_gradients_are_added_up_in_float32_and_leave_the_weight() -> None:
    model = linear(torch.bfloat16)
    optimizer = AdamW(model, Optim())
    for _ in range(2):
        model(torch.ones(1, 4, dtype=torch.bfloat16)).sum().backward()
    assert model.weight.grad is None
    assert optimizer.sums["weight"].dtype == torch.float32
    assert optimizer.sums["weight"].tolist() == [[2.0] * 4] * 3


def test_in_float32_our_adamw_is_torchs_own_without_decay() -> None:
    ours, theirs = linear(torch.float32), linear(torch.float32)
    steps(ours, AdamW(ours, Optim(max_grad_norm=1e9)), 5, 1e-2)
    reference = torch.optim.AdamW(theirs.parameters(), lr=1e-2, betas=BETAS, weight_decay=0.0)
    inputs = torch.linspace(-1, 1, 8).reshape(2, 4)
    for _ in range(5):
        reference.zero_grad()
        theirs(inputs).pow(2).sum().backward()
        reference.step()
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-7)


def test_a_gradient_is_clipped_to_the_norm_and_the_norm_before_is_told() -> None:
    model = linear(torch.float32)
    optimizer = AdamW(model, Optim(max_grad_norm=0.5))
    seen: list[float] = []
    optimizer.kept.step = lambda gradients, lr: seen.append(float(gradients["weight"].norm()))  # type: ignore[method-assign]
    model(torch.ones(1, 4)).sum().backward()
    assert optimizer.step(1e-3) == pytest.approx(12**0.5)  # 12 ones
    assert seen == pytest.approx([0.5], rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_optimizers_state_brings_back_the_very_same_steps(dtype: torch.dtype) -> None:
    model = linear(dtype)
    optimizer = AdamW(model, Optim())
    steps(model, optimizer, 3, 1e-3)
    twin = copy.deepcopy(model)
    state = copy.deepcopy(optimizer.state())
    steps(model, optimizer, 3, 1e-3)
    other = AdamW(twin, Optim())
    for name, tensor in other.state().items():
        tensor.copy_(state.pop(name))
    assert state == {}
    other.round_masters()
    steps(twin, other, 3, 1e-3)
    assert torch.equal(model.weight, twin.weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_that_are_taken_are_those_of_the_loss_and_move_nothing(dtype: torch.dtype) -> None:
    model = linear(dtype)
    before = model.weight.detach().clone()
    optimizer = AdamW(model, Optim())
    for _ in range(2):
        model(torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=dtype)).sum().backward()
    taken = optimizer.take_gradients()
    assert list(taken) == ["weight"]
    assert taken["weight"].dtype == torch.float32
    assert taken["weight"].tolist() == [[2.0, 4.0, 6.0, 8.0]] * 3  # of each output, twice its input
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_after_gradients_were_taken_there_are_none_and_an_update_is_as_if_they_had_never_been(
    dtype: torch.dtype,
) -> None:
    model, twin = linear(dtype), linear(dtype)
    optimizer, other = AdamW(model, Optim()), AdamW(twin, Optim())
    model(torch.ones(1, 4, dtype=dtype)).sum().backward()
    taken = optimizer.take_gradients()["weight"].clone()
    assert model.weight.grad is None and optimizer.sums == {}
    assert optimizer.take_gradients() == {}
    steps(model, optimizer, 2, 1e-3)
    steps(twin, other, 2, 1e-3)
    assert torch.equal(model.weight, twin.weight)
    assert taken.tolist() == [[1.0] * 4] * 3  # the next update does not write into what was handed out


class Several(nn.Module):
    """Weights that fill no chunk, one that fills several, one that some losses do not reach, and one in float32."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(a, b, dtype=dtype) for a, b in ((7, 60), (60, 9), (9, 1)))
        self.seldom = nn.Parameter(torch.randn(9, dtype=dtype))
        self.scale = nn.Parameter(torch.rand(60))

    def forward(self, inputs: torch.Tensor, often: bool) -> torch.Tensor:
        states = self.layers[0](inputs).float() * self.scale
        states = self.layers[1](states.tanh().to(inputs.dtype))
        found: torch.Tensor = self.layers[2](states if often else states + self.seldom)
        return found.float().pow(2).sum()


def learned(model: Several, optimizer: AdamW, count: int) -> list[float]:
    """Norms of the steps; every second one does not reach all weights."""
    dtype, norms = model.seldom.dtype, []
    for step in range(count):
        for _ in range(2):
            model(torch.linspace(-1, 1, 21, dtype=dtype).reshape(3, 7), often=step % 2 == 0).backward()
        norms.append(optimizer.step(1e-2))
    return norms


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("chunk", [64, 256, 2**23])
def test_masters_that_visit_in_chunks_make_the_very_same_steps(
    dtype: torch.dtype, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masters, "CHUNK", chunk)
    resident, offloaded = Several(dtype), Several(dtype)
    first, second = AdamW(resident, Optim()), AdamW(offloaded, Optim(offload=True))
    assert learned(resident, first, 5) == learned(offloaded, second, 5)
    for (name, weight), other in zip(resident.named_parameters(), offloaded.parameters(), strict=True):
        assert torch.equal(weight, other), name
    states, others = first.state(), second.state()
    assert states.keys() == others.keys()
    assert all(torch.equal(values, others[name]) for name, values in states.items())
    assert float(states["step.seldom"]) == 2 and float(states["step.scale"]) == 5


class Streams:
    """Stands for torch.cuda: what each piece of work, "in0", "here0", "out0", "in1" …, is sure to come after."""

    def __init__(self) -> None:
        self.after: dict[str, frozenset[str]] = {}
        self.here = Stream("here", self.after)
        self.others = [Stream("out", self.after), Stream("in", self.after)]

    def current_stream(self) -> Stream:
        return self.here

    def Stream(self) -> Stream:
        return self.others.pop()

    def stream(self, stream: Stream) -> AbstractContextManager[None]:
        return nullcontext()

    def synchronize(self) -> None:
        pass


class Stream:
    """Every piece of work is followed by an event."""

    def __init__(self, name: str, after: dict[str, frozenset[str]]) -> None:
        self.name, self.after, self.done = name, after, frozenset[str]()

    def record_event(self) -> frozenset[str]:
        work = f"{self.name}{sum(known.startswith(self.name) for known in self.after)}"
        self.after[work] = self.done
        self.done |= {work}
        return self.done

    def wait_event(self, event: frozenset[str]) -> None:
        self.done |= event

    def wait_stream(self, other: Stream) -> None:
        self.done |= other.done


def test_chunks_wait_for_each_other_where_they_must_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masters, "CHUNK", 64)
    model, streams = Several(torch.bfloat16), Streams()
    optimizer = AdamW(model, Optim(offload=True))
    gradients = {name: torch.ones(weight.shape) for name, weight in model.named_parameters()}
    with monkeypatch.context() as patch:
        patch.setattr(torch, "cpu", streams)
        optimizer.kept.step(gradients, 1e-3)
    after, count = streams.after, len([work for work in streams.after if work.startswith("in")])
    assert count > 6
    for i in range(count):
        assert f"in{i}" in after[f"here{i}"] and f"here{i}" in after[f"out{i}"]
        if i >= masters.SLOTS:
            assert f"out{i - masters.SLOTS}" in after[f"in{i}"]  # whose place on the device it takes
        if i:
            assert not {f"here{i - 1}", f"out{i - 1}"} & after[f"in{i}"]
            assert f"out{i - 1}" not in after[f"here{i}"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("offload", [False, True])
def test_a_run_goes_on_with_its_optimizer_in_the_other_place(dtype: torch.dtype, offload: bool) -> None:
    model = Several(dtype)
    optimizer = AdamW(model, Optim(offload=offload))
    learned(model, optimizer, 3)
    twin, state = copy.deepcopy(model), copy.deepcopy(optimizer.state())
    norms = learned(model, optimizer, 3)
    other = AdamW(twin, Optim(offload=not offload))
    for name, tensor in other.state().items():
        tensor.copy_(state.pop(name))
    assert state == {}
    other.round_masters()
    assert learned(twin, other, 3) == norms
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize("offload", [False, True])
def test_a_gradient_that_is_not_finite_moves_nothing(offload: bool) -> None:
    model = Several(torch.bfloat16)
    optimizer = AdamW(model, Optim(offload=offload))
    before = [weight.detach().clone() for weight in model.parameters()]
    model(torch.full((1, 7), torch.inf, dtype=torch.bfloat16), often=True).backward()
    assert not math.isfinite(optimizer.step(1e-2))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
    assert optimizer.take_gradients() == {}


@given(st.sampled_from(["constant", "linear", "cosine"]), st.integers(1, 50), st.integers(0, 60))
def test_the_learning_rate_is_positive_and_at_most_its_peak(schedule: Any, steps: int, warmup: int) -> None:
    settings = Optim(lr=1.0, lr_scheduler_type=schedule, warmup_steps=warmup)
    rates = [learning_rate(settings, step, steps) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)


def test_the_learning_rate_by_hand() -> None:
    settings = Optim(lr=1.0, lr_scheduler_type="linear", warmup_steps=2)
    assert [learning_rate(settings, step, 6) for step in range(6)] == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    settings = Optim(lr=1.0, lr_scheduler_type="cosine")
    assert [learning_rate(settings, step, 4) for step in range(4)] == pytest.approx(
        [1, 0.85355, 0.5, 0.14645], abs=1e-5
    )


def test_an_optimizer_whose_model_is_gone_is_freed_with_its_masters_and_moments() -> None:
    model = linear(torch.bfloat16)
    optimizer = AdamW(model, Optim())
    steps(model, optimizer, 1, 1e-3)
    weight, master = weakref.ref(model.weight), weakref.ref(optimizer.masters["weight"])
    del model, optimizer
    gc.collect()
    assert weight() is None and master() is None
