r"""Is the completion laid out so that a person can read it?

Each rule is worth the same share, and what breaks it is named:

    paragraphs    none is longer than a person reads without a break
    delimiters    each formula and each block of code ends; braces in formulas are balanced
    tags          `<think>` and `<answer>` come in pairs
    characters    no control characters, no tokens such as <|im_end|>, no "\n" written out
    answer        there is one, behind the thoughts
    code          no block of code within the thoughts

The last is R1's, which drops chains of thought with long paragraphs and with blocks of code from what it is fine-tuned
on (arXiv 2501.12948, section 2.3.3); the third thing that it drops, mixed languages, is `rewards.language`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rewards.contract import Score, declare
from rewards.prose import CLOSED, OPENED, Span, spans, thoughts, without

LONGEST = 2000  # characters: 300 words or so; of 1,900 solutions written by people none has a longer paragraph

_PAIRS = ((OPENED, CLOSED), ("<answer>", "</answer>"))
_LEFT_OVER = re.compile(
    r"(?P<escaped>\\[\\$])|\\[()\[\]]|\\(?:begin|end)\{[a-zA-Z]{1,20}\*?\}|\[/?asy\]|\$\$"
    r"|\$(?=[A-Za-z\\{(])|(?<=[A-Za-z})])\$(?![\s]?[\d<])"  # a dollar alone or beside a number is money
)
_ESCAPE = re.compile(r"\\[\s\S]")
_TOKEN = re.compile(r"<[|｜][^<>|｜\s]{1,40}[|｜]>")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ud800-\udfff]")
_WRITTEN_OUT = re.compile(r"(?<![\\'\"])(?:\\r)?\\n(?![a-z'\"])|\\u[0-9a-fA-F]{4}")  # not \neq, not '\n'


@declare(rejected_golds="ignore")
def readability(
    completion: str, problem: Mapping[str, Any], *, longest: int = LONGEST, code_in_thoughts: bool = False
) -> Score:
    """Share of the rules that are kept, from 0 to 1.

    `longest`: characters of a paragraph at the most.  `code_in_thoughts`: blocks of code there are no fault.
    """
    if not completion.strip():
        return Score(0.0, why="there is no text")
    found = list(spans(completion))
    rules = [
        _paragraphs(completion, found, longest),
        _delimiters(completion, found),
        _tags(completion),
        _characters(completion, found),
        _answer(completion),
    ]
    if not code_in_thoughts:
        rules.append(_code(completion))
    faults = [fault for fault in rules if fault]
    return Score(1 - len(faults) / len(rules), why="; ".join(faults) or "readable")


def _paragraphs(text: str, found: Sequence[Span], longest: int) -> str:
    rest = without(text, (span for span in found if span.kind == "block"))
    characters = max(len(line.strip()) for line in rest.split("\n"))
    return f"a paragraph of {characters} characters (more than {longest})" if characters > longest else ""


def _delimiters(text: str, found: Sequence[Span]) -> str:
    if any(not span.closed for span in found):
        return "a block of code never ends"
    for span in found:
        formula = _ESCAPE.sub("", text[span.start : span.end])
        if span.kind == "formula" and formula.count("{") != formula.count("}"):
            return "braces of a formula are not balanced"
    for token in _LEFT_OVER.finditer(without(text, found)):
        if token.lastgroup != "escaped":
            return f"{token[0]} without its other half"
    return ""


def _tags(text: str) -> str:
    for opened, closed in _PAIRS:
        if text.count(opened) != text.count(closed):
            return f"{opened} occurs {text.count(opened)} times and {closed} {text.count(closed)} times"
    return ""


def _characters(text: str, found: Sequence[Span]) -> str:
    if control := _CONTROL.search(text):
        return f"the character U+{ord(control[0]):04X}"
    if token := _TOKEN.search(text):
        return f"the token {token[0]}"
    written = len(_WRITTEN_OUT.findall(without(text, found)))
    return f"{written} line breaks or characters written out as escapes" if written > 1 else ""


def _answer(text: str) -> str:
    if OPENED not in text and CLOSED not in text:
        return ""
    rest = text.rpartition(CLOSED)[2] if CLOSED in text else ""
    for tags in _PAIRS:
        for tag in tags:
            rest = rest.replace(tag, " ")
    return "" if rest.strip() else "no answer behind the thoughts"


def _code(text: str) -> str:
    if OPENED not in text and CLOSED not in text:
        return ""
    return "a block of code within the thoughts" if any(s.kind == "block" for s in spans(thoughts(text))) else ""
