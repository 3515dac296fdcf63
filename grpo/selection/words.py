"""Texts as words: for comparing them without regard to how they are set, and for counting.

Chinese and Japanese have no spaces between words, so each of their characters counts as one.
"""

from __future__ import annotations

import re
import unicodedata

_LATEX_SPACING = re.compile(r"\\(?:[,;:!> ]|(?:quad|qquad|left|right|displaystyle)(?![a-z]))|~")
_CJK = "\u3040-\u30ff\u3400-\u9fff"  # kana and Han
_WORD = re.compile(rf"[{_CJK}]|[0-9]+|[^\W\d_{_CJK}]+|\d+")
_ASCII_WORD = re.compile("[0-9]+|[a-z]+")  # three times as fast
_SIGN = re.compile(r"[^\W_]|[-+*/=<>^%≤≥≠×÷−·±√]|(?<=[0-9])!")
_UNSPACED = re.compile(f"[{_CJK}]")
_PART = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+|[^\w\s]")


def _plain(text: str) -> str:
    return _LATEX_SPACING.sub(" ", (text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold())


def words_of(text: str) -> list[str]:
    """Letters and digits in runs, apart from each other: "$2x_1=3.$" → 2, x, 1, 3."""
    plain = _plain(text)
    return (_ASCII_WORD if plain.isascii() else _WORD).findall(plain)


def squeezed(text: str) -> str:
    """Letters, digits and the signs of arithmetic, without a space: what two short texts are compared by."""
    return "".join(_SIGN.findall(_plain(text)))


def parts_of(text: str) -> list[str]:
    """Words and signs, all as they are: "7-2=5" → 7, -, 2, =, 5."""
    return _PART.findall(text)


def count_words(text: str) -> int:
    """For people: what stands between spaces."""
    return len((text if text.isascii() else _UNSPACED.sub(" x ", text)).split())
