r"""What of a completion is prose: the text without its formulas, code, tags and links, and its chain of thought alone.

For rewards that judge how a text is written, not what it computes.  Formulas are LaTeX between `$…$`, `$$…$$`, `\(…\)`,
`\[…\]` or in an environment; code stands in fences and between backticks.  What never closes is no formula and no code,
except for a fence: there the program was cut off.

One pass over the delimiters: time in proportion to the text, whatever it repeats.  No pattern here can be tried from
many places over one long stretch of text, which is what makes a regular expression quadratic.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

OPENED, CLOSED = "<think>", "</think>"

# Of mathematics, tables, drawings and code; a proof or a list is prose.
_ENVIRONMENTS = (
    r"\{(?:equation|align|aligned|alignat|gather|gathered|multline|split|eqnarray|array|cases|[pbBvV]?matrix"
    r"|smallmatrix|tabular|tikzpicture|asy|verbatim|lstlisting|minted)\*?\}"
)
_DELIMITER = re.compile(
    r"(?P<ticks>`+|~~~+)|(?P<gap>\n[ \t]*\n)|(?P<display>\$\$)|(?P<dollar>\$)|(?P<escaped>\\[\\$`])"
    rf"|(?P<bracket>\\[(\[])|(?P<bracketed>\\[)\]])|(?P<begin>\\begin{_ENVIRONMENTS})|(?P<end>\\end{_ENVIRONMENTS})"
    r"|(?P<drawing>\[asy\])|(?P<drawn>\[/asy\])"
)
_OPENERS = ("fence", "ticks", "display", "dollar", "bracket", "begin", "drawing")
_AMOUNT = re.compile(r"\$\s?\d")
_CLOSERS = {"$$": "$$", r"\(": r"\)", r"\[": r"\]", "[asy]": "[/asy]", "$": "$"}
_IN_ONE_PARAGRAPH = ("ticks", "display", "dollar", "bracket")  # closed before the next blank line, or not opened at all
_INFO = 40  # characters behind a fence, such as "python"; more is content

_OTHERS = re.compile(
    r"(?:https?://|www\.)[!-~]+|</?[A-Za-z][A-Za-z0-9_ =\"'-]{0,60}/?>|<<[^<>\n]{0,200}>>|\\[A-Za-z]+"
    r"|(?<=\d) ?[A-Za-zµ]{1,3}\b"  # units: 5 kg
)
_CHUNK = re.compile(r"[!-~]+")  # ASCII without blanks
_MARKS = "\"'()[]{}.,;:!?*_-#"  # of punctuation and Markdown, around a word
_NO_WORD = re.compile(
    r"[=_\\@#%^&|<>~{}\[\]+*$0-9]|\w\(|\w\.\w|[a-z][A-Z]|/[^/]*/"
)  # x=3, f(x), np.dot, isPrime, a/b/c


@dataclass(frozen=True, slots=True)
class Span:
    """A formula or code with its delimiters: `text[start:end]`.  `closed`: only a block may never be."""

    kind: Literal["formula", "code", "block"]
    start: int
    end: int
    closed: bool = True


def thoughts(text: str) -> str:
    """The chain of thought: between `<think>` and `</think>`, or where there is neither the whole text."""
    start = text.find(OPENED)
    start = start + len(OPENED) if start >= 0 else 0
    end = text.find(CLOSED, start)
    return text[start : end if end >= 0 else len(text)]


def prose(text: str) -> str:
    """`text` with a blank in place of what is no prose: formulas, code, identifiers, numbers, units, tags, links."""
    return _CHUNK.sub(_word, _OTHERS.sub(" ", without(text, spans(text))))


def without(text: str, found: Iterable[Span], *, instead: str = " ") -> str:
    """`text` with `instead` in place of each span, and its line breaks kept."""
    pieces, at = [], 0
    for span in found:
        lines = "\n" * text.count("\n", span.start, span.end)
        pieces += [text[at : span.start], instead, lines]
        at = span.end
    return "".join([*pieces, text[at:]])


def spans(text: str) -> Iterator[Span]:
    """Formulas and code, in order."""
    kind = opener = ""  # of what is open
    start = depth = 0
    for token in _DELIMITER.finditer(text):
        what = "fence" if _is_fence(text, token) else str(token.lastgroup)
        if kind == "begin":
            depth += (what == "begin") - (what == "end")
        if kind and (depth == 0 if kind == "begin" else _closes(text, kind, opener, start, token)):
            yield Span(_kind(kind), start, token.end())
            kind = ""
        elif kind in _IN_ONE_PARAGRAPH and what == "gap":
            kind = ""
        elif what in _OPENERS and _opens(text, kind, what, token):
            kind, opener, start, depth = what, token[0], token.start(), 1
    if kind == "fence":
        yield Span("block", start, len(text), closed=False)


def _kind(opener: str) -> Literal["formula", "code", "block"]:
    return "block" if opener == "fence" else "code" if opener == "ticks" else "formula"


def _is_fence(text: str, token: re.Match[str]) -> bool:
    """Three backticks that begin a line, or end it with at most one word: "So: ```python"."""
    if token.lastgroup != "ticks" or len(token[0]) < 3:
        return False
    info, newline, _ = text[token.end() : token.end() + _INFO].partition("\n")
    if _begins_line(text, token.start()):
        return "`" not in info
    return "`" not in info and len(info.split()) <= 1 and (bool(newline) or token.end() + _INFO > len(text))


def _begins_line(text: str, at: int) -> bool:
    _, newline, line = text[max(at - 9, 0) : at].rpartition("\n")  # up to eight blanks, within a list
    return not line.strip() and (bool(newline) or at <= 8)


def _opens(text: str, kind: str, what: str, token: re.Match[str]) -> bool:
    """Whether it opens something although `kind` is open: a fence does, and a dollar goes before an earlier one."""
    if what == "fence":
        return kind not in ("fence", "begin")
    if what == "dollar":
        return kind in ("", "dollar") and not _is_price(text, token)
    return not kind and what in _OPENERS


def _is_price(text: str, dollar: re.Match[str]) -> bool:
    """Money whose amount stands before it, "5 $ and", or is worked out behind it, "$<<2*5=10>>10" (GSM8K)."""
    after = text[dollar.end() : dollar.end() + 1]
    amount = text[max(dollar.start() - 2, 0) : dollar.start()].rstrip()[-1:]
    return text.startswith("<<", dollar.end()) or amount.isdigit() and (not after or after.isspace())


def _closes(text: str, kind: str, opener: str, start: int, token: re.Match[str]) -> bool:
    after = text[token.end() : token.end() + 1]
    if kind == "fence":
        return token[0].startswith(opener) and not after.isalnum() and _begins_line(text, token.start())
    if kind == "ticks":
        return token[0] == opener
    if kind == token.lastgroup == "dollar" and _AMOUNT.match(text, start):  # "$5 and $7", "$5-$10" are money
        return not text[token.start() - 1].isspace() and not after.isdigit()
    return token[0] == _CLOSERS.get(opener)


def _word(chunk: re.Match[str]) -> str:
    return " " if _NO_WORD.search(chunk[0].strip(_MARKS)) else chunk[0]
