r"""Tokens of LaTeX and plain mathematics, in one pass and one vocabulary: `\sqrt`, `√` and `sqrt` are one token.

The lexer decides what a run of letters is (function, constant, unit, product of variables, or a word), because only
here the surroundings are still visible; the parser then sees the kinds of `tokens`.
"""

from __future__ import annotations

import re

from rewards.math_answer.read import vocabulary
from rewards.math_answer.read.letters import split_letters
from rewards.math_answer.read.measures import COUNTED, UNITS
from rewards.math_answer.read.thousands import join_thousands
from rewards.math_answer.read.tokens import ParseError, Token

MAX_TOKENS = 4096
MAX_DIGITS = 2048  # of one literal
_PIECES = re.compile(
    r"(?P<dots>\.{3,})|(?P<space>(?:\s|~|\\[,;:!> ]|\\(?:(?:text)?color|[hv]space|hskip|tag|label)\*?\s*\{[^{}]*\}"
    r"|\\(?:left|right)\s*\.|\.(?=\s*[\])}$&]))+)"
    r"|(?P<num>(?:\d+(?:\.\d+|\.(?=[/*)\]}]))?|\.\d+)(?:[eE][+-]?\d+(?![\dA-Za-z.]))?)"
    r"|\\(?P<env>begin|end)\s*\{(?P<name>[A-Za-z]+)\*?\}(?:\{[clr|. @{}]*\}|\[[lrctb.]\])?"
    r"|\\(?P<cmd>[A-Za-z]+|[^A-Za-z])"
    r"|(?P<word>[A-Za-z]+)"
    r"|(?P<foreign>[^\W\d_A-Za-z]+)"
    r"|(?P<rel><=|>=|!=|==|=<|=>|->|<|>|=)"
    r"|(?P<pow>\*\*)"
    r"|(?P<char>.)",
    re.DOTALL,
)
_BLACKBOARD = re.compile(r"\\(?:mathbb|Bbb|mathbf|mathds)\s*\{?\s*([RZNQC])(?![A-Za-z])\s*\}?")
_SYSTEM = re.compile(
    r"\\left\s*\\\{\s*\\begin\{(array|aligned|matrix)\}(?:\{[clr|]*\})?(.*?)\\end\{\1\}\s*\\right\s*\.?", re.DOTALL
)
_FROM_TO = re.compile(r"\\vec\s?\{\s?([A-Z]{2})\s?\}")  # `\vec{AB}` leads from A to B, `\vec v` is only a name
_ORDINAL = re.compile(r"(?<=\d)\s?(?:\^\s*\{?)?(?:\\(?:text|mathrm|textrm)\{)?(?:st|nd|rd|th)\b\}*")


def tokenize(text: str, *, plain_commas: bool = True) -> list[Token]:
    """All tokens of `text`, and an `end`."""
    text = join_thousands(text, plain_commas)
    if "\\begin" in text:
        text = _SYSTEM.sub(r"\\begin{cases}\2\\end{cases}", text)
    if "\\vec" in text:
        text = _FROM_TO.sub(r"\\overrightarrow{\1}", text)
    if "\\math" in text or "\\Bbb" in text:
        text = _BLACKBOARD.sub(r"\\\1\1 ", text)
    if "th" in text or "st" in text or "nd" in text or "rd" in text:
        text = _ORDINAL.sub("", text)
    tokens = _outward(_Lexer(text).run()) if "[" in text or "]" in text else _Lexer(text).run()
    tokens.append(Token("end", ""))
    return tokens


