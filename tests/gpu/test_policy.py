"""The policy on a GPU against the plain computation on the CPU, in float32 and in bfloat16.

Each test runs on the CPU too, where it takes a moment and shows that the test itself is sound; the runs on "cuda" carry
the marker `gpu` and are skipped where there is no such device.  `pytest -m gpu tests/gpu` runs those alone.
"""

from __future__ import annotations

import gc
import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from grpo.algorithm import policy_loss
from grpo.config import Objective, Optim
from grpo.learning import masters
from grpo.learning.batch import Batch
from grpo.learning.logprobs import decide
from grpo.learning.policy import Policy
from grpo.objectives import choose
from tests.batches import Row, collate
from tests.test_learning_shared_prompts import build
from tests.tiny import make_model

LOSS = partial(policy_loss, objective=choose(Objective()))
NO_GPU = "there is no CUDA device"
CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_GPU)])
on_each_device = pytest.mark.parametrize("device", ["cpu", CUDA])
on_cuda = pytest.mark.parametrize("device", [CUDA])
in_each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])

# Largest |Δ log-probability|, and |Δ gradient| / |gradient|.  In float32 only the order of summation differs: 5e-6 and
# 1.5e-6 on a CPU, with log-probabilities down to -9; a GPU's exp and its order differ more.  bfloat16 keeps 8 bits, so
# each of some dozen roundings on the way is off by up to 1/256, and these weights are ten times as large as usual: 0.13
# and 0.033 on a CPU.
TOLERANCE = {torch.float32: (1e-4, 2e-5), torch.bfloat16: (0.3, 0.1)}


def groups(count: int = 3, size: int = 4) -> Batch:
    """Groups whose completions share a prompt of 5 to 40 tokens and have 1 to 60 of their own."""
    draw = random.Random(0)

    def tokens(least: int, most: int) -> tuple[int, ...]:
        return tuple(draw.randint(4, 90) for _ in range(draw.randint(least, most)))

    rows = []
    for prompt in [tokens(5, 40) for _ in range(count)]:
        for completion in [tokens(1, 60) for _ in range(size)]:
            logprobs = tuple(-4 * draw.random() for _ in completion)
            rows.append(Row(prompt, completion, logprobs, draw.gauss(0, 1), 0.01))
    return collate(rows)


def make_policy(device: str, dtype: torch.dtype, *, checkpointing: bool = False, **optim: Any) -> Policy:
    model = make_model(tied=True).to(device, dtype)
    return Policy(model, Optim(**optim), temperature=0.8, gradient_checkpointing=checkpointing)


def gradient(policy: Policy, batch: Batch) -> Tensor:
    """Of all weights in a row, on the CPU."""
    found = policy.gradients(batch, LOSS)
    assert {part.dtype for part in found.values()} == {torch.float32}
    return torch.cat([found[name].flatten().cpu() for name, _ in policy.model.named_parameters()])


def plain(batch: Batch) -> tuple[list[Tensor], Tensor]:
    """Log-probabilities of each row and the gradient: row by row, from all logits, in float32 on the CPU."""
    model = make_model(tied=True)
    logprobs = []
    for row, (prompt, length) in enumerate(zip(batch.sequences.prompts, batch.sequences.lengths, strict=True)):
        tokens = batch.sequences.tokens_BT[row, :length]
        logits = model(input_ids=torch.tensor([[*prompt, *tokens.tolist()]])).logits[0, len(prompt) - 1 : -1]
        of_all = (logits / 0.8).log_softmax(-1)
        logprobs.append(of_all.gather(1, tokens.unsqueeze(1)).squeeze(1))
        padded = torch.zeros(1, length).index_copy(1, torch.arange(length), logprobs[-1].unsqueeze(0))
        LOSS(padded, batch.rows([row]).targets).loss.backward()
    grads = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
    return [row.detach() for row in logprobs], torch.cat(grads)


def flat(policy: Policy) -> Tensor:
    return torch.cat([weight.float().flatten().cpu() for _, weight in policy.weights()])


