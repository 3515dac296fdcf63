"""Trees of expressions as JSON and back: what crosses the pipe to the algebra process."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from rewards.math_answer.nodes import Matrix, Node, Num, Op, Sym


def to_wire(node: Node) -> Any:
    """Lists of strings.  What the algebra process has no use for becomes an unknown, which it refuses."""
    match node:
        case Num(value=value):
            return ["num", f"{value.numerator:x}", f"{value.denominator:x}"]  # hexadecimal: any length, at once
        case Sym(name=name):
            return ["sym", name]
        case Op(name=name, args=parts):
            return ["op", name, *map(to_wire, parts)]
        case Matrix(rows=rows):
            return ["matrix", [list(map(to_wire, row)) for row in rows]]
    return ["unknown", type(node).__name__]


def from_wire(wire: Any) -> Node:
    match wire:
        case ["num", str(above), str(below)]:
            return Num(Fraction(int(above, 16), int(below, 16)))
        case ["sym", str(name)]:
            return Sym(name)
        case ["op", str(name), *parts]:
            return Op(name, tuple(map(from_wire, parts)))
    raise ValueError(f"a tree that is no expression: {str(wire)[:60]}")
