"""Remarks beside an answer: a decimal of it must be a rounding, a domain may be left out but is no other."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.math_answer import verify_answer
from rewards.math_answer.nodes import Op, Sym
from rewards.math_answer.read.answers import parse
from rewards.math_answer.read.remarks import with_decimal_beside, without_condition

BESIDE = [
    r"{} \text{{ (about {})}}",
    r"{} \ (\approx {})",
    r"{} \approx {}",
    r"{} \text{{ or about }} {}",
    r"{}, \text{{ approximately }} {}",
    r"{} \quad (\text{{roughly }} {})",
    r"{} \text{{ (approximately }} {}\text{{)}}",
    r"{} = {}\ldots",
]


def ok(gold: str, answer: str) -> bool:
    verdicts = {verify_answer(gold, answer, policy).ok for policy in ("train", "eval")}
    assert len(verdicts) == 1, (gold, answer)
    return verdicts.pop()


@settings(max_examples=60)
@given(st.integers(2, 400), st.sampled_from(["", "-"]), st.sampled_from(BESIDE), st.integers(2, 5))
def test_an_exact_value_with_its_decimal_beside_it(radicand: int, sign: str, form: str, places: int) -> None:
    exact, value = rf"{sign}\sqrt{{{radicand}.5}}", float(f"{sign}1") * math.sqrt(radicand + 0.5)
    assert ok(exact, form.format(exact, f"{value:.{places}f}"))
    assert not ok(exact, form.format(exact, f"{value + 0.5:.{places}f}")), "another number beside it"
    assert not ok(exact, form.format(exact, f"{-value:.{places}f}"))
    assert not ok(rf"{sign}\sqrt{{{radicand + 1}.5}}", form.format(exact, f"{value:.{places}f}"))


@settings(max_examples=60)
@given(st.integers(1, 999), st.sampled_from([2, 4, 5, 8, 10, 16, 25]))
def test_an_equal_decimal_in_brackets(above: int, below: int) -> None:
    exact = rf"\frac{{{above}}}{{{below}}}"
    assert ok(exact, rf"{exact} \ (= {above / below})")
    assert not ok(exact, rf"{exact} \ (= {above / below + 1})")


DOMAINS = [
    ["k \\in \\mathbb{Z}", "k\\in\\mathbb Z", "\\text{where } k \\text{ is an integer}", "\\text{for any integer } k"],
    [
        "k \\in \\mathbb{R}",
        "\\text{for all real } k",
        "\\forall k \\in \\mathbb{R}",
        "\\text{for every real number } k",
    ],
    ["k \\in \\mathbb{N}^*", "k \\in \\mathbb{Z}^{+}", "\\text{where } k \\text{ is a positive integer}"],
    ["\\text{for all } k > 0", "\\text{for every } k>0"],
]
ANSWERS = [r"2\pi k", "f(k) = 3k + 1", "(k, 1 - k)", "a_k = k^2"]
LINKS = [", {}", r" \ ({})", r" \quad {}", r", \ {}"]


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("link", LINKS)
def test_a_domain_may_be_left_out_and_another_one_is_another_answer(answer: str, link: str) -> None:
    for at, domain in enumerate(DOMAINS):
        for said in domain:
            text = answer + link.format(said)
            assert ok(answer, text) and ok(text, answer), text
            assert ok(text, answer + ", " + domain[0]), text
            assert not ok(text, answer + ", " + DOMAINS[at - 1][0]), text
            assert not ok(text.replace("k", "(2k)", 1), text), text


@pytest.mark.parametrize(
    "text",
    [
        "x = 1, y = 2",
        r"f(x) = 2x \text{ for } x > 0",
        r"x \in \mathbb{R}",
        r"x = 1, y \in \mathbb{R}",
        r"\text{for all } x",
        r"x > 0",
        r"f(x) = x \text{ if } x \text{ is rational}",
        r"k \text{ is an integer}",
    ],
)
def test_what_is_part_of_the_answer_stays(text: str) -> None:
    assert without_condition(text) == (text, "")


def test_the_domain_is_kept_beside_the_answer() -> None:
    assert parse(r"2\pi k, k \in \mathbb{Z}") == Op("given", (parse(r"2\pi k"), Sym("ZZ")))
    assert parse(r"2\pi k, \text{ where } k \text{ is a constant}") == parse(r"2\pi k")


@given(st.text(st.sampled_from("x5(){}$\\, ∈Rabout for all in is=≈."), max_size=300))
def test_any_text_keeps_its_beginning(text: str) -> None:
    head, domain = without_condition(text)
    assert text.startswith(head) and (domain == "" or head != text)
    assert with_decimal_beside(text)[:1] == text[:1]
