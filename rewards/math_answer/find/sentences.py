"""Sentences and the formulas in them, found by one scan each."""

from __future__ import annotations

import re

from rewards.math_answer.read.answers import MAX_CHARS

SENTENCE_END = re.compile(r"[。．！？।【]|[.!?](?=\s+(?:[A-Z\\$\[(*]|$))|[.!?]$|\n\s*\n|\n(?![ \t]*[-+=&\\])")
_MATH_END = {"$$": "$$", "$": "$", "\\[": "\\]", "\\(": "\\)"}
_MATH = re.compile(r"\$\$|\$|\\\[|\\\]|\\\(|\\\)")


def after_formula(text: str, start: int) -> int:
    """Past the formula that begins at `start`, so that a full stop or a line break in it ends nothing."""
    at = start
    while at < len(text) and text[at] in " \t\n*_:":
        at += 1
    for opener, closer in _MATH_END.items():
        if text.startswith(opener, at):
            end = text.find(closer, at + len(opener), at + MAX_CHARS)
            return end + len(closer) if end >= 0 else start
    return at if at < len(text) else start


def formulas(text: str) -> list[tuple[int, int]]:
    """Spans of `$…$`, `\\(…\\)`, `\\[…\\]`, in order."""
    spans: list[tuple[int, int]] = []
    opened: tuple[str, int] | None = None
    for found in _MATH.finditer(text):
        mark = found[0]
        if opened is None:
            if mark in _MATH_END and (mark != "$" or text[found.start() - 1 : found.start()] != "\\"):
                opened = (_MATH_END[mark], found.start())
        elif mark == opened[0]:
            spans.append((opened[1], found.end()))
            opened = None
    return spans


def last_sentence_start(text: str, math: list[tuple[int, int]]) -> int:
    """Where the last sentence starts."""
    start, inside = 0, iter([*math, (len(text), len(text))])
    begin, stop = next(inside)
    for end in SENTENCE_END.finditer(text):
        while stop <= end.start() < len(text):
            begin, stop = next(inside)
        if end.end() < len(text) and not begin < end.start():
            start = end.end()
    return start
