"""Answers with a bound name: what it is called and where it starts to count says nothing, all else does."""

from __future__ import annotations

import random

import pytest

from rewards.math_answer import verify_answer

FRACTIONS = [r"\frac{\pi}{6}", r"\frac{\pi}{4}", r"\frac{\pi}{3}", r"\frac{2\pi}{3}", "1", r"\frac{5\pi}{12}"]
PERIODS = [r"\pi", r"2\pi", r"\frac{\pi}{2}", r"\frac{2\pi}{3}", "4"]
INTEGERS = r"\in\mathbb{Z}"


def told(gold: str, answer: str) -> set[bool]:
    return {
        verify_answer(*pair, policy).ok for pair in ((gold, answer), (answer, gold)) for policy in ("train", "eval")
    }


@pytest.mark.parametrize("seed", range(30))
def test_a_family_under_another_name_and_start(seed: int) -> None:
    source = random.Random(seed)
    start, period = source.choice(FRACTIONS), source.choice(PERIODS)
    name, turns, label = source.choice("kmn"), source.choice((-3, -1, 1, 2)), source.choice(("", "x = "))
    gold = rf"{label}{start} + k({period}), k {INTEGERS}"
    again = rf"{label}{start} + ({turns})({period}) {source.choice('+-')} {name}({period})"
    assert told(gold, rf"{again}, {name} {INTEGERS}") == {True}
    assert told(gold, rf"\{{{again.removeprefix(label)} : {name} {INTEGERS}\}}") == {True}
    if "pi" in start + period:
        assert told(gold, again) == {True}  # that the name is whole need not be said twice
    for wrong in (
        rf"{again} + \frac{{{period}}}{{7}}, {name} {INTEGERS}",
        rf"{start} + 2{name}({period}), {name} {INTEGERS}",
        rf"{start} + \frac{{{name}({period})}}{{2}}, {name} {INTEGERS}",
        rf"{start} + {name}^2({period}), {name} {INTEGERS}",
        rf"{start} + {name}({period}), {name} \in\mathbb{{R}}",
        rf"y = {start} + {name}({period}), {name} {INTEGERS}" if label else start,
    ):
        assert told(gold, wrong) == {False}, wrong


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\pm\frac{\pi}{3} + 2k\pi", r"\frac{\pi}{3} + 2n\pi, -\frac{\pi}{3} + 2n\pi"),
        (r"\pm\frac{\pi}{3} + 2k\pi", r"2n\pi \pm \frac{\pi}{3}"),
        (r"\pm\frac{\pi}{2} + 2k\pi", r"\frac{\pi}{2} + n\pi"),
        (r"\frac{k\pi}{2}", r"n\pi, \frac{\pi}{2} + n\pi"),
        (r"(-1)^k \frac{\pi}{6} + k\pi", r"\frac{\pi}{6} + 2n\pi, \frac{5\pi}{6} + 2n\pi"),
        (r"60^\circ + 360^\circ k", r"420^\circ + 360^\circ n"),
        (r"60^\circ + 360^\circ k", r"\frac{\pi}{3} + 2n\pi"),
        (r"(k\pi, k\pi + \frac{\pi}{2})", r"(n\pi, n\pi + \frac{\pi}{2})"),
        (r"(k\pi - \frac{\pi}{2}, k\pi)", r"(n\pi + \frac{\pi}{2}, n\pi + \pi)"),
        ("2k+1", "2n-1"),
        ("2k+1", "1-2n"),
        ("k^2+k", "n^2+n"),
    ],
)
def test_families_of_whole_numbers(one: str, other: str) -> None:
    assert told(rf"{one}, k {INTEGERS}", rf"{other}, n {INTEGERS}") == {True}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\pm\frac{\pi}{3} + 2k\pi", r"\frac{\pi}{3} + 2k\pi"),
        (r"\pm\frac{\pi}{3} + 2k\pi", r"\pm\frac{\pi}{3} + k\pi"),
        (r"\frac{k\pi}{2}", r"k\pi"),
        (r"(-1)^k \frac{\pi}{6} + k\pi", r"\frac{\pi}{6} + k\pi"),
        (r"60^\circ + 360^\circ k", r"60 + 360 k"),
        (r"60^\circ + 360^\circ k", r"60^\circ + 180^\circ k"),
        (r"(k\pi, k\pi + \frac{\pi}{2})", r"(k\pi, k\pi + \pi)"),
        ("2k+1", "2k"),
        ("2k+1", "4k+1, 4k+2"),
        ("2k+1", "3k+1"),
        (r"\frac{\pi}{4} + k\pi", r"\frac{\pi}{4}"),
        (r"\frac{\pi}{4} + k\pi", r"\frac{\pi}{4} + k"),
        (r"\frac{\pi}{4} + k\pi", r"\frac{\pi}{4} + \frac{22}{7} k"),
        (r"\frac{\pi}{4} + k\pi", r"\frac{\pi}{4} + 10^{-30} + k\pi"),
    ],
)
def test_other_families_of_whole_numbers(one: str, other: str) -> None:
    assert told(rf"{one}, k {INTEGERS}", rf"{other}, k {INTEGERS}") == {False}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("(1+2t, 3-t)", "(1+2s, 3-s)"),
        ("(1+2t, 3-t, t)", "(3+2s, 2-s, 1+s)"),
        ("(1+2t, 3-t, t)", "(1-4s, 3+2s, -2s)"),
        ("(t, t^2)", "(s, s^2)"),
        (r"\begin{pmatrix}1\\3\end{pmatrix} + t\begin{pmatrix}2\\-1\end{pmatrix}", "(3-2s, 2+s)"),
    ],
)
def test_points_with_a_real_name(one: str, other: str) -> None:
    assert told(rf"{one}, t \in \mathbb{{R}}", rf"{other}, s \in \mathbb{{R}}") == {True}
    assert told(rf"\{{{one} : t \in \mathbb{{R}}\}}", rf"{other}, s \in \mathbb{{R}}") == {True}


