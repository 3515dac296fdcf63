"""Values of the standard library that cross as the name of their type and plain parts, and numpy's scalars.

Whoever reads them builds them again from parts that a liar may have chosen, so each builder looks at its parts first:
`bytearray(10**12)` is a terabyte, a fraction of two long integers a long search for their common divisor, and a
signalling NaN an exception in every comparison.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

MOST_BITS = 20_000  # of an integer within a fraction or a date
LONGEST_DECIMAL = 10_000  # characters
_SCALARS = (bool, int, float, complex, str, bytes)


@dataclass(frozen=True, slots=True)
class Kind:
    """A type, how a value of it is taken apart, and how one is built from such parts."""

    type: type
    parts: Callable[[Any], list[Any]]
    build: Callable[..., Any]


def numpy_scalar(value: Any) -> Any:
    """What Python's own numbers have for a scalar of numpy's; None for anything else."""
    if type(value).__module__ != "numpy" or getattr(value, "shape", None) != ():
        return None
    item = value.item()
    return item if type(item) in _SCALARS else None  # a long double stays what it is


def _clock(value: Any) -> list[Any]:
    """Zones cross as their distance from UTC, which is all that a comparison looks at."""
    offset = value.utcoffset()
    return [
        value.hour,
        value.minute,
        value.second,
        value.microsecond,
        None if offset is None else offset.total_seconds(),
    ]


def _at(kind: Callable[..., Any], *parts: Any) -> Any:
    *numbers, offset = parts
    return kind(*_integers(*numbers), tzinfo=None if offset is None else timezone(timedelta(seconds=offset)))


def _integers(*parts: Any) -> list[int]:
    if any(type(part) is not int or part.bit_length() > MOST_BITS for part in parts):
        raise ValueError("parts that are no integers, or long ones")
    return list(parts)


def _decimal(text: Any) -> Decimal:
    if type(text) is not str or len(text) > LONGEST_DECIMAL or (number := Decimal(text)).is_snan():
        raise ValueError("no decimal number")
    return number


def _deque(items: Any, longest: Any) -> deque[Any]:
    if type(items) is not list:
        raise ValueError("no items")
    return deque(items, longest)


def _bytearray(data: Any) -> bytearray:
    if type(data) is not bytes:
        raise ValueError("no bytes")
    return bytearray(data)


KINDS = {
    kind.type.__name__: kind
    for kind in (
        Kind(Fraction, lambda one: [one.numerator, one.denominator], lambda *parts: Fraction(*_integers(*parts))),
        Kind(Decimal, lambda one: [str(one)], _decimal),
        Kind(deque, lambda one: [list(one), one.maxlen], _deque),
        Kind(bytearray, lambda one: [bytes(one)], _bytearray),
        Kind(date, lambda one: [one.year, one.month, one.day], lambda *parts: date(*_integers(*parts))),
        Kind(time, _clock, lambda *parts: _at(time, *parts)),
        Kind(
            datetime,
            lambda one: [one.year, one.month, one.day, *_clock(one)],
            lambda *parts: _at(datetime, *parts),
        ),
        Kind(
            timedelta,
            lambda one: [one.days, one.seconds, one.microseconds],
            lambda *parts: timedelta(*_integers(*parts)),
        ),
    )
}
