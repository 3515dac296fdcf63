r"""Steps for answers with a bound name: `\frac{\pi}{4} + k\pi` for whole k, the points `(1 + 2t, 3 - t)` for real t.

What a bound name is called says nothing, nor does the number or point from which it counts.  Numbers that are linear
in a whole name are a grid, an offset and a period; grids are brought to a common period and compared as offsets, so
that `\pm\frac{\pi}{2} + 2k\pi` is `\frac{\pi}{2} + n\pi`.  Points that are linear in a real name are a line.

A name is bound where its answer says so (`k \in \mathbb{Z}`); where it does not, only in what can hardly be a formula
in a given number: angles `a + k b`, points in t or s.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd, lcm
from typing import Any

from rewards.math_answer.compare import forms
from rewards.math_answer.compare.context import Context
from rewards.math_answer.compare.equality import Equality
from rewards.math_answer.compute.budget import Undefined, Unsupported
from rewards.math_answer.compute.numeric import Evaluator, digits_needed
from rewards.math_answer.compute.sampling import same_value
from rewards.math_answer.nodes import PI, Node, Op, Relation, Seq, Sym, is_op, num, substitute, symbols, walk

MAX_OFFSETS = 256
_WHOLE, _REAL = "ZZ", "RR"
_DOMAINS = {"ZZ": "ZZ", "Z": "ZZ", "NN": "ZZ+", "N": "ZZ+", "QQ": "QQ", "RR": "RR", "CC": "CC"}
_COUNTING, _PARAMETERS = frozenset("kmnl"), frozenset(("t", "s", "lambda", "mu"))


@dataclass(frozen=True, slots=True)
class Family:
    """Answers for all values of a name in a domain, "" where that is not said."""

    heads: tuple[Node, ...]
    labels: frozenset[Node]
    domain: str

    @property
    def names(self) -> frozenset[str]:
        return frozenset().union(*map(symbols, self.heads))

    @property
    def answer(self) -> Node:
        return self.heads[0] if len(self.heads) == 1 else Seq(self.heads)

    def point(self) -> Seq | None:
        """The coordinates, where it is one point."""
        head = forms.with_matrices_computed(self.heads[0])
        entries = forms.vector(head)
        head = Seq(entries, "(", ")") if entries else head
        return head if len(self.heads) == 1 and isinstance(head, Seq) else None


def families(c: Context, gold: Node, pred: Node) -> Equality | None:
    """Whether two answers are one family; None where they are none."""
    (one, ours), (other, theirs) = _said(gold), _said(pred)
    if ours and theirs and ours != theirs:
        return Equality(False, "family", "another domain")
    same = None
    if symbols(one) and symbols(other):
        left, right = _family(one, ours), _family(other, theirs)
        names = _bound(left.names, right.names) if len(left.labels | right.labels) < 2 else None
        same = None if names is None else _same_family(c, left, right, names)
    if same is not None:
        return Equality(same, "family", "same family" if same else "another family")
    return c.compare(one, other) if ours or theirs else None


def _same_family(c: Context, left: Family, right: Family, names: tuple[str, str]) -> bool | None:
    domain = left.domain or right.domain
    if not all(side.domain or _is_no_formula(side, name) for side, name in zip((left, right), names, strict=True)):
        return None
    right = _renamed(right, names)
    points = left.point(), right.point()
    if domain == _WHOLE or not domain and "k" in names:
        grids = _grids(c, left.heads, names[0]), _grids(c, right.heads, names[0])
        if grids[0] and grids[1]:
            return _same_offsets(c, *grids)
    if domain == _REAL and points[0] and points[1]:
        same = _same_line(c, points[0], points[1], names[0])
        if same is not None:
            return same
    answers = [right.answer] if names[0] != names[1] and (points[0] or domain not in ("", _REAL)) else []
    if domain == _WHOLE:
        answers = [substitute(right.answer, names[0], Op("add", (Sym(names[0]), num(by)))) for by in (0, 1, -1)]
    return True if any(c.compare(left.answer, answer) for answer in answers) else None


def _is_no_formula(family: Family, name: str) -> bool:
    """Whether it is a family though it does not say so: points in t or s, angles `a + k b`; neither `(a, 2a)` nor `n b`
    nor `(n - 2) b`, which may be formulas in a given number."""
    if family.point():
        return name in _PARAMETERS
    return name in _COUNTING and all(_has_angle(head) and _is_offset(head) for head in family.heads)


def _is_offset(head: Node) -> bool:
    if not is_op(head, "add"):
        return False
    return not any(is_op(part, "add") and symbols(part) for term in head.args for part in walk(term))


def _has_angle(head: Node) -> bool:
    return any(part == PI or is_op(part, "deg") for part in walk(head))


# -- what was written


def _said(node: Node) -> tuple[Node, str]:
    """The answer and the domain of its bound name, from `…, k ∈ ℤ` or `{… : k ∈ ℤ}`."""
    match node:
        case Op(name="given", args=(head, Sym(name=domain))):
            return head, domain
        case Seq(items=(Op(name="setof", args=(head, *conditions)),), open="{"):
            return _of_set(node, head, conditions)
        case Seq(items=(*heads, Relation() as condition), open="") if heads and _domain(condition):
            answer = Seq(tuple(heads)) if len(heads) > 1 else heads[0]
            if symbols(condition) - {"ZZ", "NN", "QQ", "CC"} <= symbols(answer):
                return answer, _domain(condition)
    return node, ""


def _of_set(node: Node, head: Node, conditions: list[Node]) -> tuple[Node, str]:
    """`{k π : k ∈ ℤ}` and `{x ∈ ℝ : x = k π, k ∈ ℤ}`; other sets as they are."""
    domain = ""
    name = head.sides[0] if isinstance(head, Relation) and _domain(head) else head
    value = name
    for condition in conditions:
        form = forms.labelled(condition)
        if form is not None and form.label == name == value:
            value = form.value
        elif isinstance(condition, Relation) and not domain and condition.sides[0] != name:
            domain = _domain(condition)
        else:
            return node, ""
    return (value, domain) if domain else (node, "")


def _domain(condition: Relation) -> str:
    match condition:
        case Relation(signs=("in",), sides=(Sym(), Sym(name=domain))):
            return _DOMAINS.get(domain, "")
    return ""


def _family(head: Node, domain: str) -> Family:
    items = head.items if isinstance(head, Seq) and head.open in ("", "{") else (head,)
    heads: list[Node] = []
    labels: list[Node] = []
    for item in items:
        form = forms.labelled(item)
        labels += [] if form is None else [form.label]
        heads.extend(forms.variants(item if form is None else form.value))
    return Family(tuple(heads), frozenset(labels), domain)


def _bound(left: frozenset[str], right: frozenset[str]) -> tuple[str, str] | None:
    """The bound names of two families: those that only one has, or the only one of both."""
    ours, theirs = left - right, right - left
    if len(ours) == len(theirs) == 1:
        return next(iter(ours)), next(iter(theirs))
    if not ours and not theirs and len(left) == 1:
        return next(iter(left)), next(iter(left))
    return None


def _renamed(family: Family, names: tuple[str, str]) -> Family:
    return replace(family, heads=tuple(substitute(head, names[1], Sym(names[0])) for head in family.heads))


# -- grids of numbers


Grid = tuple[Node, Node]  # offset, period


def _grids(c: Context, heads: tuple[Node, ...], name: str) -> list[Grid]:
    """The heads as grids, those of an alternating head as two; none where one of them is not linear in the name."""
    grids: list[Grid] = []
    for head in heads:
        if symbols(head) - {name} or not isinstance(head, Sym | Op):
            return []
        for parts in ((head,), _halves(head, name)):
            found = [_grid(c, part, name) for part in parts]
            if all(found):
                grids.extend(grid for grid in found if grid)
                break
        else:
            return []
    return grids


def _halves(head: Node, name: str) -> tuple[Node, ...]:
    """The head at even and at odd numbers: `(-1)^k a` is a and -a."""
    twice = Op("mul", (num(2), Sym(name)))
    return tuple(substitute(head, name, part) for part in (twice, Op("add", (twice, num(1)))))


def _grid(c: Context, head: Node, name: str) -> Grid | None:
    offset = substitute(head, name, num(0))
    period = Op("add", (substitute(head, name, num(1)), Op("neg", (offset,))))
    line = Op("add", (offset, Op("mul", (Sym(name), period))))
    return (offset, period) if same_value(head, line, c.budget) else None


def _same_offsets(c: Context, left: list[Grid], right: list[Grid]) -> bool | None:
    """Whether two lists of grids have the same numbers: their offsets within one common period."""
    grids = [*left, *right]
    digits = digits_needed(*(node for grid in grids for node in grid))
    evaluator = Evaluator(digits + 20, c.budget)
    try:
        numbers = [(evaluator.value(offset, {}), evaluator.value(period, {})) for offset, period in grids]
    except (Undefined, Unsupported):
        return None
    ctx, unit = evaluator.ctx, numbers[0][1]
    tiny = ctx.mpf(10) ** -digits
    if any(map(ctx.im, itertools.chain(*numbers))) or not unit:
        return None
    periods = [found for _, period in numbers if (found := _fraction(ctx, period / unit, tiny))]
    if len(periods) < len(numbers):
        return False  # periods without a common one, or one that is no number
    common = Fraction(lcm(*(period.numerator for period in periods)), gcd(*(period.denominator for period in periods)))
    if sum(common / period for period in periods) > MAX_OFFSETS:
        return None
    offsets = [
        [_turned(ctx, (offset / unit + step * period) / common, tiny) for step in range(int(common / period))]
        for (offset, _), period in zip(numbers, periods, strict=True)
    ]
    ours, theirs = itertools.chain(*offsets[: len(left)]), itertools.chain(*offsets[len(left) :])
    return _same_places(list(ours), list(theirs), tiny)


def _fraction(ctx: Any, value: Any, tiny: Any) -> Fraction | None:
    """The size of a ratio of periods, where it is a fraction with small parts."""
    for below in range(1, 65):
        above = ctx.nint(abs(value) * below)
        if above and above < 10**4 and abs(abs(value) * below - above) < tiny * below:
            return Fraction(int(above), below)
    return None


def _turned(ctx: Any, value: Any, tiny: Any) -> Any:
    """The value within one turn, from 0 to below 1."""
    rest = value - ctx.floor(value)
    return ctx.zero if 1 - rest < tiny else rest


def _same_places(one: list[Any], other: list[Any], tiny: Any) -> bool:
    return all(any(abs(a - b) < tiny for b in there) for here, there in ((one, other), (other, one)) for a in here)


# -- lines


def _same_line(c: Context, left: Node, right: Node, name: str) -> bool | None:
    """Whether two points, linear in a real name, run through one line; None where they are none such."""
    if not (isinstance(left, Seq) and isinstance(right, Seq) and len(left.items) == len(right.items)):
        return None
    rows = [[_grid(c, item, name) for item in side.items] for side in (left, right)]
    if not all(grid for row in rows for grid in row):
        return None
    starts = [[grid[0] for grid in row if grid] for row in rows]
    ways = [[grid[1] for grid in row if grid] for row in rows]
    between = [Op("add", (one, Op("neg", (other,)))) for one, other in zip(*starts, strict=True)]
    if all(all(same_value(way, num(0), c.budget) for way in side) for side in ways):
        return None
    if not any(same_value(way, num(0), c.budget) is False for way in ways[1]):
        return False  # a point
    return all(same_value(minor, num(0), c.budget) for other in (ways[1], between) for minor in _minors(ways[0], other))


def _minors(one: Sequence[Node], other: Sequence[Node]) -> Iterator[Node]:
    """Zero, all of them, where two vectors are parallel."""
    for at in range(len(one)):
        for to in range(at):
            yield Op("add", (Op("mul", (one[at], other[to])), Op("neg", (Op("mul", (one[to], other[at])),))))
