"""A reward says what it is; what it says is checked where it is said."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards import Declaration, Score, declaration_of, declare
from rewards.code_tests import code
from rewards.language import language
from rewards.layout import layout
from rewards.length import length
from rewards.math_answer import math
from rewards.readability import readability
from rewards.repetition import repetition

declared = st.builds(
    Declaration,
    needs=st.lists(st.text()).map(tuple),
    timeout=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    rejected_golds=st.sampled_from(["report", "drop", "ignore"]),
)


@given(declared)
def test_what_is_declared_is_read_back_and_the_function_is_the_same(declaration: Declaration) -> None:
    def reward(completion: str, problem: Any) -> float:
        return 0.25

    marked = declare(needs=declaration.needs, timeout=declaration.timeout, rejected_golds=declaration.rejected_golds)(
        reward
    )
    assert marked is reward
    assert declaration_of(reward) == declaration
    assert reward("", {}) == 0.25


@given(declared)
def test_an_attribute_set_by_hand_declares_as_much(declaration: Declaration) -> None:
    def reward(completion: str, problem: Any) -> float:
        return 1.0

    reward.declaration = declaration  # type: ignore[attr-defined]
    assert declaration_of(reward) == declaration


def test_a_wrapped_reward_declares_what_the_one_inside_does() -> None:
    @declare(timeout=9.0)
    def inside(completion: str, problem: Any) -> float:
        return 1.0

    @functools.wraps(inside)
    def outside(*given: Any) -> float:
        return inside(*given)

    assert declaration_of(outside).timeout == 9.0


def test_a_function_that_declares_nothing_needs_nothing_has_5_s_and_its_golds_are_reported() -> None:
    assert declaration_of(lambda completion, problem: 1.0) == Declaration((), 5.0, "report") == Declaration()


def test_the_built_in_rewards_declare_what_a_run_used_to_know_of_them() -> None:
    assert declaration_of(math) == Declaration(needs=("answer",))
    assert declaration_of(code) == Declaration(timeout=60.0, rejected_golds="drop")
    assert declaration_of(language) == Declaration(timeout=20.0, rejected_golds="ignore")
    for reward in (layout, length, repetition, readability):
        assert declaration_of(reward) == Declaration(rejected_golds="ignore")


@pytest.mark.parametrize("needs", ["answer", ["answer"], (1,), None])
def test_needs_that_are_no_names_are_refused(needs: Any) -> None:
    with pytest.raises(
        ValueError, match=r'^Declaration.needs: must be a tuple of names, such as \("answer",\) \(given '
    ):
        declare(needs=needs)


@pytest.mark.parametrize("timeout", [0, -1.0, float("inf"), float("nan"), True, "5", None])
def test_a_timeout_that_is_no_time_is_refused(timeout: Any) -> None:
    with pytest.raises(ValueError, match=r"^Declaration.timeout: must be seconds, a number above 0"):
        replace(Declaration(), timeout=timeout)


def test_another_word_for_rejected_golds_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"must be one of report, drop, ignore \(given 'warn'\)$"):
        declare(rejected_golds="warn")  # type: ignore[arg-type]


def test_an_attribute_that_is_no_declaration_is_refused() -> None:
    def reward(completion: str, problem: Any) -> float:
        return 1.0

    reward.declaration = {"timeout": 3}  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"`declaration` must be a rewards.Declaration \(given \{'timeout': 3\}\)"):
        declaration_of(reward)


def test_a_score_has_no_failure_unless_a_runner_says_so() -> None:
    assert Score(1.0).failure is None
    assert Score.none("no idea").failure is None
