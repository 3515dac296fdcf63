"""The order of problems: a pure function of (seed, step) in which nothing is skipped or repeated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.problems import draw

sizes = st.integers(1, 40)
counts = st.integers(1, 60)
seeds = st.integers(0, 2**32)


@given(sizes, counts, seeds, st.booleans(), st.integers(1, 8))
def test_every_epoch_holds_every_problem_exactly_once(total, count, seed, shuffle, epochs):
    problems = list(range(total))
    steps = -(-epochs * total // count)
    stream = [item for step in range(steps) for item in draw(problems, step, count, seed=seed, shuffle=shuffle)]
    for epoch in range(epochs):
        assert sorted(stream[epoch * total : (epoch + 1) * total]) == problems


@given(sizes, counts, seeds, st.lists(st.integers(0, 50), min_size=1, max_size=6))
def test_a_step_does_not_depend_on_which_steps_came_before(total, count, seed, steps):
    problems = list(range(total))
    forwards = {step: draw(problems, step, count, seed=seed, shuffle=True) for step in steps}
    for step in reversed(steps):
        assert draw(problems, step, count, seed=seed, shuffle=True) == forwards[step]


@given(sizes, counts, st.integers(0, 20))
def test_without_shuffling_the_source_is_read_round_and_round(total, count, step):
    expected = [position % total for position in range(step * count, (step + 1) * count)]
    assert draw(range(total), step, count, seed=7, shuffle=False) == expected


def test_a_step_goes_over_the_boundary_of_an_epoch_and_not_around_it():
    # positions 2, 3 of "a b c": the last problem of epoch 0 and the first of epoch 1
    assert draw("abc", 1, 2, seed=0, shuffle=False) == ["c", "a"]


def test_epochs_and_seeds_differ_in_order():
    hundred = range(100)
    first = draw(hundred, 0, 100, seed=0, shuffle=True)
    assert first != list(hundred)
    assert first != draw(hundred, 1, 100, seed=0, shuffle=True)
    assert first != draw(hundred, 0, 100, seed=1, shuffle=True)


def test_the_order_is_the_same_on_every_machine():
    # A checkpoint may be resumed elsewhere: these numbers must never change.
    assert draw(range(10), 0, 10, seed=0, shuffle=True) == [1, 0, 2, 4, 9, 3, 8, 6, 7, 5]


def test_no_problems_are_refused():
    with pytest.raises(ValueError, match="must not be empty"):
        draw([], 0, 1, seed=0, shuffle=True)
