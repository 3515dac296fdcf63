"""Forms that an answer takes around its value: labels (`x = 5`, `f(x) = 2x`), chains, `±`, vectors, matrix arithmetic.

`answers` keeps what was written; here it is turned into what was meant, where that is beyond doubt.
"""

from __future__ import annotations

from dataclasses import dataclass

from rewards.math_answer.nodes import (
    CONSTANTS,
    Matrix,
    Node,
    Num,
    Op,
    Quantity,
    Relation,
    Seq,
    Sym,
    is_op,
    num,
    rebuilt,
    symbols,
    walk,
)
from rewards.math_answer.read.measures import UNIT_LETTERS, UNITS

_FUNCTIONS = frozenset("fghFGH")
_ANGLES = frozenset((*"ABC", "alpha", "beta", "gamma", "theta", "phi"))
_SYMMETRIC = frozenset(("add", "mul", "gcd", "lcm", "min", "max", "∧", "∨"))
_UNIT_LETTERS = UNIT_LETTERS | {"Omega"}


@dataclass(frozen=True, slots=True)
class Labelled:
    """`label = value`.  `chain` are members between them that must equal the value, `about` its roundings (≈)."""

    label: Node
    value: Node
    chain: tuple[Node, ...]
    about: tuple[Node, ...]


def labelled(node: Node) -> Labelled | None:
    """The label and the value of `x = 5`, `x = y = 2`, `x = 10/2 = 5`, `f(x) = x + 1`; None for an equation."""
    if not isinstance(node, Relation) or not set(node.signs) <= {"=", "~"}:
        return None
    sides, signs = tuple(_named(side) for side in node.sides), node.signs
    if len(sides) == 2 and is_label(sides[1]) and not is_label(sides[0]):
        sides = (sides[1], sides[0])
    first = 0
    while first < len(sides) and is_label(sides[first]):
        first += 1
    if first == len(sides) and first == 2:
        first = 1  # `x = y`: y is the value
    if not 0 < first < len(sides):
        return None
    label, tail = sides[0], sides[first:]
    about = tuple(side for side, sign in zip(tail[1:], signs[first:], strict=True) if sign == "~")
    exact = tuple(side for side in tail if side not in about) or tail[:1]
    bound = symbols(label) if isinstance(label, Sym) else frozenset()
    if any(bound & symbols(side) for side in tail):
        return None  # x = x² is an equation
    return Labelled(label, exact[-1], exact[:-1], about)


def spread(node: Node, count: int) -> Node:
    """`x = y = z = 1` as `x = 1, y = 1, z = 1`, where so many values are asked for."""
    if not isinstance(node, Relation) or set(node.signs) != {"="} or len(node.sides) != count + 1 or count < 2:
        return node
    if len(common_value(node)) < count:
        return node
    *names, value = node.sides
    return Seq(tuple(Relation(("=",), (name, value)) for name in names))


def common_value(node: Node) -> frozenset[Node]:
    """The variables of `x = y = z = 1`; none where there are not several."""
    names = node.sides[:-1] if isinstance(node, Relation) and set(node.signs) == {"="} else ()
    several = len(names) > 1 and all(isinstance(name, Sym) and len(name.name) == 1 and is_label(name) for name in names)
    return frozenset(names) if several else frozenset()


def _named(side: Node) -> Node:
    """A side of an equation, as a variable where it is only a name: `f^{-1}(x)`, `P(X > 2)`, `Δp`, `dy/dx`, `sin θ`."""
    match side:
        case Op(name="mul", args=(Op(name="pow", args=(Sym(name=function), Num(value=-1))), *arguments)):
            return Op("call", (Sym(f"{function}^-1"), *arguments)) if function in _FUNCTIONS else side
        case Op(name="mul", args=(Sym(name="P"), Relation() | Op(name="cap" | "cup" | "setminus") as event)):
            return Op("call", (Sym("P"), event))
        case Op(name="mul", args=(Sym(name="Delta"), Sym(name=quantity))):
            return Sym(f"Delta {quantity}")
        case Op(
            name="div", args=(Op(name="mul", args=(Sym("d"), Sym(name=above))), Op(name="mul", args=(Sym("d"), Sym())))
        ):
            return Sym(f"{above}'")
        case Op(name="sin" | "cos" | "tan" | "cot" | "sec" | "csc", args=(Sym(name=angle),)) if angle in _ANGLES:
            return Op("call", (Sym(side.name), side.args[0]))
        case Op(name="sin" | "cos" | "tan" | "cot" | "sec" | "csc", args=(Sym(name=angle),)) if angle[:1] == "∠":
            return Op("call", (Sym(side.name), side.args[0]))
    return side


