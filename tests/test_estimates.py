"""Intervals that can be trusted, pass@k and maj@k by their definitions, and a paired test by its own."""

from __future__ import annotations

import itertools
from fractions import Fraction
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.estimates import estimate, maj_at_k, paired_difference, pass_at_k

shares = st.lists(st.integers(0, 8).map(lambda right: right / 8), min_size=1, max_size=60)


@given(shares, st.integers(1, 64))
def test_an_interval_contains_its_mean_and_stays_between_0_and_1(values, samples):
    result = estimate(values, samples)
    assert result.mean == fmean(values)
    assert 0 <= result.low <= result.mean <= result.high <= 1


@given(shares, st.integers(1, 8))
def test_more_problems_of_the_same_kind_narrow_the_interval(values, samples):
    few, many = estimate(values, samples), estimate(values * 4, samples)
    assert many.high - many.low < few.high - few.low


def test_with_one_sample_the_interval_is_wilsons_own():
    # 7 right of 10, z² = 3.841459: centre (0.7 + 0.1920729) / 1.3841459 = 0.6444934;
    # half-width 1.959964 / 1.3841459 · √(0.021 + 0.0096036) = 0.2477153
    result = estimate([1.0] * 7 + [0.0] * 3, 1)
    assert result.low == pytest.approx(0.6444934 - 0.2477153, abs=2e-6)
    assert result.high == pytest.approx(0.6444934 + 0.2477153, abs=2e-6)


@given(st.integers(1, 200), st.data())
def test_with_one_sample_each_problem_is_one_trial(total, data):
    right = data.draw(st.integers(0, total))
    result, z2, p = estimate([1.0] * right + [0.0] * (total - right), 1), 1.959964**2, right / total
    # Wilson's bounds are where (p - x)² = z² x (1 - x) / n.
    for bound in (result.low, result.high):
        assert total * (p - bound) ** 2 == pytest.approx(z2 * bound * (1 - bound), abs=1e-9) or bound in (0, p, 1)


def test_problems_that_are_all_right_still_leave_doubt():
    # All right: low = n / (n + z²) = 20 / 23.841459.
    result = estimate([1.0] * 20, 1)
    assert (result.mean, result.high) == (1.0, 1.0)
    assert result.low == pytest.approx(20 / 23.841459, abs=1e-6)


def test_samples_that_only_repeat_each_other_add_nothing():
    same = [1.0, 0.0] * 50
    assert estimate(same, 8) == estimate(same, 1)


def test_samples_that_scatter_count_one_by_one_and_no_more():
    # Problems differ less than even chance would make them, so 100 problems x 8 samples are 800 trials.
    assert estimate([3 / 8, 5 / 8] * 50, 8) == estimate([1.0, 0.0] * 400, 1)


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample(samples, data):
    k = data.draw(st.integers(1, len(samples)))
    subsets = list(itertools.combinations(samples, k))
    assert pass_at_k(len(samples), sum(samples), k) == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-12)


def test_pass_at_k_by_hand():
    assert pass_at_k(4, 1, 2) == pytest.approx(0.5)  # 1 - C(3,2)/C(4,2) = 1 - 3/6
    assert pass_at_k(8, 0, 8) == 0
    assert pass_at_k(8, 1, 8) == 1


@pytest.mark.parametrize("k", [0, 5])
def test_pass_at_k_of_more_samples_than_there_are_is_refused(k):
    with pytest.raises(ValueError, match=f"between 1 and n = 4 .given {k}."):
        pass_at_k(4, 1, k)
    with pytest.raises(ValueError, match=f"between 1 and n = 4 .given {k}."):
        maj_at_k(["7"] * 4, [True] * 4, k)


