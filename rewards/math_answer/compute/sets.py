"""Sets of real numbers: intervals, unions, differences, points, and the inequalities that describe them.

A set is turned into its breakpoints and, between and at them, whether a number belongs to it.  Two sets are equal when
that pattern is the same over the breakpoints of both; so `[0,1] ∪ [1,2]` is `[0,2]`, and `(0,36) ∖ {9}` is
`(0,9) ∪ (9,36)`, without a rule for either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rewards.math_answer.compute.budget import Budget, Undefined, Unsupported
from rewards.math_answer.compute.numeric import Evaluator, context
from rewards.math_answer.nodes import EMPTY, INFINITY, REALS, Node, Op, Relation, Seq, Sym, symbols

MAX_POINTS = 64
_FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!=", "=": "=", "in": "in", "~": "~"}
_ORDER = frozenset(("<", ">", "<=", ">="))
_MINUS_INFINITY = Op("neg", (INFINITY,))


class NoSet(Exception):
    """The tree is no set of real numbers that this module can read."""


# A set over sorted breakpoints: a function of a place.  Place 2 j + 1 is breakpoint j, place 2 j the gap before it.
Member = Callable[[int], bool]


def flipped(sign: str) -> str:
    return _FLIP.get(sign, sign)


def same_set(a: Node, b: Node, budget: Budget) -> bool | None:
    """Whether two sets are equal; None where their ends cannot be computed."""
    try:
        points = _Points(budget)
        for node in (a, b):
            points.collect(node)
        points.sort()
        members = [points.member(node) for node in (a, b)]
    except (NoSet, Undefined, Unsupported):
        return None
    return all(members[0](place) == members[1](place) for place in range(2 * len(points.values) + 1))


def is_interval(node: Node) -> bool:
    return (
        isinstance(node, Seq) and len(node.items) == 2 and node.open in "([" and node.close in ")]" and node.open != ""
    )


def solution_set(relation: Relation) -> tuple[str, Node] | None:
    """The variable and the set that an inequality in one lone symbol describes: `2 ≤ x < 5`, `x ≠ 3`, `x ∈ [0,1]`."""
    signs, sides = relation.signs, relation.sides
    if len(sides) == 2:
        if _is_variable(sides[1]) and not _is_variable(sides[0]):
            signs, sides = (flipped(signs[0]),), (sides[1], sides[0])
        if not _is_variable(sides[0]) or symbols(sides[0]) & symbols(sides[1]):
            return None
        described = _half_line(signs[0], sides[1])
        return None if described is None else (_name(sides[0]), _of_absolute(sides[0], described))
    if len(sides) == 3 and _is_variable(sides[1]) and set(signs) <= _ORDER:
        left, right = _half_line(flipped(signs[0]), sides[0]), _half_line(signs[1], sides[2])
        if left is None or right is None or (signs[0][0] != signs[1][0]):
            return None
        return _name(sides[1]), _of_absolute(sides[1], Op("cap", (left, right)))
    return None


def _is_variable(node: Node) -> bool:
    if isinstance(node, Op) and node.name in ("abs", "call"):
        return node.name == "call" or _is_variable(node.args[0])
    return isinstance(node, Sym) and bool(symbols(node))


def _name(node: Node) -> str:
    """What the set is a set of: values of x are no values of f(x)."""
    names = ",".join(sorted(symbols(node))) or "?"
    return f"f({names})" if isinstance(node, Op) and node.name == "call" else names


def _of_absolute(variable: Node, described: Node) -> Node:
    """The numbers whose absolute value lies in the set."""
    if not (isinstance(variable, Op) and variable.name == "abs"):
        return described
    return Op("mirror", (described,))


def _half_line(sign: str, end: Node) -> Node | None:
    if sign in ("in", "sub"):
        return end
    if sign == "!=":
        return Op("setminus", (REALS, Seq((end,), "{", "}")))
    if sign in (">", ">="):
        return Seq((end, INFINITY), "(" if sign == ">" else "[", ")")
    if sign in ("<", "<="):
        return Seq((_MINUS_INFINITY, end), "(", ")" if sign == "<" else "]")
    return None


class _Points:
    """Breakpoints of the sets at hand, as numbers to 30 digits."""

    def __init__(self, budget: Budget) -> None:
        self.evaluator = Evaluator(40, budget)
        self.values: list[Any] = []
        self.symmetric = False  # a set given by |x|: breakpoints come with their opposites, and zero

    def collect(self, node: Node) -> None:
        for end in self.ends(node):
            if not any(self.equal(end, known) for known in self.values):
                self.values.append(end)
        if len(self.values) > MAX_POINTS:
            raise NoSet

    def sort(self) -> None:
        if self.symmetric:
            for value in [context().mpf(0), *(-value for value in self.values)]:
                if not any(self.equal(value, known) for known in self.values):
                    self.values.append(value)
        self.values.sort()

    def ends(self, node: Node) -> list[Any]:
        if node in (EMPTY, REALS):
            return []
        if isinstance(node, Seq) and (is_interval(node) or node.open == "{"):
            return [value for value in map(self.number, node.items) if value is not None]
        if isinstance(node, Op) and node.name in ("cup", "cap", "setminus"):
            return self.ends(node.args[0]) + self.ends(node.args[1])
        if isinstance(node, Op) and node.name == "mirror":
            self.symmetric = True
            return self.ends(node.args[0])
        raise NoSet

    def number(self, node: Node) -> Any:
        """The value of an end; None for an infinite one."""
        if node in (INFINITY, _MINUS_INFINITY):
            return None
        if symbols(node):
            raise NoSet
        value = self.evaluator.value(node, {})
        if self.evaluator.ctx.im(value):
            raise NoSet
        return self.evaluator.ctx.re(value)

    def equal(self, a: Any, b: Any) -> bool:
        return bool(abs(a - b) <= max(abs(a), abs(b)) * self.evaluator.ctx.mpf(10) ** -30)

    def place(self, node: Node) -> int:
        """Where an end lies; infinite ends lie beyond all places."""
        value = self.number(node)
        if value is None:
            return 2 * len(self.values) + 1 if node == INFINITY else -1
        return next(2 * at + 1 for at, known in enumerate(self.values) if self.equal(value, known))

    def member(self, node: Node) -> Member:
        if node == REALS:
            return lambda place: True
        if node == EMPTY:
            return lambda place: False
        if isinstance(node, Seq):
            return self.interval(node) if is_interval(node) else self.listed(node)
        if isinstance(node, Op) and node.name == "mirror":
            return self.mirrored(node)
        assert isinstance(node, Op)  # `ends` has refused everything else
        left, right = self.member(node.args[0]), self.member(node.args[1])
        if node.name == "cup":
            return lambda place: left(place) or right(place)
        if node.name == "cap":
            return lambda place: left(place) and right(place)
        return lambda place: left(place) and not right(place)

    def interval(self, node: Seq) -> Member:
        low, high = (self.place(end) for end in node.items)
        if low > high:
            raise NoSet
        if node.open == "(":
            low += 1
        if node.close == ")":
            high -= 1
        return lambda place: low <= place <= high

    def listed(self, node: Seq) -> Member:
        places = {self.place(item) for item in node.items}
        return places.__contains__

    def mirrored(self, node: Op) -> Member:
        inner = self.member(node.args[0])
        last = 2 * len(self.values)
        zero = next(at for at, known in enumerate(self.values) if known == 0) * 2 + 1
        return lambda place: inner(place) if place >= zero else inner(min(last, 2 * zero - place))


def labelled_interval(node: Node, budget: Budget) -> Node:
    """`node` with an inequality or a membership replaced by the set it describes."""
    if isinstance(node, Op) and node.name in ("cup", "cap", "setminus"):
        return Op(node.name, tuple(labelled_interval(part, budget) for part in node.args))
    if isinstance(node, Relation):
        found = solution_set(node)
        return node if found is None else found[1]
    if isinstance(node, Seq) and len(node.items) == 1 and node.open == "{":
        inner = node.items[0]
        if isinstance(inner, Op) and inner.name == "setof":
            return set_builder(inner, budget) or node
    return node


def described_by_all(seq: Seq, budget: Budget) -> Node | None:
    """The set that several conditions on one variable describe (`2 < x < 5`, `x = 7`, `x ≠ 1, 2`): what satisfies all
    of them; where nothing does (`x < 1, x > 2`), what satisfies any."""
    items = _excluded_one_by_one(seq.items)
    both = described(items, "cap") if seq.open == "" else None
    return both if both is None or not same_set(both, EMPTY, budget) else described(items, "cup")


def described(conditions: tuple[Node, ...], way: str) -> Node | None:
    """The intersection ("cap") or union ("cup") of what conditions on one variable describe; None where they are no
    such conditions, or `x = 1, x = 2`, which is a list of numbers."""
    found = [_solutions(item) for item in conditions if isinstance(item, Relation)]
    parts = [item[1] for item in found if item is not None]
    if len(parts) != len(conditions) or len({item[0] for item in found if item}) != 1:
        return None
    if all(isinstance(item, Relation) and item.signs == ("=",) for item in conditions):
        return None
    return _fold(way, parts)


def _excluded_one_by_one(items: tuple[Node, ...]) -> tuple[Node, ...]:
    """`x ≠ 1, 2` as `x ≠ 1, x ≠ 2`."""
    first = items[0]
    if not isinstance(first, Relation) or first.signs != ("!=",):
        return items
    return tuple(item if isinstance(item, Relation) else Relation(("!=",), (first.sides[0], item)) for item in items)


def _solutions(relation: Relation) -> tuple[str, Node] | None:
    if relation.signs == ("=",) and _is_variable(relation.sides[0]):
        return _name(relation.sides[0]), Seq(relation.sides[1:], "{", "}")
    return solution_set(relation)


def _fold(name: str, parts: list[Node]) -> Node:
    whole = parts[0]
    for part in parts[1:]:
        whole = Op(name, (whole, part))
    return whole


def set_builder(node: Op, budget: Budget) -> Node | None:
    """`{x | -1 < x < 1}`, `{x ∈ ℝ | x > 0}` and `{x | x < 0 or x > 3}`."""
    head, *conditions = node.args
    domain: Node = REALS
    if isinstance(head, Relation) and (found := solution_set(head)):
        head, domain = head.sides[0], found[1]
    if not isinstance(head, Sym) or not conditions:
        return None
    if len(conditions) == 1 and isinstance(conditions[0], Relation):
        found = solution_set(conditions[0])
        described = found[1] if found is not None and found[0] == head.name else None
    else:
        described = described_by_all(Seq(tuple(conditions)), budget)
    return None if described is None else Op("cap", (domain, described))