def is_label(node: Node) -> bool:
    """Whether it can stand left of `=` as a name: a variable, f(x), a figure's AB, |AB|, ∠ABC, a ratio of such."""
    if isinstance(node, Sym):
        return node not in CONSTANTS
    if isinstance(node, Seq):
        return all(isinstance(item, Sym) and item not in CONSTANTS for item in node.items)
    if not isinstance(node, Op):
        return False
    if node.name == "call":
        return True
    if node.name == "mul":
        parts = node.args[1:] if node.args[0] == Sym("m") else node.args  # m∠A: the measure of an angle
        return all(
            isinstance(part, Sym) and (part.name[:1].isupper() or part.name[:1] in ("∠", "△", "→")) for part in parts
        )
    return node.name in ("div", "ratio", "abs") and all(_is_figure(part) for part in node.args)


def _is_figure(node: Node) -> bool:
    if isinstance(node, Sym):
        return node.name[:1].isupper()
    return is_label(node) and isinstance(node, Op) and node.name == "mul"


def constant_chain(node: Node) -> tuple[Node, ...] | None:
    """The members of `10^3 = 1000`: a chain of `=` without variables or labels.  It is worth its last member, where
    all of them are equal."""
    if isinstance(node, Relation) and set(node.signs) <= {"=", "~"} and not symbols(node):
        return None if is_op(node.sides[0], "call") else node.sides  # `f(2) = 7`
    return None


def variants(node: Node) -> tuple[Node, ...]:
    """`1 ± √2` as its two values.  All signs in one answer go together; `∓` is the other one."""
    if not any(isinstance(part, Op) and part.name in ("pm", "mp") for part in walk(node)):
        return (node,)
    return (_signed(node, "add"), _signed(node, "sub"))


def _signed(node: Node, way: str) -> Node:
    node = rebuilt(node, lambda part: _signed(part, way))
    if not isinstance(node, Op) or node.name not in ("pm", "mp"):
        return node
    left, right = node.args
    signed = right if (node.name == "pm") == (way == "add") else Op("neg", (right,))
    return signed if left == num(0) else Op("add", (left, signed))


def flattened(items: tuple[Node, ...]) -> tuple[Node, ...]:
    """Items of a list or set with `±` spelt out."""
    out: list[Node] = []
    for item in items:
        if isinstance(item, Seq) and item.open == "" and not any(isinstance(part, Relation) for part in item.items):
            out.extend(flattened(item.items))
        else:
            out.extend(variants(item))
    return tuple(out)


def sorted_terms(node: Node) -> Node:
    """Sums and products flat and in one order: for what is too large to compute, equal forms are still equal."""
    if not isinstance(node, Op):
        return node
    parts = [sorted_terms(part) for part in node.args]
    if node.name in ("add", "mul"):
        parts = [
            inner
            for part in parts
            for inner in (part.args if isinstance(part, Op) and part.name == node.name else (part,))
        ]
    if node.name in _SYMMETRIC:
        parts.sort(key=repr)
    return Op(node.name, tuple(parts))


def vector(node: Node) -> tuple[Node, ...] | None:
    """The entries of a row or a column."""
    if isinstance(node, Matrix) and (len(node.rows) == 1 or len(node.rows[0]) == 1):
        return tuple(cell for row in node.rows for cell in row)
    return None


def nested_rows(node: Node) -> Matrix | None:
    """`[[1, 2], [3, 4]]` as a matrix."""
    if not isinstance(node, Seq) or node.open != "[" or not node.items:
        return None
    rows = [item.items for item in node.items if isinstance(item, Seq) and item.open == "["]
    same_width = len({len(row) for row in rows}) == 1
    return Matrix(tuple(rows)) if len(rows) == len(node.items) and same_width else None