@pytest.mark.parametrize(
    ("answers", "right", "expected"),
    [
        (["7", "7", "8"], "7", 1.0),
        (["7", "8", "8"], "7", 0.0),
        (["7", "8"], "7", 0.5),  # a tie is drawn by lot
        (["7", "8", "9", "9", "8"], "8", 0.5),
        ([None, None, "7"], "7", 1.0),  # only who has an answer votes
        ([None, None], "7", 0.0),
    ],
)
def test_all_samples_vote_in_maj_at_k(answers, right, expected):
    assert maj_at_k(answers, [answer == right for answer in answers], len(answers)) == expected


def test_maj_at_1_is_about_pass_at_1():
    answers = ["7", "7", "7", "8"]
    assert maj_at_k(answers, [a == "7" for a in answers], 1) == pytest.approx(0.75, abs=0.1)  # 200 draws: σ = 0.03


@given(st.lists(st.sampled_from(["7", "8", "9", None]), min_size=1, max_size=8), st.data())
def test_a_vote_is_a_share_and_unanimity_wins_it(answers, data):
    k = data.draw(st.integers(1, len(answers)))
    assert 0 <= maj_at_k(answers, [a == "7" for a in answers], k) <= 1
    assert maj_at_k(["7"] * len(answers), [True] * len(answers), k) == 1


def _exact_p(deltas):
    """Over all 2^n assignments of signs, the share that is at least as far from 0 as what was seen."""
    exact = [Fraction(delta).limit_denominator(64) for delta in deltas]
    sums = [abs(sum(flipped)) for flipped in itertools.product(*((delta, -delta) for delta in exact))]
    return sum(value >= abs(sum(exact)) for value in sums) / len(sums)


@pytest.mark.parametrize(
    "deltas",
    [
        (1, 1),
        (1, 1, 1, 1, 1, 1, 1, -1),
        (0.25, 0.5, -0.125, 1, 0.75),
        (1, 1, 1, 1, 1, 1, 1, 1, 1, 1),
        (0, 0, 0.5, -0.5, 1),
    ],
)
def test_the_p_of_a_difference_is_that_of_all_sign_flips(deltas):
    a, b = {str(i): 0.0 for i in range(len(deltas))}, {str(i): delta for i, delta in enumerate(deltas)}
    # 20,000 flips: the standard error is at most 0.0035.
    assert paired_difference(a, b).p == pytest.approx(_exact_p(deltas), abs=0.015)


@given(st.dictionaries(st.text(max_size=3), st.sampled_from([0.0, 0.25, 1.0]), min_size=1, max_size=20))
def test_a_result_does_not_differ_from_itself(solved):
    difference = paired_difference(solved, solved)
    assert (difference.mean, difference.p, difference.better, difference.worse) == (0, 1.0, 0, 0)
    assert difference.problems == len(solved)


def test_a_difference_by_hand_on_what_both_have():
    a, b = {"1": 0.0, "2": 0.0, "3": 1.0, "only a": 1.0}, {"3": 0.5, "2": 1.0, "1": 0.0, "only b": 0.0}
    # Deltas 0, 1, -½: mean 1/6, variance 7/12, standard error √(7/36) = 0.440959.
    difference = paired_difference(a, b)
    assert difference.mean == pytest.approx(1 / 6)
    assert difference.low == pytest.approx(1 / 6 - 1.959964 * 0.440959, abs=1e-5)
    assert difference.high == 1.0  # cut at what is possible
    assert (difference.better, difference.worse, difference.problems) == (1, 1, 3)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=12))
def test_swapping_two_results_turns_their_difference_round(pairs):
    a = {str(i): pair[0] for i, pair in enumerate(pairs)}
    b = {str(i): pair[1] for i, pair in enumerate(pairs)}
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert (there.mean, there.low, there.high) == pytest.approx((-back.mean, -back.high, -back.low))
    assert (there.p, there.better, there.worse) == (back.p, back.worse, back.better)


def test_results_with_no_problem_in_common_cannot_be_compared():
    with pytest.raises(ValueError, match="no problem in common"):
        paired_difference({"a": 1.0}, {"b": 1.0})
