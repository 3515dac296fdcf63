"""Is this the output that the test expects?  Three rules, each with a name that is stored with the score.

    lcb         as LiveCodeBench compares, for numbers that are put beside published ones
    tolerant    lcb, and floating-point numbers may differ by 1e-6, absolute or relative: the default of the reward
    exact       the same text, but for blanks at the ends of lines and line feeds at the end; the same value and type

Outputs are compared line by line.  For `lcb` two lines agree if they are equal after stripping, or if both are all
numbers in the sense of `decimal.Decimal` and equal as such: 1.0 = 1, 1e3 = 1000, and no tolerance, 0.1+0.2 ≠ 0.3.
`tolerant` takes only what a printed number looks like in ASCII, and only where the *expected* token has a decimal
point: an integer is right or wrong.

Returned values are compared with `==` (`tolerant`: a number within 1e-6 of an expected float; `exact`: the same type at
every level).  Where the expected value was written in JSON, which has no tuples, `lcb` takes a tuple for a list at the
top level and `tolerant` at every level.

Source: LiveCodeBench's lcb_runner/evaluation/testing_util.py at 28fef95, its behaviour, probed; none of its code.
Everything here runs on text that a model wrote, so each rule is linear in its length and raises nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Literal

Mode = Literal["lcb", "tolerant", "exact"]
TOLERANCE = 1e-6

_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?", re.ASCII)
LONGEST_NUMBER = 400  # characters of a floating-point number; longer ones are compared as texts


def same_output(printed: str, expected: str, mode: Mode) -> bool:
    """Whether a program that printed this passes the test."""
    if mode == "exact":
        return _without_trailing_blanks(printed) == _without_trailing_blanks(expected)
    agree = _LINES[mode]
    got, wanted = _lines(printed), _lines(expected)
    return len(got) == len(wanted) and all(a == b or agree(a, b) for a, b in zip(got, wanted, strict=True))


def same_value(returned: Any, expected: Any, mode: Mode, *, json: bool = False) -> bool:
    """Whether a function that returned this value passes the test.  `json`: the expected one was written in JSON.

    `returned` may hold stand-ins for objects that are not plain data; they must not be equal to anything.
    """
    try:
        if json and mode != "exact":
            returned = _as_lists(returned, deep=mode == "tolerant")
        return _VALUES[mode](returned, expected)
    except RecursionError:  # nested deeper than anything that a test expects
        return False


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _without_trailing_blanks(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _decimals_agree(printed: str, expected: str) -> bool:
    try:
        return [Decimal(token) for token in printed.split()] == [Decimal(token) for token in expected.split()]
    except (InvalidOperation, ValueError):  # not all numbers, or "sNaN", which may not even be compared
        return False


def _tokens_agree(printed: str, expected: str) -> bool:
    if printed.isascii() and _decimals_agree(printed, expected) and "_" not in printed:
        return True
    got, wanted = printed.split(), expected.split()
    return len(got) == len(wanted) and all(a == b or _close(a, b) for a, b in zip(got, wanted, strict=True))


def _close(printed: str, expected: str) -> bool:
    if "." not in expected or max(len(printed), len(expected)) > LONGEST_NUMBER:
        return False
    if not (_NUMBER.fullmatch(printed) and _NUMBER.fullmatch(expected)):
        return False
    return _close_floats(float(printed), float(expected))


def _close_floats(a: float, b: float) -> bool:
    # Of infinities only the same sign agrees, and of NaN nothing.
    return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _as_lists(value: Any, *, deep: bool) -> Any:
    """`value` with lists for tuples."""
    if deep and isinstance(value, dict):
        return {key: _as_lists(item, deep=True) for key, item in value.items()}
    if isinstance(value, tuple) or deep and isinstance(value, list):
        return [_as_lists(item, deep=True) if deep else item for item in value]
    return value


def _equal(returned: Any, expected: Any) -> bool:
    return bool(returned == expected)


def _nearly_equal(returned: Any, expected: Any) -> bool:
    if isinstance(expected, float):
        return _is_number(returned) and _close_to(returned, expected)
    if isinstance(expected, list | tuple):
        alike = type(returned) is type(expected) and len(returned) == len(expected)
        return alike and all(map(_nearly_equal, returned, expected))
    if isinstance(expected, dict):
        if not (isinstance(returned, dict) and returned.keys() == expected.keys()):
            return False
        return all(_nearly_equal(returned[key], value) for key, value in expected.items())
    return bool(returned == expected)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Fraction | Decimal) and not isinstance(value, bool)


def _close_to(returned: Any, expected: float) -> bool:
    try:
        return returned == expected or _close_floats(float(returned), expected)
    except OverflowError:  # a number beyond all floats
        return False


def _identical(returned: Any, expected: Any) -> bool:
    """Equal, and of the same type all the way down: True is not 1, and a tuple is not a list."""
    if type(returned) is not type(expected):
        return False
    if isinstance(expected, list | tuple):
        return len(returned) == len(expected) and all(map(_identical, returned, expected))
    if isinstance(expected, dict):
        if returned.keys() != expected.keys():
            return False
        return all(_identical(returned[key], value) for key, value in expected.items())
    return bool(returned == expected)


_LINES: Mapping[str, Callable[[str, str], bool]] = {"lcb": _decimals_agree, "tolerant": _tokens_agree}
_VALUES: Mapping[str, Callable[[Any, Any], bool]] = {"lcb": _equal, "tolerant": _nearly_equal, "exact": _identical}
