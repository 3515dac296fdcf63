r"""What of a completion is prose: the text without its formulas, code, tags and links, and its chain of thought alone.

For rewards that judge how a text is written, not what it computes.  Formulas are LaTeX between `$…$`, `$$…$$`, `\(…\)`,
`\[…\]`, in environments and as single commands; code stands in fences and between backticks.  What is never closed is
no formula and no code, but a fence: there the program was cut off.

One pass over the delimiters: time in proportion to the text, whatever it repeats.  No pattern here can be tried again
from many places over a long stretch of text, which is what makes a regular expression quadratic.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

OPENED, CLOSED = "<think>", "</think>"

# Environments of mathematics, tables, drawings and code; a proof or a list is prose.
_NAMES = (
    r"(?:equation|align|aligned|alignat|gather|gathered|multline|split|eqnarray|array|cases|[pbBvV]?matrix|smallmatrix"
    r"|tabular|tikzpicture|asy|verbatim|lstlisting|minted)\*?"
)
_DELIMITER = re.compile(
    r"(?P<fence>(?:^|(?<=\n))[ \t]{0,8}(?:```+|~~~+))|(?P<tick>`+)|(?P<gap>\n[ \t]*\n)|(?P<display>\$\$)|(?P<dollar>\$)"
    r"|(?P<escaped>\\[\\$`])|(?P<open>\\[(\[])|(?P<close>\\[)\]])|(?P<begin>\\begin\{" + _NAMES + r"\})"
    r"|(?P<end>\\end\{" + _NAMES + r"\})|(?P<draw>\[asy\])|(?P<drawn>\[/asy\])"
)
_CLOSER = {"\\(": "\\)", "\\[": "\\]", "[asy]": "[/asy]", "$$": "$$", "$": "$"}
_INLINE = ("tick", "dollar", "open")  # closed within the paragraph, or not opened at all

_LINKS = re.compile(
    r"(?:https?://|www\.)[!-~]+|</?[A-Za-z][A-Za-z0-9_ =\"'-]{0,60}/?>|<<[^<>\n]{0,200}>>|\\[A-Za-z]+"
    r"|(?<![\w.+-])[\w.+-]+@[\w.-]+"
)


def thoughts(text: str) -> str:
    """The chain of thought: up to `</think>`, or the whole text where nothing closes it."""
    start = text.find(OPENED)
    end = text.find(CLOSED, max(start, 0))
    return text[start + len(OPENED) if start >= 0 else 0 : end if end >= 0 else len(text)]


def prose(text: str) -> str:
    """`text` with a blank in place of each formula, block of code, tag, LaTeX command, link and address."""
    pieces, at = [], 0
    for start, end in spans(text):
        pieces += [text[at:start], "\n" if "\n" in text[start:end] else " "]
        at = end
    return _LINKS.sub(" ", "".join([*pieces, text[at:]]))


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Where formulas and code lie, in order, their delimiters with them."""
    kind = opener = ""  # of what is open
    start = depth = 0
    for token in _DELIMITER.finditer(text):
        found, what = token.group().strip(" \t"), token.lastgroup or ""
        if kind == "begin":
            depth += (what == "begin") - (what == "end")
            if depth == 0:
                yield start, token.end()
                kind = ""
        elif kind and _closes(text, kind, opener, what, found, token):
            yield start, token.end()
            kind = ""
        elif kind in _INLINE and what == "gap":
            kind = ""
        elif _opens(text, kind, what, token):
            kind, opener, start, depth = what, found, token.start(), 1
    if kind == "fence":
        yield start, len(text)


def _opens(text: str, kind: str, what: str, token: re.Match[str]) -> bool:
    if what == "fence" or kind in ("", "dollar") and what == "dollar":
        after = text[token.end() : token.end() + 1]
        return kind != "fence" and (what == "fence" or bool(after) and not after.isspace())
    return not kind and what in ("tick", "display", "open", "begin", "draw")


def _closes(text: str, kind: str, opener: str, what: str, found: str, token: re.Match[str]) -> bool:
    if kind == "fence":
        return what == "fence" and found.startswith(opener)
    if kind == "tick":
        return what == "tick" and found == opener
    if kind == "dollar":  # "$5 and $7" is money: a formula ends behind no blank and before no digit
        before, after = text[token.start() - 1], text[token.end() : token.end() + 1]
        return what == "dollar" and not before.isspace() and not after.isdigit()
    return found == _CLOSER[opener]
