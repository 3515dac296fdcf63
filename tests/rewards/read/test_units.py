"""What may follow a number: units and counted things.  Every other word changes the value or is another answer."""

from __future__ import annotations

import re
from pydoc_data.topics import topics

import pytest

from rewards.math_answer import verify_answer
from rewards.math_answer.nodes import Num, Quantity, num
from rewards.math_answer.read.answers import parse
from rewards.math_answer.read.measures import CHANGING, COUNTED, UNITS
from rewards.math_answer.read.words import GENERIC_NOUNS, singular

# English as it is written: every word of the language reference, and the words that change a number.
ENGLISH = sorted({word for text in topics.values() for word in re.findall("[A-Za-z]{2,}", text)} | CHANGING)
KNOWN = UNITS.keys() | COUNTED | GENERIC_NOUNS | {"degree", "th"}


def measures(word: str) -> bool:
    return word in UNITS or (word.lower() not in CHANGING and singular(word.lower()) in KNOWN)


def test_a_word_that_is_no_unit_makes_another_answer() -> None:
    others = [word for word in ENGLISH if not measures(word)]
    assert len(others) > 3000
    forgiven = [
        text
        for word in others
        for text in (f"42 {word}", rf"42 \text{{ {word}}}")
        if verify_answer("42", text, "eval").ok or verify_answer("42", text, "train").ok
    ]
    assert forgiven == []


@pytest.mark.parametrize("word", sorted(CHANGING))
def test_no_word_that_changes_a_number_is_hidden_between_others(word: str) -> None:
    for text in (f"42 red {word} apples", f"42 apples {word} five", f"42 cm {word}", f"{word} 42", f"42, {word}"):
        assert not verify_answer("42", text, "eval").ok, text


def test_no_counted_thing_and_no_unit_changes_a_number() -> None:
    assert not COUNTED & CHANGING & {singular(word) for word in CHANGING} - {"point", "score", "root", "triple"}
    assert not UNITS.keys() & CHANGING


@pytest.mark.parametrize("word", sorted(COUNTED))
def test_a_counted_thing_may_be_added_or_left_out(word: str) -> None:
    things = word if word.endswith("s") or not word.isascii() else f"{word}s"
    assert verify_answer("42", rf"42 \text{{ {things}}}").ok and verify_answer(rf"42 \text{{ {things}}}", "42").ok
    assert not verify_answer("42", rf"43 \text{{ {things}}}").ok


def test_another_thing_is_another_answer_and_the_gold_answer_s_own_is_none() -> None:
    assert not verify_answer("42 apples", "42 oranges").ok
    assert verify_answer("42 apples", "42 red apples").ok
    assert verify_answer(r"16\text{ daps}", "16").ok and verify_answer(r"16\text{ daps}", r"16\text{ daps}").ok
    assert not verify_answer("16", r"16\text{ daps}").ok


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("5厘米", (("centimeter", 1),)),
        ("25平方厘米", (("centimeter", 2),)),
        ("60千米/时", (("hour", -1), ("kilometer", 1))),
        ("5元", (("yuan", 1),)),
        ("5 см", (("centimeter", 1),)),
        ("5 Zentimeter", (("centimeter", 1),)),
        ("12 newtons", (("newton", 1),)),
        ("12 ohms", (("ohm", 1),)),
        ("5 cm²", (("centimeter", 2),)),
        ("5 meters squared", (("meter", 2),)),
        ("5 meters per second squared", (("meter", 1), ("second", -2))),
        ("5 cubic feet", (("foot", 3),)),
        ("37 °C", (("celsius", 1),)),
        ("37 degrees Celsius", (("celsius", 1),)),
    ],
)
def test_units_written_out_and_in_other_scripts(text: str, units: tuple[tuple[str, int], ...]) -> None:
    node = parse(text)
    assert isinstance(node, Quantity) and node.units == units and not node.nouns


@pytest.mark.parametrize("unit", ["米", "千米", "см", "kg", "newtons", "ohms", r"\text{ cm}^3"])
def test_another_unit_is_another_answer(unit: str) -> None:
    assert not verify_answer(r"5\text{ cm}^2", f"5 {unit}").ok
    assert verify_answer("5", f"5 {unit}").ok
    assert not verify_answer("6", f"5 {unit}").ok


@pytest.mark.parametrize("letter", list("nxykjwvabpqr"))
def test_an_upright_letter_that_is_no_unit_is_a_variable(letter: str) -> None:
    for text in (rf"2\mathrm{{{letter}}}", rf"2\text{{{letter}}}"):
        assert verify_answer(f"2{letter}", text).ok
        assert verify_answer(f"2{letter}+1", text + "+1").ok
        assert not verify_answer("2", text).ok


@pytest.mark.parametrize("letters", ["mg", "mi", "ms", "nm"])
def test_letters_after_a_variable_are_factors(letters: str) -> None:
    assert verify_answer(rf"\mu {letters[0]} {letters[1]}", rf"\mu {letters}").ok
    assert isinstance(parse(f"5 {letters}"), Quantity)


@pytest.mark.parametrize(("gold", "text"), [("504", "42 dozen"), ("4200", "42 hundred"), ("1200000", "1.2 million")])
def test_words_for_many_multiply(gold: str, text: str) -> None:
    assert verify_answer(gold, text).ok and not verify_answer(text.split()[0], text).ok
    assert verify_answer(rf"{gold} \text{{ eggs}}", rf"{text} \text{{ eggs}}").ok


def test_a_number_after_which_nothing_comes_is_broken_off() -> None:
    for text in ("42 or", "42 and", r"42 \text{ or}", "1, 2, or"):
        assert not isinstance(_read(text), Num)
        assert not verify_answer("42", text, "eval").ok
    assert parse("42.") == num(42)


def _read(text: str) -> object:
    from rewards.math_answer.read.tokens import ParseError

    try:
        return parse(text)
    except ParseError:
        return None
