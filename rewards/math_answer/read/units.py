r"""Sides with what measures them: `\\$36`, `5 cm^2`, `60 miles per hour`, `7 red apples`, `2 (mod 7)`, `3 dozen`.

What may follow a number is what the vocabulary knows: a unit, or a counted thing.  A word that changes the number is
read with its meaning, or refused with the whole answer; one that nobody knows is kept, and means another answer.
"""

from __future__ import annotations

from rewards.math_answer.nodes import Node, Num, Op, Quantity, Sym, is_op, num
from rewards.math_answer.read.constructs import ConstructParser
from rewards.math_answer.read.measures import CHANGING, UNITS
from rewards.math_answer.read.numerals import SCALES
from rewards.math_answer.read.tokens import ParseError, Token
from rewards.math_answer.read.words import GENERIC_NOUNS, PROSE, singular

MAX_NOUNS = 3  # words after a number that still name a unit; more is prose
_CURRENCIES = frozenset(("dollar", "euro", "pound sterling", "rupee"))
_POWERS_BEFORE = {"square": 2, "sq": 2, "cubic": 3}
_POWERS_AFTER = {"squared": 2, "cubed": 3}
_MARKS = {"%": "percent", "deg": "degree"}
_MARKS_INSIDE = _MARKS | {"/": "/", "*": "*"}


class UnitParser(ConstructParser):
    def side(self) -> Node:
        raise NotImplementedError

    def measured(self) -> Node:
        """A side with its currency sign before it or its unit after it: `\\$36`, `5 cm`."""
        negative = self.token.text == "-" and self.peek().text == "$" and self.take("op", "-")
        currency = self.currency(self.token)
        if currency:
            self.next()
        value = self.scaled(self.side())
        if modulus := self.modulus():
            value = Op("residue", (value, modulus))
        found = self.unit()
        units, nouns = found or ({}, frozenset())
        if nouns and value in (Sym("a"), Sym("A")):
            raise ParseError("an article before words")
        node = quantity(value, units or currency, nouns)
        return Op("neg", (node,)) if negative else node

    def scaled(self, value: Node) -> Node:
        """`1.2 million`, `3 dozen`, `42 squared`."""
        while (token := self.token).kind == "word":
            word = token.text.lower()
            if word in SCALES:
                by = SCALES[word]
                value = num(value.value * by) if isinstance(value, Num) else Op("mul", (value, num(by)))
            elif word in _POWERS_AFTER:
                value = Op("pow", (value, num(_POWERS_AFTER[word])))
            else:
                break
            self.next()
        return value

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

    # -- units

    def unit(self) -> tuple[dict[str, int], frozenset[str]] | None:
        """The unit after a value: `cm^2`, `square feet`, `miles per hour`, `m/s`, `red apples`."""
        parts: list[tuple[dict[str, int], int]] = []
        nouns: set[str] = set()
        sign, area, found = 1, 0, False
        while (word := self.unit_word(found)) is not None:
            found = True
            if word in _POWERS_BEFORE:
                area = _POWERS_BEFORE[word]
            elif word in ("per", "/"):
                sign = -1
            elif word in _POWERS_AFTER and parts:
                parts[-1] = (parts[-1][0], parts[-1][1] * _POWERS_AFTER[word])
            elif word != "*":
                name = singular(word)
                parts.append((UNITS.get(name, {}), (self.unit_power() or area or 1) * sign))
                nouns |= {name} - UNITS.keys() - GENERIC_NOUNS
                area = 0
        if len(nouns) > MAX_NOUNS or nouns & PROSE or area:
            raise ParseError("prose after a number")
        return (_product(parts), frozenset(nouns)) if found else None

    def unit_word(self, found: bool) -> str | None:
        """The next word of a unit, or a sign between two; none where the unit ends."""
        token = self.token
        if token.kind == "op" and token.text in (_MARKS.keys() if not found else _MARKS_INSIDE.keys()):
            return _MARKS_INSIDE[self.next().text]
        known = found and token.text in UNITS
        if token.kind != "word" and not (token.kind == "name" and (known or self.names_unit(found))):
            return None
        word = self.next().text
        if word.lower() in CHANGING:
            raise ParseError(f"{word} after a number")
        return word if word in UNITS else word.lower()

    def unit_power(self) -> int:
        if not self.take("op", "^"):
            return 0
        exponent = self.argument(signed=True)
        if isinstance(exponent, Op) and exponent.name == "neg" and isinstance(exponent.args[0], Num):
            exponent = num(-exponent.args[0].value)
        if not isinstance(exponent, Num) or exponent.value.denominator != 1 or abs(exponent.value) > 9:
            raise ParseError("a unit to a power that is no small integer")
        return int(exponent.value)


def _product(parts: list[tuple[dict[str, int], int]]) -> dict[str, int]:
    units: dict[str, int] = {}
    for powers, times in parts:
        for name, power in powers.items():
            units[name] = units.get(name, 0) + power * times
    return units


def quantity(value: Node, units: dict[str, int], nouns: frozenset[str]) -> Node:
    if units == {"percent": 1}:
        if is_op(value, "percent"):
            raise ParseError("two percent signs")
        value, units = Op("percent", (value,)), {}
    if nouns == {"degree"} and not units:
        return Op("deg", (value,))
    kept = tuple(sorted((name, power) for name, power in units.items() if power))
    return Quantity(value, kept, nouns) if kept or nouns else value
