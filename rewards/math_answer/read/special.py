"""Answers written in a way of their own, which the grammar would read as something else: times, bases, words."""

from __future__ import annotations

import re

from rewards.math_answer.nodes import BaseN, Node, Op, Time, Words, num
from rewards.math_answer.read.measures import UNITS
from rewards.math_answer.read.numerals import numeral
from rewards.math_answer.read.vocabulary import COMMANDS, GREEK, OPS
from rewards.math_answer.read.words import PHRASES, normal_text, singular

_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?\s*(?:([ap])\.?\s?m\.?)?", re.IGNORECASE)
_TIME_NOISE = re.compile(r"\\(?:text|mathrm|textrm|mbox)|\\[!,;: ]|[{}$]")
# `a number`, `I think`: these letters are words.
_ARTICLE = re.compile(r"(?:\\text\w* ?\{)? *[AaI] +([a-z]{3,})[\w ,.!?'-]*\}?")
_AFTER_LETTERS = COMMANDS | GREEK | OPS.keys() | {"and", "unit", "units"}
_BASE_DIGITS = re.compile(r"(-?)\(?([0-9][0-9A-Za-z]*)\)?_\{?(\d{1,2})\}?")


def time(text: str) -> Node | None:
    if ":" not in text or len(text) >= 60:
        return None
    found = _TIME.fullmatch(_TIME_NOISE.sub("", text).strip(" ."))
    if found is None or int(found[2]) >= 60 or int(found[1]) > 24:
        return None
    half = (found[4] or "").lower()
    return Time(int(found[1]), int(found[2]), int(found[3]) if found[3] else None, half and half + "m")


def based(text: str) -> Node | None:
    """`1010_2`."""
    digits = _BASE_DIGITS.fullmatch(text.replace(" ", "")) if "_" in text else None
    if digits is None or not 2 <= int(digits[3]) <= 36:
        return None
    node: Node = BaseN(digits[2].upper().lstrip("0") or "0", int(digits[3]))
    return Op("neg", (node,)) if digits[1] else node


def phrase(text: str) -> Node | None:
    """`twelve`, `minus 42`, `no solution`."""
    words = normal_text(text)
    if not words[-1:].isalpha() and not words.startswith(("minus", "negative")):
        return None
    number = numeral(words)
    return PHRASES.get(words) if number is None else num(number)


def prose(text: str) -> Node | None:
    """`a trick question`, which names no choice."""
    found = _ARTICLE.fullmatch(text)
    if found is None or singular(found[1]) in UNITS or found[1] in _AFTER_LETTERS:
        return None
    return Words(normal_text(text))
