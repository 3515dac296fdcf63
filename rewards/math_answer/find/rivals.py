"""What stands around two answers: whether the second replaces the first, joins it, or is offered beside it."""

from __future__ import annotations

import re

from rewards.math_answer.find.payload import HEDGE

RETRACTED = re.compile(
    r"\b(?:wait|actually|mistake|correction|corrected|wrong|incorrect|instead|re-?check|oops|sorry|scratch that|"
    r"let me re|let's re|on (?:second thought|reflection)|revis|final answer|not right|"
    r"not correct|no[,:;.!]|i mean|rather,)"
    r"|不对|错了|有误|重新|更正|修正|訂正|間違|아니",
    re.IGNORECASE,
)
_DERIVED = re.compile(
    r"=|\b(?:so|then|thus|hence|therefore|step|now|next|gives?|get|means|final|because|since|substitut\w+|adding|sum|"
    r"total|product|difference|altogether|overall|combin\w+|add)\b|所以|因此|故|从而|则",
    re.IGNORECASE,
)
_DENIED_BEFORE = re.compile(
    r"(?:\bnot|n't|\bnor|\bneither|\bnever|\brather than|\binstead of|不是|≠|\\ne|\\neq)[\s$*:(]*$", re.I
)
_DENIED_AFTER = re.compile(
    r"[$*).\]]{0,4}(?:\?\s{1,3}no\b| (?:is|was|are) (?:not (?:right|correct|the)|wrong|incorrect|false)\b)", re.I
)
_ABOUT = re.compile(r"\\approx|\\simeq|≈|\b(?:approximately|approx|about|roughly|decimals?)\b|约", re.IGNORECASE)
_OTHER_SENTENCE = re.compile(r"[.!?]\s+\w|[。！？]|\n\s*\n\s*\w|\b(?:so|then|thus|hence|therefore)\b")
_NOISE = re.compile(r"\\(?:quad|qquad|text|textrm|mathrm|[,;:! ()\[\]])|[\s${}.,;&~()\[\]、，和且]")


def offered(gap: str) -> bool:
    """Whether the text between two answers offers the second beside the first, instead of coming to it."""
    if len(gap) >= 400 or RETRACTED.search(gap):
        return False
    return HEDGE.search(gap) is not None or (len(gap) < 100 and _DERIVED.search(gap) is None)


def joins(gap: str) -> bool:
    """Whether boxes with this text between them are items of one list."""
    if len(gap) > 80 or _OTHER_SENTENCE.search(gap):
        return False
    if (HEDGE.search(gap) and "also" not in gap) or RETRACTED.search(gap):
        return False
    words = _NOISE.sub(" ", gap).split()
    return all(len(word) == 1 for word in words) or (("and" in words or "," in gap) and len(words) <= 8)


def rounds(gap: str) -> bool:
    """Whether the text between two answers says that the second is a rounding of the first."""
    return len(gap) <= 80 and _ABOUT.search(gap) is not None and "but" not in gap


def denied(text: str, start: int, end: int) -> bool:
    """Whether what stands between `start` and `end` is said not to be the answer."""
    return bool(_DENIED_BEFORE.search(text[max(0, start - 24) : start]) or _DENIED_AFTER.match(text, end))
