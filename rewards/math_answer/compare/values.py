"""Steps for single values: numbers, expressions, ratios; and when a rounding counts."""

from __future__ import annotations

import math
from fractions import Fraction

from rewards.math_answer.compare import forms
from rewards.math_answer.compare.choices import same_letter
from rewards.math_answer.compare.context import Context
from rewards.math_answer.compare.equality import Equality
from rewards.math_answer.compute.budget import Undefined, Unsupported
from rewards.math_answer.compute.exact import rational
from rewards.math_answer.compute.numeric import Evaluator
from rewards.math_answer.compute.sampling import same_value
from rewards.math_answer.nodes import (
    EMPTY,
    INFINITY,
    Node,
    Num,
    Op,
    Quantity,
    Sym,
    Time,
    Words,
    is_op,
    num,
    symbols,
    walk,
)

_CALCULUS = frozenset(("int", "lim", "sum", "prod"))


def expressions(c: Context, gold: Node, pred: Node) -> Equality:
    values = rational(gold), rational(pred)
    if values[0] is not None and values[1] is not None:
        return rationals(c, gold, pred, values[0], values[1])
    if not c.leniency.unevaluated and values[0] is not None and unevaluated(pred):
        return Equality(False, "policy", "not worked out")
    if {gold, pred} & {EMPTY, INFINITY} or any(isinstance(node, Words | Time) for node in (gold, pred)):
        return Equality(_infinite(gold) == _infinite(pred) != 0, "normal form", "infinity or empty set")
    if is_op(gold, "ratio") or is_op(pred, "ratio"):
        return ratios(c, gold, pred)
    if same_letter(c, gold, pred):
        return Equality(True, "choice", "same letter")
    same = same_value(gold, pred, c.budget)
    if same is False and (rounding := rounded(c, gold, pred)):
        return rounding
    if same is not None:
        return Equality(same, "numeric", "same value" if same else "different values")
    same = forms.sorted_terms(gold) == forms.sorted_terms(pred)
    return Equality(same or None, "normal form", "same terms" if same else "could not be computed")


def _infinite(node: Node) -> int:
    if node == EMPTY:
        return 2
    return 1 if node == INFINITY else -1 if node == Op("neg", (INFINITY,)) else 0


def rationals(c: Context, gold: Node, pred: Node, left: Fraction, right: Fraction) -> Equality:
    if left == right:
        return Equality(True, "rational", "same number")
    return rounded(c, gold, pred) or Equality(False, "rational", "different numbers")


def rounds(c: Context, exact: Node, rounded: Node) -> bool:
    """Whether `rounded` is `exact` to the digits it shows, rounded or cut off."""
    exact, decimal = (node.value if isinstance(node, Quantity) else node for node in (exact, rounded))
    if not isinstance(decimal, Num):
        return bool(c.compare(exact, rounded))
    unit = Fraction(1, 10 ** (decimal.places or 0))
    cut = unit if decimal.places else unit / 2
    below, above = (unit / 2, cut) if decimal.value > 0 else (cut, unit / 2)
    return _between(c, decimal.value - below, exact, decimal.value + above)


def near(c: Context, exact: Node, decimal: Num) -> bool:
    """Whether they are the same to the digits of the decimal, give or take one in the last."""
    unit = Fraction(1, 10**decimal.places) if decimal.places else Fraction(1, 2)
    return _between(c, decimal.value - unit, exact, decimal.value + unit)


def _between(c: Context, low: Fraction, node: Node, high: Fraction) -> bool:
    return ordered(c, num(low), node) and ordered(c, node, num(high))


def rounded(c: Context, gold: Node, pred: Node) -> Equality | None:
    """What a leniency says of roundings: a long decimal is the number it rounds; a gold decimal may be a rounding."""
    if c.leniency.decimal_digits:
        for decimal, exact in ((gold, pred), (pred, gold)):
            if (
                _digits(decimal) >= c.leniency.decimal_digits
                and not _digits(exact)
                and near(c, exact, _decimal(decimal))
            ):
                return Equality(True, "rounding", "a decimal of it to many digits")
    if c.leniency.gold_digits and _digits(gold) >= c.leniency.gold_digits and not _digits(pred):
        value = rational(pred)
        whole = value is not None and value.denominator == 1  # a whole number is no more exact than the decimal
        if not whole and near(c, pred, _decimal(gold)):
            return Equality(True, "rounding", "the gold answer is a rounding of it")
    return None


def ratios(c: Context, gold: Node, pred: Node) -> Equality:
    parts = [node.args if isinstance(node, Op) and node.name == "ratio" else (node, num(1)) for node in (gold, pred)]
    if len(parts[0]) != len(parts[1]):
        return Equality(False, "ratio", "another number of parts")
    something = [[not expressions(c, part, num(0)) for part in side] for side in parts]
    if not all(map(any, something)):  # it would be proportional to everything
        return Equality(False, "ratio", "a ratio of nothing to nothing")
    pivot = something[0].index(True)
    for at in range(len(parts[0])):
        crossed = [Op("mul", (parts[side][pivot], parts[1 - side][at])) for side in (0, 1)]
        same = expressions(c, crossed[0], crossed[1])
        if not same:
            return Equality(same.equal, "ratio", "another ratio")
    return Equality(True, "ratio", "same ratio")


def ordered(c: Context, low: Node, high: Node) -> bool:
    """Whether low ≤ high, as numbers to 40 digits."""
    evaluator = Evaluator(40, c.budget)
    try:
        values = [evaluator.value(node, {}) for node in (low, high)]
    except (Undefined, Unsupported):
        return False
    low_end, high_end = map(evaluator.ctx.re, values)
    return not any(map(evaluator.ctx.im, values)) and bool(low_end <= high_end)


def sorted_numbers(c: Context, items: tuple[Node, ...]) -> tuple[Node, ...] | None:
    """Real numbers by size; None where an item is something else."""
    evaluator = Evaluator(20, c.budget)
    sizes = []
    for item in items:
        if not isinstance(item, Num | Sym | Op) or symbols(item):
            return None
        try:
            value = evaluator.value(item, {})
        except (Undefined, Unsupported):
            return None
        if evaluator.ctx.im(value):
            return None
        sizes.append((evaluator.ctx.re(value), item))
    return tuple(item for _, item in sorted(sizes, key=lambda pair: pair[0]))


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
    if isinstance(node, Op) and node.name == "mul" and len(node.args) == 2 and is_op(node.args[1], "pow"):
        base = node.args[1].args[0]
        return _digits(node.args[0]) if base == num(10) and rational(node) else 0
    if isinstance(node, Op) and node.name == "neg":
        return 0
    if not isinstance(node, Num) or node.places is None or node.value == 0:
        return 0
    return len(str(abs(int(node.value * 10**node.places))))


def unevaluated(node: Node) -> bool:
    return any(isinstance(part, Op) and part.name in _CALCULUS for part in walk(node))
