"""Chains: worth their last member, and nothing where two of their numbers differ."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.math_answer import verify, verify_answer

NUMBERS = st.integers(-99, 99)
LABELS = st.sampled_from(
    ["x", "y", "f(x)", "A", "AB", r"\text{Area}", r"\angle ABC", "x = y", "a_1", "|AB|", "S = f(x)"]
)
UNITS = st.sampled_from(["", r"\text{ cm}", r"\%", r"^\circ"])


def ok(gold: str, answer: str) -> bool:
    return any(verify_answer(gold, answer, policy).ok for policy in ("train", "eval"))


@settings(max_examples=60)
@given(LABELS, st.lists(NUMBERS, min_size=2, max_size=5), UNITS, st.sampled_from([" = ", r" \approx ", r" \equiv "]))
def test_a_chain_with_two_numbers_that_differ_is_never_accepted(
    label: str, numbers: list[int], unit: str, sign: str
) -> None:
    chain = sign.join(f"{number}{unit}" for number in numbers)
    for text in (chain, f"{label} = {chain}", f"{chain} = x", f"z = 2, {label} = {chain}"):
        for number in numbers:
            for gold in (str(number), f"{number}{unit}", f"(2, {number})"):
                same = len(set(numbers)) == 1 and (gold[0] == "(") == text.startswith("z")
                assert ok(gold, text) <= same, (gold, text)
        if len(set(numbers)) > 1:
            assert not verify(str(numbers[-1]), rf"\boxed{{{text}}}").ok


@settings(max_examples=60)
@given(LABELS, st.integers(2, 60), st.integers(2, 60))
def test_a_chain_whose_members_are_equal_is_its_last(label: str, one: int, other: int) -> None:
    for text in (f"{label} = {one} + {other} = {one + other}", rf"{label} = \frac{{{one * other}}}{{{other}}} = {one}"):
        gold = text.rpartition("= ")[2]
        assert ok(gold, text) and not ok(str(int(gold) + 1), text)


@settings(max_examples=60)
@given(st.integers(2, 40))
def test_members_with_variables_of_the_question_are_believed(radius: int) -> None:
    area = rf"{radius**2}\pi"
    assert ok(area, rf"A = \pi r^2 = {area}") and ok(area, rf"A = \pi r^2 = \pi \cdot {radius}^2 = {area}")
    assert not ok(area, rf"A = \pi r^2 = {radius}\pi = {area}") and not ok(area, rf"A = 5 = \pi r^2 = {area}")


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        ("1, 2", "1, 1, 2", False),  # a list counts its items
        ("1, 1, 2", "2, 1, 1", True),
        ("5", "5, 5", False),
        ("5", "5 5 5", False),
        (r"\{1,2\}", r"\{1,1,2\}", True),  # a set does not
        (r"\{1,2\}", "1, 1, 2", False),
        ("(1,2),(3,4)", "(3,4),(1,2),(3,4)", True),  # points are solutions
        ("3/5", "3/5 or 0.6", True),  # one answer, written twice
        ("(1,1,2)", "(1,2)", False),
    ],
)
def test_how_often_an_item_stands(gold: str, answer: str, right: bool) -> None:
    for one, other in ((gold, answer), (answer, gold)):
        assert ok(one, other) is right
