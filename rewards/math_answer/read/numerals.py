"""Numbers in English words: `twenty-one`, `two thirds`, `minus 42`, `42 point five`, `3 and a half`.

Words that no rule here puts together are no number: the value is read, or the answer stays in words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_PARTS = "half third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
CARDINALS = {word: value for value, word in enumerate(_SMALL)}
CARDINALS |= {word: 10 * value for value, word in enumerate(_TENS, 2)}
SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
SCALES |= {"dozen": 12, "hundreds": 10**2, "thousands": 10**3, "millions": 10**6, "billions": 10**9, "dozens": 12}
FRACTIONS = {word: value for value, word in enumerate(_PARTS, 2)} | {"hundredth": 100, "thousandth": 1000}
FRACTIONS |= {f"{word}s": value for word, value in FRACTIONS.items()} | {"halves": 2}
_HYPHEN = re.compile("(?<=[a-z])-(?=[a-z])")
_DIGITS = re.compile(r"\d{1,15}(?:\.\d{1,15})?")
_MAX_WORDS = 24


def numeral(words: str) -> Fraction | None:
    """The number that lower-case words stand for; None where they are no number in words."""
    names = _HYPHEN.sub(" ", words).split()
    if not names or len(names) > _MAX_WORDS:
        return None
    negative = names[0] in ("minus", "negative")
    value = _value(names[1:] if negative else names)
    return -value if negative and value is not None else value


def _value(names: list[str]) -> Fraction | None:
    if "point" in names:
        at = names.index("point")
        return _decimal(names[:at], names[at + 1 :])
    if names[-2:] == ["a", "half"]:
        whole = Fraction(0) if len(names) == 2 else _cardinal(names[:-3]) if names[-3] == "and" else None
        return None if whole is None else whole + Fraction(1, 2)
    if len(names) > 1 and names[-1] in FRACTIONS:
        above = _cardinal(names[:-1])
        plural = names[-1].endswith("s")  # `two thirds`, `one third`; but `twenty third` is an ordinal
        return above / FRACTIONS[names[-1]] if above is not None and (above == 1) != plural else None
    return _cardinal(names)


def _decimal(whole: list[str], digits: list[str]) -> Fraction | None:
    """`forty-two point five`."""
    value = _cardinal(whole)
    written = [str(CARDINALS.get(digit, digit)) for digit in digits]
    if value is None or value.denominator != 1 or not written or not all(map(str.isdecimal, written)):
        return None
    decimals = "".join(written)
    return value + Fraction(int(decimals), 10 ** len(decimals)) if len(decimals) < 20 else None


def _cardinal(names: list[str]) -> Fraction | None:
    """`two hundred and five`, `3 million`: groups below a thousand with falling scales."""
    if len(names) == 1 and _DIGITS.fullmatch(names[0]):
        return Fraction(names[0])
    if not names or names[0] == "and":
        return None
    total, group, last_scale = Fraction(0), _Group(), float("inf")
    for name in names:
        scale = SCALES.get(name)
        if scale == 100 and group.value and group.value < 100:
            group = _Group(group.value * 100, 100)
        elif scale and group.value and scale < last_scale:
            total, group, last_scale = total + group.value * scale, _Group(room=min(1000, scale)), scale
        elif scale or not group.takes(name, first=not total):
            return None
    if names[-1] in ("a", "and"):
        return None
    return total + (group.value or 0)


@dataclass
class _Group:
    """What stands before a scale word: at most three digits.  The next word must be smaller than `room`."""

    value: Fraction | None = None
    room: int = 1000

    def takes(self, name: str, *, first: bool) -> bool:
        """Add one word; whether it fits."""
        number = CARDINALS.get(name)
        if number is not None and number < self.room:
            self.value, self.room = (self.value or Fraction(0)) + number, 10 if number >= 20 else 0
            return True
        if self.value is None and first and (name == "a" or _DIGITS.fullmatch(name)):
            self.value, self.room = Fraction(1 if name == "a" else name), 0
            return True
        return name == "and" and (not first or (self.value is not None and self.value >= 100))
