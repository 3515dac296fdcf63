"""The arithmetic of GRPO: properties, and numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from grpo.algorithm import WEIGHTS, advantages, agrees, k3, policy_loss
from grpo.config import Objective
from grpo.learning.batch import Batch

rewards = st.lists(st.one_of(st.none(), st.floats(-10, 10, allow_subnormal=False)), min_size=2, max_size=12)
lengths = st.lists(st.integers(1, 50), min_size=1, max_size=12)


# --- Advantages ---------------------------------------------------------------------------------------------------


@given(rewards)
def test_advantages_of_a_group_sum_to_zero(rewards_G: list[float | None]) -> None:
    assert sum(advantages(rewards_G, scale_by_std=False)) == pytest.approx(0, abs=1e-9)


@given(rewards, st.floats(-5, 5))
def test_adding_a_constant_to_all_rewards_changes_no_advantage(rewards_G: list[float | None], shift: float) -> None:
    shifted = [None if reward is None else reward + shift for reward in rewards_G]
    if agrees(rewards_G) == agrees(shifted):  # the bound for "equal" is relative, so it may fall between the two
        before, after = (advantages(group, scale_by_std=True) for group in (rewards_G, shifted))
        assert after == pytest.approx(before, abs=1e-3)


@given(rewards)
def test_a_better_reward_never_has_a_smaller_advantage(rewards_G: list[float | None]) -> None:
    pairs = [(r, a) for r, a in zip(rewards_G, advantages(rewards_G, scale_by_std=True), strict=True) if r is not None]
    ordered = [advantage for _, advantage in sorted(pairs)]
    assert ordered == sorted(ordered)


def test_advantages_by_hand() -> None:
    # mean 0.25; unbiased variance (3·0.25² + 0.75²) / 3 = 0.25, so std 0.5
    assert advantages([0, 0, 0, 1], scale_by_std=True) == pytest.approx([-0.25 / 0.5001] * 3 + [0.75 / 0.5001])
    assert advantages([0, 0, 0, 1], scale_by_std=False) == [-0.25, -0.25, -0.25, 0.75]


def test_a_completion_that_could_not_be_judged_leaves_the_baseline() -> None:
    assert advantages([0, 1, None], scale_by_std=False) == [-0.5, 0.5, 0.0]


def test_a_group_that_agrees_has_no_advantage_however_small_the_rounding_noise() -> None:
    assert advantages([0.1 + 0.2, 0.3, 0.3], scale_by_std=True) == [0.0, 0.0, 0.0]
    assert advantages([None, None], scale_by_std=True) == [0.0, 0.0]
    assert advantages([None, 1.0], scale_by_std=True) == [0.0, 0.0]
    assert not agrees([0.0, 0.01])


# --- Weights ------------------------------------------------------------------------------------------------------


@given(lengths)
def test_sequence_weights_give_every_completion_the_same_say(lengths_B: list[int]) -> None:
    weights = WEIGHTS["sequence"](lengths_B, 50)
    assert [w * length for w, length in zip(weights, lengths_B, strict=True)] == pytest.approx(
        [1 / len(lengths_B)] * len(lengths_B)
    )


@given(lengths)
def test_token_weights_give_every_token_the_same_say(lengths_B: list[int]) -> None:
    weights = WEIGHTS["token"](lengths_B, 50)
    assert len(set(weights)) == 1
    assert sum(w * length for w, length in zip(weights, lengths_B, strict=True)) == pytest.approx(1)


@given(lengths)
def test_constant_weights_do_not_depend_on_the_lengths(lengths_B: list[int]) -> None:
    assert WEIGHTS["constant"](lengths_B, 50) == [1 / (len(lengths_B) * 50)] * len(lengths_B)


# --- Loss ---------------------------------------------------------------------------------------------------------


def batch(
    old: Sequence[float], sampler: Sequence[float], advantage: float, *, weight: float = 1.0, **others: Sequence[float]
) -> Batch:
    """One row of len(old) tokens."""
    T = len(old)
    columns = {"old": old, "sampler": sampler, **others}
    return Batch(
        prompts=((1,),),
        tokens_BT=torch.ones(1, T, dtype=torch.int64),
        weights_BT=torch.full((1, T), weight),
        advantages_B=torch.tensor([advantage]),
        logprobs={name: torch.tensor([list(values)]) for name, values in columns.items()},
    )


def loss(logprobs: Sequence[float], rows: Batch, **settings: float) -> tuple[float, Tensor]:
    """The loss of one row and its gradient with respect to the log-probabilities."""
    logprobs_BT = torch.tensor([list(logprobs)], requires_grad=True)
    terms = policy_loss(logprobs_BT, rows, settings=Objective(**settings))  # type: ignore[arg-type]
    terms.loss.backward()  # type: ignore[no-untyped-call]
    assert logprobs_BT.grad is not None
    return float(terms.loss.detach()), logprobs_BT.grad[0]


def test_on_policy_the_gradient_is_minus_advantage_times_weight() -> None:
    value, grad = loss([-1.0, -2.0], batch([-1.0, -2.0], [-1.0, -2.0], advantage=3.0, weight=0.5))
    assert value == pytest.approx(-3.0)  # 2 tokens · 0.5 · -3
    assert grad.tolist() == pytest.approx([-1.5, -1.5])


def test_a_gain_beyond_the_clip_has_no_gradient() -> None:
    # ratio e^0.5 = 1.65 > 1 + 0.28 with A > 0: gain is 1.28 · A, flat
    value, grad = loss([-0.5], batch([-1.0], [-1.0], advantage=2.0))
    assert value == pytest.approx(-2.56)
    assert grad.tolist() == [0.0]
    # ratio e^-0.5 = 0.61 < 1 - 0.2 with A < 0: gain is 0.8 · A, flat
    value, grad = loss([-1.5], batch([-1.0], [-1.0], advantage=-2.0))
    assert value == pytest.approx(1.6)
    assert grad.tolist() == [0.0]


def test_a_loss_beyond_the_clip_keeps_its_gradient() -> None:
    # ratio 1.65 with A < 0: the pessimistic bound is the unclipped one
    value, grad = loss([-0.5], batch([-1.0], [-1.0], advantage=-1.0))
    assert value == pytest.approx(math.exp(0.5))
    assert grad.tolist() == pytest.approx([math.exp(0.5)])


def test_the_sampler_correction_multiplies_and_is_capped() -> None:
    # π_old / π_sampler = e^-0.7 = 0.4966 stays, e^+3 is capped at 2
    value, _ = loss([-1.0, -1.0], batch([-1.0, -1.0], [-0.3, -4.0], advantage=1.0))
    assert value == pytest.approx(-(math.exp(-0.7) + 2.0))
    value, _ = loss([-1.0, -1.0], batch([-1.0, -1.0], [-0.3, -4.0], advantage=1.0), importance_cap=0)
    assert value == pytest.approx(-2.0)


def test_a_sampler_that_is_infinitely_off_gives_a_finite_loss() -> None:
    value, grad = loss([-1.0], batch([-1.0], [-math.inf], advantage=1.0))
    assert value == pytest.approx(-2.0)
    assert torch.isfinite(grad).all()


def test_without_old_logprobs_the_policy_is_its_own_old_self() -> None:
    rows = batch([-1.0], [-1.0], advantage=2.0)
    without = Batch(
        rows.prompts, rows.tokens_BT, rows.weights_BT, rows.advantages_B, {"sampler": rows.logprobs["sampler"]}
    )
    assert loss([-1.0], without)[1].tolist() == pytest.approx([-2.0])


def test_the_kl_penalty_by_hand_is_not_weighted_by_the_sampler_correction() -> None:
    # reference - policy = 0.2: k3 = e^0.2 - 0.2 - 1 = 0.0214028; ρ = e^-0.5 applies to the gain alone
    rows = batch([-1.0], [-0.5], advantage=1.0, reference=[-0.8])
    value, _ = loss([-1.0], rows, kl=0.5)
    assert value == pytest.approx(-math.exp(-0.5) + 0.5 * 0.0214028, abs=1e-6)


def test_k3_pushes_towards_the_reference_and_is_never_negative() -> None:
    logprobs, reference = torch.linspace(-3, 0, 31, requires_grad=True), torch.full((31,), -1.5)
    values = k3(logprobs, reference)
    values.sum().backward()  # type: ignore[no-untyped-call]
    assert bool((values >= 0).all())
    assert logprobs.grad is not None
    assert torch.equal(logprobs.grad.sign(), (logprobs - reference).detach().sign())


def test_expected_gradient_of_k3_is_that_of_kl_from_reference_to_policy() -> None:
    """E_π[∇k3] = ∇ KL(reference ‖ π) on a categorical with four outcomes."""
    logits = torch.tensor([0.3, -0.2, 0.9, 0.0], dtype=torch.float64, requires_grad=True)
    reference = torch.log_softmax(torch.tensor([0.1, 0.5, -0.4, 0.2], dtype=torch.float64), 0)
    policy = torch.log_softmax(logits, 0)
    # The expectation is over samples drawn from the policy, so its probabilities are constants.
    (policy.detach().exp() * k3(policy, reference)).sum().backward(retain_graph=True)  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    expected, logits.grad = logits.grad.clone(), None
    (reference.exp() * (reference - policy)).sum().backward()  # type: ignore[no-untyped-call]
    assert torch.allclose(logits.grad, expected)


def test_metrics_are_sums_over_real_tokens() -> None:
    rows = batch([-1.0, -1.0], [-1.0, -1.5], advantage=1.0)
    padded = Batch(
        rows.prompts,
        torch.nn.functional.pad(rows.tokens_BT, (0, 3)),
        torch.nn.functional.pad(rows.weights_BT, (0, 3)),
        rows.advantages_B,
        {name: torch.nn.functional.pad(values, (0, 3)) for name, values in rows.logprobs.items()},
    )
    terms = policy_loss(torch.tensor([[-0.5, -1.0, 0.0, 0.0, 0.0]]), padded, settings=Objective())
    assert float(terms.sums["policy/clipped"]) == 1
    assert float(terms.sums["policy/ratio_mean"]) == pytest.approx(math.exp(0.5) + 1)
    assert float(terms.sums["policy/sampler_gap"]) == pytest.approx(0.5)
    assert float(terms.peaks["policy/ratio_max"]) == pytest.approx(math.exp(0.5))
