"""Texts as words: what is set differently is the same, and every script has words."""

from __future__ import annotations

import pytest

from grpo.selection.words import count_words, parts_of, squeezed, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("$2x_1 = 3.$", ["2", "x", "1", "3"]),
        (r"\left(a\,b\right)\quad c~d", ["a", "b", "c", "d"]),
        (r"\leftarrow \rightharpoonup", ["leftarrow", "rightharpoonup"]),
        ("It's TWENTY-one", ["it", "s", "twenty", "one"]),
        ("求 x 的值。", ["求", "x", "的", "值"]),
        ("ﬁne Straße １２", ["fine", "strasse", "12"]),
        ("", []),
    ],
)
def test_words_are_runs_of_letters_and_of_digits_in_one_spelling(text, words):
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("3 + 4 = ?", "3+4=", True),
        ("3 + 4 = ?", "3 - 4 = ?", False),
        ("What is $5!$?", "What is 5?", False),
        ("What a day!", "what a day", True),
        (r"$a\,b$", "ab", True),
    ],
)
def test_short_texts_are_compared_by_letters_digits_and_signs(one, other, same):
    assert (squeezed(one) == squeezed(other)) is same


def test_the_parts_of_a_text_are_its_words_and_signs_as_they_are():
    assert parts_of("So 7-2=5, 是的!") == ["So", "7", "-", "2", "=", "5", ",", "是", "的", "!"]


@pytest.mark.parametrize(("text", "count"), [("x = 1, so it is", 6), ("是的 it is 是x", 6), ("naïve", 1), ("", 0)])
def test_words_are_counted_as_people_do(text, count):
    assert count_words(text) == count
