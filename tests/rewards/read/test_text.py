"""One alphabet: what unicode and markup become, and that cleaning is done in one go."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.math_answer.read.answers import parse
from rewards.math_answer.read.text import plain, undouble, unwrap


@pytest.mark.parametrize(
    ("text", "ascii_"),
    [
        ("−5", "-5"),
        ("½", r"\frac{1}{2}"),
        ("2½", r"2\frac{1}{2}"),  # NFKC alone would make it 21/2
        ("x²³", "x^{23}"),
        ("x₁₂", "x_{12}"),
        ("√12", r"\sqrt{12}"),
        ("𝑥+1", "x+1"),
        ("５", "5"),
        ("⑤", "5"),
        ("1\u200b0", "10"),
        ("\u202e5", "5"),
    ],
)
def test_unicode_has_a_latex_or_ascii_spelling(text: str, ascii_: str) -> None:
    assert plain(text) == ascii_


def test_digits_of_other_scripts_are_not_taken_for_ours() -> None:
    assert plain("٥") == "٥"
    assert plain("五") == "五"


def test_doubled_backslashes_are_undone_and_rows_of_matrices_kept() -> None:
    assert undouble(r"\\frac{1}{2}") == r"\frac{1}{2}"
    assert undouble(r"10,\\!080") == r"10,\!080"
    assert undouble(r"\begin{pmatrix}1\\x\end{pmatrix}") == r"\begin{pmatrix}1\\x\end{pmatrix}"
    assert undouble(r"\\begin{pmatrix}1\\\\2\\end{pmatrix}") == r"\begin{pmatrix}1\\2\end{pmatrix}"


@pytest.mark.parametrize(
    "text",
    [
        "5",
        " 5. ",
        "$5$",
        "$$5$$",
        r"\(5\)",
        r"\[5\]",
        "**5**",
        "`5`",
        '"5"',
        "$5.$",
        r"5\\"[:2],
        "5;",
        r"$5$ \checkmark",
    ],
)
def test_wrappers_that_say_nothing_are_cut(text: str) -> None:
    assert unwrap(text) == "5"


def test_dollars_that_do_not_belong_together_stay() -> None:
    assert unwrap("$1$ and $2$") == "$1$ and $2$"
    assert unwrap("5!") == "5!"


@given(st.text(max_size=100))
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    once = unwrap(plain(text))
    assert unwrap(once) == once


@pytest.mark.parametrize("unit", [".", "$", "\\", "½", "**", "\\\\", " "])
def test_cleaning_is_quick_on_any_repetition(unit: str) -> None:
    start = time.process_time()
    unwrap(undouble(plain((unit * 2048)[:2048])))
    assert time.process_time() - start < 0.5  # seconds


@pytest.mark.parametrize("answer", ["24{,}000", r"10,\!000", "(1,2)", r"\text{Sunday}", r"\text{(B)}", r"x = \frac12"])
@pytest.mark.parametrize("before", [r"\,", r"\;", r"\ ", r"\!", r"\, \;", r"\displaystyle ", r"\bf "])
def test_spaces_and_styles_before_an_answer_say_nothing(before: str, answer: str) -> None:
    assert parse(before + answer) == parse(answer)
