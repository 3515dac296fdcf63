"""The estimate of memory: counted by hand, and held against what autograd really keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grpo.assemble import Place
from grpo.config import Config
from grpo.config_file import validate
from grpo.memory import CPU_CACHE, GIB, PROCESS, Memory, activations, estimate_memory
from tests.tiny import CHARACTERS, make_model

CPU = Place("cpu", "float32")


def config(**changes: dict[str, Any]) -> Config:
    tree: dict[str, Any] = {"model": {"name": "m"}, "data": {"source": "d"}, "sampling": {"backend": "transformers"}}
    for group, values in changes.items():
        tree[group] = {**tree.get(group, {}), **values}
    return validate(tree, place="test")


def numbers(model: Any) -> int:
    return sum(weight.numel() for weight in model.parameters())


def test_weights_and_optimizer_are_counted_by_hand() -> None:
    model = make_model(tied=True)
    memory = estimate_memory(config(), model, CPU, 100)
    assert memory.always == pytest.approx(PROCESS + (4 + 8) * numbers(model) / GIB)  # weights and two moments
    assert memory.sampling == pytest.approx(4 * numbers(model) / GIB)  # the sampler's own copy
    assert memory.learning == pytest.approx((4 * numbers(model) + activations(config(), model, CPU, 100)) / GIB)


def test_half_the_width_needs_float32_masters_and_a_penalty_another_model() -> None:
    half = make_model(tied=True).to(torch.bfloat16)
    memory = estimate_memory(config(objective={"kl": 0.1}), half, CPU, 100)
    assert memory.always == pytest.approx(PROCESS + (2 + 2 + 8 + 4) * numbers(half) / GIB)


def test_sampler_and_learner_share_a_gpu_by_turns_and_offload_takes_the_optimizer_off_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("grpo.memory.gpu_memory", lambda: 24.0)
    monkeypatch.setattr("grpo.memory.choose_backend", lambda wanted: "vllm")
    model = make_model(tied=True).to(torch.bfloat16)
    memory = estimate_memory(config(optim={"offload": True}), model, Place("cuda", "bfloat16"), 100)
    assert memory.always == pytest.approx(2 * numbers(model) / GIB)
    assert memory.sampling == pytest.approx(0.45 * 24)
    assert memory.total == pytest.approx(memory.always + max(memory.learning, memory.sampling))
    assert "on the GPU" in str(memory)


def test_vllm_on_a_cpu_has_its_cache_beside_the_learner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpo.memory.choose_backend", lambda wanted: "vllm")
    memory = estimate_memory(config(sampling={"memory": 0.5}), make_model(tied=True), CPU, 100)
    assert memory.sampling == pytest.approx(0.5 * CPU_CACHE, abs=0.01)
    assert memory.total == pytest.approx(memory.always + memory.learning + memory.sampling)


@given(st.integers(1, 10**5), st.integers(1, 10**5))
def test_a_larger_batch_never_needs_less(one: int, other: int) -> None:
    model = make_model(tied=True)
    few, many = (
        activations(config(optim={"tokens_per_microbatch": tokens}), model, CPU, 1) for tokens in sorted((one, other))
    )
    assert few <= many


def test_activations_are_counted_by_hand() -> None:
    small, model = config(optim={"tokens_per_microbatch": 10}), make_model(tied=True)
    # 50 tokens (one row is longer than a micro-batch) · 4 bytes · (2 layers of 12 · 64 wide + 4 · 128 in the MLP, and
    # 4 · 64 outside of them)
    expected = 50 * 4 * (2 * (12 * 64 + 4 * 128) + 4 * 64) + 3 * 4 * 1024 * len(CHARACTERS)
    assert activations(small, model, CPU, 50) == expected


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_estimate_is_near_what_autograd_keeps(checkpointing: bool) -> None:
    model = make_model(tied=True)
    model.eval()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
    own = {weight.data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if tensor.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = 256
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        states = model.base_model(input_ids=torch.ones(1, tokens, dtype=torch.int64), use_cache=False)
    settings = config(optim={"tokens_per_microbatch": tokens}, model={"gradient_checkpointing": checkpointing})
    estimate = activations(settings, model, CPU, 1) - 3 * 4 * 1024 * len(CHARACTERS)
    if checkpointing:
        estimate -= tokens * 4 * (12 * 64 + 4 * 128)  # the layer that the backward pass computes again
    assert states is not None
    assert 0.7 * sum(kept.values()) < estimate < 2 * sum(kept.values())


def test_a_sum_is_said_in_words() -> None:
    assert str(Memory(1, 2, 3, available=8, by_turns=False)) == (
        "at most about 6.0 GiB of 8.0 on the machine: 1.0 always, 2.0 for the longest batch and 3.0 to sample"
    )
