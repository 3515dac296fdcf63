"""Tokens: one vocabulary, thousands joined where that is meant, letters told apart from words."""

from __future__ import annotations

import pytest

from rewards.math_answer.read.lexer import ParseError, join_thousands, tokenize


def kinds(text: str) -> str:
    return " ".join(f"{token.kind}:{token.text}" for token in tokenize(text)[:-1])


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (r"\sqrt", "cmd:sqrt"),
        ("sqrt", "cmd:sqrt"),
        ("2pi", "num:2 name:pi"),
        ("ab", "name:a name:b"),
        ("xyz", "name:x name:y name:z"),
        ("odd", "word:odd"),
        ("2abc", "num:2 name:a name:b name:c"),
        ("5 cm", "num:5 word:cm"),
        ("5 m", "num:5 word:m"),
        ("5m", "num:5 name:m"),
        ("sinx", "cmd:sin name:x"),
        (r"\cotx", "cmd:cot name:x"),
        (r"\quadx", "name:x"),
        (r"\text{ and }", "sep:and"),
        (r"\text{Evelyn}", "word:Evelyn"),
        (r"x \leqslant 2", "name:x rel:<= num:2"),
        ("x**2", "name:x op:^ num:2"),
        (r"\begin{pmatrix}1\end{pmatrix}", "cmd:begin:pmatrix num:1 cmd:end:pmatrix"),
        (r"\left(1\right]", "open:( num:1 close:]"),
        (r"\mathbb{R}", "name:RR"),
        ("9 min", "num:9 word:min"),
        ("min(1,2)", "cmd:min open:( num:1 sep:, num:2 close:)"),
    ],
)
def test_tokens(text: str, tokens: str) -> None:
    assert kinds(text) == tokens


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("1,234,567", "1234567"),
        ("12,34", "12,34"),
        ("1,2345", "1,2345"),
        ("(1,234)", "(1,234)"),
        (r"(1{,}234, 5)", "(1234, 5)"),
        ("1, 234", "1, 234"),
        (r"1\,234", "1234"),
        (r"14 {, }916", "14916"),
        ("1 234", "1234"),
        ("1 000 1/2", "1 000 1/2"),
        ("x_1,234", "x_1,234"),
        ("1,234.5", "1234.5"),
    ],
)
def test_thousands(text: str, joined: str) -> None:
    assert join_thousands(text) == joined


@pytest.mark.parametrize("text", ["#", "@", "\x00", "五", "x" * 3 + "\\\\" * 5000, "1" * 3000])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        tokenize(text)
