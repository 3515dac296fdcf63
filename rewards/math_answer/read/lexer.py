r"""Tokens of LaTeX and plain mathematics, in one pass and one vocabulary: `\sqrt`, `√` and `sqrt` are one token.

The lexer decides what a run of letters is (function, constant, unit, product of variables, or a word), because only
here the surroundings are still visible; the parser then sees kinds:

    num   a literal, thousands separators gone       name  a variable or constant       cmd   a function or construct
    word  a word or unit                             op rel sep open close               end   after the last token
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rewards.math_answer.read import vocabulary

MAX_TOKENS = 4096
MAX_DIGITS = 2048  # of one literal


class ParseError(Exception):
    """The text is no mathematics that this grammar knows.  The message says what was met."""


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    space: bool = False  # white space stood before it
    textual: bool = False  # it stood inside \text{…}


_PIECES = re.compile(
    r"(?P<space>(?:\s|~|\\[,;:!> ]|\\(?:(?:text)?color|[hv]space|hskip|tag|label)\*?\s*\{[^{}]*\}"
    r"|\\(?:left|right)\s*\.|\.(?=\s*[\])}$&]))+)"
    r"|(?P<num>(?:\d+(?:\.\d+|\.(?=[/*)\]}]))?|\.\d+)(?:[eE][+-]?\d+(?![\dA-Za-z.]))?)"
    r"|\\(?P<env>begin|end)\s*\{(?P<name>[A-Za-z]+)\*?\}(?:\{[clr|. @{}]*\}|\[[lrctb.]\])?"
    r"|\\(?P<cmd>[A-Za-z]+|[^A-Za-z])"
    r"|(?P<word>[A-Za-z]+)"
    r"|(?P<rel><=|>=|!=|==|=<|=>|->|<|>|=)"
    r"|(?P<pow>\*\*)"
    r"|(?P<char>.)",
    re.DOTALL,
)
_GROUPED = re.compile(
    # separators that can be nothing else
    r"(?<![\d.,])\d{1,3}(?:(?:\s?\{\s?,\s?\}\s?|\\,|,\s?\\!\s?|\\!\s?,?|,\\,)\d{3})+(?!\d)"
)
_COMMAS = re.compile(r"(?<![\d.,\w])\d{1,3}(?:,\d{3})+(?![\d])(?!,\d)")
_SPACES = re.compile(r"(?<![\d.,] )(?<![\d.,\w{}])[1-9]\d{0,2}(?: \d{3})+(?! ?[\d/\\])")
_BLACKBOARD = re.compile(r"\\(?:mathbb|Bbb|mathbf|mathds)\s*\{?\s*([RZNQC])(?![A-Za-z])\s*\}?")
_SYSTEM = re.compile(
    r"\\left\s*\\\{\s*\\begin\{(array|aligned|matrix)\}(?:\{[clr|]*\})?(.*?)\\end\{\1\}\s*\\right\s*\.?", re.DOTALL
)
_SEPARATOR = re.compile(r"\{\s?,\s?\}|\\,|\\!|[,\s]")
_ORDINAL = re.compile(r"(?<=\d)\s?(?:\^\s*\{?\\?(?:text|mathrm|textrm)?\{?)?(?:st|nd|rd|th)\b\}*")


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


def tokenize(text: str, *, plain_commas: bool = True) -> list[Token]:
    """All tokens of `text`, and an `end`."""
    text = join_thousands(text, plain_commas)
    if "\\begin" in text:
        text = _SYSTEM.sub(r"\\begin{cases}\2\\end{cases}", text)
    if "\\math" in text or "\\Bbb" in text:
        text = _BLACKBOARD.sub(r"\\\1\1 ", text)
    if "th" in text or "st" in text or "nd" in text or "rd" in text:
        text = _ORDINAL.sub("", text)
    tokens = _Lexer(text).run()
    tokens.append(Token("end", ""))
    return tokens


class _Lexer:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[Token] = []
        self.space = False
        self.textual: list[int] = []  # brace depths at which \text{…} was opened
        self.depth = 0
        self.textual_next = False

    def run(self) -> list[Token]:
        for found in _PIECES.finditer(self.text):
            kind = found.lastgroup or "char"
            if kind == "name":
                self.put("cmd", f"{found['env']}:{found['name']}")
                continue
            if kind == "space":
                self.space = True
                continue
            self.read(kind, found[kind], found.end())
            if len(self.tokens) > MAX_TOKENS:
                raise ParseError(f"more than {MAX_TOKENS} tokens")
        return self.tokens

    def put(self, kind: str, text: str) -> None:
        self.tokens.append(Token(kind, text, self.space, bool(self.textual)))
        self.space = False

    def read(self, kind: str, text: str, end: int) -> None:
        if self.textual_next and text != "{" and kind != "space":
            self.textual_next = False
        if kind == "cmd":
            self.command(text)
        elif kind == "word":
            self.letters(text, end)
        elif kind == "num":
            if len(text) > MAX_DIGITS:
                raise ParseError(f"a number of {len(text)} characters")
            self.put("num", text)
        elif kind == "rel":
            self.put("rel", {"=<": "<=", "=>": "->", "==": "=", "->": "->"}.get(text, text))
        elif kind == "pow":
            self.put("op", "^")
        else:
            self.char(text)

    def char(self, char: str) -> None:
        if char == "{":
            self.depth += 1
            if self.textual_next:  # the braces of \\text{…} group nothing
                self.textual.append(self.depth)
                self.textual_next = False
                self.space = True
            else:
                self.put("open", "{")
        elif char == "}":
            if self.textual and self.textual[-1] == self.depth:
                self.textual.pop()
                self.space = True
            else:
                self.put("close", "}")
            self.depth -= 1
        elif char in "([":
            self.put("open", char)
        elif char in ")]":
            self.put("close", char)
        elif char in "+-*/^_!|:'%&":
            self.put("op", char)
        elif char in ",;":
            self.put("sep", char)
        elif char == "$" or char in '."?' and self.textual:
            self.space = True
        elif char == ".":
            self.put("op", ".")
        else:
            raise ParseError(f"unexpected character {char!r}")

    def command(self, name: str) -> None:
        if name in vocabulary.TEXTUAL:
            self.textual_next = True
        elif name in vocabulary.IGNORED or name in vocabulary.UNWRAPPED:
            self.space = True
        elif name in vocabulary.VECTORS:
            pass
        elif name == "\\":
            self.put("sep", "\\\\")
        elif name in ("{", "}"):
            self.put("open" if name == "{" else "close", "\\" + name)
        elif name == "$":
            self.put("word", "$")
        elif name in ("%", "&", "|"):
            self.put("op", name)
        elif name in ("_", "-", "/", "#"):
            self.space = True
        elif name in vocabulary.SEPARATORS:
            self.put("sep", vocabulary.SEPARATORS[name])
        else:
            self.named(name)

    def named(self, name: str) -> None:
        """A command that is a relation, an operator, a constant, a variable or a function."""
        name = vocabulary.CANONICAL.get(name, name)
        if name in vocabulary.RELATIONS:
            self.put("rel", vocabulary.RELATIONS[name])
        elif name in vocabulary.OPS:
            self.put("op", vocabulary.OPS[name])
        elif name == "|":
            self.put("op", "|")
        elif name in vocabulary.CONSTANTS:
            self.put("name", vocabulary.CONSTANTS[name])
        elif vocabulary.GREEK_VARIANTS.get(name, name) in vocabulary.GREEK:
            self.put("name", vocabulary.GREEK_VARIANTS.get(name, name))
        elif name in ("ldots", "cdots", "dots", "dotsc", "dotsb", "dotsm", "dotso", "vdots", "ddots"):
            self.put("op", "...")
        elif name in ("dollar", "euro", "pounds"):
            self.put("word", {"dollar": "$", "euro": "eur", "pounds": "gbp"}[name])
        elif name in ("percent", "pct"):
            self.put("op", "%")
        elif name in vocabulary.COMMANDS or not (head := vocabulary.known_head(name)):
            self.put("cmd", name)
        else:  # `\\quadx`, `\\cotx`
            self.command(head)
            self.space = True
            self.letters(name[len(head) :], 0)

    def letters(self, run: str, end: int) -> None:
        """A run of plain letters: `sqrt`, `pi`, `and`, `cm`, `ab`, `Evelyn`."""
        from rewards.math_answer.read.words import split_letters  # words needs this module's tables

        for kind, text in split_letters(run, self.tokens, self.space, self.text[end : end + 2], bool(self.textual)):
            self.put(kind, text)
