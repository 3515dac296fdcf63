r"""Integrals, infinite sums and products, and limits, as numbers.

Each is computed from a number of values that is fixed beforehand, and a second time from fewer of them; where the two
differ there is no answer.  So nothing has to be known about the function, and nothing takes as long as it likes.

    integral  the trapezoidal rule after a double exponential substitution (Takahasi and Mori 1974), at steps h and 2 h
    series    partial sums or products, by Levin's u transformation (1973), of n and n - 8 terms
    limit     values at distances 2^-j, by Wynn's epsilon algorithm (1956): powers of the distance, whole or broken,
              and their products with logarithms, are geometric in j, which is what it removes

The last two also give values to what diverges (1 + 2 + 4 + … is -1 to Levin), so how the terms fall is looked at first.
Functions take and return numbers of the context, whose precision is `PRECISION[…](digits)`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

from rewards.math_answer.compute.budget import Undefined, Unsupported

Function = Callable[[Any], Any]
SPARE = 8  # terms that the second value of a series does without
FAR = (500, 1000)  # terms by which a series is seen to converge


def integral(ctx: Any, body: Function, low: Any, high: Any, digits: int) -> Any:
    """∫ body from low to high, at more than twice the digits that are wanted: half of them tell how far a node is from
    an end, where the body may be infinite."""
    if ctx.isinf(low):
        if ctx.isinf(high):
            return integral(ctx, body, low, ctx.zero, digits) + integral(ctx, body, ctx.zero, high, digits)
        return integral(ctx, lambda x: body(-x), -high, -low, digits)
    endless = ctx.isinf(high)
    fine = coarse = size = ctx.zero
    for at, (place, weight) in enumerate(_nodes(ctx, endless, digits)):
        term = weight * body(low + place if endless else low + (high - low) * place)
        fine, size = fine + term, size + abs(term)
        coarse = coarse + 2 * term if at % 2 == 0 else coarse
    _agree(ctx, fine, coarse, size, 6 * digits // 10)  # halving the step squares the error
    return fine if endless else fine * (high - low)


@lru_cache(maxsize=32)
def _nodes(ctx: Any, endless: bool, digits: int) -> tuple[tuple[Any, Any], ...]:
    """Places in (0, 1) or (0, ∞) and their weights."""
    steps = 2 * digits if endless else digits  # in a unit of t
    last = int(steps * ctx.asinh(2 * digits * ctx.ln(10) / ctx.pi))
    nodes = []
    for at in range(-last, last + 1):
        t = ctx.mpf(at) / steps
        grown = ctx.exp(ctx.pi * ctx.sinh(t) / (2 if endless else 1))
        slope = ctx.pi * ctx.cosh(t) * grown / steps
        nodes.append((grown, slope / 2) if endless else (grown / (1 + grown), slope / (1 + grown) ** 2))
    return tuple(nodes)


def series(ctx: Any, term: Function, neutral: int, digits: int) -> Any:
    """term(0) + term(1) + … where `neutral` is 0, and their product where it is 1."""
    partial, sums, steps = ctx.mpf(neutral), [], []
    for at in range(2 * digits):
        before, partial = partial, partial * term(at) if neutral else partial + term(at)
        if partial != before:
            sums.append(partial)
            steps.append(partial - before)
    near, far = (abs(term(at) - neutral) for at in FAR)
    small = ctx.mpf(10) ** -digits * max(map(abs, sums), default=1)
    if len(sums) <= SPARE or max(near, far, *map(abs, steps[-SPARE:])) <= small:
        return partial
    alternating = all(ctx.re(one) * ctx.re(other) < 0 for one, other in pairwise(steps))
    if not far < near * (0.98 if alternating else 0.49):  # 1/k: just one half
        raise Undefined("a series that diverges, or as good as")
    fine, coarse = _levin(ctx, sums, steps), _levin(ctx, sums[:-SPARE], steps[:-SPARE])
    _agree(ctx, fine, coarse, abs(fine), 9 * digits // 10)
    return fine


def _levin(ctx: Any, sums: list[Any], steps: list[Any]) -> Any:
    order = len(sums) - 1
    weights = [
        (-1) ** at * ctx.binomial(order, at) * ctx.mpf(at + 1) ** (order - 2) / step for at, step in enumerate(steps)
    ]
    return ctx.fdot(weights, sums) / ctx.fsum(weights)


def limit(ctx: Any, body: Function, point: Any, digits: int) -> Any:
    """The limit of body(x) for x to the point, from both sides; far out at even and at odd numbers.  The two ways are
    no multiples of each other by powers of 2, or `\\sin \\frac{\\pi}{x}` would have a limit."""
    if ctx.isinf(point):
        one = _settled(ctx, lambda gap: body(ctx.sign(point) / gap), digits)
        other = _settled(ctx, lambda gap: body(ctx.sign(point) * (1 / gap + 1)), digits)
    else:
        one = _settled(ctx, lambda gap: body(point + gap), digits)
        other = _settled(ctx, lambda gap: body(point - gap * 7 / 5), digits)
    _agree(ctx, one, other, max(abs(one), 1), digits // 2)
    return one


def _settled(ctx: Any, body: Function, digits: int) -> Any:
    values: list[Any] = []
    try:
        for at in range(2, 2 + max(30, digits)):
            values.append(body(ctx.mpf(2) ** -at))
    except (Unsupported, OverflowError):  # n! and e^n end sooner
        values = values[: len(values) // 10 * 10]
    gaps = [abs(other - one) for one, other in pairwise(values)]
    if len(gaps) < 9:
        raise Undefined("too few values")
    size = max(abs(values[-1]), gaps[0])
    falling = all(after <= 0.9 * before for before, after in zip(gaps[-6:], gaps[-5:], strict=False))
    if not falling and max(gaps[-3:]) > size * ctx.mpf(10) ** -digits:
        raise Undefined("no limit, or one that is reached too slowly")
    return _steadiest(ctx, values, size * ctx.mpf(10) ** -(9 * digits // 10))


def _steadiest(ctx: Any, values: list[Any], small: Any) -> Any:
    """The entry of the epsilon table whose column has come to rest."""
    before, column, rest, value = [ctx.zero] * (len(values) + 1), values, ctx.inf, ctx.zero
    for at in range(len(values) - 2):
        spread = max(abs(column[-1] - other) for other in column[-3:-1])
        if at % 2 == 0 and spread < rest:  # odd columns are means to an end
            rest, value = spread, column[-1]
        gaps = [other - one for one, other in pairwise(column)]
        if not all(gaps):
            break
        before, column = column, [old + 1 / gap for old, gap in zip(before[1:], gaps, strict=False)]
    if rest > small:
        raise Undefined("no limit that can be told")
    return value if abs(value) > rest else ctx.zero


def _agree(ctx: Any, one: Any, other: Any, size: Any, digits: int) -> None:
    if not abs(one - other) <= size * ctx.mpf(10) ** -digits:
        raise Undefined("values that do not settle")