@pytest.mark.parametrize(
    "other", ["(1+2s, 3+s)", "(2+2s, 3-s)", "(1+2s, 3-s, s)", "(1, 3)", "(1+2s, 3-t)", "(1+2s^2, 3-s^2)"]
)
def test_points_of_another_line(other: str) -> None:
    assert told(r"(1+2t, 3-t), t \in \mathbb{R}", rf"{other}, s \in \mathbb{{R}}") == {False}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"(n-2)\pi", r"(n-1)\pi"),
        (r"(n-2) \cdot 180^\circ", r"n \cdot 180^\circ"),
        (r"2n\pi", r"-2n\pi"),
        ("2k+1", "2k-1"),
        ("2k+1", "2n+1"),
        ("(a, 2a)", "(b, 2b)"),
        (r"f(x) = x^2, x \in \mathbb{R}", "t^2"),
        (r"(n-2)\pi", r"k\pi, k \in \mathbb{Z}"),
        ("2n-1", r"2k+1, k \in \mathbb{Z}"),
        ("x^2", r"k^2, k \in \mathbb{Z}"),
        ("y' = 3x+1", r"3k+1, k \in \mathbb{Z}"),
        ("(a, 2a)", r"(t, 2t), t \in \mathbb{R}"),
        (r"f(x) = x^2, x \in \mathbb{R}", "x^2 + 1"),
    ],
)
def test_names_that_nothing_binds_are_given_numbers(one: str, other: str) -> None:
    assert told(one, other) == {False}


def test_what_may_be_left_out() -> None:
    assert told(r"f(x) = x^2, x \in \mathbb{R}", "f(x) = x^2") == {True}
    assert told(r"\frac{\pi}{4} + 2k\pi", r"\frac{9\pi}{4} + 2n\pi") == {True}
    assert told("(1+2t, 3-t)", "(1+2s, 3-s)") == {True}
