"""What words mean: units in one number, phrases for mathematical objects, the normal form of prose."""

from __future__ import annotations

import re

from rewards.math_answer.nodes import EMPTY, INFINITY, REALS, Node
from rewards.math_answer.read.vocabulary import UNITS

GENERIC_NOUNS = frozenset("unit of the a an total number value in all about each per".split())
# Words that make a sentence of what follows a number: `42 is wrong` is no quantity.
PROSE = frozenset(
    "is are was were isn not no wrong incorrect false invalid if when unless maybe perhaps but or".split()
)
_PHRASES: dict[str, Node] = {"no solution": EMPTY, "no solutions": EMPTY, "empty set": EMPTY, "the empty set": EMPTY}
_PHRASES |= {"no real solution": EMPTY, "no real solutions": EMPTY, "null set": EMPTY, "there are no solutions": EMPTY}
_PHRASES |= {"there is no solution": EMPTY, "all real numbers": REALS, "all reals": REALS, "infinity": INFINITY}
_PHRASES |= {"the set of all real numbers": REALS, "positive infinity": INFINITY}
_SPACES = re.compile(r"[\s_]+")
_DROPPED = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mbox|mathbf|operatorname|emph|quad|left|right)(?![a-zA-Z])"
)
_PUNCTUATION = re.compile(r"[^a-z0-9+\-*/^=<>|%.]+")


def singular(word: str) -> str:
    if word in UNITS or len(word) <= 2:
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith("es") and word[:-2] in UNITS:
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def normal_text(text: str) -> str:
    """Prose in a form in which equal answers are equal strings: lower case, no markup, no punctuation at the rim."""
    text = _DROPPED.sub(" ", text).replace("{", " ").replace("}", " ").replace("$", " ").replace("\\", " ")
    text = _PUNCTUATION.sub(" ", text.lower())
    return " ".join(word.strip(".") for word in _SPACES.split(text.strip()) if word.strip("."))


def phrase(text: str) -> Node | None:
    """The mathematical object that a fixed phrase stands for."""
    return _PHRASES.get(text)
