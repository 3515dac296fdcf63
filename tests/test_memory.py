"""The estimate of memory: counted by hand, and held against what autograd really keeps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from grpo.algorithm import policy_loss
from grpo.assemble import Place
from grpo.config import Config, Objective, Optim
from grpo.config_file import validate
from grpo.learning.batch import Row, collate
from grpo.learning.head import TILE
from grpo.learning.policy import Policy
from grpo.memory import CPU_CACHE, GIB, PROCESS, Memory, activations, estimate_memory, output_layer
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
    update = activations(config(), model, CPU, 100) + output_layer(config(), model, CPU, 100)
    assert memory.learning == pytest.approx((4 * numbers(model) + update) / GIB)


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
    # 50 tokens (one row is longer than a micro-batch) · (2 layers: two norms that keep 12 bytes of each of 64 units, 4
    # float32 of 64 in attention and of 128 in the MLP, one of each of 2 heads; the last norm; 2 · 32 of positions; 64);
    # and 64 rows of the output layer, at most, for a round number
    layer = 2 * 12 * 64 + 4 * 4 * (64 + 128) + 4 * 2
    assert activations(small, model, CPU, 50) == 50 * (2 * layer + 12 * 64 + 4 * 2 * 32 + 64) + 64 * 64 * 4


def test_the_output_layer_is_counted_by_hand() -> None:
    small, V = config(optim={"tokens_per_microbatch": 50}), len(CHARACTERS)
    # logits of so few tokens are no whole tile: 8 bytes each; 12 of each state; the gradient, in the embedding's shape
    expected = 50 * V * 8 + 50 * 12 * 64 + 4 * 64 * V
    assert output_layer(small, make_model(tied=False), CPU, 1) == expected
    assert output_layer(small, make_model(tied=True), CPU, 1) == expected + 4 * 64 * V
    half = make_model(tied=False).to(torch.bfloat16)
    assert output_layer(small, half, CPU, 1) == 50 * V * 10 + 50 * 8 * 64 + 2 * 64 * V
    large = config(optim={"tokens_per_microbatch": 10**6})
    assert output_layer(large, half, CPU, 1) == TILE["cpu"] * 10 / 4 + 10**6 * 8 * 64 + 2 * 64 * V


SHAPE = {
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "make",
    [
        lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
        lambda: LlamaForCausalLM(LlamaConfig(**SHAPE | {"intermediate_size": 96, "num_key_value_heads": 4})),
        lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=20)),
    ],
    ids=["qwen2", "llama", "qwen3"],
)
def test_the_estimate_is_a_little_more_than_autograd_keeps(
    make: Callable[[], Any], dtype: torch.dtype, checkpointing: bool
) -> None:
    model = make().to(dtype)
    policy = Policy(model, Optim(), temperature=1.0, gradient_checkpointing=checkpointing)
    assert not policy.computation.fallback
    rows = [Row((5,) * 32, (6,) * length, (-1.0,) * length, 1.0, 0.1) for length in (57, 57, 50, 64)]
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        totals = policy.forward_backward(collate(rows), partial(policy_loss, settings=Objective()))
    tokens = int(totals["tokens/update"])
    plain, checkpointed = (
        activations(
            config(optim={"tokens_per_microbatch": tokens}, model={"gradient_checkpointing": on}), model, CPU, 1
        )
        for on in (False, True)
    )
    # The layer that is computed again is seen by nobody: 3 layers + the rest, less 3 states + a layer + the rest.
    layer = (plain - checkpointed + 3 * tokens * 64 * dtype.itemsize) / 2
    estimate = checkpointed - layer if checkpointing else plain
    assert sum(kept.values()) <= estimate <= 1.15 * sum(kept.values())


def test_a_sum_is_said_in_words() -> None:
    assert str(Memory(1, 2, 3, available=8, by_turns=False)) == (
        "at most about 6.0 GiB of 8.0 on the machine: 1.0 always, 2.0 for the longest batch and 3.0 to sample"
    )
