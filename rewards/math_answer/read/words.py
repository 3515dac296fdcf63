"""What a run of letters in plain text is, and what words mean: units, phrases, the normal form of prose."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rewards.math_answer.nodes import EMPTY, INFINITY, REALS, Node, Words
from rewards.math_answer.read.lexer import Token
from rewards.math_answer.read.vocabulary import CANONICAL, FUNCTIONS, GREEK, UNITS

GENERIC_NOUNS = frozenset("unit of the a an total number value in all about each per".split())
# Words that make a sentence of what follows a number: `42 is wrong` is no quantity.
PROSE = frozenset(
    "is are was were isn not no wrong incorrect false invalid if when unless maybe perhaps but or".split()
)
_SHORT_WORDS = frozenset("no of to is in up be by at if it we on an as my us me so do go he am pm".split())
_PHRASES: dict[str, Node] = {"no solution": EMPTY, "no solutions": EMPTY, "empty set": EMPTY, "the empty set": EMPTY}
_PHRASES |= {"no real solution": EMPTY, "no real solutions": EMPTY, "null set": EMPTY, "there are no solutions": EMPTY}
_PHRASES |= {"there is no solution": EMPTY, "all real numbers": REALS, "all reals": REALS, "infinity": INFINITY}
_PHRASES |= {"the set of all real numbers": REALS, "positive infinity": INFINITY}
_SPACES = re.compile(r"[\s_]+")
_DROPPED = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mbox|mathbf|operatorname|emph|quad|left|right)(?![a-zA-Z])"
)
_PUNCTUATION = re.compile(r"[^a-z0-9+\-*/^=<>|%.]+")
_KNOWN = sorted((name for name in FUNCTIONS if len(name) >= 3), key=len, reverse=True)


def split_letters(run: str, before: list[Token], space: bool, after: str, textual: bool) -> Iterator[tuple[str, str]]:
    """The tokens that a run of letters stands for, given the tokens before it and the next two characters."""
    lower = run.lower()
    if len(run) == 1:
        unit = run in "msghL" and space and not after and before and before[-1].kind == "num"
        yield ("word" if unit else "name"), run  # `5 m`; but `5m` is a product
    elif lower in ("and", "or"):
        yield "sep", lower
    elif (
        lower in ("min", "sec", "deg")
        and before
        and before[-1].kind in ("num", "close")
        and (textual or after[:1] != "(")
    ):
        yield ("op", "deg") if lower == "deg" else ("word", lower)
    elif run in FUNCTIONS or (lower in FUNCTIONS and after[:1] == "("):
        yield "cmd", CANONICAL.get(lower, lower)
    elif lower in ("pi", "infinity", "infty", "oo") or (lower == "inf" and not textual):
        yield "name", "pi" if lower == "pi" else "oo"
    elif run in GREEK:
        yield "name", run
    elif lower in ("percent", "pct", "percentage"):
        yield "op", "%"
    elif lower in ("degree", "degrees") and before:
        yield "op", "deg"
    elif lower in ("union", "cup"):
        yield "op", "cup"
    elif lower in ("frac", "overline"):
        yield "cmd", lower
    else:
        yield from _word_or_product(run, before, space, after, textual)


def _word_or_product(
    run: str, before: list[Token], space: bool, after: str, textual: bool
) -> Iterator[tuple[str, str]]:
    last = before[-1] if before else None
    after_number = last is not None and last.kind in ("num", "close") and (space or textual)
    if (
        textual
        or (run.lower() in _SHORT_WORDS and not run.isupper())
        or (last is not None and singular(run.lower()) in UNITS)
    ):
        yield "word", run
        return
    head = next((name for name in _KNOWN if run.startswith(name)), "")
    if head and len(run) - len(head) <= 2 and len(run) > len(head):  # `sinx`, `cotx`
        yield "cmd", CANONICAL.get(head, head)
        for letter in run[len(head) :]:
            yield "name", letter
        return
    in_expression = (last is not None and last.kind in ("num", "op", "rel", "open", "close")) or after[:1] in set(
        "+-*/^=(<>"
    )
    alphabetic = all(ord(b) - ord(a) == 1 for a, b in zip(sorted(run), sorted(run)[1:], strict=False))
    if (
        len(run) == 2
        or (len(run) == 3 and (alphabetic or (in_expression and not after_number)))
        or run.isupper()
        and len(run) <= 4
    ):
        for letter in run:
            yield "name", letter
    else:
        yield "word", run


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
    """A fixed phrase that stands for a mathematical object, or a number written as a word."""
    known = _PHRASES.get(text)
    if known is not None:
        return known
    return None


def words_node(text: str) -> Words:
    return Words(normal_text(text))
