"""Equal as mathematics?  The ladder, cheapest step first; every step says what it decided and why.

    normal form → text → rational → quantity → container → relation → set → numeric → symbolic

A step answers equal, different or undecided.  Undecided falls through to the next; at the end it is not equal.
The relation is symmetric, except where a policy is about the gold answer (`percent`, roundings, dropped labels).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from rewards.math_answer import forms, sets
from rewards.math_answer.exact import rational
from rewards.math_answer.nodes import (
    EMPTY,
    INFINITY,
    BaseN,
    Cases,
    Matrix,
    Node,
    Num,
    Op,
    Quantity,
    Relation,
    Seq,
    Sym,
    Time,
    Words,
    num,
    substitute,
    symbols,
    walk,
)
from rewards.math_answer.policy import Policy
from rewards.math_answer.sampling import proportional, same_value

WORK = 20_000  # tree nodes computed numerically for one pair of expressions
MAX_PAIRS = 4_096  # comparisons of items in one pair of answers
_CALCULUS = frozenset(("int", "lim", "sum", "prod"))
_SETS = frozenset(("cup", "cap", "setminus"))


@dataclass(frozen=True, slots=True)
class Outcome:
    """`equal` is None where the step could not decide."""

    equal: bool | None
    stage: str
    reason: str

    def __bool__(self) -> bool:
        return self.equal is True


# The last rung: (gold, prediction) to equal, different or unknown, by computer algebra, somewhere it can be killed.
Prover = Callable[[Node, Node], bool | None]


class Comparison:
    """One pair of answers under one policy."""

    def __init__(self, policy: Policy, prove: Prover | None = None) -> None:
        self.policy = policy
        self.prove = prove
        self.pairs = 0

    def compare(self, gold: Node, pred: Node) -> Outcome:
        self.pairs += 1
        if self.pairs > MAX_PAIRS:
            return Outcome(None, "limit", "too many items")
        if gold == pred:
            return Outcome(True, "normal form", "same normal form")
        if isinstance(gold, Num) and isinstance(pred, Num):
            return self.rationals(gold, pred, gold.value, pred.value)
        chained = self.unchained(gold), self.unchained(pred)
        for node in chained:
            if isinstance(node, Outcome):
                return node
        return self.labelled(*chained)  # type: ignore[arg-type]

    # -- labels and chains

    def unchained(self, node: Node) -> Node | Outcome:
        """A chain of constants as its last member, if all are equal; `v ≈ d` as v, if d is a rounding of v."""
        members = forms.constant_chain(node)
        if members is None or not isinstance(node, Relation):
            return node
        value: Node = members[0]
        for sign, member in zip(node.signs, members[1:], strict=True):
            if sign == "~":
                if not self.rounds(value, member):
                    return Outcome(False, "relation", "not a rounding of it")
            elif not self.compare(value, member):
                return Outcome(False, "relation", "an equation chain whose members differ")
            else:
                value = member
        return value

    def rounds(self, exact: Node, rounded: Node) -> bool:
        """Whether `rounded` is `exact` to the digits it shows, give or take one in the last."""
        exact, decimal = (node.value if isinstance(node, Quantity) else node for node in (exact, rounded))
        if not isinstance(decimal, Num):
            return bool(self.compare(exact, rounded))
        slack = Fraction(1, 10 ** (decimal.places or 0))
        low, high = num(decimal.value - slack), num(decimal.value + slack)
        return in_order(low, exact) and in_order(exact, high)

    def labelled(self, gold: Node, pred: Node) -> Outcome:
        """`x = 5` against `5`, `f(x) = 2x` against `f(t) = 2t`; equations go on as equations."""
        left, right = forms.labelled(gold), forms.labelled(pred)
        for form in (left, right):
            if form is not None and (fault := self.inconsistent(form)):
                return fault
        if left is None and right is None:
            return self.kinds(gold, pred)
        if left is not None and right is not None:
            return self.both_labelled(gold, pred, left, right)
        form, other = (left or right, pred if left else gold)
        assert form is not None
        if isinstance(other, Relation):
            return self.relations(gold, pred)
        value = form.value
        return self.compare(value, other) if left else self.compare(other, value)

    def inconsistent(self, form: forms.Labelled) -> Outcome | None:
        for member in form.chain:
            if not self.compare(member, form.value):
                return Outcome(False, "relation", "an equation chain whose members differ")
        for member in form.about:
            if not self.rounds(form.value, member):
                return Outcome(False, "relation", "not a rounding of it")
        return None

    def both_labelled(self, gold: Node, pred: Node, left: forms.Labelled, right: forms.Labelled) -> Outcome:
        if left.label == right.label:
            return self.compare(left.value, right.value)
        renamed = _renamed(left.label, right)
        if renamed is not None:
            return self.compare(left.value, renamed)
        if isinstance(gold, Relation) and isinstance(pred, Relation):
            return self.relations(gold, pred)
        return Outcome(False, "relation", "different variables")

    # -- kinds of answers

    def kinds(self, gold: Node, pred: Node) -> Outcome:
        pair = (gold, pred)
        if any(isinstance(node, Words) for node in pair):
            return self.words(gold, pred)
        if any(isinstance(node, Time) for node in pair):
            return self.times(gold, pred)
        if any(_base(node) is not None for node in pair):
            return self.bases(gold, pred)
        for name, step in (("percent", self.percents), ("deg", self.degrees)):
            if any(isinstance(node, Op) and node.name == name for node in pair):
                return step(gold, pred)
        if any(isinstance(node, Quantity) for node in pair):
            return self.quantities(gold, pred)
        if any(isinstance(node, Cases) for node in pair):
            return self.cases(gold, pred)
        return self.collections(gold, pred)

    def words(self, gold: Node, pred: Node) -> Outcome:
        if isinstance(gold, Words) and isinstance(pred, Words):
            same = gold.text == pred.text
            return Outcome(same, "text", "same words" if same else "different words")
        return Outcome(False, "text", "words against mathematics")

    def times(self, gold: Node, pred: Node) -> Outcome:
        if not (isinstance(gold, Time) and isinstance(pred, Time)):
            clock, other = (gold, pred) if isinstance(gold, Time) else (pred, gold)
            assert isinstance(clock, Time)
            if clock.half or clock.second is not None:
                return Outcome(False, "time", "a time against something else")
            ratio = Op("ratio", (num(clock.hour), num(clock.minute)))
            return self.collections(ratio, other)
        same = (gold.hour, gold.minute, gold.second or 0) == (pred.hour, pred.minute, pred.second or 0)
        same = same and (gold.half == pred.half or not gold.half or not pred.half)
        return Outcome(same or _on_24_hours(gold) == _on_24_hours(pred) != None, "time", "clock readings")  # noqa: E711

    def bases(self, gold: Node, pred: Node) -> Outcome:
        left, right = _base(gold), _base(pred)
        if left is not None and right is not None:
            same = left == right
            return Outcome(same, "base", "same digits and base" if same else "other digits or another base")
        digits, sign, _ = left or right or ("", 1, 0)
        plain = rational(pred if left else gold)
        same = plain is not None and plain.denominator == 1 and str(abs(plain)) == digits and (plain < 0) == (sign < 0)
        return Outcome(same, "base", "same digits, base not written" if same else "other digits")

    def percents(self, gold: Node, pred: Node) -> Outcome:
        if _is_op(gold, "percent") and _is_op(pred, "percent"):
            return self.compare(gold.args[0], pred.args[0])  # type: ignore[union-attr]
        percent, other = (gold, pred) if _is_op(gold, "percent") else (pred, gold)
        assert isinstance(percent, Op)
        share = self.compare(Op("div", (percent.args[0], num(100))), other)
        if share:
            return share
        size = rational(percent.args[0])
        if percent is gold or (size is not None and abs(size) >= 1):
            bare = self.compare(percent.args[0], other)
            if bare:
                return Outcome(True, "percent", "percent sign left out")
        return Outcome(False, "percent", "another share")

    def degrees(self, gold: Node, pred: Node) -> Outcome:
        if _is_op(gold, "deg") and _is_op(pred, "deg"):
            return self.compare(gold.args[0], pred.args[0])  # type: ignore[union-attr]
        angle, other = (gold, pred) if _is_op(gold, "deg") else (pred, gold)
        assert isinstance(angle, Op)
        if isinstance(other, Quantity):
            return Outcome(False, "quantity", "an angle against another quantity")
        if self.compare(angle.args[0], other):
            return Outcome(True, "angle", "degree sign left out")
        if isinstance(other, Num | Sym | Op) and same_value(angle, other, WORK):
            return Outcome(True, "angle", "degrees and radians")
        return Outcome(False, "angle", "another angle")

    def quantities(self, gold: Node, pred: Node) -> Outcome:
        left, right = (_quantity(node, other) for node, other in ((gold, pred), (pred, gold)))
        said = [bool(side.units or side.nouns) for side in (left, right)]
        if all(said):
            nested = left.nouns <= right.nouns or right.nouns <= left.nouns
            if left.units != right.units or not nested:
                return Outcome(False, "quantity", "units differ")
        return self.compare(left.value, right.value)

    def cases(self, gold: Node, pred: Node) -> Outcome:
        if isinstance(gold, Cases) and isinstance(pred, Cases):
            if len(gold.rows) != len(pred.rows):
                return Outcome(False, "cases", "another number of cases")
            rows = [[_row(row) for row in node.rows] for node in (gold, pred)]
            return self.matched(tuple(rows[0]), tuple(rows[1]), "cases")
        rows_only, other = (gold, pred) if isinstance(gold, Cases) else (pred, gold)
        assert isinstance(rows_only, Cases)
        if all(len(row) == 1 for row in rows_only.rows):  # a system of equations
            listed = Seq(tuple(row[0] for row in rows_only.rows))
            return self.compare(listed, other) if rows_only is gold else self.compare(other, listed)
        return Outcome(False, "cases", "cases against something else")

    # -- lists, tuples, sets, intervals, matrices

    def collections(self, gold: Node, pred: Node) -> Outcome:
        gold, pred = (forms.with_matrices_computed(node) for node in (gold, pred))
        if isinstance(gold, Matrix) or isinstance(pred, Matrix):
            return self.matrices(gold, pred)
        gold, pred = (sets.labelled_interval(node) if _describes_set(node, other) else node
                      for node, other in ((gold, pred), (pred, gold)))
        if _is_set(gold) and _is_set(pred) and not (isinstance(gold, Seq) and isinstance(pred, Seq)):
            same = sets.same_set(gold, pred, WORK)
            if same is not None:
                return Outcome(same, "set", "same set" if same else "different sets")
            if isinstance(gold, Op) and isinstance(pred, Op):
                return self.matched(_members(gold), _members(pred), "set")
        if isinstance(gold, Relation) or isinstance(pred, Relation):
            return self.relations(gold, pred)
        for one, other in ((gold, pred), (pred, gold)):
            if _is_set(other) and isinstance(one, Seq) and (described := sets.described_by_all(one, WORK)):
                return self.collections(*((described, other) if one is gold else (other, described)))
        expanded = [_expanded(node) for node in (gold, pred)]
        if isinstance(expanded[0], Seq) or isinstance(expanded[1], Seq):
            return self.sequences(expanded[0], expanded[1])
        return self.expressions(gold, pred)

    def matrices(self, gold: Node, pred: Node) -> Outcome:
        if isinstance(gold, Matrix) and isinstance(pred, Matrix):
            shapes = [(len(node.rows), len(node.rows[0])) for node in (gold, pred)]
            if shapes[0] != shapes[1]:
                return Outcome(False, "container", "another shape")
            cells = [tuple(cell for row in node.rows for cell in row) for node in (gold, pred)]
            return self.in_order(cells[0], cells[1])
        matrix, other = (gold, pred) if isinstance(gold, Matrix) else (pred, gold)
        if rows := forms.nested_rows(other):
            return self.matrices(*((gold, rows) if matrix is gold else (rows, pred)))
        entries = forms.vector(matrix)
        if entries is None or not isinstance(other, Seq) or other.open == "{" or (other.open == "" and len(entries) > 0):
            return Outcome(False, "container", "a matrix against something else")
        return self.in_order(entries, other.items) if matrix is gold else self.in_order(other.items, entries)

    def sequences(self, gold: Node, pred: Node) -> Outcome:
        left, right = (node if isinstance(node, Seq) else Seq((node,)) for node in (gold, pred))
        for one, other in ((left, pred), (right, gold)):  # `3/5 or 0.6`: one answer, written twice
            if not isinstance(other, Seq) and one.open == "" and not any(isinstance(item, Relation) for item in one.items):
                written = [self.compare(gold, item) if other is gold else self.compare(item, pred) for item in one.items]
                return next((outcome for outcome in written if not outcome), written[0])
        if all(isinstance(item, Relation) for item in left.items + right.items):
            return self.assignments(left.items, right.items)
        ordered = False
        if any(isinstance(item, Relation) for item in left.items + right.items):
            (left, ordered), (right, other) = _unlabelled(left), _unlabelled(right)
            ordered = ordered or other
        kinds = {_kind(left), _kind(right)}
        if kinds <= {"list", "set"} and len(left.items) != len(right.items):  # `2, 2` is the set of 2
            left, right = (Seq(tuple(dict.fromkeys(side.items)), side.open, side.close) for side in (left, right))
        if len(left.items) != len(right.items):
            return Outcome(False, "container", f"{len(left.items)} items against {len(right.items)}")
        if kinds <= {"list", "set"} and not ordered:
            return self.matched(left.items, right.items, "container")
        if len(kinds) == 1 or kinds <= {"list", "tuple"} or kinds == {"tuple", "row"} and len(left.items) > 2:
            if _kind(left) in ("half-open",) and (left.open, left.close) != (right.open, right.close):
                return Outcome(False, "container", "other brackets")
            return self.in_order(left.items, right.items)
        if kinds <= {"list", "set"} or (self.policy.set_as_tuple and "set" in kinds and "row" not in kinds):
            return self.in_order(left.items, right.items)
        return Outcome(False, "container", "other brackets")

    def in_order(self, left: tuple[Node, ...], right: tuple[Node, ...]) -> Outcome:
        if len(left) != len(right):
            return Outcome(False, "container", f"{len(left)} items against {len(right)}")
        for one, other in zip(left, right, strict=True):
            outcome = self.compare(one, other)
            if not outcome:
                return Outcome(outcome.equal, "container", f"an item: {outcome.reason}")
        return Outcome(True, "container", "equal item by item")

    def matched(self, left: tuple[Node, ...], right: tuple[Node, ...], stage: str) -> Outcome:
        """Items in any order.  Equality is an equivalence, so the first free match is as good as any."""
        if len(left) != len(right):
            return Outcome(False, stage, f"{len(left)} items against {len(right)}")
        free = list(right)
        for item in sorted(left, key=lambda node: node not in right):  # cheap matches first
            if item in free:
                free.remove(item)
                continue
            for at, other in enumerate(free):
                if self.compare(item, other):
                    del free[at]
                    break
            else:
                return Outcome(False, stage, "an item without a match")
        return Outcome(True, stage, "equal in some order")

    def assignments(self, left: tuple[Node, ...], right: tuple[Node, ...]) -> Outcome:
        """`x = 1, y = 2`: by name where the names agree; else as a list of relations."""
        if len(left) != len(right):
            return Outcome(False, "container", f"{len(left)} items against {len(right)}")
        return self.matched(left, right, "relation")

    # -- relations

    def relations(self, gold: Node, pred: Node) -> Outcome:
        if not (isinstance(gold, Relation) and isinstance(pred, Relation)):
            return Outcome(False, "relation", "a relation against something else")
        described = [sets.solution_set(node) for node in (gold, pred)]
        if described[0] and described[1]:
            if described[0][0] != described[1][0]:
                return Outcome(False, "relation", "different variables")
            same = sets.same_set(described[0][1], described[1][1], WORK)
            if same is not None:
                return Outcome(same, "set", "same solutions" if same else "other solutions")
        if len(gold.signs) == len(pred.signs) == 1:
            return self.single_relations(gold, pred)
        for sides, signs in ((pred.sides, pred.signs), (pred.sides[::-1], tuple(map(sets.flipped, pred.signs[::-1])))):
            if gold.signs == signs and self.in_order(gold.sides, sides):
                return Outcome(True, "relation", "equal side by side")
        return Outcome(False, "relation", "different relations")

    def single_relations(self, gold: Relation, pred: Relation) -> Outcome:
        """f = 0 and g = 0 are one relation where f is a constant multiple of g; an inequality turns with its sign."""
        left, right = (Op("add", (node.sides[0], Op("neg", (node.sides[1],)))) for node in (gold, pred))
        signs = gold.signs[0], pred.signs[0]
        if any(sign not in ("=", "~", "!=", "<", ">", "<=", ">=") for sign in signs):
            return self.in_order(gold.sides, pred.sides) if signs[0] == signs[1] else Outcome(False, "relation", "signs")
        way = proportional(left, right, WORK)
        if way is None:
            return Outcome(False, "relation", "different relations")
        same = signs[0].replace("~", "=") == (signs[1] if way > 0 else sets.flipped(signs[1])).replace("~", "=")
        return Outcome(same, "relation", "equal up to a factor" if same else "another sign")

    # -- expressions

    def expressions(self, gold: Node, pred: Node) -> Outcome:
        values = rational(gold), rational(pred)
        if values[0] is not None and values[1] is not None:
            return self.rationals(gold, pred, values[0], values[1])
        if not self.policy.unevaluated and values[0] is not None and _unevaluated(pred):
            return Outcome(False, "policy", "not worked out")
        if {gold, pred} & {EMPTY, INFINITY} or any(isinstance(node, Words | Time) for node in (gold, pred)):
            return Outcome(self.infinite(gold) == self.infinite(pred) != 0, "normal form", "infinity or empty set")
        if _is_op(gold, "ratio") or _is_op(pred, "ratio"):
            return self.ratios(gold, pred)
        if not symbols(gold) <= symbols(pred) and not symbols(pred) <= symbols(gold):
            return Outcome(False, "numeric", "different variables")
        same = same_value(gold, pred, WORK)
        if same is False and (rounded := self.rounded(gold, pred)):
            return rounded
        if same is not None:
            return Outcome(same, "numeric", "same value" if same else "different values")
        if self.prove is not None and (_unevaluated(gold) or _unevaluated(pred)):
            same = self.prove(gold, pred)
            return Outcome(same, "symbolic", {True: "proved equal", False: "different"}.get(same, "could not be decided"))  # type: ignore[arg-type]
        same = forms.sorted_terms(gold) == forms.sorted_terms(pred)
        return Outcome(same or None, "normal form", "same terms" if same else "could not be computed")

    def infinite(self, node: Node) -> int:
        if node == EMPTY:
            return 2
        return 1 if node == INFINITY else -1 if node == Op("neg", (INFINITY,)) else 0

    def rationals(self, gold: Node, pred: Node, left: Fraction, right: Fraction) -> Outcome:
        if left == right:
            return Outcome(True, "rational", "same number")
        return self.rounded(gold, pred) or Outcome(False, "rational", "different numbers")

    def rounded(self, gold: Node, pred: Node) -> Outcome | None:
        """The rounding policies: a long decimal is the number it rounds; a gold decimal may be a rounding."""
        if self.policy.decimal_digits:
            for decimal, exact in ((gold, pred), (pred, gold)):
                if _digits(decimal) >= self.policy.decimal_digits and not _digits(exact) and self.rounds(exact, _decimal(decimal)):
                    return Outcome(True, "rounding", "a decimal of it to many digits")
        if self.policy.gold_digits and _digits(gold) >= self.policy.gold_digits and not _digits(pred):
            if rational(pred) is None or rational(pred).denominator != 1:  # type: ignore[union-attr]
                if self.rounds(pred, _decimal(gold)):
                    return Outcome(True, "rounding", "the gold answer is a rounding of it")
        return None

    def ratios(self, gold: Node, pred: Node) -> Outcome:
        parts = [node.args if isinstance(node, Op) and node.name == "ratio" else (node, num(1)) for node in (gold, pred)]
        if len(parts[0]) != len(parts[1]):
            return Outcome(False, "ratio", "another number of parts")
        for at in range(1, len(parts[0])):
            crossed = [Op("mul", (parts[side][0], parts[1 - side][at])) for side in (0, 1)]
            outcome = self.expressions(crossed[0], crossed[1])
            if not outcome:
                return Outcome(outcome.equal, "ratio", "another ratio")
        return Outcome(True, "ratio", "same ratio")


def in_order(low: Node, high: Node) -> bool:
    """Whether low ≤ high, as numbers to 40 digits."""
    from rewards.math_answer.numeric import Evaluator, Undefined, Unsupported

    evaluator = Evaluator(40)
    try:
        values = [evaluator.value(node, {}) for node in (low, high)]
    except (Undefined, Unsupported):
        return False
    return not any(map(evaluator.ctx.im, values)) and bool(values[0] <= values[1])


def _decimal(node: Node) -> Num:
    """The decimal that `_digits` counted: a literal, or one times a power of ten."""
    if isinstance(node, Num):
        return node
    value = rational(node)
    assert isinstance(node, Op) and isinstance(node.args[0], Num) and value is not None
    shift = value / node.args[0].value
    places = (node.args[0].places or 0) - round(math.log10(shift))
    return Num(value, max(places, 0))


def _digits(node: Node) -> int:
    """Significant digits of a decimal (`0.0833`: 3; `2.3 × 10^{-3}`: 2); 0 for anything else."""
    if isinstance(node, Op) and node.name == "mul" and len(node.args) == 2 and _is_op(node.args[1], "pow"):
        base = node.args[1].args[0]  # type: ignore[union-attr]
        return _digits(node.args[0]) if base == num(10) and rational(node) else 0
    if isinstance(node, Op) and node.name == "neg":
        return 0
    if not isinstance(node, Num) or node.places is None or node.value == 0:
        return 0
    return len(str(abs(int(node.value * 10**node.places))))


def _is_op(node: Node, name: str) -> bool:
    return isinstance(node, Op) and node.name == name


def _base(node: Node) -> tuple[str, int, int] | None:
    if isinstance(node, BaseN):
        return node.digits, 1, node.base
    if isinstance(node, Op) and node.name == "neg" and isinstance(node.args[0], BaseN):
        return node.args[0].digits, -1, node.args[0].base
    return None


def _quantity(node: Node, other: Node) -> Quantity:
    if isinstance(node, Quantity):
        return node
    letters = forms.letter_units(node) if isinstance(other, Quantity) and other.units else None
    return letters or Quantity(node, (), frozenset())


def _row(row: tuple[Node, ...]) -> Node:
    return row[0] if len(row) == 1 else Seq(row, "(", ")")


def _renamed(label: Node, other: forms.Labelled) -> Node | None:
    """The other's value in the variable of `label`, for f(x) = … against f(t) = … and against y = …"""
    right = other.label
    if isinstance(label, Op) and isinstance(right, Op) and label.name == right.name == "call":
        if label.args[0] == right.args[0] and len(label.args) == len(right.args) == 2:
            if isinstance(label.args[1], Sym) and isinstance(right.args[1], Sym):
                return substitute(other.value, right.args[1].name, label.args[1])
        return None
    for one, two in ((label, right), (right, label)):
        if isinstance(one, Op) and one.name == "call" and two == Sym("y"):
            return other.value
    if isinstance(label, Seq) or isinstance(right, Seq):
        return other.value
    return None


