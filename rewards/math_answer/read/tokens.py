"""What the lexer makes of a text and the parser reads."""

from __future__ import annotations

from dataclasses import dataclass


class ParseError(Exception):
    """The text is no mathematics that this grammar knows.  The message says what was met."""


@dataclass(frozen=True, slots=True)
class Token:
    """One of these kinds:

    num   a literal, thousands separators gone       name  a variable or constant       cmd   a function or construct
    word  a word or unit                             op rel sep open close               end   after the last token
    """

    kind: str
    text: str
    space: bool = False  # white space stood before it
    textual: bool = False  # it stood inside \text{…}
