"""Values: physics formulas rewritten, nested roots, an exact value with its decimal beside it."""

from __future__ import annotations

import math
import random

import pytest

from rewards.math_answer import verify_answer


def told(gold: str, answer: str) -> set[bool]:
    return {
        verify_answer(*pair, policy).ok for pair in ((gold, answer), (answer, gold)) for policy in ("train", "eval")
    }


FORMULAS = [
    (r"\frac{v_0^2 \sin 2\theta}{g}", r"\frac{2 v_0^2 \sin\theta\cos\theta}{g}"),
    (r"\frac{v_0^2 \sin^2\theta}{2g}", r"\frac{v_0^2 (1 - \cos 2\theta)}{4g}"),
    (r"\sqrt{2gh}", r"\sqrt2 \sqrt{g} \sqrt{h}"),
    (r"v_0 \sqrt{\frac{2h}{g}}", r"\frac{v_0 \sqrt{2h}}{\sqrt{g}}"),
    (r"2\pi\sqrt{\frac{L}{g}}", r"\frac{2\pi\sqrt{L}}{\sqrt{g}}"),
    (r"\frac{m_1 v_1 + m_2 v_2}{m_1 + m_2}", r"v_1 + \frac{m_2 (v_2 - v_1)}{m_1 + m_2}"),
    (r"\frac{R_1 R_2}{R_1 + R_2}", r"\frac{1}{\frac{1}{R_1} + \frac{1}{R_2}}"),
    (r"\frac{1}{2} k x^2 - \mu m g x", r"x (\frac{k x}{2} - \mu m g)"),
]


@pytest.mark.parametrize(("one", "other"), FORMULAS)
def test_a_formula_equals_its_rewriting_and_no_neighbour(one: str, other: str) -> None:
    assert told(one, other) == {True}
    assert told(rf"E = {one}", rf"E = {other}") == {True}
    assert told(one, rf"2 ({other})") == {False}
    assert told(one, rf"-({other})") == {False}
    assert told(one, rf"{other} + 10^{{-9}}") == {False}
    index = "1" if "_1" in other else "0"
    if f"_{index}" in other:
        assert told(one, other.replace(f"_{index}", "_3")) == {False}


@pytest.mark.parametrize("seed", range(20))
def test_a_nested_root_equals_its_sum_of_roots(seed: int) -> None:
    """√a + √b = √(a + b + 2 √(ab))"""
    source = random.Random(seed)
    a, b = source.sample([2, 3, 5, 6, 7, 10, 11], 2)
    nested = rf"\sqrt{{{a + b} + 2\sqrt{{{a * b}}}}}"
    assert told(nested, rf"\sqrt{{{a}}} + \sqrt{{{b}}}") == {True}
    assert told(rf"\sqrt{{{a} + {nested}}}", rf"\sqrt{{{a} + \sqrt{{{b}}} + \sqrt{{{a}}}}}") == {True}
    assert told(nested, rf"\sqrt{{{a}}} + \sqrt{{{b + 1}}}") == {False}
    assert told(rf"\sqrt{{{a + b} - 2\sqrt{{{a * b}}}}}", rf"\sqrt{{{min(a, b)}}} - \sqrt{{{max(a, b)}}}") == {False}
    assert told(nested, rf"\sqrt{{{a}}} + \sqrt{{{b}}} + 10^{{-60}}") == {False}


EXACT = {r"\sqrt2": 2**0.5, r"-\sqrt5": -(5**0.5), r"\pi": math.pi, r"\frac{22}{7}": 22 / 7, r"-\frac{2}{3}": -2 / 3}


@pytest.mark.parametrize("places", [1, 2, 3, 6])
@pytest.mark.parametrize("exact", EXACT)
def test_a_decimal_beside_the_exact_value_must_be_its_rounding(exact: str, places: int) -> None:
    value = EXACT[exact]
    rounded, unit = round(value, places), 10**-places
    cut = math.trunc(value / unit) * unit
    for decimal in (rounded, cut):
        beside = rf"{exact} \approx {decimal:.{places}f}"
        assert told(exact, beside) == {True}, beside
        assert told(exact, f"x = {beside}") == {True}, beside
        assert told(r"\sqrt7", beside) == {False}
    for wrong in (rounded + 2 * unit, rounded - 2 * unit, -rounded, rounded + math.copysign(unit, value)):
        assert told(exact, rf"{exact} \approx {wrong:.{places}f}") == {False}, wrong
    assert told(exact, rf"{exact} = {rounded:.{places}f}") == {False}
