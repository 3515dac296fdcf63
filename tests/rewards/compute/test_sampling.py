"""Equality by computation: different numbers part however close they are, equal forms agree."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.math_answer.compute.budget import Budget
from rewards.math_answer.compute.sampling import proportional, same_value
from rewards.math_answer.read.answers import parse


def same(a: str, b: str) -> bool | None:
    return same_value(parse(a), parse(b), Budget())


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (r"\sqrt2+\sqrt3", r"\sqrt{5+2\sqrt6}"),
        (r"\sqrt{2}+\sqrt{3}-\sqrt{5+2\sqrt6}", "0"),  # zero but for rounding
        (r"\cos 36^\circ", r"\frac{1+\sqrt5}{4}"),
        (r"-\tan(4\pi/9)+4\cos(\pi/18)", r"-\sqrt3"),
        (r"e^{i\pi}", "-1"),
        (r"2\arcsin\sqrt{a}", r"\arccos(1-2a)"),  # only defined for 0 ≤ a ≤ 1
        (r"\sqrt{x^2}", "|x|"),
        (r"2\ln x", r"\ln x^2"),  # where both have a real value
        (r"\frac{x^2-1}{x-1}", "x+1"),
        (r"(-1)^n", r"(-1)^{n+2}"),
        (r"\cos(n\pi)", "(-1)^n"),
        (r"\sum_{k=1}^n k^2", r"\frac{n(n+1)(2n+1)}{6}"),
        ("f(4-x)", "f(-(x-4))"),
    ],
)
def test_equal_forms_agree(a: str, b: str) -> None:
    assert same(a, b) is True
    assert same(b, a) is True


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (r"\frac{1}{100!}\pi", r"\frac{1}{101!}\pi"),  # both tiny
        (r"\sqrt{10^{72}+7}", r"\sqrt{10^{72}+9}"),  # parted by one part in 10^72
        (r"e^{\pi\sqrt{163}}", "262537412640768744"),  # nearly whole: 7.5e-13 below
        (r"\sqrt{2}", "1.4142135623730950488016887242096980785696718753769"),  # its first 50 digits
        (r"\sqrt{x^2}", "x"),
        (r"\lfloor x \rfloor", r"\lceil x-1 \rceil"),  # equal but at whole numbers
        (r"2^{k-n}", "2^k-n"),
        ("x^{10000}-1", "x^{10000}-2"),
        ("f(x)", "f(y)"),
        (r"\tan(x+y+z+w)", r"\tan(x+y+z-w)"),
    ],
)
def test_different_forms_part(a: str, b: str) -> None:
    assert same(a, b) is False
    assert same(b, a) is False


@pytest.mark.parametrize("a", [r"\frac{1}{0}", r"\ln 0", r"\tan\frac{\pi}{2}", r"\Gamma(10^{9})", r"e^{e^{e^{99}}}"])
def test_what_has_no_value_is_undecided(a: str) -> None:
    assert same(a, "1") is None


def test_a_number_beyond_the_precision_is_not_called_equal() -> None:
    assert same("2^{10^9}\\pi", "2^{10^9}\\pi+1") is None


def test_proportional_knows_the_sign_of_the_factor() -> None:
    assert proportional(parse("2x+4y"), parse("x+2y"), Budget()) == 1
    assert proportional(parse("-x"), parse("x"), Budget()) == -1
    assert proportional(parse("x+1"), parse("x+2"), Budget()) is None
    assert proportional(parse("x^2"), parse("x"), Budget()) is None


@settings(max_examples=30)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(-20, 20))
def test_an_expanded_product_equals_itself_and_not_its_neighbour(a: int, b: int, c: int) -> None:
    left = f"({a}x+{b})(x-{c})" if c >= 0 else f"({a}x+{b})(x+{-c})"
    middle = b - a * c
    right = f"{a}x^2{middle:+d}x{-b * c:+d}"
    assert same(left, right) is True
    assert same(left, right + "+1") is False
