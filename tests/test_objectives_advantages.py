"""Advantages: properties of each way to make them, and numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.config import Objective
from grpo.errors import LearningError
from grpo.objectives.advantages import (
    ADVANTAGES,
    GroupRewards,
    batch_std,
    centred,
    gdpo,
    group_std,
    leave_one_out,
    max_rl,
    pass_at_k,
    whitened,
    zero_variance,
)

rewards = st.lists(st.one_of(st.none(), st.floats(-10, 10, allow_subnormal=False)), min_size=2, max_size=12)
right_or_wrong = st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=9)
SETTINGS = Objective()


def group(*totals: float | None, **parts: tuple[float, Sequence[float | None]]) -> GroupRewards:
    return GroupRewards(totals, parts or {"math": (1.0, totals)})


# --- One group ----------------------------------------------------------------------------------------------------


@given(rewards, st.sampled_from([centred, leave_one_out]))
def test_advantages_of_a_group_sum_to_zero(rewards_G, function) -> None:
    assert sum(function(rewards_G)) == pytest.approx(0, abs=1e-9)


@given(rewards, st.floats(-5, 5))
def test_adding_a_constant_to_all_rewards_changes_no_advantage(rewards_G: list[float | None], shift: float) -> None:
    shifted = [None if reward is None else reward + shift for reward in rewards_G]
    # The bound for "equal" is relative, so it may fall between the two.
    if zero_variance(rewards_G) == zero_variance(shifted):
        before, after = (group_std(group) for group in (rewards_G, shifted))
        assert after == pytest.approx(before, abs=1e-3)


@given(rewards, st.sampled_from([centred, group_std, leave_one_out]))
def test_a_better_reward_never_has_a_smaller_advantage(rewards_G, function) -> None:
    pairs = [(r, a) for r, a in zip(rewards_G, function(rewards_G), strict=True) if r is not None]
    ordered = [advantage for _, advantage in sorted(pairs)]
    assert ordered == sorted(ordered)


def test_advantages_by_hand() -> None:
    # mean 0.25; unbiased variance (3·0.25² + 0.75²) / 3 = 0.25, so std 0.5
    assert group_std([0, 0, 0, 1]) == pytest.approx([-0.25 / 0.5001] * 3 + [0.75 / 0.5001])
    assert centred([0, 0, 0, 1]) == [-0.25, -0.25, -0.25, 0.75]
    # the others of the last have mean 0, the others of the first (0 + 0 + 1) / 3
    assert leave_one_out([0, 0, 0, 1]) == pytest.approx([-1 / 3] * 3 + [1.0])
    # (1 - 0.25) / 0.25: solved by one in four, a solution counts three times as much as solved by one in two
    assert max_rl([0, 0, 0, 1]) == pytest.approx([-1, -1, -1, 3])
    assert max_rl([0, 1, 0, 1]) == pytest.approx([-1, 1, -1, 1])


def test_a_completion_that_could_not_be_judged_leaves_the_baseline() -> None:
    assert centred([0, 1, None]) == [-0.5, 0.5, 0.0]
    assert leave_one_out([0, 1, None]) == [-1.0, 1.0, 0.0]
    assert max_rl([0, 1, None]) == [-1.0, 1.0, 0.0]


@pytest.mark.parametrize("name", ADVANTAGES)
@pytest.mark.parametrize("totals", [(0.1 + 0.2, 0.3, 0.3), (None, None), (None, 1.0), (1.0, 1.0), (0.0, 0.0, 0.0)])
def test_a_zero_variance_group_has_no_advantage_however_small_the_rounding_noise(name: str, totals: tuple) -> None:
    assert ADVANTAGES[name]([group(*totals)], SETTINGS) == [[0.0] * len(totals)]


def test_a_small_difference_is_a_difference() -> None:
    assert not zero_variance([0.0, 0.01])


def test_max_rl_refuses_penalties_because_a_negative_mean_would_turn_every_sign() -> None:
    with pytest.raises(LearningError, match=r'"max_rl" divides by the mean reward, and a reward is -1'):
        max_rl([1.0, -1.0])


# --- pass@k -------------------------------------------------------------------------------------------------------


@given(right_or_wrong, st.integers(1, 5))
def test_pass_at_k_is_the_mean_over_all_subsets_of_k(rewards_G: list[float], k: int) -> None:
    """By enumeration: each subset earns its best completion's reward, normalised over all subsets."""
    n = len(rewards_G)
    if k > n:
        assert pass_at_k(rewards_G, k=k) == [0.0] * n
        return
    subsets = list(combinations(range(n), k))
    earned = [max(rewards_G[i] for i in subset) for subset in subsets]
    spread = pstdev(earned)
    if not spread:
        assert pass_at_k(rewards_G, k=k) == [0.0] * n
        return
    of_subset = [(reward - fmean(earned)) / spread for reward in earned]
    expected = [fmean(a for a, subset in zip(of_subset, subsets, strict=True) if i in subset) for i in range(n)]
    assert pass_at_k(rewards_G, k=k) == pytest.approx(expected, abs=1e-9)


