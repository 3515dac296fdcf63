r"""Multiple choice: letters, with or without what they stand for.

    B   (B)   \textbf{(B) }12   B. II and III only   option B   the correct answer is B   选B      one choice
    (A), (C)   A) 3 C) 5                                                                  several, as a list

A label is a letter with a mark: `(B)`, `B)`, `B.`, `B:`.  One answer names one choice: what holds several labels is the
list of them, never one of them, and what a letter stands for is never a letter.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from rewards.math_answer.nodes import Node, Op, Seq, Sym, Words, walk
from rewards.math_answer.read.tokens import ParseError

LETTERS = frozenset("ABCDEFGHIJ")

_ANY = re.compile(r"[A-J]|[a-e]\)")
_STYLE = r"\\(?:text|textbf|textrm|textsf|textit|mathrm|mathbf|mathsf|mbox|bf|underline) ?\{"
_MARKUP = re.compile(_STYLE + r"|[{}$]")
_STYLED_LABEL = re.compile(_STYLE + r" ?(\([A-J]\)[.:]?|[A-J](?:[.:]?\)|[.:])) ?\}")
_STYLED = re.compile(_STYLE + r"([^{}]*)\}")
# `B.` and `B:` need a space after them (`A:B` is a ratio), small letters a bracket, a space and something after it.
_LABEL = re.compile(
    r"(?<![^\s,;~)])(?:\(([A-J])\)[.:]?|([A-J])(?:[.:]?\)[.:]?|[.:](?=[\s~\\]|$))|\(?([a-e])\)(?=[\s~]))"
    r"(?![\s~]*(?:[=<>+*/^_!]|\\(?:cup|cap|times|cdot|setminus|leq?|geq?|neq?|in|sub|to|pm|div)(?![a-z])))"
)
_ABOUT = (
    r"(?:(?:the|my|our|final|correct|right|best|is|answer|option|choice|alternative|letter)(?![a-z])"
    r"|选?项正确|正确(?=答案|选项)|答案|应选|故选|选项|选择|选|是|为|项|[\s:,.])"
)
# Possessive: 选项 is one word or two, and trying both in each place would take for ever.
_BEFORE = re.compile(_ABOUT + "++", re.IGNORECASE)
_LETTER = re.compile(rf"\(?([A-J])\)?{_ABOUT}*+", re.IGNORECASE)
# `A, C`, `A and C`, `\\text{A}\\text{C}`; but `AC` is read as a product, which it may be.
_SEVERAL = re.compile(r"\(?[A-J]\)?(?:(?:[\s,;]|and|or|或|和|及)+\(?[A-J]\)?)+")
_BETWEEN = " \t\n,;~$"
_LEADING = re.compile(r"^(?:[\s,;~$]|\\(?:[ ,;:!]|q?quad(?![a-z])))+")
_JOINS_NEXT = re.compile(r"\b(?:and|or|或|和)$")
_JOINED = re.compile(rf"(?:{_STYLE})?\s?(?:(?:and|or)\b|或|和)", re.IGNORECASE)


def choice(text: str, content: Callable[[str], Node]) -> Node | None:
    """The choice that `text` names, with what `content` reads of the rest; a list where it names several; None where it
    names none."""
    if not _ANY.search(text):
        return None
    text = _STYLED_LABEL.sub(r" \1 ", text).strip()
    if styled := _STYLED.match(text):
        text = f"{styled[1]} {text[styled.end() :]}".strip()
    if _SEVERAL.fullmatch(_MARKUP.sub(" ", text).strip()):
        letters = [Sym(letter) for letter in _MARKUP.sub(" ", text) if letter in LETTERS]
        return letters[0] if len(set(letters)) == 1 else Seq(tuple(letters))
    if before := _BEFORE.match(text):
        text = text[before.end() :]
    lone = _LETTER.fullmatch(text)
    if lone is not None and lone[1] in LETTERS:
        return Sym(lone[1])
    labels = list(_LABEL.finditer(text))
    if not labels or labels[0].start() > 0:
        return None
    ends = [label.start() for label in labels[1:]] + [len(text)]
    named: list[Node] = []
    for label, end in zip(labels, ends, strict=True):
        named += _named(label[1] or label[2] or label[3], text[label.end() : end], content)
    return named[0] if len(set(named)) == 1 else Seq(tuple(named))


def _named(letter: str, rest: str, content: Callable[[str], Node]) -> list[Node]:
    """A labelled letter, with what stands after it; two answers where that is another letter, or joined to this one."""
    rest = _JOINS_NEXT.sub("", _LEADING.sub("", rest.rstrip(_BETWEEN), count=1)).strip(_BETWEEN)
    if not rest:
        return [Sym(letter)]
    if _JOINED.match(rest):  # `(C) or 12`
        return [Sym(letter), Words(rest)]
    lone = _LETTER.fullmatch(rest)
    if lone is not None and lone[1] in LETTERS:
        return [Sym(letter), Sym(lone[1])]
    try:
        value = content(rest)
    except ParseError:
        value = Words(" ".join(rest.split()))
    letters_only = all(
        isinstance(part, Seq | Op) or (isinstance(part, Sym) and part.name in LETTERS) for part in walk(value)
    )
    return [Op("choice", (Sym(letter), Words(" ".join(rest.split())) if letters_only else value))]
