"""Marks: percent and degree signs, units, currencies, moduli."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.math_answer import verify_answer

MARKS = [r"{}\%", r"{}^\circ", r"{}\text{{ cm}}", r"{}\text{{ seconds}}", r"\${}", r"{} \pmod{{997}}"]


@given(st.integers(2, 500))
def test_a_mark_may_be_left_out_but_is_no_other_mark(value: int) -> None:
    for policy in ("train", "eval"):
        for one, other in itertools.permutations(MARKS, 2):
            pair = one.format(value), other.format(value)
            assert not verify_answer(*pair, policy).ok, pair
        for mark in MARKS:
            assert verify_answer(mark.format(value), str(value), policy).ok
            assert verify_answer(mark.format(value), mark.format(value), policy).ok


@pytest.mark.parametrize("gold", [r"25\%", r"25\% \text{ of students}"])
@pytest.mark.parametrize("answer", [r"25\%", "25 percent", r"25\% \text{ of students}", r"\frac14"])
def test_what_a_percentage_is_of_may_be_said(gold: str, answer: str) -> None:
    assert verify_answer(gold, answer).ok


@pytest.mark.parametrize("word", ["never", "smaller", "squared", "of 30"])
def test_words_after_a_percentage_must_be_known_to_count_something(word: str) -> None:
    assert not verify_answer(r"25\%", rf"25\% \text{{ {word}}}").ok


@pytest.mark.parametrize("joint", [r"\text{ or }", ", ", r"\text{ and }"])
def test_two_values_of_one_name_are_not_one_value_each_of_two_names(joint: str) -> None:
    for gold, answer in (("m=5, n=6", f"m=5{joint}6"), (f"x=6{joint}7", "x=6, y=7")):
        assert not verify_answer(gold, answer).ok
        assert not verify_answer(answer, gold).ok
    assert verify_answer("m=5, n=6", "(5, 6)").ok
    assert verify_answer("5, 6", f"m=5{joint}6").ok


@pytest.mark.parametrize("joint", [" or ", ", ", r" \text{ and } ", r"\\ "])
def test_one_number_under_two_marks_is_no_answer(joint: str) -> None:
    marks = [mark.format(5) for mark in (*MARKS, r"{}\text{{ m}}", r"{}\text{{ apples}}")]
    for one, other in [*itertools.permutations(marks, 2), ("(A) 5", "(B) 5"), ("(A) 5", "(C) 5.0")]:
        for gold in ("5", one, other):
            for policy in ("train", "eval"):
                assert not verify_answer(gold, f"{one}{joint}{other}", policy).ok, (gold, one, other)
