"""Numbers to many digits, for answers that are not rational, and at sample points for answers with variables.

Two trees are compared by computing both at D and at 2 D digits.  Where they differ, their difference stays put as the
precision doubles; where they are equal it is rounding noise and falls by D orders of magnitude.  That needs no error
analysis and survives cancellation.  D grows with the digits that were written, so that `\\sqrt{10^{72}+7}` and
`\\sqrt{10^{72}+9}` part.

mpmath is imported when the first such pair comes, and used through one private context per thread.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from rewards.math_answer.compute import calculus
from rewards.math_answer.compute.budget import Budget, Undefined, Unsupported
from rewards.math_answer.compute.exact import MAX_SUM, rational
from rewards.math_answer.nodes import INFINITY, Node, Num, Op, Sym, children, num, substitute, symbols, walk

MAX_NODES = 512
MAX_GAMMA_DIGITS = 200  # beyond, one value of the gamma function takes a tenth of a second
MAX_CALCULUS_DIGITS = 80  # of an integral, limit or infinite series
MAX_EXPONENT = 10**7  # binary digits before the point of any intermediate result
FAR_OUT = 10**4  # an exponent of e, far out in an integral, from which a power is as good as zero or infinite

_local = threading.local()


def context() -> Any:
    """This thread's own mpmath context: its precision is nobody else's."""
    ctx = getattr(_local, "ctx", None)
    if ctx is None:
        from mpmath.ctx_mp import MPContext

        ctx = _local.ctx = MPContext()
    return ctx


def digits_needed(*nodes: Node) -> int:
    """Digits at which the numbers in these trees can be told apart: as many as they have, computed, and some more;
    fewer of these where each digit is dear."""
    dear = any(is_endless(part) for node in nodes for part in walk(node))
    spare = 40 if not dear else 10 if any(map(symbols, nodes)) else 15
    return spare + sum(map(_digits_in, nodes))


def _digits_in(node: Node) -> int:
    value = rational(node)
    if value is None:
        return sum(map(_digits_in, children(node)))
    if value.denominator == 1 and abs(value.numerator) < 100:
        return 0
    return (value.numerator.bit_length() + value.denominator.bit_length()) * 3 // 10 + 1


class Evaluator:
    """Computes trees at one precision, with a budget of work."""

    def __init__(self, digits: int, budget: Budget) -> None:
        self.ctx = context()
        self.digits = digits
        self.budget = budget
        self.cost = 1 + int((digits / 64) ** 1.5)  # about what a function costs at that many digits
        self.integrating = False
        self.real = True  # no value since this was last set has been complex

    def value(self, node: Node, point: Mapping[str, Any]) -> Any:
        self.ctx.dps = self.digits
        try:
            value = self.compute(node, point)
        except (ZeroDivisionError, ValueError, OverflowError) as error:
            raise Undefined(str(error)) from None
        except self.ctx.NoConvergence as error:
            raise Unsupported(str(error)) from None
        if not self.ctx.isfinite(value):
            raise Undefined("infinite")
        return value

    def compute(self, node: Node, point: Mapping[str, Any]) -> Any:
        self.budget.spend(self.cost)
        ctx = self.ctx
        if isinstance(node, Num):
            return ctx.mpf(node.value.numerator) / node.value.denominator
        if isinstance(node, Sym):
            return self.symbol(node, point)
        if not isinstance(node, Op):
            raise Unsupported(type(node).__name__)
        if is_endless(node):
            return self.calculus(node, point)
        if node.name in ("sum", "prod"):
            return self.series(node, point)
        if node.name == "call":
            return self.oracle(node, point)
        rule = _RULES.get(node.name)
        if rule is None:
            raise Unsupported(node.name)
        if node.name in _EXACT_FIRST and (exact := rational(node)) is not None:
            return ctx.mpf(exact.numerator) / exact.denominator
        parts = [self.compute(part, point) for part in node.args]
        value = self.far_out(node.name, parts) if self.integrating else None
        value = rule(ctx, *parts) if value is None else value
        if ctx.isfinite(value) and value and ctx.mag(value) > MAX_EXPONENT:
            raise Unsupported("too large")
        self.real = self.real and not ctx.im(value)
        return value

    def far_out(self, name: str, parts: list[Any]) -> Any:
        """Zero or infinity for e^x where x is large, in an integral; elsewhere e^(-10^9) is not 0."""
        if name not in ("exp", "pow") or any(map(self.ctx.im, parts)) or parts[0] <= 0 < len(parts) - 1:
            return None
        size = parts[0] if name == "exp" else self.ctx.mag(parts[0]) * parts[1]
        if abs(size) < FAR_OUT:
            return None
        return self.ctx.inf if size > 0 else self.ctx.zero

    def symbol(self, node: Sym, point: Mapping[str, Any]) -> Any:
        if node.name in point:
            return self.ctx.convert(point[node.name])
        constant = _CONSTANTS.get(node.name)
        if constant is None:
            raise Unsupported(node.name)
        return constant(self.ctx)

    def series(self, node: Op, point: Mapping[str, Any]) -> Any:
        if len(node.args) != 4 or not isinstance(node.args[1], Sym):
            raise Unsupported(node.name)
        body, variable = node.args[0], node.args[1].name
        low, high = (self.whole(self.compute(bound, point)) for bound in node.args[2:])
        if high - low > MAX_SUM:
            raise Unsupported("a long sum")
        total = self.ctx.mpf(0 if node.name == "sum" else 1)
        for index in range(low, high + 1):
            term = self.compute(substitute(body, variable, num(index)), point)
            total = total + term if node.name == "sum" else total * term
        return total

    def calculus(self, node: Op, point: Mapping[str, Any]) -> Any:
        """Integrals, limits and endless series, from values at more digits."""
        if len(node.args) < 3 or not isinstance(node.args[1], Sym) or self.digits > MAX_CALCULUS_DIGITS:
            raise Unsupported(node.name)
        body, variable = node.args[0], node.args[1].name
        low, high = self.end(node.args[2], point), self.end(node.args[-1], point)
        if node.name in ("sum", "prod"):
            low = self.ctx.mpf(self.whole(low))
        factor, rule = _CALCULUS[node.name]
        inner = Evaluator(factor * self.digits, self.budget)
        inner.ctx.dps = inner.digits
        inner.integrating = node.name == "int"
        try:
            value = rule(inner.ctx, lambda x: inner.compute(body, {**point, variable: x}), low, high, self.digits)
        finally:
            inner.ctx.dps = self.digits
        self.real = self.real and not self.ctx.im(value)
        return +value

    def end(self, node: Node, point: Mapping[str, Any]) -> Any:
        infinite = {INFINITY: self.ctx.inf, Op("neg", (INFINITY,)): self.ctx.ninf}.get(node)
        return self.compute(node, point) if infinite is None else infinite

    def whole(self, value: Any) -> int:
        ctx = self.ctx
        if not ctx.isfinite(value) or ctx.im(value) or abs(value) > 10**9 or abs(value - ctx.nint(value)) > 1e-20:
            raise Unsupported("a bound that is no integer")
        return int(ctx.nint(ctx.re(value)))

    def oracle(self, node: Op, point: Mapping[str, Any]) -> Any:
        """An unknown function: some fixed smooth function of its arguments that depends on its name, so that `f(4-x)`
        equals `f(-(x-4))` and nothing else."""
        ctx = self.ctx
        seed = sum(ord(char) * 31**at for at, char in enumerate(str(getattr(node.args[0], "name", "")))) % 1009
        total = ctx.mpf(seed + 1) / 1013
        for at, part in enumerate(node.args[1:]):
            total += self.compute(part, point) * (ctx.mpf(7 + at * 5) / 11)
        if abs(total) > 10**6:
            raise Unsupported("a large argument")
        return ctx.sin(total) + ctx.mpf(seed) / 97


def is_endless(node: Node) -> TypeGuard[Op]:
    """Whether it is an integral, a limit or an infinite series."""
    if not isinstance(node, Op):
        return False
    return node.name in ("int", "lim") or (node.name in ("sum", "prod") and node.args[-1] == INFINITY)


def _real_power(ctx: Any, base: Any, exponent: Any) -> Any:
    """base^exponent, with the size of the result checked before anything is computed."""
    if not base:
        if ctx.re(exponent) > 0:
            return ctx.mpf(0)
        raise ZeroDivisionError("0 to a power that is not positive")
    if abs(exponent) * max(abs(ctx.mag(base)), 1) > MAX_EXPONENT and abs(exponent * ctx.ln(base)) > MAX_EXPONENT:
        raise Unsupported("too large")
    return ctx.power(base, exponent)


def _root(ctx: Any, value: Any, degree: Any) -> Any:
    if degree == 2:
        return ctx.sqrt(value)
    if (
        not ctx.im(value)
        and ctx.re(value) < 0
        and not ctx.im(degree)
        and degree == ctx.nint(degree)
        and int(degree) % 2
    ):
        return -ctx.power(-value, 1 / degree)
    return _real_power(ctx, value, 1 / degree)


def _log(ctx: Any, value: Any, base: Any = None) -> Any:
    if not value or base == 1:
        raise ZeroDivisionError("logarithm of zero")
    return ctx.ln(value) if base is None else ctx.ln(value) / ctx.ln(base)


def _exp(ctx: Any, value: Any) -> Any:
    if abs(value) > MAX_EXPONENT:
        raise Unsupported("too large")
    return ctx.exp(value)


def _limited(name: str) -> Callable[..., Any]:
    def rule(ctx: Any, value: Any) -> Any:
        if abs(value) > 10**9:
            raise Unsupported("a large argument")
        return getattr(ctx, name)(value)

    return rule


def _step(name: str) -> Callable[..., Any]:
    def rule(ctx: Any, value: Any) -> Any:
        if ctx.im(value):
            raise Undefined("complex")
        near = ctx.nint(ctx.re(value))
        if abs(value - near) < ctx.mpf(10) ** (-ctx.dps // 2):  # an integer but for rounding
            return near
        return getattr(ctx, name)(ctx.re(value))

    return rule


def _pole(name: str) -> Callable[..., Any]:
    """A quotient of sine and cosine: undefined where its denominator is zero but for rounding."""
    under = {"tan": "cos", "sec": "cos", "cot": "sin", "csc": "sin"}[name]

    def rule(ctx: Any, value: Any) -> Any:
        if abs(value) > 10**9 or abs(getattr(ctx, under)(value)) < ctx.mpf(10) ** (-ctx.dps // 2):
            raise Undefined("a pole")
        return getattr(ctx, name)(value)

    return rule


def _fact(ctx: Any, value: Any) -> Any:
    if abs(value) > 10**5 or ctx.dps > MAX_GAMMA_DIGITS:
        raise Unsupported("a large factorial")
    return ctx.gamma(value + 1)


def _binom(ctx: Any, above: Any, below: Any) -> Any:
    if abs(above) > 10**5 or abs(below) > 10**5 or ctx.dps > MAX_GAMMA_DIGITS:
        raise Unsupported("a large binomial")
    return ctx.binomial(above, below)


def _reals(ctx: Any, values: tuple[Any, ...]) -> list[Any]:
    if any(map(ctx.im, values)):
        raise Undefined("complex")
    return [ctx.re(value) for value in values]


def _ratio(ctx: Any, *parts: Any) -> Any:
    if len(parts) != 2:
        raise Unsupported("a ratio of many parts")
    return parts[0] / parts[1]


def _integers(name: str) -> Callable[..., Any]:
    def rule(ctx: Any, *values: Any) -> Any:
        if any(ctx.im(value) or value != ctx.nint(value) or abs(value) > 10**9 for value in values):
            raise Undefined("no integers")
        return ctx.mpf(getattr(math, name)(*(int(ctx.re(value)) for value in values)))

    return rule


def _mod(ctx: Any, value: Any, modulus: Any) -> Any:
    if ctx.im(value) or ctx.im(modulus) or ctx.re(modulus) <= 0:
        raise Undefined("mod")
    return ctx.fmod(ctx.re(value), ctx.re(modulus))


# Digits to compute with for each digit of the result, and the rule: (context, body, low, high, digits).
_CALCULUS: dict[str, tuple[int, Callable[..., Any]]] = {
    "int": (3, calculus.integral),
    "lim": (5, lambda ctx, body, point, _, digits: calculus.limit(ctx, body, point, digits)),
    "sum": (4, lambda ctx, body, low, _, digits: calculus.series(ctx, lambda at: body(low + at), 0, digits)),
    "prod": (4, lambda ctx, body, low, _, digits: calculus.series(ctx, lambda at: body(low + at), 1, digits)),
}
_CONSTANTS: dict[str, Callable[[Any], Any]] = {"pi": lambda c: +c.pi, "e": lambda c: +c.e, "i": lambda c: c.mpc(0, 1)}
_EXACT_FIRST = frozenset(("floor", "ceil", "mod", "sgn", "gcd", "lcm", "fact", "binom"))
_RULES: dict[str, Callable[..., Any]] = {
    "add": lambda ctx, *values: ctx.fsum(values),
    "mul": lambda ctx, *values: ctx.fprod(values),
    "div": lambda ctx, above, below: above / below,
    "pow": _real_power,
    "neg": lambda ctx, value: -value,
    "root": _root,
    "log": _log,
    "exp": _exp,
    "deg": lambda ctx, value: value * ctx.pi / 180,
    "percent": lambda ctx, value: value / 100,
    "ratio": _ratio,
    "abs": lambda ctx, value: abs(value),
    "arg": lambda ctx, value: ctx.arg(value),
    "re": lambda ctx, value: ctx.re(value),
    "im": lambda ctx, value: ctx.im(value),
    "fact": _fact,
    "gamma": lambda ctx, value: _fact(ctx, value - 1),
    "binom": _binom,
    "mod": _mod,
    "gcd": _integers("gcd"),
    "lcm": _integers("lcm"),
    "floor": _step("floor"),
    "ceil": _step("ceil"),
    "sgn": lambda ctx, value: ctx.sign(value),
    "min": lambda ctx, *values: min(_reals(ctx, values)),
    "max": lambda ctx, *values: max(_reals(ctx, values)),
    "arcsin": _limited("asin"),
    "arccos": _limited("acos"),
    "arctan": _limited("atan"),
    "arccot": lambda ctx, value: ctx.pi / 2 - ctx.atan(value),
    "arcsec": _limited("asec"),
    "arccsc": _limited("acsc"),
    "arcsinh": _limited("asinh"),
    "arccosh": _limited("acosh"),
    "arctanh": _limited("atanh"),
}
_RULES |= {name: _limited(name) for name in ("sin", "cos")} | {
    name: _pole(name) for name in ("tan", "sec", "cot", "csc")
}
_RULES |= {
    name: (lambda ctx, value, name=name: getattr(ctx, name)(value) if abs(value) < 10**6 else _exp(ctx, value))
    for name in ("sinh", "cosh", "tanh", "sech", "csch", "coth")
}
