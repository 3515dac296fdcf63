"""Integrals, series and limits: right values by the laws that connect them, none for what has none, and no more work
for a nasty function than for a nice one."""

from __future__ import annotations

import contextlib
import itertools

import pytest
import sympy

from rewards.math_answer.compute import calculus
from rewards.math_answer.compute.budget import Budget, Undefined
from rewards.math_answer.compute.numeric import context
from rewards.math_answer.compute.sampling import same_value
from rewards.math_answer.read.answers import parse

X = sympy.Symbol("x")
SMOOTH = [X**3 - X, sympy.sin(2 * X), sympy.exp(-X), sympy.log(X + 1), sympy.atan(X), X * sympy.cos(X), 1 / (X + 2)]
ROUGH = [sympy.sqrt(X), X * sympy.log(X), sympy.asin(X), X ** sympy.Rational(2, 3)]  # infinite slopes at 0 or 1


def same(one: str, other: str) -> bool | None:
    return same_value(parse(one), parse(other), Budget())


@pytest.mark.parametrize("function", SMOOTH + ROUGH, ids=str)
def test_an_integral_of_a_derivative_is_the_difference_of_its_ends(function: sympy.Expr) -> None:
    """∫₀¹ F' = F(1) - F(0), with sympy for the derivative."""
    integral = rf"\int_0^1 ({sympy.latex(sympy.diff(function, X), ln_notation=True)}) dx"
    value = sympy.latex(function.subs(X, 1) - sympy.limit(function, X, 0), ln_notation=True)
    assert same(integral, value) is True
    assert same(integral, f"{value} + 10^{{-6}}") is False


@pytest.mark.parametrize("function", SMOOTH, ids=str)
def test_a_derivative_is_the_limit_of_slopes_and_an_integral_to_x_its_antiderivative(function: sympy.Expr) -> None:
    slope = sympy.latex(sympy.diff(function, X), ln_notation=True)
    moved = sympy.latex(function.subs(X, X + sympy.Symbol("h")), ln_notation=True)
    at_t = sympy.latex(sympy.diff(function, X).subs(X, sympy.Symbol("t")), ln_notation=True)
    here, start = (sympy.latex(value, ln_notation=True) for value in (function, function.subs(X, 0)))
    assert same(rf"\lim_{{h \to 0}} \frac{{{moved} - ({here})}}{{h}}", slope) is True
    assert same(rf"\lim_{{h \to 0}} \frac{{{moved} - ({here})}}{{h}}", f"{slope} + 10^{{-6}}") is False
    assert same(rf"\int_0^x ({at_t}) dt", f"{here} - ({start})") is True
    assert same(rf"\int_0^x ({at_t}) dt", f"{here} - ({start}) + 10^{{-6}}") is False


SERIES = [
    *((rf"\sum_{{k=0}}^{{\infty}} \frac{{1}}{{{q}^k}}", rf"\frac{{{q}}}{{{q} - 1}}") for q in (2, 3, 10)),
    *((rf"\sum_{{k=1}}^{{\infty}} \frac{{k}}{{{q}^k}}", rf"\frac{{{q}}}{{({q} - 1)^2}}") for q in (2, 3, 10)),
    *((rf"\sum_{{k=1}}^{{\infty}} \frac{{{n}}}{{k(k+{n})}}", rf"\sum_{{k=1}}^{{{n}}} \frac1k") for n in (1, 4)),
    (r"\sum_{k=1}^{\infty} \frac{1}{k^2}", r"\frac{\pi^2}{6}"),
    (r"\sum_{k=1}^{\infty} \frac{(-1)^{k+1}}{k}", r"\ln 2"),
    (r"\sum_{k=0}^{\infty} \frac{x^k}{k!}", "e^x"),
    (r"\sum_{k=0}^{\infty} x^k", r"\frac{1}{1-x}"),  # where it converges
    (r"\sum_{k=0}^{\infty} \binom{5}{k}", "32"),
    (r"\prod_{k=2}^{\infty} (1 - \frac{1}{k^2})", r"\frac12"),
    (r"\int_{-\infty}^{\infty} e^{-x^2} dx", r"\sqrt\pi"),
    (r"\int_{-\infty}^0 e^x dx", "1"),
    (r"\int_1^0 x dx", r"-\frac12"),
    (r"\lim_{n \to \infty} (1 + \frac{1}{n})^n", "e"),
    (r"\lim_{n \to \infty} n^{1/n}", "1"),
    (r"\lim_{n \to \infty} \frac{n!}{n^n}", "0"),
    (r"\lim_{x \to 0} x \ln |x|", "0"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SERIES)
def test_known_values(one: str, other: str) -> None:
    assert same(one, other) is True
    assert same(one, f"{other} + 10^{{-6}}") is not True


@pytest.mark.parametrize(
    ("nothing", "tempting"),
    [
        (r"\sum_{k=1}^{\infty} k", r"-\frac{1}{12}"),
        (r"\sum_{k=0}^{\infty} 2^k", "-1"),
        (r"\sum_{k=0}^{\infty} (-1)^k", r"\frac12"),
        (r"\sum_{k=1}^{\infty} \frac1k", "0.5772"),
        (r"\sum_{k=1}^{\infty} (-1)^k k", r"-\frac14"),
        (r"\prod_{k=1}^{\infty} (1 + \frac1k)", "0"),
        (r"\int_0^1 \frac1x dx", "100"),
        (r"\int_1^{\infty} \frac1x dx", "100"),
        (r"\int_{-1}^1 \frac1x dx", "0"),
        (r"\lim_{x \to 0} \frac1x", "0"),
        (r"\lim_{x \to 0} \frac{|x|}{x}", "1"),
        (r"\lim_{n \to \infty} n", "0"),
        (r"\lim_{n \to \infty} \ln n", "0"),
        (r"\lim_{n \to \infty} (-1)^n", "1"),
        (r"\lim_{n \to \infty} (-1)^n", "0"),
        (r"\lim_{x \to 0} \sin \frac{\pi}{x}", "0"),
        (r"\lim_{x \to 0} \cos \frac{2\pi}{x}", "1"),
        (r"\lim_{n \to \infty} \sin n", "0"),
    ],
)
def test_what_diverges_has_no_value(nothing: str, tempting: str) -> None:
    assert same(nothing, tempting) is not True
    assert same(nothing, f"{tempting} + 1") is not True


def test_the_number_of_values_does_not_depend_on_the_function() -> None:
    ctx = context()
    counts = set()
    for body in (lambda x: x, lambda x: ctx.sin(10**6 * x), lambda x: 1 / x, lambda x: ctx.floor(9 * x)):
        calls = itertools.count()

        def counted(x: object, body=body, calls=calls) -> object:  # type: ignore[no-untyped-def]
            next(calls)
            return body(x)

        ctx.dps = 30
        with contextlib.suppress(Undefined):
            calculus.integral(ctx, counted, ctx.zero, ctx.one, 10)
        counts.add(next(calls))
    assert len(counts) == 1 and counts.pop() < 200


def test_vanishing_is_for_integrals_alone() -> None:
    assert same("e^{-10^{10}}", "0") is not True
    assert same("1 + 2^{-10^{100}}", "1") is not True
    assert same(r"\int_0^{\infty} e^{-x} dx", "1") is True  # e^(-10^20) among its values
