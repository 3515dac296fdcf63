"""The grammar: what a text is read as, and what is refused instead of guessed."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.math_answer.nodes import BaseN, Matrix, Num, Op, Quantity, Relation, Seq, Sym, Time, Words, num
from rewards.math_answer.read.answers import parse
from rewards.math_answer.read.tokens import ParseError

ONE_HALF = Op("div", (num(1), num(2)))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", Fraction(42)),
        ("1,234,567", Fraction(1234567)),
        (r"1{,}234", Fraction(1234)),
        (r"11,\! 111,\! 100", Fraction(11111100)),
        ("1 000 000", Fraction(1000000)),
        ("1.50", Fraction(3, 2)),
        (".5", Fraction(1, 2)),
        ("1.5e3", Fraction(1500)),
        (r"0.\overline{3}", Fraction(1, 3)),
        (r"0.1\overline{6}", Fraction(1, 6)),  # 1/10 + 6/90
        (r"0.\dot{1}4285\dot{7}", Fraction(1, 7)),
        (r"1\frac12", Fraction(3, 2)),
        ("1 1/2", Fraction(3, 2)),
        ("-7", Fraction(-7)),
        ("−7", Fraction(-7)),
        ("15th", Fraction(15)),
        ("twelve", Fraction(12)),
    ],
)
def test_numbers_are_read_exactly(text: str, value: Fraction) -> None:
    assert parse(text) == num(value)


@pytest.mark.parametrize(
    "text", [r"\frac12", r"\frac{1}{2}", r"\dfrac 1 2", r"\\frac{1}{2}", "1/2", "(1)/(2)", r"$\tfrac12$.", "½"]
)
def test_fractions_have_one_tree(text: str) -> None:
    assert parse(text) == ONE_HALF


def test_brackets_decide_between_tuples_intervals_sets_and_lists() -> None:
    two = (num(1), num(2))
    assert parse("(1,2)") == Seq(two, "(", ")")
    assert parse("[1,2)") == Seq(two, "[", ")")
    assert parse(r"\{1,2\}") == Seq(two, "{", "}")
    assert parse("1, 2") == parse("1 and 2") == parse(r"1 \text{ or } 2") == Seq(two)


def test_a_comma_in_brackets_separates_and_outside_groups_thousands() -> None:
    assert parse("(1,234)") == Seq((num(1), num(234)), "(", ")")
    assert parse("1,234") == num(1234)


@pytest.mark.parametrize(
    ("text", "units"),
    [
        (r"5\text{ cm}^2", (("centimeter", 2),)),
        ("5 square feet", (("foot", 2),)),
        ("60 mph", (("hour", -1), ("mile", 1))),
        ("60 miles per hour", (("hour", -1), ("mile", 1))),
        (r"5 \mathrm{~m} / \mathrm{s}", (("meter", 1), ("second", -1))),
        (r"\$5", (("dollar", 1),)),
        ("10weeks", (("week", 1),)),
    ],
)
def test_units_are_read_with_their_powers(text: str, units: tuple[tuple[str, int], ...]) -> None:
    node = parse(text)
    assert isinstance(node, Quantity)
    assert node.units == units


def test_kinds_of_answers() -> None:
    assert parse("1010_2") == BaseN("1010", 2)
    assert parse(r"4\!:\!51 \text{ p.m.}") == Time(4, 51, None, "pm")
    assert parse(r"25\%") == Op("percent", (num(25),))
    assert parse("90°") == Op("deg", (num(90),))
    assert parse("3:4:5") == Op("ratio", (num(3), num(4), num(5)))
    assert parse(r"\text{Evelyn}") == parse("evelyn.") == Words("evelyn")
    assert parse(r"\begin{pmatrix}1\\2\end{pmatrix}") == Matrix(((num(1),), (num(2),)))
    assert parse("x \\ge 2") == Relation((">=",), (Sym("x"), num(2)))
    assert parse(r"\text{no solution}") == parse(r"\emptyset") == parse(r"\{\}")
    assert parse(r"\text{(C)}") == parse("C") == Sym("C")


def test_decimals_that_were_written_are_remembered_and_do_not_matter_for_equality() -> None:
    node = parse("0.50")
    assert isinstance(node, Num) and node.places == 2
    assert node == num(Fraction(1, 2))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (r"\sin 2x \cos x", r"(\sin(2x))(\cos(x))"),
        (r"\log_2 8", r"\log_{2}(8)"),
        (r"2^{-1}", "2^-1"),
        (r"x^10", r"x^{10}"),
        (r"\sqrt2", "sqrt(2)"),
        (r"\sqrt[3]{2}", "∛2"),
        ("12pi", r"12\pi"),
        (r"\cotx", r"\cot x"),
        (r"\binom{5}{2}", r"{5 \choose 2}"),
        (r"\left|x\right|", "abs(x)"),
        ("x²", "x^2"),
        ("2×3", r"2\cdot 3"),
        (r"\color{blue}{5}", "5"),
        (r"\mathrm{e}^2", "e^2"),
        ("--5", "5"),
    ],
)
def test_latex_and_plain_text_have_one_grammar(text: str, same: str) -> None:
    assert parse(text) == parse(same)


@pytest.mark.parametrize(
    "text", ["", "  ", r"\frac{}{}", "^^^^", "____", r"\sqrt[", "/0", r"\sum", r"\int", "(" * 500, "1" * 5000, "!" * 99]
)
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        parse(text)


@pytest.mark.parametrize(
    "unit", ["(", "{", "[", r"\sqrt", r"\frac{1}{", "2^", "-", "|", r"\{", "f(", "x_", "1/", "!", "'", "^(", r"\left("]
)
def test_nesting_is_refused_before_it_exhausts_the_stack(unit: str) -> None:
    for count in (50, 300, 700):
        text = (unit * count)[:2000]
        try:
            parse(text)
        except ParseError:
            continue


@given(st.integers(-(10**12), 10**12))
def test_integers_survive_with_thousands_separators(value: int) -> None:
    for text in (f"{value}", f"{value:,}", f"{value:,}".replace(",", "{,}"), f"${value}$", f"\\text{{{value}}}"):
        assert parse(text) == num(value)


@given(st.fractions())
def test_fractions_survive_in_each_spelling(value: Fraction) -> None:
    from rewards.math_answer.compute.exact import rational

    sign, above, below = "-" * (value < 0), abs(value.numerator), value.denominator
    for text in (rf"{sign}\frac{{{above}}}{{{below}}}", f"{sign}{above}/{below}", f"({sign}{above})/({below})"):
        assert rational(parse(text)) == value


@given(st.text(max_size=120))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except ParseError:
        return
