"""What an announcement announces: an answer, a sentence that ends in one, or nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rewards.math_answer.find.languages import Language
from rewards.math_answer.find.sentences import formulas
from rewards.math_answer.nodes import Node, Words
from rewards.math_answer.read.answers import parse
from rewards.math_answer.read.tokens import ParseError

MAX_WORDS = 4  # of an answer in words that is not in a box or a tag


@dataclass(frozen=True, slots=True)
class Extracted:
    """The answer as text and as a tree, or the reason why there is none."""

    text: str | None
    node: Node | None
    reason: str


DENIED = Extracted(None, None, "the answer is denied, not given")
NEGATED = re.compile(r"\b(?:not|isn't|cannot|can't|never|n't|neither|nor)\b", re.IGNORECASE)
HEDGE = re.compile(
    r"\b(?:or|alternatively|maybe|perhaps|possibly|either|also|might|could|another|otherwise|unless|if not)\b",
    re.IGNORECASE,
)
NUMBER = re.compile(r"(?<![A-Za-z\d.])[-+−]?(?:\$|\\\$)?\d[\d,]*(?:\.\d+)?(?:/\d+)?(?![A-Za-z\d])\s?(?:\\?%)?")
_ASIDE = re.compile(
    r"(?<=\s)(?:and |but )?(?:not|rather than|instead of)\b|(?<=[\s,;])(?:because|since|as|which)\b", re.IGNORECASE
)
_HOPE = re.compile(r"I hope (?:it|this) is correct", re.IGNORECASE)
# `The answer is clearly 5`, `is equal to 5`, `is an integer, namely 5`.
_FILLER = re.compile(
    r"(?:(?:clearly|simply|thus|therefore|then|hence|just|indeed|obviously|exactly|precisely|equal to|given by|"
    r"found to be|the (?:number|value|integer)|an? [a-z]{1,12},? namely|namely|of course|actually)[\s,:]+)+",
    re.IGNORECASE,
)
# `The answer is correct` says nothing new, where another one was announced.
_REMARK = re.compile(
    r"[\W_]*(?:(?:indeed|also|now|thus|therefore|then|clearly|still|in fact|absolutely|definitely)\s)?(?:correct|right|"
    r"verified|confirmed|consistent|reasonable|unique|valid|plausible|obvious|clear|sensible)\b",
    re.IGNORECASE,
)
# What makes another number of the one that it stands beside.
_OTHER_NUMBER = re.compile(
    r"\b(?:if|when|unless|provided|assuming|of|than|close|near|between|least|most|within|under|over|below|"
    r"above|up to)\b",
    re.IGNORECASE,
)
# What makes another value of the formula that it stands right before: `half $2\\pi$`, `more than $x$`.
_OTHER_VALUE = re.compile(
    r"\b(?:half|double|twice|triple|minus|plus|negative|times|above|below|over|under|than|least|most|between|near|close|"
    r"except|without|within|inverse|base|factorial|root|log|up to)(?: (?:of|to))?[\s(*_]*$",
    re.IGNORECASE,
)
_IS = re.compile(r"(?:\b(?:is|are|equals|equal to|be|gives|get|was)\b|[=:≈])\s|[是为得]|等于", re.IGNORECASE)
_RIM = ":*_ \n\t,;"


def without_hope(text: str) -> str:
    """`text` up to "I hope it is correct", which ends many completions."""
    found = _HOPE.search(text)
    return text[: found.start()].rstrip().removesuffix(".") + "." if found else text


def announced(text: str, language: Language | None = None) -> Extracted | None:
    """The answer in what an announcing phrase announces; None where it is empty."""
    if (bare := text.strip(_RIM)).isdigit():  # most of them, and what follows takes longer
        return read(bare, "announced")
    if language is not None and language.refused.match(text):
        return DENIED
    text = _kept(text, language)
    if not text.strip("….?"):
        return None
    if NEGATED.match(text) or (NEGATED.search(text) and len(text.split()) > 3):
        return DENIED
    if filler := _FILLER.match(text):
        text = text[filler.end() :] or text
    found = read(text, "announced")
    if found.node is not None and not (isinstance(found.node, Words) and len(found.node.text.split()) > MAX_WORDS):
        return found
    nested = in_sentence(text)
    if nested is None and found.node is not None:
        return Extracted(None, None, "prose instead of an answer")
    return nested or found


def _kept(text: str, language: Language | None) -> str:
    """The text without reasons, asides and what only closes the sentence."""
    text = without_hope(text)
    aside = (language.aside if language else _ASIDE).search(text, len(text) - len(text.lstrip()))
    if aside is not None:
        text = text[: aside.start()]
    text = text.strip(_RIM)
    if language is not None and (ending := language.ending.search(text.rstrip("。. "))):
        text = text[: ending.start()].strip(_RIM)
    return text


def is_remark(text: str) -> bool:
    """Whether what is announced is no answer, beside another announcement that is one."""
    return _REMARK.match(text) is not None


def in_sentence(text: str) -> Extracted | None:
    """`The volume of the box is 120`: what follows the last verb; else the only number."""
    if HEDGE.search(text) and " or " in text:
        return None
    math = formulas(text)
    last = last_match(_IS, text)
    if last is not None and not any(start < last.start() < end for start, end in math):
        found = read(text[last.end() :], "announced")
        if found.node is not None and not isinstance(found.node, Words):
            return found
    if math and text[math[-1][1] :].strip(" .") == "":
        if _OTHER_VALUE.search(text[max(0, math[-1][0] - 24) : math[-1][0]]):
            return None
        return read(text[math[-1][0] : math[-1][1]], "announced")
    numbers = NUMBER.findall(text)
    alone = len(numbers) == 1 and not math and not _OTHER_NUMBER.search(text)
    return read(numbers[0], "announced") if alone else None


def read(text: str, how: str) -> Extracted:
    """`text` parsed, or the reason why it cannot be."""
    text = text.strip()
    if not text or text == "?":
        return Extracted(None, None, "an empty answer")
    try:
        return Extracted(text, parse(text), how)
    except ParseError as error:
        return Extracted(text, None, f"cannot be read: {error}")


def last_match(pattern: re.Pattern[str], text: str, start: int = 0) -> re.Match[str] | None:
    found = None
    for match in pattern.finditer(text, start):
        found = match
    return found