def letter_units(node: Node, other: Node) -> Quantity | None:
    """`5 m/s`, where letters are read as units because the other answer has some, or is a plain number and these are
    the units of a speed or the like."""
    if not (isinstance(other, Quantity) and other.units) and not (is_op(node, "div") and isinstance(other, Num)):
        return None
    if not isinstance(node, Op) or node.name not in ("mul", "div"):
        return None
    above, below = node.args if node.name == "div" else (node, num(1))
    factors = above.args if isinstance(above, Op) and above.name == "mul" else (above,)
    units: dict[str, int] = {}
    for sign, parts in ((1, factors[1:]), (-1, () if below == num(1) else (below,))):
        for part in parts:
            base, power = _unit_letter(part)
            if not base:
                return None
            for name, count in UNITS[base].items():
                units[name] = units.get(name, 0) + sign * power * count
    return Quantity(factors[0], tuple(sorted(units.items())), frozenset())


def _unit_letter(node: Node) -> tuple[str, int]:
    """The letter and the power of `m`, `s^2`; no letter where it is no unit."""
    match node:
        case Sym(name=name) if name in _UNIT_LETTERS:
            return name, 1
        case Op(name="pow", args=(Sym(name=name), Num(value=power))) if name in _UNIT_LETTERS:
            return name, int(power)
    return "", 1


def with_matrices_computed(node: Node) -> Node:
    """Sums, products, multiples and determinants of matrices carried out; anything else unchanged."""
    if not isinstance(node, Op) or not any(isinstance(part, Matrix) for part in walk(node)):
        return node
    parts = [with_matrices_computed(part) for part in node.args]
    if node.name == "det" and isinstance(parts[0], Matrix) and len(parts[0].rows) == len(parts[0].rows[0]) <= 4:
        return _determinant(parts[0].rows)
    if node.name == "neg" and isinstance(parts[0], Matrix):
        return _scaled(parts[0], num(-1))
    if node.name == "div" and isinstance(parts[0], Matrix) and not isinstance(parts[1], Matrix):
        return _scaled(parts[0], Op("div", (num(1), parts[1])))
    if node.name == "add" and all(isinstance(part, Matrix) for part in parts):
        return _sum([part for part in parts if isinstance(part, Matrix)]) or node
    if node.name == "mul":
        return _product(parts) or node
    return node


def _scaled(matrix: Matrix, factor: Node) -> Matrix:
    return Matrix(tuple(tuple(Op("mul", (factor, cell)) for cell in row) for row in matrix.rows))


def _sum(parts: list[Matrix]) -> Matrix | None:
    if len({(len(part.rows), len(part.rows[0])) for part in parts}) != 1:
        return None
    grids = zip(*(part.rows for part in parts), strict=True)
    return Matrix(tuple(tuple(Op("add", cells) for cells in zip(*rows, strict=True)) for rows in grids))


def _product(parts: list[Node]) -> Node | None:
    scalars = [part for part in parts if not isinstance(part, Matrix)]
    matrices = [part for part in parts if isinstance(part, Matrix)]
    if not matrices:
        return None
    product = matrices[0]
    for right in matrices[1:]:
        if len(product.rows[0]) != len(right.rows) or len(product.rows) * len(right.rows[0]) > 64:
            return None
        columns = list(zip(*right.rows, strict=True))
        product = Matrix(tuple(tuple(_dot(row, column) for column in columns) for row in product.rows))
    return _scaled(product, Op("mul", tuple(scalars)) if len(scalars) > 1 else scalars[0]) if scalars else product


def _dot(row: tuple[Node, ...], column: tuple[Node, ...]) -> Node:
    return Op("add", tuple(Op("mul", pair) for pair in zip(row, column, strict=True)))


def _determinant(rows: tuple[tuple[Node, ...], ...]) -> Node:
    if len(rows) == 1:
        return rows[0][0]
    terms: list[Node] = []
    for column, cell in enumerate(rows[0]):
        minor = tuple(row[:column] + row[column + 1 :] for row in rows[1:])
        term: Node = Op("mul", (cell, _determinant(minor)))
        terms.append(Op("neg", (term,)) if column % 2 else term)
    return Op("add", tuple(terms))
