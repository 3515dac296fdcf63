r"""Grouped numbers: `1,234,567`, `1{,}234`, `11,\! 111`, `1 000 000` without their separators."""

from __future__ import annotations

import re

_GROUPED = re.compile(
    # separators that can be nothing else
    r"(?<![\d.,])\d{1,3}(?:(?:\s?\{\s?,\s?\}\s?|\\,|,\s?\\!\s?|\\!\s?,?|,\\,)\d{3})+(?!\d)"
)
_COMMAS = re.compile(r"(?<![\d.,\w])\d{1,3}(?:,\d{3})+(?![\d])(?!,\d)")
_SPACES = re.compile(r"(?<![\d.,] )(?<![\d.,\w{}])[1-9]\d{0,2}(?: \d{3})+(?! ?[\d/\\])")
_SEPARATOR = re.compile(r"\{\s?,\s?\}|\\,|\\!|[,\s]")


def join_thousands(text: str, plain_commas: bool = True) -> str:
    """Write grouped numbers without separators.  A plain comma groups only where no bracket encloses it: `(1,234)` is
    a pair."""
    text = _GROUPED.sub(lambda found: _SEPARATOR.sub("", found[0]), text)
    if not plain_commas or not ("," in text or " " in text):
        return text
    depths = _depths(text)

    def join(found: re.Match[str]) -> str:
        return found[0] if depths[found.start()] else _SEPARATOR.sub("", found[0])

    text = _COMMAS.sub(join, text)
    if " " in text:
        depths = _depths(text)
        text = _SPACES.sub(join, text)
    return text


def _depths(text: str) -> list[int]:
    """How many brackets are open before each character.  Braces group and do not count, except `\\{`."""
    depth, depths = 0, []
    for at, char in enumerate(text):
        depths.append(depth)
        if char in "([" or (char == "{" and at and text[at - 1] == "\\"):
            depth += 1
        elif char in ")]" or (char == "}" and at and text[at - 1] == "\\"):
            depth -= 1
    return depths
