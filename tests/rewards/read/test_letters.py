"""Runs of letters: functions, constants, units, products of variables and words, told apart by what is around them."""

from __future__ import annotations

import pytest

from rewards.math_answer.read.letters import split_letters
from rewards.math_answer.read.lexer import tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("2pi", "num:2 name:pi"),
        ("ab", "name:a name:b"),
        ("xyz", "name:x name:y name:z"),
        ("odd", "word:odd"),
        ("2abc", "num:2 name:a name:b name:c"),
        ("5 cm", "num:5 word:cm"),
        ("5 m", "num:5 word:m"),
        ("5m", "num:5 name:m"),
        ("sinx", "cmd:sin name:x"),
        (r"\text{Evelyn}", "word:Evelyn"),
        ("9 min", "num:9 word:min"),
        ("min(1,2)", "cmd:min open:( num:1 sep:, num:2 close:)"),
        ("PI", "name:pi"),
        ("inf", "name:oo"),
        (r"\text{inf}", "word:inf"),
        ("5 deg", "num:5 op:deg"),
        ("deg(p)", "cmd:deg open:( name:p close:)"),
        ("x or y", "name:x sep:or name:y"),
    ],
)
def test_letters_are_read_by_what_is_around_them(text: str, tokens: str) -> None:
    assert " ".join(f"{token.kind}:{token.text}" for token in tokenize(text)[:-1]) == tokens


def test_a_word_that_measures_needs_a_value_before_it() -> None:
    assert list(split_letters("min", [], True, "", False)) == [("cmd", "min")]
    assert list(split_letters("min", tokenize("9")[:-1], True, "", False)) == [("word", "min")]
