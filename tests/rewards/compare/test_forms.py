"""Labels, signs, vectors and matrices: what was meant by what was written."""

from __future__ import annotations

import pytest

from rewards.math_answer import verify_answer
from rewards.math_answer.compare.forms import (
    constant_chain,
    labelled,
    sorted_terms,
    variants,
    vector,
    with_matrices_computed,
)
from rewards.math_answer.compute.exact import rational
from rewards.math_answer.nodes import Matrix, num
from rewards.math_answer.read.answers import parse


@pytest.mark.parametrize(
    "text",
    [
        "x=5",
        "5=x",
        "x=y=5",
        "f(x)=5",
        "AB=5",
        "|AB|=5",
        r"\angle ABC=5",
        "P(A)=5",
        "a_n=5",
        r"\frac{AB}{CD}=5",
        "x=10/2=5",
    ],
)
def test_a_name_before_the_equals_sign_is_a_label(text: str) -> None:
    found = labelled(parse(text))
    assert found is not None and rational(found.value) == 5


@pytest.mark.parametrize("text", ["x+y=5", "2x=5", "x=x^2", "7=11a+c", "x<5", "5", "1+4=5", "xy=5"])
def test_an_equation_has_no_label(text: str) -> None:
    assert labelled(parse(text)) is None


def test_a_chain_of_constants_is_known() -> None:
    assert constant_chain(parse("2+3=5")) is not None
    assert constant_chain(parse("x+3=5")) is None


def test_plus_minus_is_two_values_whose_signs_go_together() -> None:
    assert [rational(node) for node in variants(parse(r"1\pm 2"))] == [3, -1]
    assert [rational(node) for node in variants(parse(r"\pm 2"))] == [2, -2]
    assert [rational(node) for node in variants(parse(r"\pm 2 \mp 1"))] == [1, -1]  # 2 - 1, -2 + 1
    assert variants(parse("5")) == (num(5),)


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}+\begin{pmatrix}5&6\\7&8\end{pmatrix}", [6, 8, 10, 12]),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}\begin{pmatrix}0&1\\1&0\end{pmatrix}", [2, 1, 4, 3]),
        (r"2\begin{pmatrix}1\\2\end{pmatrix}", [2, 4]),
        (r"\frac{1}{2}\begin{pmatrix}2\\4\end{pmatrix}", [1, 2]),
        (r"-\begin{pmatrix}1\\2\end{pmatrix}", [-1, -2]),
    ],
)
def test_matrix_arithmetic(text: str, entries: list[int]) -> None:
    matrix = with_matrices_computed(parse(text))
    assert isinstance(matrix, Matrix)
    assert [rational(cell) for row in matrix.rows for cell in row] == entries


def test_determinants() -> None:
    assert rational(with_matrices_computed(parse(r"\begin{vmatrix}1&2\\3&4\end{vmatrix}"))) == -2
    # 1 (5·10 - 6·8) - 2 (4·10 - 6·7) + 3 (4·8 - 5·7) = 2 + 4 - 9
    assert rational(with_matrices_computed(parse(r"\begin{vmatrix}1&2&3\\4&5&6\\7&8&10\end{vmatrix}"))) == -3


def test_rows_and_columns_are_vectors() -> None:
    assert vector(parse(r"\begin{pmatrix}1\\2\end{pmatrix}")) == vector(parse(r"\begin{pmatrix}1&2\end{pmatrix}"))
    assert vector(parse(r"\begin{pmatrix}1&2\\3&4\end{pmatrix}")) is None


def test_terms_are_sorted_and_flat() -> None:
    assert sorted_terms(parse("(1+x)^{5000}")) == sorted_terms(parse("(x+1)^{5000}"))
    assert sorted_terms(parse("a(bc)")) == sorted_terms(parse("cba"))
    assert sorted_terms(parse("a-b")) != sorted_terms(parse("b-a"))


@pytest.mark.parametrize(
    "name",
    [
        "f^{-1}(x)",
        "P(X>2)",
        "P(X = 3)",
        r"P(A \cap B)",
        r"\Delta p",
        r"\frac{dy}{dx}",
        r"\cos A",
        r"\sin \theta",
        "f(2)",
        "f'(2)",
        "a_n",
        "E(X)",
        r"\angle ABC",
    ],
)
@pytest.mark.parametrize("value", ["2n+1", r"\frac12", r"\rho g h"])
def test_a_definition_is_worth_its_right_hand_side(name: str, value: str) -> None:
    for sign in ("=", r"\approx"):
        for pair in ((value, f"{name} {sign} {value}"), (f"{name} {sign} {value}", value)):
            assert verify_answer(*pair).ok, pair
    assert verify_answer(f"{name} = {value}", f"{name} = {value} + 0").ok
    assert not verify_answer(value, f"{name} = {value} + 1").ok


@pytest.mark.parametrize(
    "equation", ["x + y = 5", "2x = 5", "x^2 = 5", r"\sin x = 5", "5 < x", "xy = 5", r"\ln x = 5", "P x = 5"]
)
def test_an_equation_is_not_worth_its_right_hand_side(equation: str) -> None:
    assert not verify_answer("5", equation).ok


def test_the_argument_of_a_definition_is_bound() -> None:
    assert verify_answer("f(x) = x^2 + 1", "f(t) = t^2 + 1").ok
    assert not verify_answer("f(x) = x^2 + 1", "f(y) = x^2 + 1").ok
    assert not verify_answer("f(y) = x^2 + 1", "f(x) = x^2 + 1").ok
