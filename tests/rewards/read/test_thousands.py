"""Grouped numbers are joined where nothing else can be meant."""

from __future__ import annotations

import pytest

from rewards.math_answer.read.thousands import join_thousands


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
def test_separators_of_thousands_go_and_other_commas_and_spaces_stay(text: str, joined: str) -> None:
    assert join_thousands(text) == joined
