"""The estimate of memory: counted by hand, and held against what autograd really keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
from grpo.config import TOKENS_ON_CPU, Cluster, Objective, Optim
from grpo.learning.head import TILE
from grpo.learning.policy import Policy
from grpo.memory import (
    ACTOR,
    CPU_CACHE,
    GIB,
    GRADIENT,
    OPTIMIZER,
    PROCESS,
    Machine,
    Memory,
    Shape,
    Sizes,
    Work,
    checkpoint_size,
    estimate_memory,
    model_size,
)
from grpo.memory import activations as activations_of
from grpo.memory import output_layer as output_layer_of
from grpo.objectives import choose
from tests.batches import Row, collate
from tests.tiny import CHARACTERS, make_model, with_adapter

CPU = Place("cpu", "float32")
ALONE = Cluster(learners=0, samplers=0, colocate=False)


def estimate(
    model: Any,
    place: Place = CPU,
    *,
    longest_row: int = 100,
    models: int = 1,
    available: float = 64.0,
    backend: Any = "transformers",
    share: float = 0.45,
    checkpointing: bool = False,
    load_in_4bit: bool = False,
    cluster: Cluster = ALONE,
    tokens: int = TOKENS_ON_CPU,
    offload: bool = False,
    learners: int = 1,
) -> Memory:
    work = Work(Shape.of(model), place, longest_row, 100, 10, backend, cluster, models, load_in_4bit)
    return estimate_memory(work, Sizes(tokens, checkpointing, offload, share), Machine(available, 256.0, learners))


def activations(model: Any, tokens: int, *, checkpointing: bool) -> float:
    return activations_of(Shape.of(model), tokens, checkpointing=checkpointing)


def output_layer(model: Any, tokens: int, place: Place) -> float:
    return output_layer_of(Shape.of(model), tokens, place)


def gathered(model: Any) -> float:
    return Shape.of(model).gathered


def numbers(model: Any) -> int:
    return sum(weight.numel() for weight in model.parameters())


def test_weights_and_optimizer_are_counted_by_hand() -> None:
    model = make_model(tied=True)
    memory = estimate(model)
    assert memory.always == pytest.approx(PROCESS + (4 + 8) * numbers(model) / GIB)  # weights and two moments
    # The sampler's own copy, and of 10 × 100 tokens, in 2 layers, keys and values of one head of 32.
    assert memory.sampling == pytest.approx((4 * numbers(model) + 1000 * 2 * 2 * 32 * 4) / GIB)
    update = activations(model, 2048, checkpointing=False) + output_layer(model, 2048, CPU)
    assert memory.learning == pytest.approx((4 * numbers(model) + update) / GIB)
    assert memory.available == 64


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_an_update_is_as_large_as_its_micro_batch_or_a_row_that_is_longer(tokens: int, longest_row: int) -> None:
    model, size = make_model(tied=True), max(tokens, longest_row)
    update = activations(model, size, checkpointing=False) + output_layer(model, size, CPU)
    memory = estimate(model, longest_row=longest_row, tokens=tokens)
    assert memory.learning == pytest.approx((4 * numbers(model) + update) / GIB)


def test_weights_of_half_the_width_need_float32_masters_and_a_penalty_another_model() -> None:
    half = make_model(tied=True).to(torch.bfloat16)
    memory = estimate(half, models=2)
    assert memory.always == pytest.approx(PROCESS + (2 + 2 + 8 + 4) * numbers(half) / GIB)


def test_a_teacher_has_a_shape_of_its_own_and_with_a_divergence_logits_beside_the_policys() -> None:
    policy, teacher = make_model(tied=True), make_model(tied=False)
    work = Work(Shape.of(policy), CPU, 2048, 100, 10, "transformers", Cluster(learners=0, samplers=0))
    sizes, machine = Sizes(2048, False, False, 0.0), Machine(64.0)
    alone, beside, compared = (
        estimate_memory(replace(work, **settings), sizes, machine)
        for settings in ({}, {"teacher": Shape.of(teacher)}, {"teacher": Shape.of(teacher), "divergence": True})
    )
    assert beside.always - alone.always == pytest.approx(4 * numbers(teacher) / GIB)
    assert beside.learning == alone.learning
    # a tile of the teacher's logits and four of what is made of both; its states, 64 wide
    assert compared.learning - alone.learning == pytest.approx(
        2048 * (5 * 4 * teacher.config.vocab_size + 4 * 64) / GIB
    )


def test_sampler_and_learner_share_a_gpu_by_turns_and_offload_takes_the_optimizer_off_it() -> None:
    model = make_model(tied=True).to(torch.bfloat16)
    memory = estimate(model, Place("cuda", "bfloat16"), backend="vllm", available=24.0, offload=True)
    assert memory.always == pytest.approx(2 * numbers(model) / GIB)
    assert memory.sampling == pytest.approx(0.45 * 24)
    assert memory.total == pytest.approx(memory.always + max(memory.learning, memory.sampling))
    assert "on the GPU" in str(memory)


def test_gradient_checkpointing_keeps_less_of_an_update_and_of_nothing_else() -> None:
    model = make_model(tied=True)
    plain, checkpointed = (estimate(model, checkpointing=on) for on in (False, True))
    saved = activations(model, 2048, checkpointing=False) - activations(model, 2048, checkpointing=True)
    assert plain.learning - checkpointed.learning == pytest.approx(saved / GIB)
    assert (plain.always, plain.sampling) == (checkpointed.always, checkpointed.sampling)


def test_vllm_on_a_cpu_has_its_cache_beside_the_learner() -> None:
    memory = estimate(make_model(tied=True), backend="vllm", share=0.5)
    assert memory.sampling == pytest.approx(0.5 * CPU_CACHE, abs=0.01)
    assert memory.total == pytest.approx(memory.always + memory.learning + memory.sampling)


@given(st.integers(1, 10**5), st.integers(1, 10**5))
def test_a_larger_micro_batch_never_needs_less_memory(one: int, other: int) -> None:
    model = make_model(tied=True)
    few, many = (estimate(model, tokens=tokens).learning for tokens in sorted((one, other)))
    assert few <= many


def test_an_adapter_alone_has_gradients_moments_and_masters() -> None:
    model = with_adapter(make_model(tied=True).to(torch.bfloat16), 4)
    adapter = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    # Of a layer 64 → 64 twice, 64 → 32 twice, 64 → 128 twice and 128 → 64, in two blocks.
    assert adapter == 2 * 4 * (2 * 128 + 2 * 96 + 2 * 192 + 192)
    memory = estimate(model)
    assert memory.always == pytest.approx(PROCESS + (2 * numbers(model) + 12 * adapter) / GIB)
    update = activations(model, 2048, checkpointing=False) + output_layer(model, 2048, CPU)
    assert memory.learning == pytest.approx((4 * adapter + update) / GIB)
    whole = output_layer(make_model(tied=True).to(torch.bfloat16), 2048, CPU)
    assert whole - output_layer(model, 2048, CPU) == 2 * 2 * 64 * len(CHARACTERS)  # no gradient of the head


def test_weights_in_4_bits_take_a_little_more_than_half_a_byte_each() -> None:
    model = with_adapter(make_model(tied=True), 4, lora_target_modules=("q_proj",))
    packed = 2 * (
        2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128
    )  # q, o, k, v and the MLP, whether they have an adapter or not
    plain, small = estimate(model), estimate(model, load_in_4bit=True)
    assert (plain.always - small.always) * GIB == pytest.approx(packed * (4 - 0.5 - 1 / 64 - 4 / 64 / 256))


def test_what_a_rank_has_whole_is_counted_by_hand() -> None:
    outside, block = 64 * len(CHARACTERS) + 64, 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128 + 2 * 64 + 64 + 2 * 32
    assert gathered(make_model(tied=True)) == (4 + 4) * (outside + 2 * block)
    half = make_model(tied=False).to(torch.bfloat16)
    assert gathered(half) == (2 + 4) * (outside + 64 * len(CHARACTERS) + 2 * block)
    adapter = 4 * (2 * 128 + 2 * 96 + 2 * 192 + 192)
    adapted = with_adapter(make_model(tied=True).to(torch.bfloat16), 4)
    assert gathered(adapted) == 2 * (outside + 2 * block) + (2 + 4) * 2 * adapter


def test_two_ranks_on_gpus_hold_half_each_and_samplers_apart_take_nothing_there() -> None:
    model, place = make_model(tied=True).to(torch.bfloat16), Place("cuda", "bfloat16")
    sharing, apart = (Cluster(learners=2, samplers=2, colocate=colocate) for colocate in (True, False))
    memory = estimate(model, place, backend="vllm", available=24.0, models=2, cluster=sharing)
    # float32 shards with two moments, and a reference in half the width
    assert memory.always == pytest.approx((4 + 8 + 2) * numbers(model) / 2 / GIB)
    tokens = TOKENS_ON_CPU
    update = activations(model, tokens, checkpointing=False) + output_layer(model, tokens, place) + gathered(model)
    assert memory.learning == pytest.approx((4 * numbers(model) / 2 + update) / GIB)
    assert memory.sampling == pytest.approx(0.45 * 24)
    assert estimate(model, place, backend="vllm", available=24.0, models=2, cluster=apart).sampling == 0
    offloaded = estimate(model, place, backend="vllm", models=2, cluster=apart, offload=True)
    assert (offloaded.always, offloaded.learning) == (0, pytest.approx(update / GIB))


def test_on_processors_all_ranks_and_samplers_lie_side_by_side() -> None:
    model, cluster = make_model(tied=True), Cluster(learners=2, samplers=2, colocate=False)
    memory = estimate(model, backend="vllm", share=0.5, cluster=cluster)
    assert memory.always == pytest.approx(
        PROCESS + 4 * ACTOR + 12 * numbers(model) / GIB
    )  # two, two, and who directs them
    update = activations(model, 2048, checkpointing=False) + output_layer(model, 2048, CPU) + gathered(model)
    assert memory.learning == pytest.approx((4 * numbers(model) + 2 * update) / GIB)
    assert memory.sampling == pytest.approx(2 * (0.5 * CPU_CACHE + 4 * numbers(model) / GIB))


@pytest.mark.parametrize("backend", ["vllm", "transformers"])
def test_a_sampler_on_a_processor_copies_a_float32_head(backend: str) -> None:
    model = make_model(tied=True).to(torch.bfloat16)
    own, wide = (estimate(model, Place("cpu", "bfloat16", wide), backend=backend) for wide in (False, True))
    assert wide.sampling - own.sampling == pytest.approx(4 * model.lm_head.weight.numel() / GIB)
    assert (wide.always, wide.learning) == (own.always, own.learning)


def test_an_adapter_on_ranks_has_float32_shards_beside_frozen_ones_of_the_models_width() -> None:
    model = with_adapter(make_model(tied=True).to(torch.bfloat16), 4)
    adapter = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    memory = estimate(model, cluster=Cluster(learners=2, samplers=1, colocate=False))
    assert memory.always == pytest.approx(PROCESS + 3 * ACTOR + (2 * (numbers(model) - adapter) + 12 * adapter) / GIB)


@pytest.mark.parametrize("place", [CPU, Place("cuda", "bfloat16")])
def test_a_lone_learner_on_a_cluster_has_the_whole_model_as_one_without_a_cluster(place: Place) -> None:
    model = make_model(tied=True).to(torch.bfloat16)
    apart = Cluster(learners=1, samplers=1, colocate=False)
    alone, lone = (estimate(model, place, backend="vllm", cluster=cluster) for cluster in (ALONE, apart))
    actors = 2 * ACTOR if place == CPU else 0.0
    assert (lone.always, lone.learning) == (pytest.approx(alone.always + actors), alone.learning)


def test_an_offloaded_optimizer_is_on_the_host_by_hand() -> None:
    model, place = make_model(tied=True).to(torch.bfloat16), Place("cuda", "bfloat16")
    n = numbers(model)
    alone = estimate(model, place, backend="vllm", offload=True)
    assert alone.host == pytest.approx(PROCESS + (OPTIMIZER + 2) * n / GIB)  # and the model, when it is saved
    assert estimate(model, place, backend="vllm").host == 0
    # Two of four learners are on this host, each with a quarter of masters, moments, gradients and of the reference.
    four = Cluster(learners=4, samplers=4, colocate=True)
    shared = estimate(model, place, backend="vllm", offload=True, cluster=four, models=2, learners=2)
    assert shared.host == pytest.approx(PROCESS + 2 * ACTOR + ((OPTIMIZER + GRADIENT + 2) * n / 2 + 2 * n) / GIB)


def test_a_checkpoint_has_moments_and_what_rounding_takes_from_the_weights() -> None:
    whole, half = make_model(tied=True), make_model(tied=True).to(torch.bfloat16)
    n = numbers(whole)
    assert (model_size(Shape.of(whole)) * GIB, checkpoint_size(Shape.of(whole)) * GIB) == (4 * n, 12 * n)
    assert (model_size(Shape.of(half)) * GIB, checkpoint_size(Shape.of(half)) * GIB) == (2 * n, 14 * n)
    adapted = Shape.of(with_adapter(half, 4))
    assert checkpoint_size(adapted) * GIB == pytest.approx(14 * adapted.learned)


def test_activations_are_counted_by_hand() -> None:
    # 50 tokens · (2 layers: two norms that keep 12 bytes of each of 64 units, 4 float32 of 64 in attention and of 128
    # in the MLP, one of each of 2 heads; the last norm; 2 · 32 of positions; 64); and 64 rows of the output layer, at
    # most, for a round number
    layer = 2 * 12 * 64 + 4 * 4 * (64 + 128) + 4 * 2
    found = activations(make_model(tied=True), 50, checkpointing=False)
    assert found == 50 * (2 * layer + 12 * 64 + 4 * 2 * 32 + 64) + 64 * 64 * 4


def test_the_output_layer_is_counted_by_hand() -> None:
    V = len(CHARACTERS)
    # logits of so few tokens are no whole tile: 8 bytes each; 12 of each state; the gradient, in the embedding's shape
    expected = 50 * V * 8 + 50 * 12 * 64 + 4 * 64 * V
    assert output_layer(make_model(tied=False), 50, CPU) == expected
    assert output_layer(make_model(tied=True), 50, CPU) == expected + 4 * 64 * V
    half = make_model(tied=False).to(torch.bfloat16)
    assert output_layer(half, 50, CPU) == 50 * V * 10 + 50 * 8 * 64 + 2 * 64 * V
    assert output_layer(half, 10**6, CPU) == TILE["cpu"] * 10 / 4 + 10**6 * 8 * 64 + 2 * 64 * V


SHAPE = {
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.mark.parametrize("rank", [0, 4])
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
def test_the_estimate_of_memory_is_a_little_more_than_autograd_keeps(
    make: Callable[[], Any], dtype: torch.dtype, checkpointing: bool, rank: int
) -> None:
    model = with_adapter(make().to(dtype), rank) if rank else make().to(dtype)
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
        totals = policy.forward_backward(collate(rows), partial(policy_loss, objective=choose(Objective())))
    tokens = int(totals["tokens/update"])
    plain, checkpointed = (activations(model, tokens, checkpointing=on) for on in (False, True))
    # The layer that is computed again is seen by nobody: 3 layers + the rest, less 3 states + a layer + the rest.
    layer = (plain - checkpointed + 3 * tokens * 64 * dtype.itemsize) / 2
    estimated = checkpointed - layer if checkpointing else plain
    # Beside an adapter less is kept, which the estimate leaves as room: what the gradients of frozen norms would need.
    assert sum(kept.values()) <= estimated <= (1.4 if rank else 1.15) * sum(kept.values())


def test_an_estimate_of_memory_is_said_in_words() -> None:
    assert str(Memory(1, 2, 3, available=8, by_turns=False)) == (
        "at most about 6.0 GiB of 8.0 on the machine: 1.0 always, 2.0 for the longest batch and 3.0 to sample"
    )
    offloaded = Memory(1, 2, 3, available=8, by_turns=True, host=28, host_available=32)
    assert str(offloaded).endswith("2.0 for the longest batch or 3.0 to sample; 28.0 of 32.0 on the host")
