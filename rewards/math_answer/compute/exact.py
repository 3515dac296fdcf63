"""Exact rational arithmetic on trees: what is rational is decided here, without tolerance.

Every operation estimates the size of its result first, so `9^{9^{9}}` is refused, not computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from rewards.math_answer.nodes import Node, Num, Op

MAX_BITS = 100_000  # of a numerator or denominator
MAX_FACTORIAL = 2_500
MAX_SUM = 2_000  # terms


def rational(node: Node) -> Fraction | None:
    """The value of `node` where it is a rational number that can be computed within the limits; else None."""
    if isinstance(node, Num):
        return node.value
    if not isinstance(node, Op):
        return None
    rule = _RULES.get(node.name)
    if rule is None:
        return None
    values = []
    for part in node.args:
        value = rational(part)
        if value is None:
            return None
        values.append(value)
    return rule(*values)


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _add(*values: Fraction) -> Fraction | None:
    if sum(map(_bits, values)) > 4 * MAX_BITS:
        return None
    return sum(values, Fraction(0))


def _mul(*values: Fraction) -> Fraction | None:
    return math.prod(values, start=Fraction(1)) if sum(map(_bits, values)) <= MAX_BITS else None


def _div(above: Fraction, below: Fraction) -> Fraction | None:
    return above / below if below and _bits(above) + _bits(below) <= MAX_BITS else None


def _pow(base: Fraction, exponent: Fraction) -> Fraction | None:
    if exponent.denominator != 1:
        root = _root(base, Fraction(exponent.denominator))
        return None if root is None else _pow(root, Fraction(exponent.numerator))
    power = exponent.numerator
    if base in (0, 1, -1):
        if base == 0:
            return Fraction(0) if power > 0 else None
        return base if power % 2 else Fraction(1)
    return base**power if _bits(base) * abs(power) <= MAX_BITS else None


def _root(value: Fraction, degree: Fraction) -> Fraction | None:
    """The real root where it is rational.  Odd roots of negative numbers are real, as in school."""
    if degree.denominator != 1 or not 1 <= degree <= 64 or (value < 0 and degree % 2 == 0):
        return None
    roots = [_integer_root(abs(part), int(degree)) for part in (value.numerator, value.denominator)]
    if roots[0] is None or roots[1] is None:
        return None
    return Fraction(roots[0] if value >= 0 else -roots[0], roots[1])


def _integer_root(value: int, degree: int) -> int | None:
    if value.bit_length() > MAX_BITS:
        return None
    if degree == 2:
        guess = math.isqrt(value)
    else:
        guess = 1 << -(-value.bit_length() // degree)  # Newton from above
        while guess and (better := ((degree - 1) * guess + value // guess ** (degree - 1)) // degree) < guess:
            guess = better
    return guess if guess**degree == value else None


def _fact(value: Fraction) -> Fraction | None:
    if value.denominator != 1 or not 0 <= value <= MAX_FACTORIAL:
        return None
    return Fraction(math.factorial(int(value)))


def _binom(above: Fraction, below: Fraction) -> Fraction | None:
    if above.denominator != 1 or below.denominator != 1 or not 0 <= above <= 10 * MAX_FACTORIAL:
        return None
    return Fraction(math.comb(int(above), int(below))) if below >= 0 else Fraction(0)


def _mod(value: Fraction, modulus: Fraction) -> Fraction | None:
    return value % modulus if modulus > 0 else None


def _integers(function: Callable[..., int]) -> Callable[..., Fraction | None]:
    def rule(*values: Fraction) -> Fraction | None:
        if any(value.denominator != 1 for value in values):
            return None
        return Fraction(function(*(int(value) for value in values)))

    return rule


_RULES: dict[str, Callable[..., Fraction | None]] = {
    "add": _add,
    "mul": _mul,
    "div": _div,
    "pow": _pow,
    "root": _root,
    "neg": lambda value: -value,
    "fact": _fact,
    "binom": _binom,
    "mod": _mod,
    "percent": lambda value: value / 100,
    "abs": abs,
    "floor": lambda value: Fraction(math.floor(value)),
    "ceil": lambda value: Fraction(math.ceil(value)),
    "min": lambda *values: min(values),
    "max": lambda *values: max(values),
    "gcd": _integers(math.gcd),
    "lcm": _integers(math.lcm),
    "sgn": lambda value: Fraction((value > 0) - (value < 0)),
}
