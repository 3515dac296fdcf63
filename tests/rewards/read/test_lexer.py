"""Tokens: one vocabulary for LaTeX and plain text."""

from __future__ import annotations

import pytest

from rewards.math_answer.read.lexer import tokenize
from rewards.math_answer.read.tokens import ParseError


def kinds(text: str) -> str:
    return " ".join(f"{token.kind}:{token.text}" for token in tokenize(text)[:-1])


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (r"\sqrt", "cmd:sqrt"),
        ("sqrt", "cmd:sqrt"),
        (r"\cotx", "cmd:cot name:x"),
        (r"\quadx", "name:x"),
        (r"\text{ and }", "sep:and"),
        (r"x \leqslant 2", "name:x rel:<= num:2"),
        ("x**2", "name:x op:^ num:2"),
        (r"\begin{pmatrix}1\end{pmatrix}", "cmd:begin:pmatrix num:1 cmd:end:pmatrix"),
        (r"\left(1\right]", "open:( num:1 close:]"),
        (r"\mathbb{R}", "name:RR"),
    ],
)
def test_tokens(text: str, tokens: str) -> None:
    assert kinds(text) == tokens


@pytest.mark.parametrize("text", ["#", "@", "\x00", "五", "x" * 3 + "\\\\" * 5000, "1" * 3000])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        tokenize(text)
