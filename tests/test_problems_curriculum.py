"""A curriculum: which problems a step draws, by how often they were solved when they were drawn before."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.config import Curriculum
from grpo.problems import SolveRates, draw_by_difficulty
from grpo.types import Problem, Prompt


def prompt(name: str) -> Prompt:
    return Prompt(Problem(name, ({"role": "user", "content": "?"},), {}), (1,))


def recorded(*visits: tuple[str, float, int]) -> SolveRates:
    """What is known after these visits: (problem, share of its completions that were right, step)."""
    rates = SolveRates()
    for visit in visits:
        rates.record(*visit)
    return rates


def names(prompts: Sequence[Prompt]) -> list[str]:
    return [prompt.problem.id for prompt in prompts]


def drawn(
    rates: SolveRates, pools: Mapping[str, int], count: int, *, seed: str = "0", without: Sequence[str] = (), **settings
) -> list[str]:
    """Names of what is drawn among `pools`: how many problems there are whose names begin so."""
    prompts = [prompt(f"{pool}/{number}") for pool, size in pools.items() for number in range(size)]
    return names(draw_by_difficulty(prompts, rates, count, Curriculum(**settings), seed=seed, without=without))


RATE = {"easy": 1.0, "medium": 0.5, "hard": 0.0}


def of_pools(step: int = 1, **pools: int) -> SolveRates:
    """Rates that make the first so many problems of a name belong to the pool of that name."""
    return recorded(*((f"{pool}/{number}", RATE[pool], step) for pool, size in pools.items() for number in range(size)))


def by_pool(drawn: Sequence[str]) -> dict[str, int]:
    return dict(Counter(name.partition("/")[0] for name in drawn))


# --- Solve rates --------------------------------------------------------------------------------------------------


def pool_of(rates: SolveRates, name: str = "p", **settings: Any) -> str:
    return rates.pool(name, Curriculum(**{"easy": 0.25, "hard": 0.25, **settings}))


@pytest.mark.parametrize(
    ("rate", "pool"),
    [(0.0, "hard"), (0.25, "hard"), (0.26, "medium"), (0.75, "medium"), (0.76, "easy"), (1.0, "easy")],
)
def test_a_pool_is_a_range_of_solve_rates_and_its_bounds_belong_to_the_harder_side(rate: float, pool: str) -> None:
    assert pool_of(recorded(("p", rate, 1))) == pool


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_without_shares_there_is_one_pool_of_all_that_are_not_retired(rate: float) -> None:
    once, twice = recorded(("p", rate, 1)), recorded(("p", rate, 1), ("p", rate, 2))
    assert pool_of(once, easy=None, hard=None, retire_after=2) == "medium"
    assert pool_of(twice, easy=None, hard=None, retire_after=2) == ("retired" if rate == 1 else "medium")


def test_a_problem_that_was_never_visited_is_medium_and_was_last_seen_before_everything() -> None:
    assert pool_of(SolveRates(), retire_after=1) == "medium"
    assert (SolveRates().last_step("p"), recorded(("p", 0.5, 3), ("p", 0.5, 7)).last_step("p")) == (-1, 7)


def test_the_last_visit_weighs_half_of_a_solve_rate() -> None:
    rates = recorded(("p", 1.0, 1), ("p", 0.0, 2), ("p", 0.5, 3))
    # (1 + 0) / 2 = ½; (½ + ½) / 2 = ½
    assert rates.state()["p"]["rate"] == 0.5
    rates.record("p", 1.0, 4)
    rates.record("p", 1.0, 5)  # ¾, which is not yet easy, then ⅞
    assert (rates.state()["p"]["rate"], pool_of(rates)) == (0.875, "easy")


def test_a_problem_retires_when_all_completions_solved_it_in_so_many_visits_in_a_row() -> None:
    rates = SolveRates()
    pools = []
    for step, solved in enumerate((1.0, 0.9, 1.0, 1.0, 0.9), start=1):
        rates.record("p", solved, step)
        pools.append(pool_of(rates, retire_after=2))
    assert pools == ["easy", "easy", "easy", "retired", "easy"]


def test_without_a_number_of_visits_no_problem_retires() -> None:
    assert pool_of(recorded(*(("p", 1.0, step) for step in range(1, 50))), retire_after=0) == "easy"


visits = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1), st.integers(1, 99)), max_size=30)


@given(visits)
def test_solve_rates_come_back_through_json_as_they_were(visits: list[tuple[str, float, int]]) -> None:
    rates = recorded(*visits)
    again = SolveRates(json.loads(json.dumps(rates.state())))
    assert again.state() == rates.state()
    for name in "abcd":
        assert pool_of(again, name, retire_after=2) == pool_of(rates, name, retire_after=2)
        assert again.last_step(name) == rates.last_step(name)
    again.record("a", 1.0, 100)
    rates.record("a", 1.0, 100)
    assert again.state() == rates.state()


# --- Draws --------------------------------------------------------------------------------------------------------


def test_shares_of_a_draw_by_hand() -> None:
    pools = {"easy": 20, "medium": 20, "hard": 20}
    # 8 · ¼ = 2 easy, 8 · ½ = 4 hard, and the 2 that are left
    assert by_pool(drawn(of_pools(**pools), pools, 8, easy=0.25, hard=0.5)) == {"easy": 2, "hard": 4, "medium": 2}
    # round(6 · 0.25) = 2 and round(6 · 0.4) = 2
    assert by_pool(drawn(of_pools(**pools), pools, 6, easy=0.25, hard=0.4)) == {"easy": 2, "hard": 2, "medium": 2}


def test_shares_that_both_round_up_are_no_more_than_the_draw() -> None:
    pools = {"easy": 9, "medium": 9, "hard": 9}
    assert by_pool(drawn(of_pools(**pools), pools, 3, easy=0.5, hard=0.5)) == {"easy": 2, "hard": 1}


def test_without_shares_problems_come_by_when_they_were_seen_and_not_by_how_often_they_were_solved() -> None:
    rates = recorded(("easy/0", 1.0, 3), ("hard/0", 0.0, 1), ("medium/0", 0.5, 4), ("easy/1", 1.0, 2))
    pools, expected = {"easy": 2, "medium": 1, "hard": 1}, ["hard/0", "easy/1", "easy/0", "medium/0"]
    for count in range(1, 5):
        assert set(drawn(rates, pools, count, retire_after=9)) == set(expected[:count])


def test_a_pool_that_is_too_small_is_made_up_for_by_medium_ones_first() -> None:
    pools = {"easy": 1, "medium": 20, "hard": 20}
    # Wanted are 4 easy, 4 hard, 4 medium: three easy ones are lacking.
    assert by_pool(drawn(of_pools(**pools), pools, 12, easy=1 / 3, hard=1 / 3)) == {"easy": 1, "hard": 4, "medium": 7}
    pools = {"easy": 20, "medium": 2, "hard": 2}
    assert by_pool(drawn(of_pools(**pools), pools, 12, easy=1 / 3, hard=1 / 3)) == {"easy": 8, "hard": 2, "medium": 2}


def test_a_draw_larger_than_the_data_is_all_of_it_once() -> None:
    pools = {"easy": 2, "medium": 2, "hard": 2}
    found = drawn(of_pools(**pools), pools, 100, easy=0.5, hard=0.1)
    assert sorted(found) == sorted(f"{pool}/{number}" for pool in pools for number in range(2))


def test_within_a_pool_the_least_recently_seen_come_first_and_new_ones_before_all() -> None:
    rates = recorded(*((f"medium/{number}", 0.5, step) for number, step in enumerate((9, 2, 7, 4, 5))))
    pools = {"medium": 7}  # 5 and 6 are new
    expected = ["medium/5", "medium/6", "medium/1", "medium/3", "medium/4", "medium/2", "medium/0"]
    for count in range(2, 8):
        assert set(drawn(rates, pools, count, retire_after=1)) == set(expected[:count])


def test_new_problems_are_medium_ones() -> None:
    pools = {"easy": 5, "new": 5, "hard": 5}
    found = by_pool(drawn(of_pools(easy=5, hard=5), pools, 6, easy=1 / 3, hard=1 / 3))
    assert found == {"easy": 2, "new": 2, "hard": 2}


def test_a_retired_problem_is_drawn_only_where_no_other_is_left() -> None:
    rates = recorded(*((f"solved/{number}", 1.0, step) for number in range(3) for step in (1, 2)), ("hard/0", 0.0, 3))
    pools = {"solved": 3, "hard": 1, "new": 1}
    settings = {"easy": 0.5, "hard": 0.5}
    assert sorted(drawn(rates, pools, 2, retire_after=2, **settings)) == ["hard/0", "new/0"]
    assert by_pool(drawn(rates, pools, 4, retire_after=2, **settings)) == {"solved": 2, "hard": 1, "new": 1}
    assert by_pool(drawn(rates, pools, 2, retire_after=3, **settings)) == {"solved": 1, "hard": 1}  # not yet retired


def test_a_retired_problem_that_is_failed_again_is_back() -> None:
    rates = recorded(("solved/0", 1.0, 1), ("solved/0", 1.0, 2), ("new/0", 0.5, 3))
    pools = {"solved": 1, "new": 1}
    assert drawn(rates, pools, 1, retire_after=2) == ["new/0"]
    rates.record("solved/0", 0.0, 4)  # drawn after all, because nothing else was left
    rates.record("new/0", 0.5, 5)
    assert drawn(rates, pools, 1, retire_after=2) == ["solved/0"]


def test_problems_to_do_without_come_after_all_others_even_retired_ones() -> None:
    pools = {"solved": 2, "new": 3}
    rates = recorded(("solved/0", 1.0, 1), ("solved/1", 1.0, 1))
    taken = ["new/0", "new/1"]
    found = drawn(rates, pools, 3, without=taken, retire_after=1)
    assert sorted(found) == ["new/2", "solved/0", "solved/1"]
    assert set(drawn(rates, pools, 5, without=taken, retire_after=1)) > set(taken)


shares = st.one_of(st.just((None, None)), st.tuples(st.floats(0.01, 0.5), st.floats(0.01, 0.5)))


@given(visits, st.integers(1, 12), shares, st.integers(0, 2), st.sets(st.sampled_from("abcdefgh")), st.text())
def test_every_draw_has_as_many_problems_as_asked_for_and_none_twice(
    visits: list[tuple[str, float, int]],
    count: int,
    shares: tuple[float | None, float | None],
    retire_after: int,
    without: set[str],
    seed: str,
) -> None:
    prompts, settings = (
        [prompt(name) for name in "abcdefgh"],
        Curriculum(easy=shares[0], hard=shares[1], retire_after=retire_after),
    )
    found = draw_by_difficulty(prompts, recorded(*visits), count, settings, seed=seed, without=without)
    assert len(found) == len(set(names(found))) == min(count, 8)
    fresh = 8 - len(without)
    assert len(without & set(names(found))) == max(0, len(found) - fresh)
    again = draw_by_difficulty(prompts, recorded(*visits), count, settings, seed=seed, without=without)
    assert names(again) == names(found)


def test_a_seed_decides_among_equals_and_their_order() -> None:
    pools = {"medium": 50}
    first, second = (drawn(SolveRates(), pools, 10, seed=seed, easy=0.5, hard=0.1) for seed in ("0/1", "0/2"))
    assert set(first) != set(second)
    whole = drawn(SolveRates(), pools, 50, seed="0", easy=0.5, hard=0.1)
    assert whole != sorted(whole) and whole != drawn(SolveRates(), pools, 50, seed="1", easy=0.5, hard=0.1)


def test_the_parts_of_a_draw_are_mixed_so_that_several_updates_share_them_out() -> None:
    pools = {"easy": 16, "medium": 16, "hard": 16}
    found = drawn(of_pools(**pools), pools, 48, easy=1 / 3, hard=1 / 3)
    assert all(len(by_pool(found[start : start + 24])) == 3 for start in (0, 24))


def test_the_draws_of_a_curriculum_are_the_same_on_every_machine() -> None:
    # A checkpoint may be resumed elsewhere: these must never change.
    pools = {"easy": 3, "medium": 3, "hard": 3}
    found = drawn(of_pools(**pools), pools, 5, seed="0/curriculum/6/32", easy=0.2, hard=0.4)
    assert found == ["hard/1", "medium/2", "hard/2", "easy/0", "medium/1"]