def apart(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@on_each_device
@in_each_dtype
def test_log_probabilities_are_those_of_the_plain_computation(device: str, dtype: torch.dtype) -> None:
    batch = groups()
    found_BT = make_policy(device, dtype, tokens_per_microbatch=300).logprobs(batch.sequences)
    for row, expected in zip(found_BT, plain(batch)[0], strict=True):
        assert float((row[: len(expected)] - expected).abs().max()) < TOLERANCE[dtype][0]


@on_each_device
@in_each_dtype
def test_entropies_are_those_of_the_plain_computation(device: str, dtype: torch.dtype) -> None:
    sequences, model = groups().sequences, make_model(tied=True)
    found_BT = make_policy(device, dtype, tokens_per_microbatch=300).entropies(sequences)
    for row, (prompt, tokens, length) in enumerate(
        zip(sequences.prompts, sequences.tokens_BT.tolist(), sequences.lengths, strict=True)
    ):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *tokens[:length]]])).logits[0, len(prompt) - 1 : -1]
        expected = torch.distributions.Categorical(logits=logits / 0.8).entropy()
        assert float((found_BT[row, :length] - expected).abs().max()) < TOLERANCE[dtype][0]
        assert not found_BT[row, length:].any()


@on_each_device
@in_each_dtype
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_the_plain_computation(device: str, dtype: torch.dtype, checkpointing: bool) -> None:
    batch = groups()
    found = gradient(make_policy(device, dtype, checkpointing=checkpointing, tokens_per_microbatch=300), batch)
    assert apart(found, plain(batch)[1]) < TOLERANCE[dtype][1]


@on_each_device
@in_each_dtype
def test_gradient_checkpointing_changes_no_gradient(device: str, dtype: torch.dtype) -> None:
    """The same operations in the same order; only sums by atomic additions may come out another way."""
    batch = groups()
    without, with_it = (gradient(make_policy(device, dtype, checkpointing=c), batch) for c in (False, True))
    assert apart(with_it, without) < (1e-6 if dtype == torch.float32 else 1e-2)


@on_each_device
@in_each_dtype
@pytest.mark.parametrize("tokens", [1, 60, 250])
def test_microbatches_of_any_size_add_up_to_the_same_gradient(device: str, dtype: torch.dtype, tokens: int) -> None:
    batch = groups()
    whole, split = (gradient(make_policy(device, dtype, tokens_per_microbatch=n), batch) for n in (100_000, tokens))
    assert apart(split, whole) < (1e-5 if dtype == torch.float32 else 0.05)


