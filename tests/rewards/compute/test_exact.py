"""Exact arithmetic: right where it answers, and refusing what is too large before it computes it."""

from __future__ import annotations

import math
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.math_answer.compute.exact import rational
from rewards.math_answer.read.answers import parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2^{10}", 1024),
        ("2^{-2}", Fraction(1, 4)),
        (r"\sqrt{49}", 7),
        (r"\sqrt[3]{-8}", -2),  # odd roots are real
        ("8^{2/3}", 4),
        ("5!", 120),
        (r"\binom{5}{2}", 10),
        (r"\frac{10!}{8!}", 90),
        (r"\lfloor 3.7 \rfloor", 3),
        (r"\lceil -3.7 \rceil", -3),
        (r"\gcd(12, 18)", 6),
        (r"\max(1, 3, 2)", 3),
        (r"17 \bmod 5", 2),
        ("|-5|", 5),
        (r"25\%", Fraction(1, 4)),
        ("1-2-3", -4),
        ("8/2/2", 2),
        ("2^3^2", 512),  # from the right: 2^9
        ("1/2*4", 2),  # from the left
        ("-2^2", -4),
    ],
)
def test_values(text: str, value: int | Fraction) -> None:
    assert rational(parse(text)) == value


@pytest.mark.parametrize(
    "text", ["1/0", "0^{-1}", r"\sqrt{2}", r"\sqrt{-4}", "x", r"\pi", "0/0", r"\binom{-1}{0.5}", "(-1)!"]
)
def test_what_is_no_rational_number_is_none(text: str) -> None:
    assert rational(parse(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "9^{9^{9}}",
        "10^{10^{10}}",
        "1000000!",
        "((10^{99})^{99})^{99}",
        "2^{2^{2^{2^{2^{2}}}}}",
        r"\binom{10^9}{10^8}",
        "1/10^{10^{10}}",
    ],
)
def test_what_is_too_large_is_refused_at_once(text: str) -> None:
    start = time.process_time()
    assert rational(parse(text)) is None
    assert time.process_time() - start < 1.0  # seconds


@given(st.integers(0, 10**30), st.integers(1, 7))
def test_roots_undo_powers(base: int, degree: int) -> None:
    assert rational(parse(rf"\sqrt[{degree}]{{{base**degree}}}")) == base


@given(st.integers(2, 10**12).filter(lambda value: math.isqrt(value) ** 2 != value))
def test_a_number_that_is_no_square_has_no_rational_root(value: int) -> None:
    assert rational(parse(rf"\sqrt{{{value}}}")) is None