def _outward(tokens: list[Token]) -> list[Token]:
    """`]1,2[` as `(1,2)`: a square bracket that turns its back on the items leaves its end out."""
    opened: list[bool] = []  # for each open bracket, whether a separator stood in it
    for at, token in enumerate(tokens):
        after_value = at > 0 and tokens[at - 1].kind in ("num", "name", "close")
        if token.text == "[" and after_value and opened and opened[-1]:
            tokens[at] = Token("close", ")", token.space, token.textual)
            opened.pop()
        elif token.text == "]" and not opened and tokens[at + 1 :]:
            tokens[at] = Token("open", "(", token.space, token.textual)
            opened.append(False)
        elif token.kind == "open":
            opened.append(False)
        elif token.kind == "close" and opened:
            opened.pop()
        elif token.kind == "sep" and opened:
            opened[-1] = True
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
        if self.textual_next and text != "{":
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
            self.put("rel", _SPELLINGS.get(text, text))
        elif kind in _SIGNS:
            self.put("op", _SIGNS[kind])
        elif kind == "foreign":
            self.foreign(text)
        else:
            self.char(text)

    def char(self, char: str) -> None:
        if char == "{":
            self.open_brace()
        elif char == "}":
            self.close_brace()
        elif char in _CHARS:
            self.put(_CHARS[char], char)
        elif char == "$" or char in '."?' and self.textual:
            self.space = True
        elif char == ".":
            self.put("op", ".")
        elif char == '"':
            self.put("op", "'")
            self.put("op", "'")
        else:
            raise ParseError(f"unexpected character {char!r}")

    def open_brace(self) -> None:
        self.depth += 1
        if self.textual_next:  # the braces of \text{…} group nothing
            self.textual.append(self.depth)
            self.textual_next = False
            self.space = True
        else:
            self.put("open", "{")

    def close_brace(self) -> None:
        if self.textual and self.textual[-1] == self.depth:
            self.textual.pop()
            self.space = True
        else:
            self.put("close", "}")
        self.depth -= 1

    def command(self, name: str) -> None:
        if name in vocabulary.TEXTUAL:
            self.textual_next = True
        elif name in _BLANK:
            self.space = True
        elif name not in vocabulary.VECTORS:
            self.named(vocabulary.CANONICAL.get(name, name))

    def named(self, name: str) -> None:
        """A command that stands for a token, or that is one: a function or construct."""
        if name in _NAMED:
            self.put(*_NAMED[name])
        elif name in vocabulary.COMMANDS or not (head := vocabulary.known_head(name)):
            self.put("cmd", name)
        else:  # `\quadx`, `\cotx`
            self.command(head)
            self.space = True
            self.letters(name[len(head) :], 0)

    def foreign(self, run: str) -> None:
        """A unit, a counted thing or a joining word in another script: `平方厘米`, `个`, `或`."""
        for power, word in (("平方", "square"), ("立方", "cubic")):
            if run.startswith(power):
                self.put("word", word)
                run = run[len(power) :]
        if run in _FOREIGN:
            self.put(*_FOREIGN[run])
        elif run.lower() in UNITS or run in COUNTED:
            self.put("word", run.lower())
        else:
            raise ParseError(f"unexpected character {run[:1]!r}")

    def letters(self, run: str, end: int) -> None:
        """A run of plain letters: `sqrt`, `pi`, `and`, `cm`, `ab`, `Evelyn`."""
        for kind, text in split_letters(run, self.tokens, self.space, self.text[end : end + 2], bool(self.textual)):
            self.put(kind, text)


_FOREIGN = {**dict.fromkeys(("或", "或者", "или", "또는"), ("sep", "or")), "度": ("op", "deg")}
_FOREIGN |= dict.fromkeys(("和", "与", "且", "及", "以及", "и", "와", "그리고"), ("sep", "and"))
_SIGNS = {"pow": "^", "dots": "..."}
_SPELLINGS = {"=<": "<=", "=>": "->", "==": "="}  # of one relation
# The kinds of single characters.
_CHARS = dict.fromkeys("([", "open") | dict.fromkeys(")]", "close")
_CHARS |= dict.fromkeys("+-*/^_!|:'%&", "op") | dict.fromkeys(",;", "sep")
_BLANK = vocabulary.IGNORED | vocabulary.UNWRAPPED | frozenset("_-/#")
# Commands and the tokens that they stand for.  Where two rows name one command, the later row counts.
_NAMED: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("percent", "pct"), ("op", "%")),
    "dollar": ("word", "$"),
    "euro": ("word", "eur"),
    "pounds": ("word", "gbp"),
    **dict.fromkeys("ldots cdots dots dotsc dotsb dotsm dotso vdots ddots".split(), ("op", "...")),
    **{name: ("name", name) for name in vocabulary.GREEK},
    **{name: ("name", letter) for name, letter in vocabulary.GREEK_VARIANTS.items()},
    **{name: ("name", constant) for name, constant in vocabulary.CONSTANTS.items()},
    **{name: ("op", op) for name, op in vocabulary.OPS.items()},
    **{name: ("rel", relation) for name, relation in vocabulary.RELATIONS.items()},
    **{name: ("sep", separator) for name, separator in vocabulary.SEPARATORS.items()},
    "%": ("op", "%"),
    "*": ("op", "*"),
    "&": ("op", "&"),
    "|": ("op", "|"),
    "$": ("word", "$"),
    "\\": ("sep", "\\\\"),
    "{": ("open", "\\{"),
    "}": ("close", "\\}"),
}