@on_each_device
@in_each_dtype
def test_offloading_the_optimizer_changes_no_bit(
    device: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From gradients that are the same bit for bit, through many chunks that share three places on the device."""
    monkeypatch.setattr(masters, "CHUNK", 2**12)
    policies = [make_policy(device, dtype, offload=offload, lr=1e-3) for offload in (False, True)]
    draws = torch.Generator().manual_seed(0)
    for _ in range(5):
        for name, weight in policies[0].optimizer.weights.items():
            gradient = torch.randn(weight.shape, generator=draws).to(device, dtype)
            for policy in policies:
                (policy.optimizer.weights[name] * gradient).sum().backward()
        norms = [policy.optim_step(1e-3) for policy in policies]
        assert norms[0] == norms[1] > 1
    assert torch.equal(*map(flat, policies))
    assert not torch.equal(flat(policies[0]), flat(make_policy(device, dtype)))
    first, second = (policy.optimizer.state() for policy in policies)
    shared = first.keys() & second.keys()
    assert all(torch.equal(first[name].cpu(), second[name].cpu()) for name in shared)


@on_each_device
@in_each_dtype
def test_a_policy_goes_on_from_its_saved_state_where_it_stopped(
    device: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    """Bit for bit on a CPU; on a GPU some sums are atomic additions, in no fixed order."""
    batch, lr = groups(), 1e-3

    def stepped(policy: Policy) -> Tensor:
        policy.forward_backward(batch, LOSS)
        policy.optim_step(lr)
        return flat(policy)

    first, second = make_policy(device, dtype), make_policy(device, dtype)
    stepped(first)
    second.model.load_state_dict(first.model.state_dict())
    first.save_state(tmp_path)
    second.load_state(tmp_path)
    difference = (stepped(first) - stepped(second)).abs()
    assert float(difference.max()) == 0 if device == "cpu" else float(difference.mean()) < lr / 20


@on_cuda
def test_released_memory_is_the_gpus_again(device: str) -> None:
    policy = make_policy(device, torch.bfloat16)
    policy.forward_backward(groups(count=20, size=8), LOSS)
    policy.optim_step(1e-6)
    kept = torch.cuda.memory_reserved()
    policy.release_memory()
    assert torch.cuda.memory_reserved() < kept
    assert torch.cuda.memory_reserved() - torch.cuda.memory_allocated() < 2**26


@on_cuda
def test_with_offloading_masters_and_moments_are_not_on_the_gpu(device: str) -> None:
    def resident(offload: bool) -> int:
        gc.collect()  # a policy and its hooks point at each other
        before = torch.cuda.memory_allocated()
        policy = make_policy(device, torch.bfloat16, offload=offload)
        policy.forward_backward(groups(), LOSS)
        policy.optim_step(1e-6)
        return torch.cuda.memory_allocated() - before

    parameters = make_model(tied=True).num_parameters()
    assert resident(False) - resident(True) > 11 * parameters  # 12 bytes each, in blocks of 512


@on_cuda
def test_a_step_with_offloading_takes_three_chunks_of_the_gpu_and_locks_no_more_host_memory(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masters, "CHUNK", 2**12)
    policy = make_policy(device, torch.bfloat16, offload=True)
    kept: Any = policy.optimizer.kept
    assert all(row.is_pinned() for row in kept.rows.values())
    locked = [row.data_ptr() for row in kept.rows.values()]
    for step in range(3):
        policy.forward_backward(groups(), LOSS)
        torch.cuda.reset_peak_memory_stats()
        before, own = torch.cuda.memory_allocated(), torch.cuda.host_memory_stats().get("num_host_alloc", 0)
        policy.optim_step(1e-6)
        # Besides: the counts of steps, and what the norm and the rounding need of one weight at a time.
        assert torch.cuda.max_memory_allocated() - before < masters.SLOTS * 3 * 4 * 2**12 + 2**20
        if step:
            assert torch.cuda.host_memory_stats().get("num_host_alloc", 0) == own
    assert [row.data_ptr() for row in kept.rows.values()] == locked


@on_cuda
def test_precision_of_products_can_be_asked_while_the_policy_learns(device: str) -> None:
    """As compilers do."""
    seen: list[str] = []

    def loss(logprobs_BT: Tensor, targets: Any) -> Any:
        seen.append(torch.get_float32_matmul_precision())
        return LOSS(logprobs_BT, targets)

    make_policy(device, torch.bfloat16).forward_backward(groups(), loss)
    assert seen


@on_cuda
@pytest.mark.parametrize("std", [0.02, 0.06])
def test_prompts_are_shared_through_many_layers_of_bfloat16(device: str, std: float) -> None:
    shape = {"num_hidden_layers": 28, "hidden_size": 256, "intermediate_size": 512, "initializer_range": std}
    model = build("qwen2", **shape).to(device, torch.bfloat16)
    assert decide(model).fallback == ""


@on_each_device
@pytest.mark.parametrize(("heads", "size"), [(3, 32), (2, 16), (12, 128)])
def test_small_heads_share_prompts_too(device: str, heads: int, size: int) -> None:
    shape = {"num_attention_heads": heads, "num_key_value_heads": heads, "hidden_size": heads * size}
    model = build("qwen2", num_hidden_layers=2, intermediate_size=128, **shape).to(device, torch.bfloat16)
    assert decide(model).fallback == ""


@on_each_device
def test_scores_are_the_same_bit_for_bit_when_they_are_asked_again(device: str) -> None:
    """Nothing that moved is what the canary takes this for."""
    policy = make_policy(device, torch.bfloat16)
    rows = groups().sequences
    asked = [(p, t[:n]) for p, t, n in zip(rows.prompts, rows.tokens_BT.tolist(), rows.lengths, strict=True)]
    assert policy.score(asked) == policy.score(asked)