def _on_24_hours(time: Time) -> tuple[int, int, int] | None:
    if not time.half:
        return (time.hour, time.minute, time.second or 0) if time.hour > 12 else None
    return time.hour % 12 + (12 if time.half == "pm" else 0), time.minute, time.second or 0


def _unevaluated(node: Node) -> bool:
    return any(isinstance(part, Op) and part.name in _CALCULUS for part in walk(node))


def _describes_set(node: Node, other: Node) -> bool:
    return (isinstance(node, Relation) and not isinstance(other, Relation)) or isinstance(node, Seq)


def _is_set(node: Node) -> bool:
    if isinstance(node, Seq):
        return sets.is_interval(node) or node.open == "{"
    return (isinstance(node, Op) and node.name in (*_SETS, "mirror")) or node in (EMPTY, Sym("RR"))


def _members(node: Op) -> tuple[Node, ...]:
    """The parts of a union, flat."""
    out: list[Node] = []
    for part in node.args:
        out.extend(_members(part) if isinstance(part, Op) and part.name == node.name else (part,))
    return tuple(out)


def _expanded(node: Node) -> Node:
    """`±` spelt out, in a list or a set or alone."""
    if isinstance(node, Seq):
        return Seq(forms.flattened(node.items), node.open, node.close) if node.open in ("", "{") else node
    both = forms.variants(node)
    return Seq(both) if len(both) > 1 else node


def _unlabelled(seq: Seq) -> tuple[Seq, bool]:
    """Items without their labels, and whether their order means something (`w = 16, d = 3` in that order)."""
    found = [forms.labelled(item) for item in seq.items]
    if any(form is None and isinstance(item, Relation) for form, item in zip(found, seq.items, strict=True)):
        return seq, False
    items = tuple(item if form is None else form.value for form, item in zip(found, seq.items, strict=True))
    return Seq(forms.flattened(items) if seq.open in ("", "{") else items, seq.open, seq.close), False


def _kind(seq: Seq) -> str:
    if seq.open == "":
        return "list"
    return {"{}": "set", "()": "tuple", "[]": "row"}.get(seq.open + seq.close, "half-open")
