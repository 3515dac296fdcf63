"""What words mean: units in one number, phrases for mathematical objects, the normal form of prose."""

from __future__ import annotations

import re
import unicodedata

from rewards.math_answer.nodes import EMPTY, INFINITY, REALS, Node, Op
from rewards.math_answer.read.measures import UNITS

GENERIC_NOUNS = frozenset("unit of the a an total number value in all about each per".split())
# Words that make a sentence of what follows a number: `42 is wrong` is no quantity.
PROSE = frozenset(
    "is are was were isn not no wrong incorrect false invalid if when unless maybe perhaps but or".split()
)
# The mathematical objects that fixed phrases stand for, in normal form.
PHRASES: dict[str, Node] = {"no solution": EMPTY, "no solutions": EMPTY, "empty set": EMPTY, "the empty set": EMPTY}
PHRASES |= {"no real solution": EMPTY, "no real solutions": EMPTY, "null set": EMPTY, "there are no solutions": EMPTY}
PHRASES |= {"there is no solution": EMPTY, "all real numbers": REALS, "all reals": REALS, "infinity": INFINITY}
PHRASES |= {"the set of all real numbers": REALS, "positive infinity": INFINITY}
PHRASES |= {"negative infinity": Op("neg", (INFINITY,)), "minus infinity": Op("neg", (INFINITY,))}
_SPACES = re.compile(r"[\s_]+")
_DROPPED = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mbox|mathbf|operatorname|emph|quad|left|right|bf|rm|displaystyle)(?![a-zA-Z])"
)
_NO_WHOLE = re.compile(r"(?<!\d)\.(?=\d)")  # `.3 tenths` is not 3 tenths
_PUNCTUATION = re.compile(r"[^a-z0-9+\-*/^=<>|%.\x80-\U0010ffff]+")
_ARTICLES = frozenset(("a", "an", "the"))
# Unicode categories of what separates words in other scripts: punctuation, separators, control characters.
_BETWEEN = "PZC"


def singular(word: str) -> str:
    if word in UNITS or len(word) <= 2:
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith("es") and word[:-2] in UNITS:
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def normal_text(text: str) -> str:
    """Prose in a form in which equal answers are equal strings: lower case, no markup, no punctuation at the rim.
    Letters, marks, digits and symbols of every script are kept, so it is empty only
    where the text has none.  A plural, an accent and a hyphen make another word."""
    text = _DROPPED.sub(" ", text).replace("{", " ").replace("}", " ").replace("$", " ").replace("\\", " ").lower()
    if not text.isascii():
        text = "".join(char if char < "\x80" or unicodedata.category(char)[0] not in _BETWEEN else " " for char in text)
    text = _PUNCTUATION.sub(" ", _NO_WHOLE.sub("0.", text) if "." in text else text)
    return " ".join(word.strip(".") for word in _SPACES.split(text.strip()) if word.strip("."))


def without_article(words: str) -> str:
    """`the circle` as `circle`; but `a b` is no article before a noun."""
    article, _, rest = words.partition(" ")
    return rest if article in _ARTICLES and len(rest.partition(" ")[0]) > 1 else words
