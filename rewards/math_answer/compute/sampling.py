"""Are two expressions equal?  Computed at two precisions; with variables, at fixed pseudo-random points.

Two different analytic functions agree on a set of measure zero, so agreement at points that nobody chose is as good
as a proof, and one clear difference *is* a proof.  The points are real: where both sides are real they decide; that
makes `\\sqrt{x^2}` differ from `x` (at negative points) but not `2 \\ln x` from `\\ln x^2` (there the first has no
real value).  Steps and alternating signs in variables that count (n, k, m …) are compared at integers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from rewards.math_answer.compute.budget import Budget, Undefined, Unsupported
from rewards.math_answer.compute.numeric import MAX_NODES, Evaluator, digits_needed, is_endless
from rewards.math_answer.nodes import I, Node, Num, Op, num, substitute, symbols, walk

MAX_DIGITS = 1_000
POINTS = 14
ENOUGH = 4  # points where both sides have a value
_COUNTING = frozenset("n k m j l p q r t N K M".split())
_STEPS = frozenset(("floor", "ceil", "mod", "fact", "binom", "sum", "prod", "gcd", "lcm"))


def same_value(a: Node, b: Node, budget: Budget) -> bool | None:
    """True or False where that is certain; None where it cannot be computed within the budget."""
    if sum(1 for _ in walk(a)) + sum(1 for _ in walk(b)) > 2 * MAX_NODES:
        return None
    names = sorted(symbols(a) | symbols(b))
    if len(names) > 24:
        return None
    needed = digits_needed(a, b)
    digits = min(needed, MAX_DIGITS)
    rough, fine = Evaluator(digits, budget), Evaluator(2 * digits, budget)
    try:
        if not names:
            same = _same_number(a, b, rough, fine)
            return None if same and needed > MAX_DIGITS else same
        steps = _counts(a) or _counts(b)
        whole = (_COUNTING & set(names)) if steps else (_bounds(a) | _bounds(b))
        verdict = _same_function(a, b, _points(names, whole), rough, fine)
        if verdict and steps and not whole:  # `⌊x⌋` and `⌈x-1⌉` differ at whole numbers only
            verdict = _same_function(a, b, _points(names, frozenset(names)), rough, fine)
        if verdict is None and not whole and set(names) <= _COUNTING:
            verdict = _same_function(a, b, _points(names, frozenset(names)), rough, fine)
        return verdict
    except Unsupported:
        return None


def _same_number(a: Node, b: Node, rough: Evaluator, fine: Evaluator) -> bool | None:
    try:
        return _same_at(a, b, {}, rough, fine)
    except Undefined:
        return None


def _same_function(
    a: Node, b: Node, points: Iterator[dict[str, Fraction]], rough: Evaluator, fine: Evaluator
) -> bool | None:
    imaginary = I in set(walk(a)) | set(walk(b))
    agreed = complex_agreed = complex_differed = 0
    for point in points:
        rough.real = True
        try:
            same = _same_at(a, b, point, rough, fine)
        except (Undefined, Unsupported):
            continue
        if same is None:
            continue
        if rough.real or imaginary:
            if not same:
                return False
            agreed += 1
            if agreed >= 2 * ENOUGH:
                return True
        elif same:
            complex_agreed += 1
        else:
            complex_differed += 1
    if agreed >= ENOUGH:
        return True
    if agreed == 0 and complex_differed == 0 and complex_agreed >= ENOUGH:
        return True
    return False if agreed == 0 and complex_differed >= ENOUGH else None


def _same_at(a: Node, b: Node, point: Mapping[str, Fraction], rough: Evaluator, fine: Evaluator) -> bool | None:
    at = _numbers(point, rough)
    first = [rough.value(node, at) for node in (a, b)]
    at = _numbers(point, fine)
    second = [fine.value(node, at) for node in (a, b)]
    ctx = fine.ctx
    gap_1, gap_2 = abs(first[0] - first[1]), abs(second[0] - second[1])
    size_1, size_2 = max(map(abs, first)), max(map(abs, second))
    tiny = ctx.mpf(10) ** (-rough.digits // 2)
    if gap_1 == gap_2 == 0 or gap_2 <= size_2 * tiny**3:
        return True if ctx.mag(size_2) < 3 * fine.digits or not size_2 else None
    if abs(gap_1 - gap_2) <= gap_2 / 8:
        return False
    noise = ctx.mpf(10) ** (8 - rough.digits)
    return True if size_1 <= noise and size_2 <= noise * tiny else None  # both are zero but for rounding


def _numbers(point: Mapping[str, Fraction], evaluator: Evaluator) -> dict[str, Any]:
    evaluator.ctx.dps = evaluator.digits
    return {name: evaluator.ctx.mpf(value.numerator) / value.denominator for name, value in point.items()}


def _counts(node: Node) -> bool:
    """Whether the expression is about whole numbers: steps, sums, or a negative base to a variable power."""
    free = symbols(node)
    for part in walk(node):
        if isinstance(part, Op):
            if part.name in _STEPS and not is_endless(part) and symbols(part) & free:
                return True
            if part.name == "pow" and symbols(part.args[1]) & free and _negative(part.args[0]):
                return True
    return False


def _negative(node: Node) -> bool:
    return (isinstance(node, Num) and node.value < 0) or (isinstance(node, Op) and node.name == "neg")


def _bounds(node: Node) -> frozenset[str]:
    """Variables up to which something is summed: they count."""
    ends = (part.args[2:] for part in walk(node) if isinstance(part, Op) and part.name in ("sum", "prod"))
    return frozenset(name for bounds in ends for end in bounds for name in symbols(end))


def _points(names: list[str], whole: frozenset[str] = frozenset()) -> Iterator[dict[str, Fraction]]:
    """Points from several ranges, in several orders; whole numbers for the variables in `whole`."""
    source = random.Random(20240917)
    ranges = [(0, 1), (1, 4), (-3, 3), (2, 12), (0, 1), (1, 4), (-3, 3)]
    for index in range(POINTS):
        low, high = ranges[index % len(ranges)]
        values = [low + (high - low) * Fraction(source.randrange(1, 9973), 9973) for _ in names]
        if index % 4 == 1:
            values.sort()
        elif index % 4 == 3:
            values.sort(reverse=True)
        point = dict(zip(names, values, strict=True))
        for name in names:
            if name in whole:
                point[name] = Fraction(2 + index if len(whole) == 1 else source.randrange(2, 15))
        yield point


def proportional(a: Node, b: Node, budget: Budget) -> Fraction | None:
    """The sign of c where a = c · b for a constant c ≠ 0, as 1 or -1; None where there is no such c."""
    names = sorted(symbols(a) | symbols(b))
    evaluator = Evaluator(30, budget)
    for point in _points(names):
        try:
            values = [evaluator.value(node, _numbers(point, evaluator)) for node in (a, b)]
        except (Undefined, Unsupported):
            continue
        if not values[0] or not values[1] or evaluator.ctx.im(values[0]) or evaluator.ctx.im(values[1]):
            continue
        if min(map(abs, values)) < evaluator.ctx.mpf(10) ** -15:
            continue
        at_a, at_b = (_at(node, point) for node in (a, b))
        if same_value(Op("mul", (a, at_b)), Op("mul", (b, at_a)), budget):
            return Fraction(1 if (evaluator.ctx.re(values[0]) > 0) == (evaluator.ctx.re(values[1]) > 0) else -1)
        return None
    return None


def _at(node: Node, point: Mapping[str, Fraction]) -> Node:
    for name, value in point.items():
        node = substitute(node, name, num(value))
    return node
