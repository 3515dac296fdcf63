"""What completions of the start model say of the rewards, against numbers computed by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from grpo import config
from grpo.objectives import choose
from grpo.probe.study import Distribution, advantage_shares, correlation, reasons, study, variance_shares
from grpo.probe.weights import rank
from grpo.types import Completion, Group, Problem, Prompt, ScoredGroup
from rewards import Score

WEIGHTS = {"math": 1.0, "layout": 0.5}
MEAN = choose(config.Objective(advantages="group_mean"))


def group(name: str, values: Sequence[tuple[float | None, float | None]], lengths: Sequence[int] = ()) -> ScoredGroup:
    """(math, layout) of each completion."""
    sizes = lengths or [1] * len(values)
    completions = tuple(Completion((3,) * n, (-1.0,) * n, "text", "stop") for n in sizes)
    scores = tuple({"math": Score(m, why="no"), "layout": Score(f)} for m, f in values)
    totals = tuple(None if m is None or f is None else m + 0.5 * f for m, f in values)
    return ScoredGroup(
        Group(Prompt(Problem(name, ({"role": "user", "content": "?"},), {}), (1,)), completions, 0), scores, totals
    )


# Deviations from the group's mean:   math            layout · 0.5       total
#   a   (1, 1), (0, 0)                ± 0.5           ± 0.25             ± 0.75
#   b   (1, 0), (1, 1)                0, 0            - 0.25, + 0.25     - 0.25, + 0.25
#   c   (0, 1), (0, 1)                nothing differs
A, B, C = group("a", [(1, 1), (0, 0)], [4, 2]), group("b", [(1, 0), (1, 1)], [3, 5]), group("c", [(0, 1), (0, 1)])


def test_shares_of_the_variance_are_those_of_the_covariance_within_groups() -> None:
    found = study([A, B, C], WEIGHTS, MEAN, problems_per_step=6)
    # Σ total² = 2 · 0.75² + 2 · 0.25² = 1.25;  math: 2 · 0.5 · 0.75 = 0.75;  layout: 2 · 0.25 · 0.75 + 2 · 0.25² = 0.5
    math_, layout = found.parts
    assert math_.variance == pytest.approx(0.75 / 1.25)
    assert layout.variance == pytest.approx(0.5 / 1.25)


def test_an_objective_that_divides_by_the_deviation_blows_a_small_part_up() -> None:
    weights = {"math": 1.0, "layout": 0.5}
    # Divided by their deviations both groups have the same ΣA², 1/2 each of the whole.  In a, math has 0.5 / 0.75 of it
    # and layout the rest; in b layout has all.  So math has 1/3 and layout 2/3.
    shares = advantage_shares([A, B, C], weights, choose(config.Objective(advantages="group_std")))
    assert shares["math"] == pytest.approx(1 / 3, abs=2e-3)  # 1e-4 is added to each deviation
    assert shares["layout"] == pytest.approx(2 / 3, abs=2e-3)
    undivided = advantage_shares([A, B, C], weights, MEAN)
    assert undivided == pytest.approx({"math": 0.6, "layout": 0.4})


@pytest.mark.parametrize(
    "name", ["group_std", "group_mean", "leave_one_out", "batch_std", "whitened", "max_rl", "gdpo"]
)
def test_shares_add_up_to_1_whatever_the_objective(name: str) -> None:
    some = [A, B, C, group("d", [(1, 0.5), (0, 1), (0, 0)])]
    shares = advantage_shares(some, WEIGHTS, choose(config.Objective(advantages=name)))
    assert math.fsum(shares.values()) == pytest.approx(1)


def test_pass_at_k_hears_of_nothing_but_the_first() -> None:
    some = [group("a", [(1, 0), (0, 1), (0, 0.5)])]
    assert advantage_shares(some, WEIGHTS, choose(config.Objective(advantages="pass_at_k", pass_k=2))) == {
        "math": pytest.approx(1),
        "layout": 0.0,
    }


def test_a_part_that_pulls_against_the_rest_has_a_share_below_0() -> None:
    # math ± 1, layout · 0.5 ∓ 0.25, total ± 0.75: Σ = 1.125, math 2 · 1 · 0.75 = 1.5, layout -2 · 0.25 · 0.75 = -0.375
    shares = variance_shares([[2.0, 0.5]], {"math": [[2.0, 0.0]], "layout": [[0.0, 1.0]]}, WEIGHTS)
    assert shares == pytest.approx({"math": 1.5 / 1.125, "layout": -0.375 / 1.125})


def test_where_nothing_differs_there_are_no_shares() -> None:
    found = study([C], WEIGHTS, MEAN, problems_per_step=6)
    assert [(part.variance, part.advantages) for part in found.parts] == [(None, None)] * 2
    assert found.signal.useful.mean == 0


def test_correlations_are_those_within_groups() -> None:
    # Within a both rise together, within b math does not move: Σ math·layout = 2 · 0.5 · 0.5 = 0.5,
    # Σ math² = 0.5, Σ layout² = 0.5 + 0.5 = 1 → 0.5 / sqrt(0.5)
    found = study([A, B, C], WEIGHTS, MEAN, problems_per_step=6)
    assert found.correlations == {"math × layout": pytest.approx(0.5 / math.sqrt(0.5))}
    # Lengths deviate by ± 1 in both: with the total 2 · 0.75 + 2 · 0.25 = 2, over sqrt(1.25 · 4)
    assert found.with_length == pytest.approx(2 / math.sqrt(1.25 * 4))
    assert correlation([[1.0, 1.0]], [[0.0, 1.0]]) is None
    assert correlation([[1.0, None, 0.0]], [[2.0, 9.0, 0.0]]) == pytest.approx(1)


def test_the_signal_is_counted_and_multiplied_by_the_groups_of_a_step() -> None:
    found = study([A, B, C], WEIGHTS, MEAN, problems_per_step=6).signal
    assert found.useful.mean == pytest.approx(2 / 3)  # a and b
    assert found.by_first == pytest.approx(1 / 3)  # a: in b only the layout differs
    assert found.per_step.mean == pytest.approx(4)
    # Wilson, 2 of 3, z = 1.96: (2/3 + 1.92/3 ± 1.96 sqrt(2/27 + 3.84/36)) / (1 + 3.84/3) = (1.307 ± 0.834) / 2.280
    assert found.per_step.low == pytest.approx(6 * 0.2077, abs=0.01)
    assert found.per_step.high == pytest.approx(6 * 0.9385, abs=0.01)


def test_what_could_not_be_judged_is_counted_and_no_part_of_the_rest() -> None:
    found = study([group("a", [(1, 1), (0, 0), (None, 1)])], WEIGHTS, MEAN, problems_per_step=1)
    assert found.unscored == 1
    assert found.parts[0].variance == pytest.approx(0.5 / 0.75)
    assert found.total is not None
    assert found.total.n == 2


def test_a_distribution_lists_values_where_there_are_few() -> None:
    few = Distribution.of([0.0, 1.0, 1.0, None])
    assert few is not None
    assert few.counts == {0.0: 1, 1.0: 2}
    assert (few.mean, few.range) == (pytest.approx(2 / 3), 1.0)
    many = Distribution.of([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert many is not None
    assert (many.counts, many.quartiles) == (None, (0.0, 1.5, 3.0, 4.5, 6.0))
    assert Distribution.of([None]) is None


def test_reasons_are_counted_without_what_differs_between_completions() -> None:
    whys = ["'12' is not '13'", "'5' is not '7'", "12 of 48 tokens", "9 of 48 tokens", "9 of 48 tokens", ""]
    assert reasons(whys) == (("# of # tokens", 3), ("… is not …", 2))


# --- Weights ------------------------------------------------------------------------------------------------------


def test_weights_hold_where_correctness_is_worth_more_than_all_the_rest() -> None:
    ranking = rank({"math": 1.0, "layout": 0.2, "length": 0.5}, {"math": 1.0, "layout": 1.0, "length": 0.4})
    assert (ranking.first, ranking.others) == (1.0, pytest.approx(0.4))  # 0.2 · 1 + 0.5 · 0.4
    assert ranking.holds
    assert not ranking.suggested


def test_weights_that_do_not_are_scaled_to_half_of_what_correctness_is_worth() -> None:
    ranges = {"math": 1.0, "layout": 1.0, "length": 0.4, "language": 0.0}
    ranking = rank({"math": 1.0, "layout": 1.0, "length": 2.0, "language": 0.3}, ranges)
    assert (ranking.others, ranking.holds) == (pytest.approx(1.8), False)
    # 0.5 / 1.8 = 0.2778 of each, rounded down: layout 0.27, length 0.5555 → 0.55; what never differs stays
    assert ranking.suggested == {"math": 1.0, "layout": 0.27, "length": 0.55, "language": 0.3}
    assert rank(ranking.suggested, ranges).holds


def test_a_penalty_keeps_its_sign() -> None:
    assert rank({"math": 1.0, "words": -3.0}, {"math": 1.0, "words": 1.0}).suggested["words"] == -0.5


def test_correctness_that_is_only_watched_outranks_nothing() -> None:
    assert not rank({"math": 0.0, "layout": 1.0}, {"math": 1.0, "layout": 1.0}).holds
