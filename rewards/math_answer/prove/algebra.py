"""The algebra process: reads questions, forks, lets sympy think for a while, answers.  Started by `helper`.

Trees are turned into sympy objects by calling sympy's constructors; no text is parsed.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
from collections.abc import Callable
from typing import Any

from rewards.math_answer.nodes import Node, Num, Op, Sym
from rewards.math_answer.prove.helper import CPU, DEADLINE
from rewards.math_answer.prove.wire import from_wire

MEMORY = 160 << 20  # bytes that a question may add to what sympy takes itself
_ANSWERS = {0: b"equal", 1: b"different"}


class NoSympy(Exception):
    """The tree has something that is not translated."""


def main() -> None:
    import sympy

    # Touch what every question needs, so that a fork does not import.
    sympy.simplify(sympy.Symbol("x") * sympy.sin(1) - 1)
    sympy.integrate(sympy.exp(-(sympy.Symbol("x") ** 2)), (sympy.Symbol("x"), 0, sympy.oo))
    sys.stdout.buffer.write(b"ready\n")
    sys.stdout.buffer.flush()
    for line in sys.stdin.buffer:
        number, *trees = json.loads(line)
        sys.stdout.buffer.write(b"%d %s\n" % (number, _ANSWERS.get(_ask(trees), b"unknown")))
        sys.stdout.buffer.flush()


def _die_with_parent() -> None:
    """Linux: a fork is killed when the helper dies.  (The helper itself must not ask for this: it would die with the
    thread that started it.  It ends when its pipe does.)"""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _ask(trees: list[Any]) -> int:
    """The exit status of a fork that thinks about the question; killed when its time is over."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 2
        try:
            os.close(reader)
            _limit()
            status = {True: 0, False: 1, None: 2}[_equal(*map(from_wire, trees))]
        except BaseException:  # noqa: BLE001 - whatever sympy raises, the answer is "unknown"
            status = 2
        finally:
            os._exit(status)
    os.close(writer)
    # The pipe closes when the child ends, by itself or by its limits.
    ended, _, _ = select.select([reader], [], [], DEADLINE)
    if not ended:
        os.kill(child, signal.SIGKILL)
    os.close(reader)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _limit() -> None:
    _die_with_parent()
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, CPU)  # the kernel ends the fork, whatever it is in
    with open("/proc/self/statm") as handle:
        size = int(handle.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))


def _equal(gold: Node, pred: Node) -> bool | None:
    import sympy

    left, right = (_sympy(node).doit() for node in (gold, pred))
    if left.has(sympy.Integral, sympy.Sum, sympy.Product, sympy.Limit) or right.has(
        sympy.Integral, sympy.Sum, sympy.Limit
    ):
        return _close(left, right)
    difference = sympy.simplify(left - right)
    if difference == 0:
        return True
    if difference.is_number:
        return False if abs(difference.evalf(30)) > 1e-20 else None
    return None


def _close(left: Any, right: Any) -> bool | None:
    """Numerically, where no closed form was found: 30 digits decide."""
    gap = abs(left.evalf(30) - right.evalf(30))
    if not gap.is_number or not gap.is_finite:
        return None
    size = max(abs(left.evalf(30)), abs(right.evalf(30)), 1)
    return True if gap < size * 1e-22 else False if gap > size * 1e-12 else None


def _sympy(node: Node) -> Any:
    import sympy

    if isinstance(node, Num):
        return sympy.Rational(node.value.numerator, node.value.denominator)
    if isinstance(node, Sym):
        constants = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "oo": sympy.oo}
        return constants.get(node.name) or sympy.Symbol(node.name, real=True)
    if not isinstance(node, Op):
        raise NoSympy(type(node).__name__)
    rule = _rules(sympy).get(node.name)
    if rule is None:
        raise NoSympy(node.name)
    return rule(*map(_sympy, node.args))


def _rules(sympy: Any) -> dict[str, Callable[..., Any]]:
    def integral(body: Any, variable: Any, *bounds: Any) -> Any:
        if not bounds:
            raise NoSympy("an integral without bounds")
        return sympy.Integral(body, (variable, *bounds))

    rules: dict[str, Callable[..., Any]] = {
        "add": sympy.Add,
        "mul": sympy.Mul,
        "div": lambda above, below: above / below,
        "neg": lambda value: -value,
        "pow": sympy.Pow,
        "root": lambda value, degree: (
            sympy.real_root(value, degree) if value.is_negative else sympy.root(value, degree)
        ),
        "log": lambda value, *base: sympy.log(value, *base),
        "deg": lambda value: value * sympy.pi / 180,
        "percent": lambda value: value / 100,
        "abs": sympy.Abs,
        "fact": sympy.factorial,
        "binom": sympy.binomial,
        "floor": sympy.floor,
        "ceil": sympy.ceiling,
        "int": integral,
        "sum": lambda body, variable, low, high: sympy.Sum(body, (variable, low, high)),
        "prod": lambda body, variable, low, high: sympy.Product(body, (variable, low, high)),
        "lim": lambda body, variable, point: sympy.Limit(body, variable, point),
    }
    named = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arcsinh": "asinh", "arccosh": "acosh"}
    plain = "sin cos tan cot sec csc sinh cosh tanh exp gamma re im arg".split()
    return rules | {name: getattr(sympy, named.get(name, name)) for name in (*plain, *named)}


if __name__ == "__main__":
    main()
