"""What an answer can be, once read: a small tree of frozen values.

Everything above the parser compares these trees and never looks at text again.  They are hashable, so a parsed gold
can be cached, and two trees that are equal as values are equal answers (the cheapest step of the ladder).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeGuard


@dataclass(frozen=True, slots=True)
class Num:
    """A number as written.  `places` counts the decimals that were written (None: none were): only rounding policies
    look at it, `0.50` and `1/2` are the same number."""

    value: Fraction
    places: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Sym:
    """A variable, or one of the constants in `CONSTANTS`."""

    name: str


@dataclass(frozen=True, slots=True)
class Op:
    """An operation or function: add, mul, div, pow, neg, pm, root, log, deg, fact, call, sum, cup, ratio, …"""

    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Seq:
    """Items in brackets as written: "(" ")" tuple or open interval, "[" "]", "{" "}" set, "" unbracketed list."""

    items: tuple[Node, ...]
    open: str = ""
    close: str = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Cases:
    """Rows of a `cases` environment: (value, condition) or (equation,)."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """A chain: `sides[0] signs[0] sides[1] signs[1] …`."""

    signs: tuple[str, ...]
    sides: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value with a unit: powers of named units, and nouns that are none ("apples")."""

    value: Node
    units: tuple[tuple[str, int], ...]
    nouns: frozenset[str]


@dataclass(frozen=True, slots=True)
class BaseN:
    """Digits with an explicit base, `1010_2`."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Time:
    """A clock reading.  `half` is "am", "pm" or "" where it was not said."""

    hour: int
    minute: int
    second: int | None
    half: str


@dataclass(frozen=True, slots=True)
class Words:
    """An answer in words, in normal form.  There are none without letters, so no two can be equal for want of them."""

    text: str

    def __post_init__(self) -> None:
        if not self.text:
            raise ValueError("Words: an answer in words has at least one letter")


Node = Num | Sym | Op | Seq | Matrix | Cases | Relation | Quantity | BaseN | Time | Words

DOTS = Op("dots", ())  # `…` in a list, a sum or a product: it has no value, and equals itself
PI, E, I, INFINITY, EMPTY, REALS = Sym("pi"), Sym("e"), Sym("i"), Sym("oo"), Sym("{}"), Sym("RR")
CONSTANTS = frozenset((PI, E, I, INFINITY, EMPTY, REALS))


def num(value: int | Fraction) -> Num:
    return Num(Fraction(value))


def is_op(node: Node, name: str) -> TypeGuard[Op]:
    return isinstance(node, Op) and node.name == name


def children(node: Node) -> tuple[Node, ...]:
    match node:
        case Op(args=parts) | Seq(items=parts) | Relation(sides=parts):
            return parts
        case Matrix(rows=rows) | Cases(rows=rows):
            return tuple(cell for row in rows for cell in row)
        case Quantity(value=value):
            return (value,)
    return ()


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, without recursion."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(children(node))


def symbols(node: Node) -> frozenset[str]:
    """Names of the free variables; the index of a sum or integral is bound."""
    if isinstance(node, Sym):
        return frozenset() if node in CONSTANTS else frozenset((node.name,))
    names: frozenset[str] = frozenset()
    parts = children(node)
    if isinstance(node, Op) and node.name == "call":
        parts = parts[1:]  # the function's name is no variable
    for part in parts:
        names |= symbols(part)
    if isinstance(node, Op) and node.name in BINDERS and isinstance(node.args[1], Sym):
        names -= {node.args[1].name}
    return names


# Operations whose second argument is a bound variable: body, variable, then bounds.
BINDERS = frozenset(("sum", "prod", "int", "lim"))


def rebuilt(node: Node, change: Callable[[Node], Node]) -> Node:
    """`node` with each of its children changed."""
    match node:
        case Op(name=name, args=parts):
            return Op(name, tuple(map(change, parts)))
        case Seq(items=items):
            return Seq(tuple(map(change, items)), node.open, node.close)
        case Relation(signs=signs, sides=sides):
            return Relation(signs, tuple(map(change, sides)))
        case Matrix(rows=rows):
            return Matrix(tuple(tuple(map(change, row)) for row in rows))
        case Cases(rows=rows):
            return Cases(tuple(tuple(map(change, row)) for row in rows))
        case Quantity(value=value):
            return Quantity(change(value), node.units, node.nouns)
    return node


def substitute(node: Node, name: str, value: Node) -> Node:
    """`node` with the variable `name` replaced."""
    if isinstance(node, Sym):
        return value if node.name == name else node
    return rebuilt(node, lambda part: substitute(part, name, value))
