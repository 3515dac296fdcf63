"""The normal form, which votes: one text for answers that are equal, and for no others."""

from __future__ import annotations

import pytest

from rewards.math_answer.compare.normal import normal_form
from rewards.math_answer.read.answers import parse


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("0.50", "1/2"),
        (r"\text{Evelyn}", "evelyn"),
        ("1010_2", "1010_2"),
        ("9:05 pm", "9:05pm"),
        ("(2, 1)", "(2, 1)"),
        ("2, 1", "1, 2"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "[1, 2; 3, 4]"),
        ("x < 2.0", "x < 2"),
        ("b + a", "add(a, b)"),
        ("2^{9999}", "pow(2, 9999)"),
    ],
)
def test_every_kind_of_answer_has_one(text: str, written: str) -> None:
    assert normal_form(parse(text)) == written


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1/2", "0.5"),
        (r"\frac24", r"\dfrac{1}{2}"),
        ("x=5", "5"),
        ("1,2", "2,1"),
        (r"\{1,2\}", r"\{2,1\}"),
        ("5 cm", "5"),
        ("a+b", "b+a"),
        ("1,000", "1000"),
    ],
)
def test_equal_answers_vote_together(one: str, other: str) -> None:
    assert normal_form(parse(one)) == normal_form(parse(other))


@pytest.mark.parametrize(
    ("one", "other"), [("1", "2"), ("(1,2)", "(2,1)"), ("x", "y"), ("(1,2)", "[1,2]"), ("a-b", "b-a")]
)
def test_different_answers_vote_apart(one: str, other: str) -> None:
    assert normal_form(parse(one)) != normal_form(parse(other))
