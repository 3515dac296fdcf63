"""Numbers in words: what is read has exactly the value that the words say, and everything else is no number."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.math_answer.read.numerals import CARDINALS, SCALES, numeral

_BY_VALUE = {value: word for word, value in CARDINALS.items()}


def spelt(value: int) -> str:
    """A whole number below 10^12 in words, by the rules that children learn."""
    if value <= 20:
        return _BY_VALUE[value]
    if value < 100:
        return _BY_VALUE[value - value % 10] + (f"-{_BY_VALUE[value % 10]}" if value % 10 else "")
    for scale, word in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand"), (100, "hundred")):
        if value >= scale:
            rest = value % scale
            return f"{spelt(value // scale)} {word}" + (f"{' and' if rest < 100 else ''} {spelt(rest)}" if rest else "")
    raise AssertionError(value)


@given(st.integers(0, 10**12 - 1))
def test_whole_numbers(value: int) -> None:
    assert numeral(spelt(value)) == value
    assert numeral(f"minus {spelt(value)}") == numeral(f"negative {spelt(value)}") == -value


@given(st.integers(0, 999), st.integers(0, 999))
def test_two_numbers_have_two_names(one: int, other: int) -> None:
    assert (spelt(one) == spelt(other)) is (one == other)


@given(st.integers(2, 99), st.sampled_from([("thirds", 3), ("halves", 2), ("tenths", 10), ("hundredths", 100)]))
def test_fractions(above: int, part: tuple[str, int]) -> None:
    assert numeral(f"{spelt(above)} {part[0]}") == numeral(f"{above} {part[0]}") == Fraction(above, part[1])


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("one half", Fraction(1, 2)),
        ("a half", Fraction(1, 2)),
        ("three and a half", Fraction(7, 2)),
        ("42 point five", Fraction(85, 2)),
        ("zero point zero five", Fraction(1, 20)),
        ("a hundred", 100),
        ("a dozen", 12),
        ("3 million", 3_000_000),
        ("2.5 thousand", 2500),
        ("minus 42", -42),
    ],
)
def test_other_forms(words: str, value: Fraction | int) -> None:
    assert numeral(words) == value


@pytest.mark.parametrize(
    "words",
    [
        "",
        "two three",
        "twenty eleven",
        "thousand million",
        "two thousand three million",
        "and five",
        "five and",
        "hundred",
        "point five five and",
        "twenty third",
        "forty two tenth",
        "point",
        "3 4",
        "a",
        "the five",
        "half past five",
        "1 and 2",
    ],
)
def test_words_that_make_no_number(words: str) -> None:
    assert numeral(words) is None


@given(
    st.lists(st.sampled_from([*CARDINALS, *SCALES, "and", "a", "half", "thirds", "point", "minus", "7"]), max_size=9)
)
def test_any_words_have_one_value_or_none(words: list[str]) -> None:
    value = numeral(" ".join(words))
    assert value is None or value == numeral("-".join(words).replace("7-", "7 ").replace("-7", " 7"))
