"""Notation that means what the usual one means, each way of writing with right and wrong neighbours."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.math_answer import verify_answer
from rewards.math_answer.nodes import DOTS, Op, Seq, num
from rewards.math_answer.read.answers import parse

LETTERS = st.sampled_from("nkpxNXaB")
DIGITS = st.integers(2, 9)


def ok(gold: str, answer: str) -> bool:
    verdicts = {
        verify_answer(one, two, policy).ok
        for one, two in ((gold, answer), (answer, gold))
        for policy in ("train", "eval")
    }
    assert len(verdicts) == 1, (gold, answer)
    return verdicts.pop()


@settings(max_examples=30)
@given(LETTERS, DIGITS, st.sampled_from(["{}", "{}-1", "-{}", "2{}+1"]))
def test_a_power_of_a_digit_behind_a_letter_is_of_the_digit(letter: str, digit: int, exponent: str) -> None:
    power = f"{digit}^{{{exponent.format(letter)}}}"
    assert ok(rf"{letter} \cdot {power}", letter + power)
    assert ok(f"{power} {letter}", letter + power)
    assert not ok(letter + power, f"{letter}_{power}")
    assert not ok(letter + power, f"({letter}{digit})^{{{exponent.format(letter)}}}")
    assert not ok(letter + power, f"{letter}{digit + 1}^{{{exponent.format(letter)}}}")


@settings(max_examples=30)
@given(LETTERS, DIGITS, DIGITS)
def test_digits_behind_a_letter_are_its_index(letter: str, digit: int, power: int) -> None:
    assert ok(f"{letter}_{digit}", f"{letter}{digit}")
    assert ok(f"{letter}_{digit}^{power}", f"{letter}{digit}^{power}")
    assert ok(f"{letter}_{digit}^{power}", f"{letter}^{power}_{digit}")
    assert ok(f"{letter}_{{{digit}}}^{{{power}}}+1", f"{letter}^{{{power}}}_{{{digit}}}+1")
    assert not ok(f"{letter}_{digit}^{power}", f"{letter}_{digit + 1}^{power}")
    assert not ok(f"{letter}_{digit}^{power}", f"{letter}^{power + 1}_{digit}")


@settings(max_examples=30)
@given(st.integers(2, 2500))
def test_quotients_of_factorials(n: int) -> None:
    assert ok(f"{n - 1}!", rf"\frac{{{n}!}}{{{n}}}")
    assert ok(str(n), f"{n}!/{n - 1}!")
    assert not ok(f"{n - 1}!", rf"\frac{{{n}!}}{{{n + 1}}}")


@settings(max_examples=60)
@given(st.integers(0, 179), st.integers(1, 59), st.integers(1, 59))
def test_degrees_with_minutes_and_seconds(degrees: int, minutes: int, seconds: int) -> None:
    value = degrees + Fraction(minutes, 60) + Fraction(seconds, 3600)
    for text in (
        rf"{degrees}^\circ {minutes}' {seconds}''",
        rf"{degrees}^{{\circ}}{minutes}^{{\prime}}{seconds}^{{\prime\prime}}",
        f"{degrees}°{minutes}′{seconds}″",
        f"{degrees}°{minutes}'{seconds}\"",
        f"{degrees} degrees {minutes} minutes {seconds} seconds",
    ):
        assert parse(text) == Op("deg", (num(value),)), text
        assert not ok(rf"{degrees}^\circ {minutes}'", text)
        assert not ok(rf"{degrees}^\circ {minutes + 1}' {seconds}''", text)


@pytest.mark.parametrize("text", ["30^\\circ 60'", "30^\\circ 5", "30' 5''", "30^\\circ 5''  6'"])
def test_what_is_no_angle_is_refused(text: str) -> None:
    assert not verify_answer("30^\\circ", text, "eval").ok and not verify_answer("31^\\circ", text, "eval").ok


@settings(max_examples=30)
@given(st.integers(1, 24), st.integers(1, 12))
def test_degrees_and_radians_are_one_angle_where_both_are_explicit(above: int, below: int) -> None:
    degrees = Fraction(180 * above, below)
    written = (
        str(degrees.numerator)
        if degrees.denominator == 1
        else rf"\frac{{{degrees.numerator}}}{{{degrees.denominator}}}"
    )
    radians = rf"\frac{{{above}\pi}}{{{below}}}"
    for angle in (rf"{written}^\circ", rf"{written}\text{{ degrees}}"):
        assert (
            ok(angle, radians) and ok(angle, rf"{radians}\text{{ radians}}") and ok(angle, rf"{radians}\text{{ rad}}")
        )
        assert not ok(angle, rf"\frac{{{above + 1}\pi}}{{{below}}}")
        assert not ok(angle, rf"{written}\text{{ radians}}"), "the number is the same, the unit is not"
    assert not ok(written, radians), "without a sign it is a number"


ENDS = st.tuples(st.integers(-20, 20), st.integers(21, 40))


@settings(max_examples=60)
@given(ENDS, st.sampled_from([("]", "[", "(", ")"), ("]", "]", "(", "]"), ("[", "[", "[", ")")]))
def test_brackets_that_turn_outward_leave_the_end_out(ends: tuple[int, int], marks: tuple[str, str, str, str]) -> None:
    low, high = ends
    text = f"{marks[0]}{low},{high}{marks[1]}"
    usual = f"{marks[2]}{low},{high}{marks[3]}"
    assert ok(usual, text) and ok(usual, rf"x \in {text}")
    assert not ok(f"[{low},{high}]", text) and not ok(f"{marks[2]}{low},{high + 1}{marks[3]}", text)
    assert ok(rf"{usual} \cup (50, 60)", rf"{text} \cup ]50, 60[")


@settings(max_examples=60)
@given(
    st.lists(st.integers(-50, 50), min_size=2, max_size=6, unique=True),
    st.sampled_from([" ", "; ", r" \quad ", r" \ "]),
)
def test_solutions_separated_by_spaces_or_semicolons(values: list[int], separator: str) -> None:
    commas = ", ".join(map(str, values))
    if min(values[1:]) > 0:  # `1 -2` is a difference
        assert ok(commas, separator.join(map(str, values)))
        assert not ok(commas + ", 51", separator.join(map(str, values)))
    points = [f"({value},{value + 1})" for value in values]
    assert ok(", ".join(points), separator.join(points))
    assert not ok(", ".join(points[1:]), separator.join(points))
    assert ok(", ".join(f"x={value}" for value in values), separator.join(f"x={value}" for value in values))
    assert not ok(str(values[-1]), separator.join(f"x={value}" for value in values))


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40))
def test_plus_and_minus_in_a_tuple(one: int, other: int) -> None:
    assert ok(f"({one},{other}),({one},-{other})", rf"({one},\pm {other})")
    assert ok(rf"\{{({one},{other}),(-{one},{other})\}}", rf"(\pm {one},{other})")
    assert not ok(f"({one},{other})", rf"({one},\pm {other})")
    assert not ok(f"({one},{other}),(-{one},{other})", rf"({one},\pm {other})")


@settings(max_examples=30)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=4, unique=True))
def test_difference_of_sets(removed: list[int]) -> None:
    items = ",".join(map(str, removed))
    for text in (
        rf"\mathbb{{R}} \setminus \{{{items}\}}",
        rf"\mathbb{{R}} - \{{{items}\}}",
        rf"\mathbb R \backslash \{{{items}\}}",
        rf"R - \{{{items}\}}",
    ):
        assert ok(rf"\mathbb{{R}}\setminus\{{{items}\}}", text)
        assert not ok(rf"\mathbb{{R}}\setminus\{{{items}, 10\}}", text) and not ok(r"\mathbb{R}", text)
    assert not ok(r"A \setminus B", r"B \setminus A") and ok(r"A \setminus B", r"A\backslash B")


@pytest.mark.parametrize("dots", [r"\ldots", r"\dots", r"\cdots", "...", "…"])
def test_dots_in_lists_sums_and_products(dots: str) -> None:
    assert ok("1,2,3,4,5,6", f"1, 2, {dots}, 6") and ok("10,8,6,4", f"10, 8, {dots}, 4")
    assert not ok("1,2,3,4,5,6", f"1, 2, {dots}, 7")
    assert ok(r"2,4,6,\ldots", f"2, 4, 6, 8, {dots}") and not ok(r"2,4,6,\ldots", f"2, 4, 8, {dots}")
    assert not ok(r"1,2,3,\ldots", f"3,2,1,{dots}") and not ok("1,2,3", f"1,2,3,{dots}")
    assert ok(r"x_1, \ldots, x_n", f"x_1, {dots}, x_n") and not ok(r"x_1, \ldots, x_n", f"x_1, {dots}, x_m")
    assert ok(r"\{0,1,2,\ldots\}", rf"\{{0, 1, 2, {dots}\}}")
    assert ok(r"1+2+\ldots+n", f"1+2+{dots}+n") and not ok(r"1+2+\ldots+n", f"0+3+{dots}+n")
    assert isinstance(parse(f"1, 3, 4, {dots}"), Seq) and DOTS in parse(f"1, 3, 4, {dots}").items  # type: ignore[union-attr]


@given(st.integers(0, 99), st.integers(0, 999), st.integers(1, 999))
def test_decimals_that_go_on(whole: int, head: int, block: int) -> None:
    repeated = str(block) * 3
    value = whole + Fraction(head, 1000) + Fraction(block, 1000 * (10 ** len(str(block)) - 1))
    assert parse(rf"{whole}.{head:03}{repeated}\ldots") == num(value)
    assert not verify_answer(f"{whole}.{head:03}{repeated}", rf"{whole}.{head:03}{repeated}\ldots").ok


@pytest.mark.parametrize(
    ("one", "other"), [(r"p \wedge q", r"p \vee q"), (r"a \land b", r"a \lor b"), ("p, q", r"p \vee q")]
)
def test_and_is_not_or(one: str, other: str) -> None:
    assert not ok(one, other) and ok(one, one.replace(" ", "  "))


def test_a_set_described_by_alternatives_is_a_union() -> None:
    for text in (r"\{x \mid x<0 \text{ or } x>3\}", r"\{x : x<0 \lor x>3\}", r"\{x | x<0 \text{或} x>3\}"):
        assert ok(r"(-\infty,0)\cup(3,\infty)", text)
        assert not ok(r"(0,3)", text)
    assert ok("(0,3)", r"\{x \mid x>0 \text{ and } x<3\}")


@given(st.integers(2, 99), st.integers(2, 99))
def test_an_escaped_star_is_a_product(one: int, other: int) -> None:
    assert ok(str(one * other), rf"{one} \* {other}") and not ok(str(one * other + 1), rf"{one}\*{other}")


@pytest.mark.parametrize("depth", range(1, 25))
def test_roots_in_roots(depth: int) -> None:
    inner, other = "2", "2"
    for _ in range(depth):
        inner, other = rf"\sqrt{{2+{inner}}}", rf"\sqrt{{1+1+{other}}}"
    assert ok(inner, other) and not ok(inner, other.replace("1+1+2", "1+1+3"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"mg\sin\theta-\mu mg\cos\theta", r"mg(\sin\theta-\mu\cos\theta)"),
        (r"nRT\ln\frac{V_2}{V_1}", r"nRT(\ln V_2-\ln V_1)"),
        (r"-\frac{GMm}{r}", r"-G\frac{Mm}{r}"),
        (r"\rho g h", r"\rho gh"),
    ],
)
def test_runs_of_letters_in_formulas_are_products(one: str, other: str) -> None:
    assert ok(one, other) and not ok(one, other + "+1")


@pytest.mark.parametrize(
    ("one", "right", "wrong"),
    [
        (r"\vec{AB}", r"\overrightarrow{AB}", r"\vec{BA}"),
        (r"\vec{v}", r"\overrightarrow{v}", r"\vec{w}"),
        (r"\overline{z}", r"\bar{z}", "z"),
        (r"\triangle ABC \cong \triangle DEF", r"\triangle ABC ≅ \triangle DEF", r"\triangle ABC \sim \triangle DEF"),
        (r"x \cong 3.14", r"x \approx 3.14", r"x \cong 3.15"),
        (r"\Gamma(n)", r"\Gamma (n)", r"\gamma(n)"),
        (r"\Gamma(5)", "24", "120"),
        (r"\gcd(m,n)", r"\gcd(n,m)", r"\gcd(m,m)"),
        (r"\emptyset", r"\{\}", r"\{\emptyset\}"),
        ("f(x) = 2x", "f(t) = 2t", "f(t) = 2x"),
    ],
)
def test_signs_that_look_alike_are_told_apart(one: str, right: str, wrong: str) -> None:
    assert ok(one, right) and not ok(one, wrong)


@given(st.integers(-20, 20), st.integers(21, 40))
def test_alternatives_are_no_conjunction(low: int, high: int) -> None:
    outside = rf"(-\infty,{low})\cup({high},\infty)"
    for text in (
        rf"x<{low} \text{{ or }} x>{high}",
        rf"x>{high} \lor x<{low}",
        rf"\{{x : x<{low} \text{{ or }} x>{high}\}}",
    ):
        assert ok(outside, text) and not ok(f"({low},{high})", text)
    assert not ok(rf"x<{low} \text{{ or }} x>{high}", rf"x<{low} \land x>{high}")
    assert ok(f"({low},{high})", rf"x>{low} \land x<{high}") and not ok(f"({low},{high})", rf"x>{low} \lor x<{high}")
    assert ok(f"x={low}, x={high}", rf"x={high} \text{{ or }} x={low}")
    assert ok(rf"\{{{low},{high}\}}", rf"\{{x : x={low} \text{{ or }} x={high}\}}")
    assert not ok(f"x={low}, y={high}", rf"x={low} \text{{ or }} y={high}")


@pytest.mark.parametrize("gap", [" ", "  ", r"\,", r"\quad "])
@pytest.mark.parametrize("name", ["matrix", "pmatrix", "bmatrix"])
def test_rows_of_a_matrix_are_not_told_apart_by_spaces(name: str, gap: str) -> None:
    begin, end = rf"\begin{{{name}}}", rf"\end{{{name}}}"
    assert not ok(rf"{begin}1\\2{end}", f"{begin}1{gap}2{end}")
    assert not ok(rf"{begin}1&2\\3&4{end}", f"{begin}1&2{gap}3&4{end}")


@given(st.integers(1, 9), st.sampled_from([("tenths", "0.0{}"), ("hundred", "{}0"), ("million", "{}00000")]))
def test_a_decimal_point_without_a_digit_before_it_counts(digit: int, scale: tuple[str, str]) -> None:
    word, value = scale
    assert ok(value.format(digit), rf".{digit} \text{{ {word}}}")
    assert not ok(f".{digit}", rf".{digit} \text{{ {word}}}")


@pytest.mark.parametrize("letter", list("msghL"))
@pytest.mark.parametrize("value", [r"\pi r^2", r"\frac{2}{3} R^2", "2x^2", "a b^3", "3x_1"])
def test_a_letter_after_a_formula_is_a_variable_and_after_a_number_a_unit(value: str, letter: str) -> None:
    assert ok(f"{value} {letter}", f"{letter} {value}")
    assert not ok(f"{value} {letter}", value) and not ok(value, f"{value} {letter}")
    assert ok("12", f"12 {letter}") and ok(f"x = 12 {letter}", f"12 {letter}")


@pytest.mark.parametrize("above", ["r", "x", "n", r"\pi", "R"])
@pytest.mark.parametrize("below", range(2, 10))
def test_a_fraction_without_braces_takes_one_letter_and_one_digit(above: str, below: int) -> None:
    assert ok(rf"\frac{{{above}}}{{{below}}}", rf"\frac {above}{below}")
    assert ok(rf"\left(\frac {above}{below}\right)^2", rf"\frac{{{above}^2}}{{{below**2}}}")


def test_a_percentage_of_a_percentage_is_not_written_with_two_signs() -> None:
    assert not ok(r"75\%", r"75\%\%")
