"""The order of problems: a pure function of (seed, number drawn before) in which nothing is skipped or repeated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.problems import draw

sizes = st.integers(1, 40)
counts = st.integers(1, 60)
seeds = st.integers(0, 2**32)


@given(sizes, counts, seeds, st.integers(1, 8))
def test_every_epoch_holds_every_problem_exactly_once(total, count, seed, epochs):
    problems = list(range(total))
    steps = -(-epochs * total // count)
    stream = [item for step in range(steps) for item in draw(problems, step * count, count, seed=seed)]
    for epoch in range(epochs):
        assert sorted(stream[epoch * total : (epoch + 1) * total]) == problems


@given(sizes, counts, seeds, st.lists(st.integers(0, 3000), min_size=1, max_size=6))
def test_a_draw_does_not_depend_on_which_draws_came_before(total, count, seed, places):
    problems = list(range(total))
    forwards = {drawn: draw(problems, drawn, count, seed=seed) for drawn in places}
    for drawn in reversed(places):
        assert draw(problems, drawn, count, seed=seed) == forwards[drawn]


@given(sizes, seeds, st.lists(counts, min_size=1, max_size=8))
def test_draws_of_any_sizes_are_pieces_of_one_order(total, seed, parts):
    """Several rounds of sampling in a step draw unequal numbers of problems."""
    drawn, pieces = 0, []
    for count in parts:
        pieces += draw(range(total), drawn, count, seed=seed)
        drawn += count
    assert pieces == draw(range(total), 0, drawn, seed=seed)


def test_a_draw_goes_over_the_boundary_of_an_epoch_and_not_around_it():
    # positions 2, 3 of three problems: the last of epoch 0 and the first of epoch 1
    first, second = (draw("abc", start, 3, seed=0) for start in (0, 3))
    assert first != second
    assert draw("abc", 2, 2, seed=0) == [first[2], second[0]]


def test_epochs_and_seeds_differ_in_order():
    hundred = range(100)
    first = draw(hundred, 0, 100, seed=0)
    assert first != list(hundred)
    assert first != draw(hundred, 100, 100, seed=0)
    assert first != draw(hundred, 0, 100, seed=1)


def test_the_order_is_the_same_on_every_machine():
    # A checkpoint may be resumed elsewhere: these numbers must never change.
    assert draw(range(10), 0, 10, seed=0) == [1, 0, 2, 4, 9, 3, 8, 6, 7, 5]


def test_an_order_of_no_problems_is_refused():
    with pytest.raises(ValueError, match="must not be empty"):
        draw([], 0, 1, seed=0)
