r"""Whole answers: lists, relations, intervals, sets, units, times, choices, words.

    answer   = item {separator item}                separator: "," ";" "and" "or" a line break
    item     = side {relation side} [unit]          relation: = < ≤ > ≥ ≠ ≈ ∈ →
    side     = setwise {":" setwise}                a ratio
    setwise  = sum {("∪" | "∩" | "∖") sum}

What no rule of mathematics reads is an answer in words, if it has words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from rewards.math_answer.nodes import (
    BaseN,
    Node,
    Num,
    Op,
    Quantity,
    Relation,
    Seq,
    Sym,
    Time,
    Words,
    children,
    is_op,
    num,
)
from rewards.math_answer.read import text as cleaning
from rewards.math_answer.read.constructs import ConstructParser
from rewards.math_answer.read.lexer import tokenize
from rewards.math_answer.read.tokens import ParseError, Token
from rewards.math_answer.read.vocabulary import LARGE_NUMBERS, NUMBER_WORDS, UNITS
from rewards.math_answer.read.words import GENERIC_NOUNS, PROSE, normal_text, phrase, singular

MAX_CHARS = 2048
MAX_NOUNS = 3  # words after a number that still name a unit; more is prose
_SET_OPS = frozenset(("cup", "cap", "setminus"))
_CURRENCIES = frozenset(("dollar", "euro", "pound sterling", "rupee"))
_POWER_WORDS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cubed": 3}
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?\s*(?:([ap])\.?\s?m\.?)?", re.IGNORECASE)
_TIME_NOISE = re.compile(r"\\(?:text|mathrm|textrm|mbox)|\\[!,;: ]|[{}$]")
_BASE_DIGITS = re.compile(r"(-?)\(?([0-9][0-9A-Za-z]*)\)?_\{?(\d{1,2})\}?")
_CHOICE = re.compile(r"(?:\\text(?:bf)?\{)?\(?([A-H])[).:]\)?\s*\}?[\s~]+(?!(?:or|and)\b)([^=<>].*)", re.DOTALL)
_OPTION = re.compile(r"(?:\\text(?:bf)?\{\s*)?(?:option|choice)\s*:?\s*\(?([A-J])\)?\s*\}?", re.IGNORECASE)
_COMMAND = re.compile(r"\\[A-Za-z]+")
# `…, k ∈ ℤ` at the end says what kind of variable k is.
_WHOLE_NUMBERS = re.compile(r"(?<=\S)[,;\s]*\(?\s*[A-Za-z]\s*\\in\s*\\mathbb\s*\{?\s*([ZNQR])\s*\}?\s*\)?\s*$")
_DOMAINS = {"Z": "ZZ", "N": "ZZ+", "Q": "QQ", "R": "RR"}
_PREFIX = re.compile(r"(?:approximately|about|roughly|exactly|only)\s+(?=[\d$\\.-])", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"(?<![\d,])(-?\d+),(\d+)(?![\d,])")


class AnswerParser(ConstructParser):
    joints: set[str]  # what stands between the items read last

    def answer(self) -> Node:
        self.joints = set()
        items = self.items("")
        if self.token.kind != "end":
            raise ParseError(f"unexpected {self.token.text!r}")
        return items[0] if len(items) == 1 else joined(items, self.joints)

    def items(self, closers: str) -> tuple[Node, ...]:
        """Items up to a closing bracket (not consumed) or the end.  Where `;`, `or` or `and` separate groups of
        comma-separated items, the groups are the items."""
        groups: list[list[Node]] = [[]]
        strong = False
        while True:
            if not self.finished(closers):
                groups[-1].append(self.item())
            separators = set()
            while self.token.kind == "sep":
                separators.add(self.next().text)
            self.joints |= separators
            if self.finished(closers) or not separators:
                break
            if separators & {";", "or", "and", "\\\\"} and not ("," in separators and separators & {"and", "or"}):
                strong = strong or ";" in separators or "or" in separators
                groups.append([])
        if not any(groups):
            raise ParseError("nothing between brackets")
        return _grouped([group for group in groups if group], strong)

    def finished(self, closers: str) -> bool:
        token = self.token
        return token.kind in ("end", "close") or (
            token.kind == "cmd" and (token.text == closers or token.text[:4] == "end:")
        )

    def item(self) -> Node:
        if not self.at or self.tokens[self.at - 1].kind != "rel":
            self.take("rel", "=", "~")  # `≈ 8.24`, `= 5`: the left side was left out
        if self.token.kind == "word" and not self.currency(self.token):
            return self.labelled_by_words()
        return self.relation()

    def modulus(self) -> Node | None:
        """`\\pmod{7}` or `(mod 7)`."""
        if self.take("cmd", "pmod"):
            return self.argument()
        if self.token.text == "(" and self.peek().text == "mod":
            self.at += 2
            value = self.sum()
            self.expect("close", ")")
            return value
        return None

    def currency(self, token: Token) -> dict[str, int]:
        unit = UNITS.get(singular(token.text.lower()), {}) if token.kind == "word" else {}
        return unit if unit.keys() & _CURRENCIES else {}

    def labelled_by_words(self) -> Node:
        """`Area = 12`: words before a relation are a label.  Any other word here is prose."""
        words = []
        while self.token.kind in ("word", "name"):
            words.append(self.next().text)
        if self.token.kind == "rel" and self.token.text in ("=", "~"):
            sign = self.next().text
            rest = self.relation()
            label = Sym(" ".join(words))
            if isinstance(rest, Relation):
                return Relation((sign, *rest.signs), (label, *rest.sides))
            return Relation((sign,), (label, rest))
        raise ParseError("words")

    def relation(self) -> Node:
        """Sides with their units, and the signs between them; inside set braces, what a bar or colon makes of it."""
        sides, signs = [self.definition() or self.measured()], []
        while self.token.kind == "rel":
            sign = self.next().text
            side = self.measured()
            if sign == "≡" and is_op(side, "mod"):
                side = Op("residue", children(side))
            signs.append("=" if sign == "≡" else sign)
            sides.append(side)
        node = Relation(tuple(signs), tuple(sides)) if signs else sides[0]
        return self.set_builder(node) if self.bars == 1 and self.take("op", "|", ":") else node

    def measured(self) -> Node:
        """A side with its currency sign before it or its unit after it: `\\$36`, `5 cm`."""
        negative = self.token.text == "-" and self.peek().text == "$" and self.take("op", "-")
        currency = self.currency(self.token)
        if currency:
            self.next()
        value = self.side()
        if isinstance(value, Num) and self.token.text.lower() in LARGE_NUMBERS:  # `1.2 million`
            value = num(value.value * LARGE_NUMBERS[self.next().text.lower()])
        if modulus := self.modulus():
            value = Op("residue", (value, modulus))
        found = self.unit()
        units, nouns = found or ({}, frozenset())
        node = quantity(value, units or currency, nouns)
        return Op("neg", (node,)) if negative else node

    def definition(self) -> Node | None:
        """`W(n)` or `P(A)` right before a relation is a function at an argument, not a product."""
        names = self.tokens[self.at : self.at + 5]
        if [token.kind for token in names] == ["name", "open", "name", "close", "rel"] and names[1].text == "(":
            self.at += 4
            return Op("call", (Sym(names[0].text), Sym(names[2].text)))
        return None

    def set_builder(self, head: Node) -> Node:
        bars, self.bars = self.bars, 0
        self.joints = set()
        conditions = self.items("\\}")
        if isinstance(both := joined(conditions, self.joints), Op):
            conditions = (both,)
        self.bars = bars
        return Op("setof", (head, *conditions))

    def side(self) -> Node:
        parts = [self.setwise()]
        while self.bars != 1 and (self.take("op", ":") or self.take("word", "to")):
            parts.append(self.setwise())
        return parts[0] if len(parts) == 1 else Op("ratio", tuple(parts))

    def setwise(self) -> Node:
        node = self.sum()
        while self.token.kind == "op" and self.token.text in _SET_OPS:
            self.deeper()
            name = self.next().text
            node = Op(name, (node, self.sum()))
        return node

    def cell(self) -> Node:
        if self.token.kind in ("op",) and self.token.text in ("&",) or self.token.text == "\\\\":
            return Sym("")
        if self.token.kind == "word" or (self.token.kind == "sep" and self.token.text == ","):
            return self.condition()
        items = [self.relation()]
        while self.take("sep", ",", "and", "or"):
            if self.token.text in ("\\\\", "&") or self.token.text.startswith("end:"):
                break
            items.append(self.relation() if self.token.kind != "word" else self.condition())
        return items[0] if len(items) == 1 else Seq(tuple(items))

    def condition(self) -> Node:
        """`if x > 0`, `otherwise`, `for all x`."""
        words = []
        self.take("sep", ",")
        while self.token.kind == "word":
            words.append(self.next().text.lower())
        if set(words) <= {"if", "when", "for", "where"} and self.token.kind not in ("end", "sep", "close"):
            return self.relation()
        return Words(" ".join(words))

    # -- units

    def unit(self) -> tuple[dict[str, int], frozenset[str]] | None:
        """The unit after a value: `cm^2`, `square feet`, `miles per hour`, `m/s`, `red apples`."""
        units: dict[str, int] = {}
        nouns: set[str] = set()
        sign, area, found = 1, 0, False
        while True:
            if found and (token := self.take("op", "/", "*")):
                sign = -1 if token.text == "/" else sign
                continue
            word = self.unit_word(found)
            if word is None:
                break
            found = True
            if word in _POWER_WORDS:
                area = _POWER_WORDS[word]
            elif word == "per":
                sign = -1
            else:
                power = (self.unit_power() or area or 1) * sign
                area = 0
                for name, exponent in UNITS.get(word, {}).items():
                    units[name] = units.get(name, 0) + exponent * power
                if word not in UNITS:
                    nouns.add(word)
        nouns -= GENERIC_NOUNS
        if len(nouns) > MAX_NOUNS or nouns & PROSE:
            raise ParseError("prose after a number")
        return (units, frozenset(nouns)) if found else None

    def unit_word(self, found: bool) -> str | None:
        token = self.token
        if token.kind == "op" and token.text in ("%", "deg"):
            return {"%": "percent", "deg": "degree"}[self.next().text]
        known = found and token.text in UNITS
        if token.kind == "word" or (token.kind == "name" and (known or (token.textual and (token.space or found)))):
            return singular(self.next().text.lower())
        return None

    def unit_power(self) -> int:
        if not self.take("op", "^"):
            return 0
        exponent = self.argument(signed=True)
        if isinstance(exponent, Op) and exponent.name == "neg" and isinstance(exponent.args[0], Num):
            exponent = num(-exponent.args[0].value)
        if not isinstance(exponent, Num) or exponent.value.denominator != 1 or abs(exponent.value) > 9:
            raise ParseError("a unit to a power that is no small integer")
        return int(exponent.value)


def joined(items: tuple[Node, ...], joints: set[str]) -> Node:
    """Items of a list; conditions joined by "or" are no list, unless they are values of one name."""
    ways = joints & {"or", "and"}
    relations = [item for item in items if isinstance(item, Relation)]
    if len(ways) != 1 or len(relations) < len(items):
        return Seq(items)
    values = all(set(item.signs) <= {"=", "~"} for item in relations)
    if values and (ways == {"and"} or len({item.sides[0] for item in relations}) == 1):
        return Seq(items)
    return Op(ways.pop(), items)


def quantity(value: Node, units: dict[str, int], nouns: frozenset[str]) -> Node:
    if units == {"percent": 1} and not nouns:
        return Op("percent", (value,))
    if nouns == {"degree"} and not units:
        return Op("deg", (value,))
    kept = tuple(sorted((name, power) for name, power in units.items() if power))
    return Quantity(value, kept, nouns) if kept or nouns else value


def _grouped(groups: list[list[Node]], strong: bool) -> tuple[Node, ...]:
    flat = [item for group in groups for item in group]
    sizes = {len(group) for group in groups}
    labelled = all(isinstance(item, Relation) for item in flat)
    if len(groups) > 1 and sizes and min(sizes) > 1 and (labelled or (strong and len(sizes) == 1)):
        return tuple(Seq(tuple(group)) for group in groups)
    return tuple(flat)


@lru_cache(maxsize=8192)
def parse(text: str) -> Node:
    """The answer that `text` is.  Raises `ParseError` where it is none that can be read."""
    if text.isascii() and text.isdigit() and len(text) < 100:
        return num(int(text))
    if len(text) > MAX_CHARS:
        raise ParseError(f"an answer of {len(text)} characters; at most {MAX_CHARS} are read")
    text = cleaning.unwrap(cleaning.undouble(cleaning.plain(text)))
    text = _PREFIX.sub("", text, count=1)
    if "\\in" in text:
        said = _WHOLE_NUMBERS.search(text)
        if said is not None and said.start():
            return Op("given", (parse(text[: said.start()]), Sym(_DOMAINS[said[1]])))
    if not text:
        raise ParseError("an empty answer")
    special = _special(text)
    if special is not None:
        return special
    try:
        return _mathematics(text)
    except ParseError as error:
        words = normal_text(text)
        if sum(char.isalpha() for char in _COMMAND.sub("", text)) < 2:
            raise ParseError(f"{error}") from None
        return Words(words)


def _special(text: str) -> Node | None:
    """What is written in a way of its own, and would be read as something else by the grammar."""
    return next((node for read in _SPECIAL if (node := read(text)) is not None), None)


def _option(text: str) -> Node | None:
    """`option B`."""
    option = _OPTION.fullmatch(text)
    return Sym(option[1].upper()) if option else None


def _choice(text: str) -> Node | None:
    """`(C) 12`: a letter and what it stands for."""
    choice = _CHOICE.fullmatch(text)
    if choice is None:
        return None
    try:
        value: Node = parse(choice[2])
    except ParseError:
        return None
    several = (isinstance(value, Seq) and value.open == "") or (isinstance(value, Words) and " or " in value.text)
    return None if several else Op("choice", (Sym(choice[1]), value))


def _time(text: str) -> Node | None:
    if ":" not in text or len(text) >= 60:
        return None
    found = _TIME.fullmatch(_TIME_NOISE.sub("", text).strip(" ."))
    if found is None or int(found[2]) >= 60 or int(found[1]) > 24:
        return None
    half = (found[4] or "").lower()
    return Time(int(found[1]), int(found[2]), int(found[3]) if found[3] else None, half and half + "m")


def _based(text: str) -> Node | None:
    """`1010_2`."""
    digits = _BASE_DIGITS.fullmatch(text.replace(" ", "")) if "_" in text else None
    if digits is None or not 2 <= int(digits[3]) <= 36:
        return None
    node: Node = BaseN(digits[2].upper().lstrip("0") or "0", int(digits[3]))
    return Op("neg", (node,)) if digits[1] else node


def _phrase(text: str) -> Node | None:
    """`twelve`, `no solution`."""
    words = normal_text(text)
    return num(NUMBER_WORDS[words]) if words in NUMBER_WORDS else phrase(words)


_SPECIAL: tuple[Callable[[str], Node | None], ...] = (_option, _choice, _time, _based, _phrase)


def _mathematics(text: str) -> Node:
    tokens = tokenize(text)
    node = AnswerParser(tokens).answer()
    kinds = {token.kind for token in tokens}
    if "word" in kinds and kinds <= {"word", "end", "close", "open"}:
        raise ParseError("words")
    return node


def without_thousands(text: str) -> Node:
    """`1,234,567` read as a list instead."""
    return AnswerParser(tokenize(cleaning.unwrap(cleaning.undouble(cleaning.plain(text))), plain_commas=False)).answer()


def with_decimal_comma(text: str) -> str:
    """`3,14` written as `3.14`."""
    return _DECIMAL_COMMA.sub(r"\1.\2", text)
