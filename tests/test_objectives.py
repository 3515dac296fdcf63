"""Objectives: on-policy they agree, off-policy each holds back in its own way, and names are looked up."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from grpo.algorithm import policy_loss
from grpo.config import Objective
from grpo.errors import ConfigError
from grpo.learning.batch import Targets
from grpo.objectives import OBJECTIVES, check, choose, resolved
from grpo.objectives.advantages import ADVANTAGES
from grpo.objectives.ratios import CORRECTIONS, k1, k2, k3, sequence_ratio
from grpo.objectives.surrogates import SURROGATES
from grpo.objectives.weights import WEIGHTS
from tests.conftest import ROOT

lengths = st.lists(st.integers(1, 50), min_size=1, max_size=12)
Rows = Sequence[Sequence[float]]


def targets(old: Rows, sampler: Rows, advantages: Sequence[float], weights: Rows, **others: Rows) -> Targets:
    shape = torch.tensor(old)
    per_token = {"old": old, "sampler": sampler, **others}
    values = {name: torch.tensor(rows, dtype=torch.float32) for name, rows in per_token.items()}
    advantages_BT = torch.tensor(advantages).unsqueeze(1).expand_as(shape).float()
    mask_BT = torch.ones_like(shape, dtype=torch.bool)
    return Targets(mask_BT, torch.tensor(weights, dtype=torch.float32), {**values, "advantages": advantages_BT})


def gradient(logprobs: Rows, given: Targets, **settings: object) -> tuple[float, Tensor]:
    """The loss and its gradient with respect to the log-probabilities."""
    logprobs_BT = torch.tensor(logprobs, requires_grad=True)
    terms = policy_loss(logprobs_BT, given, objective=choose(Objective(**settings)))  # type: ignore[arg-type]
    terms.loss.backward()  # type: ignore[no-untyped-call]
    assert logprobs_BT.grad is not None
    return float(terms.loss.detach()), logprobs_BT.grad


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
    assert WEIGHTS["sum"](lengths_B, 50) == [1 / len(lengths_B)] * len(lengths_B)


# --- Surrogates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("advantage", [2.0, -1.5])
def test_on_policy_every_objective_follows_the_advantage_times_the_gradient_of_log_pi(
    name: str, advantage: float
) -> None:
    """With weights that are equal within a completion, as those of every objective are."""
    at = [[-1.0, -2.0, -0.5], [-0.1, -3.0, -1.0]]
    weights = [[0.5] * 3, [0.25] * 3]
    _, grad = gradient(at, targets(at, at, [advantage, -advantage], weights), name=name)
    expected = [[-advantage * 0.5] * 3, [advantage * 0.25] * 3]
    assert torch.allclose(grad, torch.tensor(expected), atol=1e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_without_advantages_no_objective_has_a_gradient(name: str) -> None:
    at = [[-1.0, -2.0]]
    _, grad = gradient([[-1.0, -2.0]], targets(at, at, [0.0], [[1.0, 1.0]]), name=name)
    assert torch.equal(grad, torch.zeros(1, 2))


def test_the_two_forms_of_gspo_are_one_where_a_completion_is_averaged_over_its_tokens() -> None:
    """sg(s) · π / sg(π) per token (verl), s with the gradient through the mean (TRL): arXiv 2507.18071 eq. 7, 14."""
    now, old = torch.tensor([[-1.0, -2.0, -0.5]]), torch.tensor([[-1.1, -1.8, -0.4]])
    mask = torch.ones(1, 3, dtype=torch.bool)

    def through_the_mean(logprobs: Tensor) -> Tensor:
        return sequence_ratio(logprobs, old, mask)

    def straight_through(logprobs: Tensor) -> Tensor:
        return sequence_ratio(logprobs, old, mask).detach() * (logprobs - logprobs.detach()).exp()

    for weights, same in (([1 / 3] * 3, True), ([0.6, 0.3, 0.1], False)):
        gradients = []
        for form in (through_the_mean, straight_through):
            leaf = now.clone().requires_grad_()
            (grad,) = torch.autograd.grad((form(leaf) * torch.tensor([weights])).sum(), leaf)
            gradients.append(grad)
        assert torch.allclose(*gradients) == same


def test_a_sequence_ratio_by_hand_and_beyond_its_clip_no_token_moves() -> None:
    # log-ratios 0.3 and -0.1: geometric mean e^0.1 = 1.105, inside ±0.2 and outside ±0.01
    old, now = [[-1.0, -1.0]], [[-0.7, -1.1]]
    given = targets(old, old, [2.0], [[0.5, 0.5]])
    value, grad = gradient(now, given, name="gspo", clip_low=0.2, clip_high=0.2)
    assert value == pytest.approx(-2 * math.exp(0.1))
    assert grad.tolist()[0] == pytest.approx([-math.exp(0.1)] * 2)  # A · s · ½ · (½ + ½), shared by both tokens
    value, grad = gradient(now, given, name="gspo")
    assert value == pytest.approx(-2 * 1.0004, rel=1e-6)
    assert grad.tolist() == [[0.0, 0.0]]


def test_cispo_bounds_the_weight_of_a_token_and_keeps_its_gradient() -> None:
    # ratio e^2 = 7.39 is capped at 5; the gain is 5 · A · log π
    value, grad = gradient([[-1.0]], targets([[-3.0]], [[-3.0]], [2.0], [[1.0]]), name="cispo")
    assert value == pytest.approx(-5 * 2 * -1.0)
    assert grad.tolist() == [[-10.0]]
    # below there is no bound: ratio e^-2
    _, grad = gradient([[-5.0]], targets([[-3.0]], [[-3.0]], [2.0], [[1.0]]), name="cispo")
    assert grad.tolist()[0] == pytest.approx([-2 * math.exp(-2)])


@pytest.mark.parametrize(("advantage", "tau"), [(2.0, 1.0), (-2.0, 1.05)])
def test_sapo_gates_softly(advantage: float, tau: float) -> None:
    ratio = math.exp(0.5)
    gate = 1 / (1 + math.exp(-tau * (ratio - 1)))
    value, grad = gradient([[-0.5]], targets([[-1.0]], [[-1.0]], [advantage], [[1.0]]), name="sapo")
    assert value == pytest.approx(-gate * 4 / tau * advantage)
    # d/dlp: 4 σ(1 - σ) · ratio · A
    assert float(grad) == pytest.approx(-4 * gate * (1 - gate) * ratio * advantage, rel=1e-5)


def test_dppo_drops_a_token_when_its_probability_has_moved_too_far_with_its_advantage() -> None:
    # 0.2 → 0.5: moved by 0.3 > 0.2.  The advantage's part is gone; -1e-3 (log 2.5)² pulls back.
    sampler = [[math.log(0.2)]]
    pull = 2e-3 * math.log(2.5)
    _, grad = gradient([[math.log(0.5)]], targets(sampler, sampler, [1.0], [[1.0]]), name="dppo")
    assert float(grad) == pytest.approx(pull, rel=1e-4)
    # against its advantage it may move: the ratio 2.5 stays
    _, grad = gradient([[math.log(0.5)]], targets(sampler, sampler, [-1.0], [[1.0]]), name="dppo")
    assert float(grad) == pytest.approx(2.5 + pull, rel=1e-4)
    # a rare token may have a huge ratio: 0.0001 → 0.01 moves nothing to speak of
    rare = [[math.log(1e-4)]]
    _, grad = gradient([[math.log(1e-2)]], targets(rare, rare, [1.0], [[1.0]]), name="dppo")
    assert float(grad) == pytest.approx(-100 + 2e-3 * math.log(100), rel=1e-4)


@given(st.floats(-4, 4), st.floats(-3, 3), st.floats(1.5, 5))
def test_dual_clip_never_lets_the_loss_above_c_times_the_advantage(shift: float, advantage: float, c: float) -> None:
    old = [[-5.0]]
    value, _ = gradient([[-5.0 + shift]], targets(old, old, [advantage], [[1.0]]), dual_clip=c)
    plain, _ = gradient([[-5.0 + shift]], targets(old, old, [advantage], [[1.0]]))
    assert value <= c * abs(advantage) + 1e-5
    assert value == pytest.approx(min(plain, c * abs(advantage)), abs=1e-5)


def test_dual_clip_by_hand() -> None:
    # ratio e² = 7.39 with A = -1: without it the loss is 7.39, with c = 3 it is 3 and flat
    given = targets([[-3.0]], [[-3.0]], [-1.0], [[1.0]])
    assert gradient([[-1.0]], given)[0] == pytest.approx(math.exp(2))
    value, grad = gradient([[-1.0]], given, dual_clip=3.0)
    assert (value, grad.tolist()) == (pytest.approx(3.0), [[0.0]])


# --- Correction for the sampler -----------------------------------------------------------------------------------

# Two completions of two tokens.  ρ = e^0.1, e^0.1 (product e^0.2 = 1.22, geometric mean 1.105) and e^2, e^-2.2 (product
# e^-0.2 = 0.82, geometric mean 0.905).
OLD, SAMPLER = [[-1.0, -1.0], [-1.0, -3.2]], [[-1.1, -1.1], [-3.0, -1.0]]
RHO = [[math.exp(0.1), math.exp(0.1)], [math.exp(2), math.exp(-2.2)]]


@pytest.mark.parametrize(
    ("mode", "bounds", "expected"),
    [
        ("off", {}, [[1, 1], [1, 1]]),
        ("token_truncate", {}, [RHO[0], [2.0, RHO[1][1]]]),
        ("token_truncate", {"correction_min": 0.5, "correction_max": 3.0}, [RHO[0], [3.0, 0.5]]),
        ("token_mask", {}, [RHO[0], [0, 0]]),
        ("token_mask", {"correction_min": 0.1, "correction_max": 8.0}, RHO),
        ("sequence_truncate", {"correction_max": 1.0}, [[1.0] * 2, [math.exp(-0.2)] * 2]),
        ("sequence_mask", {}, [[math.exp(0.2)] * 2, [math.exp(-0.2)] * 2]),
        ("sequence_mask", {"correction_max": 1.0}, [[0, 0], [math.exp(-0.2)] * 2]),
        ("geometric_mask", {}, [[0, 0], [0, 0]]),
        ("geometric_mask", {"correction_min": 0.95, "correction_max": 1.2}, [RHO[0], [0, 0]]),
        ("token_truncate", {"veto": 0.2}, [RHO[0], [0, 0]]),
    ],
)
def test_corrections_by_hand(mode: str, bounds: dict[str, float], expected: list[list[float]]) -> None:
    """On-policy the gradient is -c · A · w, so it shows the factor c of each token."""
    given = targets(OLD, SAMPLER, [1.0, 1.0], [[1.0, 1.0]] * 2)
    _, grad = gradient(OLD, given, correction=mode, **bounds)
    assert torch.allclose(-grad, torch.tensor(expected, dtype=torch.float32), atol=1e-5)


@pytest.mark.parametrize("mode", CORRECTIONS)
def test_the_raw_mismatch_is_measured_whatever_the_correction(mode: str) -> None:
    given = targets(OLD, SAMPLER, [1.0, 1.0], [[1.0, 1.0]] * 2)
    terms = policy_loss(torch.tensor(OLD), given, objective=choose(Objective(correction=mode)))
    assert float(terms.sums["policy/sampler_ratio_mean"]) == pytest.approx(sum(map(sum, RHO)), rel=1e-5)
    assert float(terms.peaks["policy/sampler_ratio_max"]) == pytest.approx(math.exp(2), rel=1e-5)
    assert float(terms.sums["policy/sampler_gap"]) == pytest.approx(0.1 + 0.1 + 2 + 2.2, rel=1e-5)


@pytest.mark.parametrize("mode", CORRECTIONS)
@pytest.mark.parametrize("name", ["dapo", "gspo", "cispo", "sapo"])
def test_a_sampler_that_is_infinitely_off_gives_a_finite_loss(mode: str, name: str) -> None:
    given = targets([[-1.0, -1.0]], [[-math.inf, -1.0]], [1.0], [[1.0, 1.0]])
    value, grad = gradient([[-1.0, -1.0]], given, name=name, correction=mode)
    assert math.isfinite(value) and bool(torch.isfinite(grad).all())


# --- KL -----------------------------------------------------------------------------------------------------------

LOGITS, REFERENCE = [0.3, -0.2, 0.9, 0.0], [0.1, 0.5, -0.4, 0.2]


def expected_gradient(kind: str, estimator: object, *, times_ratio: bool = False) -> Tensor:
    """Over the four outcomes of a categorical, of one that is drawn from the policy as it stands."""
    logits = torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True)
    reference = torch.log_softmax(torch.tensor(REFERENCE, dtype=torch.float64), 0)
    policy = torch.log_softmax(logits, 0)
    probabilities = policy.detach().exp()
    if kind == "loss":
        ratio = (policy - policy.detach()).exp() if times_ratio else 1.0
        value = (probabilities * estimator(policy, reference) * ratio).sum()  # type: ignore[operator]
    elif kind == "reward":  # REINFORCE with minus k1 as the reward, to be maximised
        value = (probabilities * estimator(policy.detach(), reference) * policy).sum()  # type: ignore[operator]
    elif kind == "to the reference":
        value = (policy.exp() * (policy - reference)).sum()
    else:
        value = (reference.exp() * (reference - policy)).sum()
    (grad,) = torch.autograd.grad(value, logits)
    return grad


TO_REFERENCE = "to the reference"  # KL(π ‖ reference)
FROM_REFERENCE = "from the reference"  # KL(reference ‖ π)


@pytest.mark.parametrize(
    ("kind", "estimator", "times_ratio", "expected"),
    [
        ("loss", k2, False, TO_REFERENCE),
        ("loss", k3, False, FROM_REFERENCE),  # the formula that GRPO prints pulls the other way round
        ("loss", k3, True, TO_REFERENCE),
        ("loss", k1, True, TO_REFERENCE),
        ("reward", k1, False, TO_REFERENCE),
    ],
)
def test_each_estimator_follows_one_of_the_two_divergences(
    kind: str, estimator: object, times_ratio: bool, expected: str
) -> None:
    found = expected_gradient(kind, estimator, times_ratio=times_ratio)
    assert torch.allclose(found, expected_gradient(expected, None), atol=1e-12)


def test_k1_as_a_loss_follows_nothing() -> None:
    assert torch.allclose(expected_gradient("loss", k1), torch.zeros(4, dtype=torch.float64), atol=1e-12)


def test_divergences_in_the_two_directions_differ() -> None:
    one, other = (expected_gradient(kind, None) for kind in (TO_REFERENCE, FROM_REFERENCE))
    assert not torch.allclose(one, other, atol=0.05)


@pytest.mark.parametrize(
    ("estimator", "value"),
    [("k1", -0.2), ("k2", 0.02), ("k3", math.exp(0.2) - 0.2 - 1)],  # reference - policy = 0.2
)
@pytest.mark.parametrize("unbiased", [False, True])
def test_the_penalty_by_hand_is_not_multiplied_by_the_correction(estimator: str, value: float, unbiased: bool) -> None:
    # the ratio is e^0.5, ρ = e^-0.5 applies to the gain alone
    given = targets([[-1.5]], [[-1.0]], [0.0], [[1.0]], reference=[[-0.8]])
    settings = {"kl_coef": 0.5, "kl_estimator": estimator, "kl_unbiased": unbiased}
    found, _ = gradient([[-1.0]], given, **settings)
    assert found == pytest.approx(0.5 * value * (math.exp(0.5) if unbiased else 1), rel=1e-5)


def test_k3_pushes_towards_the_reference_and_is_never_negative() -> None:
    logprobs, reference = torch.linspace(-3, 0, 31, requires_grad=True), torch.full((31,), -1.5)
    values = k3(logprobs, reference)
    values.sum().backward()  # type: ignore[no-untyped-call]
    assert bool((values >= 0).all())
    assert logprobs.grad is not None
    assert torch.equal(logprobs.grad.sign(), (logprobs - reference).detach().sign())


# --- Names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_name_has_all_its_parts_and_a_line_in_the_docs(name: str) -> None:
    filled = resolved(Objective(name=name))
    assert filled.advantages in ADVANTAGES and filled.weights in WEIGHTS and filled.surrogate in SURROGATES
    assert filled.correction in CORRECTIONS
    assert resolved(filled) == filled
    check(filled, group_size=8)
    assert f"`{name}`" in (ROOT / "docs" / "objectives.md").read_text()


def test_a_part_that_is_set_wins_over_the_name() -> None:
    filled = resolved(Objective(name="dapo", weights="constant", clip_high=0.5))
    assert (filled.advantages, filled.weights, filled.clip_low, filled.clip_high) == ("group_std", "constant", 0.2, 0.5)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"name": "dap"}, r'objective\.name = "dap": there is none of that name; did you mean dapo\?'),
        ({"weights": "tokens"}, r'objective\.weights = "tokens": .* did you mean token\? there are sequence, token'),
        ({"correction": "tis"}, r'objective\.correction = "tis": .* there are off, token_truncate'),
        ({"surrogate": "ppo"}, r'objective\.surrogate = "ppo": .* there are clip, cispo'),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(settings: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        resolved(Objective(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"name": "gspo", "clip_high": 0.28}, "GSPO takes 4e-4"),
        ({"kl_coef": 0.1, "kl_estimator": "k1"}, "penalises nothing"),
        ({"name": "dppo", "correction": "token_truncate"}, "corrected twice"),
        ({"advantages": "pass_at_k", "pass_k": 8}, "groups must be larger"),
        ({"name": "sapo", "dual_clip": 3.0}, 'is a part of "clip"'),
        ({"correction_min": 3.0}, "exchange them"),
        ({"kl_coef": 0.1, "kl_estimator": "k2", "kl_unbiased": True}, "k2 needs none"),
        ({"name": "max_rl", "kl_coef": 0.1, "kl_in": "reward"}, "and a penalty would not be one"),
        ({"name": "gdpo", "kl_coef": 0.1, "kl_in": "reward"}, "and a penalty would not be one"),
        ({"correction": "off", "correction_max": 3.0}, "has no bounds"),
    ],
)
def test_settings_that_make_no_sense_together_are_refused_with_what_to_do(
    settings: dict[str, object], word: str
) -> None:
    with pytest.raises(ConfigError, match=word):
        check(resolved(Objective(**settings)), group_size=8)  # type: ignore[arg-type]