@given(right_or_wrong)
def test_pass_at_1_is_grpo_with_the_deviation_of_the_population(rewards_G: list[float]) -> None:
    if zero_variance(rewards_G):
        return
    expected = [(r - fmean(rewards_G)) / pstdev(rewards_G) for r in rewards_G]
    assert pass_at_k(rewards_G, k=1) == pytest.approx(expected)


def test_pass_at_2_by_hand() -> None:
    # Of the 6 pairs of four completions 3 hold the right one: mean ½, deviation ½.  The right one: (1 - ½) / ½ = 1.  A
    # wrong one is in 3 pairs, of which 1 holds the right one: mean of (1 - ½, -½, -½) / ½ = -⅓.
    assert pass_at_k([0, 0, 0, 1], k=2) == pytest.approx([-1 / 3] * 3 + [1])


# --- Across groups ------------------------------------------------------------------------------------------------


def test_batch_std_divides_by_the_deviation_of_all_rewards() -> None:
    # all rewards 0 1 1 1: unbiased variance 3 · (1/4)·(3/4)·(4/3)… = ((3/4)² + 3·(1/4)²) / 3 = 1/4
    found = batch_std([group(0, 1), group(1, 1)], SETTINGS)
    assert found == [pytest.approx([-0.5 / 0.5001, 0.5 / 0.5001]), [0.0, 0.0]]


def test_whitening_divides_by_the_deviation_of_what_is_left_after_the_groups_means() -> None:
    # centred: -½ ½ and 0 0; unbiased variance (¼ + ¼) / 3
    divisor = math.sqrt(0.5 / 3) + 1e-4
    found = whitened([group(0, 1), group(1, 1)], SETTINGS)
    assert found == [pytest.approx([-0.5 / divisor, 0.5 / divisor]), pytest.approx([0.0, 0.0])]


@given(st.lists(rewards, min_size=2, max_size=5))
def test_whitened_advantages_have_mean_zero_over_all_that_were_judged(groups: list[list[float | None]]) -> None:
    found = whitened([group(*totals) for totals in groups], SETTINGS)
    assert sum(a for group in found for a in group) == pytest.approx(0, abs=1e-6)


def test_gdpo_tells_apart_what_a_sum_cannot() -> None:
    """Right without layout, wrong with it, both, neither: the first two have the same sum."""
    sums = group(1.0, 1.0, 2.0, 0.0, math=(1.0, (1.0, 0.0, 1.0, 0.0)), layout=(1.0, (0.0, 1.0, 1.0, 0.0)))
    (found,) = gdpo([sums], SETTINGS)
    assert found[0] == pytest.approx(found[1])
    # Where a layout is kept by all but one, its part is worth more when normalised by itself.
    rare = group(
        1.0, 0.2, 1.2, 0.0, 0.2, math=(1.0, (1.0, 0.0, 1.0, 0.0, 0.0)), layout=(0.2, (0.0, 1.0, 1.0, 0.0, 1.0))
    )
    (of_parts,) = gdpo([rare], SETTINGS)
    of_sum = group_std(rare.totals)
    assert of_parts[1] - of_parts[3] > 0 and of_sum[1] - of_sum[3] > 0
    # math: mean 0.4, unbiased std √0.3; layout: mean 0.6, std √0.3, weight 0.2; then whitened
    std = math.sqrt(0.3) + 1e-4
    raw = [(m - 0.4) / std + 0.2 * (l - 0.6) / std for m, l in ((1, 0), (0, 1), (1, 1), (0, 0), (0, 1))]
    divisor = math.sqrt(sum(x * x for x in raw) / 4) + 1e-4
    assert of_parts == pytest.approx([x / divisor for x in raw], abs=1e-6)


def test_gdpo_with_one_reward_has_the_signs_of_grpo() -> None:
    groups = [group(0, 1, 1), group(0, 0, 1)]
    for found, alone in zip(gdpo(groups, SETTINGS), map(group_std, ((0, 1, 1), (0, 0, 1))), strict=True):
        assert [a > 0 for a in found] == [a > 0 for a in alone]


def test_a_reward_of_weight_zero_is_only_watched() -> None:
    from tests.test_metrics import RIGHT, WRONG, scored

    watched = {"math": 1.0, "watched": 0.0}
    judged = scored({**RIGHT, "watched": WRONG["math"]}, {**WRONG, "watched": RIGHT["math"]}, rewards=[1.0, 0.0])
    assert list(GroupRewards.of(judged, watched).parts) == ["math"]


def test_a_penalty_in_the_reward_moves_totals_and_is_a_part_of_its_own() -> None:
    less = group(1.0, None, 0.0).plus("kl", [-0.5, -0.25, -0.125])
    assert less.totals == [0.5, None, -0.125]
    assert less.parts["kl"] == (1.0, [-0.5, -0.25, -0.125])
