"""Plain data as bytes, for a channel whose far end lies.

    None N   True T   False F   int i<hex>;   float f<hex>;   complex c<hex>,<hex>;   str s<bytes>:…   bytes b<bytes>:…
    list l<n>:…   tuple t<n>:…   set S<n>:…   frozenset Z<n>:…   dict d<n>: key value …   a built-in type y<bytes>:name
    a fraction, a date … x<bytes>:its type parts (`kinds`)
    anything else o<bytes>:its type, or h handle where both ends agreed on handles for such objects

No pickle, no repr, no eval: reading it runs nothing of the sender's.  Numbers are hexadecimal because decimal
conversion of a long integer takes quadratic time.  A subclass is written as the built-in type below it, by methods of
that type, so an `__eq__` or `__iter__` of its own stays where it is.  The reader has four limits: bytes, items, depth,
and the CPU time that keys may take to be put in their places.  Keys can be chosen so that each meets all that came
before it, whether their hashes are equal (multiples of 2**61 - 1) or only lead to the same places; how they are chosen
does not matter to a limit on the work.

A frame is `<length: u32><call id: u64><kind: one byte><body>`; whoever reads decides how long a body may be.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from time import thread_time
from typing import Any

from .kinds import KINDS, Kind, numpy_scalar
from .types import Opaque

Handle = int | str  # a number or a name that the far end has for an object which stays where it is
DEEPEST = 100  # nested containers
MOST_ITEMS = 500_000  # a second or two to read if they are the dearest: small containers, dates
KEYS_AT_ONCE = 32  # of a dict or set, between looks at the clock; so few meet 200,000 others in 0.1 s
KEYS_CPU = 0.3  # seconds of CPU for all keys of a value; honest ones take 0.1 s
LARGEST_FROZENSET = 20_000  # members; it is copied from a set at once, with no look at the clock in between
HEAD = struct.Struct("!IQc")
_DIGITS = frozenset("0123456789abcdef-")


class Malformed(ValueError):
    """Not a value, or one larger than may be sent."""


def encode(value: Any, keep: Callable[[Any], Handle | None] = lambda _: None) -> bytes:
    """`value` as bytes; raises `Malformed` for what is nested too deeply, `RecursionError` never.

    `keep`: the handle for an object that is no plain data, or None if there is none.
    """
    put = _Parts()
    put.keep = keep
    _encode(value, put, 0)
    return b"".join(put)


class _Parts(list[bytes]):
    keep: Callable[[Any], Handle | None]
    __call__ = list.append


def _encode(value: Any, put: _Parts, depth: int) -> None:
    kind = type(value)
    if kind not in _WRITERS:  # type() cannot be lied to by `__class__`; the mro is the type's own
        kind = next((base for base in type.__dict__["__mro__"].__get__(kind) if base in _WRITERS), object)
    if depth > DEEPEST:
        raise Malformed(f"nested deeper than {DEEPEST}")
    _WRITERS[kind](value, put, depth)


def _sized(tag: bytes, data: bytes, put: _Parts) -> None:
    put(tag + b"%d:" % len(data))
    put(data)


def _text(value: str) -> bytes:
    return str.encode(value, "utf-8", "surrogatepass")


def _items(tag: bytes, items: Callable[[Any], Iterable[Any]]) -> Callable[[Any, _Parts, int], None]:
    def write(value: Any, put: _Parts, depth: int) -> None:
        listed = list(items(value))
        put(tag + b"%d:" % len(listed))
        for item in listed:
            _encode(item, put, depth + 1)

    return write


def _dict(value: Any, put: _Parts, depth: int) -> None:
    pairs = list(dict.items(value))
    put(b"d%d:" % len(pairs))
    for key, item in pairs:
        _encode(key, put, depth + 1)
        _encode(item, put, depth + 1)


def _built(name: str, kind: Kind) -> Callable[[Any, _Parts, int], None]:
    def write(value: Any, put: _Parts, depth: int) -> None:
        _sized(b"x", name.encode(), put)
        _encode(kind.parts(value), put, depth + 1)

    return write


def _opaque(value: Any, put: _Parts) -> None:
    if (scalar := numpy_scalar(value)) is not None:
        _encode(scalar, put, 0)
    elif (handle := put.keep(value)) is not None:
        put(b"h")
        _encode(handle, put, 0)
    else:
        _sized(b"o", _text(str(type.__dict__["__name__"].__get__(type(value)))[:100]), put)


_TYPES = {kind.__name__.encode(): kind for kind in (bool, int, float, complex, str, bytes, list, tuple, set, dict)}
_TYPE_NAMES = {kind: name for name, kind in _TYPES.items()}
_WRITERS: dict[type, Callable[[Any, _Parts, int], None]] = {
    type(None): lambda value, put, depth: put(b"N"),
    bool: lambda value, put, depth: put(b"T" if value is True else b"F"),
    int: lambda value, put, depth: put(b"i" + int.__format__(value, "x").encode() + b";"),
    float: lambda value, put, depth: put(b"f" + float.hex(value).encode() + b";"),
    complex: lambda value, put, depth: put(
        b"c%b,%b;"
        % (
            float.hex(complex.__dict__["real"].__get__(value)).encode(),
            float.hex(complex.__dict__["imag"].__get__(value)).encode(),
        )
    ),
    str: lambda value, put, depth: _sized(b"s", _text(value), put),
    bytes: lambda value, put, depth: _sized(b"b", bytes.__getitem__(value, slice(None)), put),
    list: _items(b"l", list.__iter__),
    tuple: _items(b"t", tuple.__iter__),
    set: _items(b"S", set.__iter__),
    frozenset: _items(b"Z", frozenset.__iter__),
    dict: _dict,
    type: lambda value, put, depth: (
        _sized(b"y", _TYPE_NAMES[value], put) if value in _TYPE_NAMES else _opaque(value, put)
    ),
    object: lambda value, put, depth: _opaque(value, put),
} | {kind.type: _built(name, kind) for name, kind in KINDS.items()}


def decode(
    data: bytes, most_items: int = MOST_ITEMS, held: Callable[[Handle], Any] = lambda _: Opaque("object")
) -> Any:
    """The value that `data` says; raises `Malformed` for anything that is not exactly one value.

    `held`: the object that a handle stands for; raises `LookupError` if there is none.
    """
    reader = _Reader(data, most_items, held)
    try:
        value = reader.value(0)
    except (ValueError, ArithmeticError, LookupError, TypeError) as error:
        raise Malformed(str(error)) from None
    if reader.at != len(data):
        raise Malformed("more bytes after the value")
    return value


class _Reader:
    def __init__(
        self, data: bytes, most_items: int, held: Callable[[Handle], Any] = lambda _: Opaque("object")
    ) -> None:
        self.data, self.at, self.items_left, self.held = data, 0, most_items, held
        self.keys_cpu = KEYS_CPU

    def value(self, depth: int) -> Any:
        self.items_left -= 1
        if depth > DEEPEST or self.items_left < 0:
            raise Malformed("nested too deeply" if depth > DEEPEST else "too many items")
        tag = self.data[self.at : self.at + 1]
        self.at += 1
        if tag in _CONSTANTS:
            return _CONSTANTS[tag]
        if tag in _NUMBERS:
            return _NUMBERS[tag](self._until(b";", 1 << 24))
        if tag in _STRINGS:
            return _STRINGS[tag](self._take(self._count()))
        if tag in _CONTAINERS:
            return _CONTAINERS[tag]([self.value(depth + 1) for _ in range(self._count())])
        if tag in _HASHED:
            read, fill = _HASHED[tag]
            return fill(self, [read(self, depth + 1) for _ in range(self._count())])
        if tag == b"x":
            name = self._take(self._count()).decode()
            return KINDS[name].build(*self.value(depth + 1))
        if tag == b"h":
            return self.held(self.value(depth + 1))
        raise Malformed(f"no value begins with {tag!r}")

    def pair(self, depth: int) -> tuple[Any, Any]:
        return self.value(depth), self.value(depth)

    def fill_dict(self, pairs: list[tuple[Any, Any]]) -> Any:
        return self._fill({}, pairs)

    def fill_set(self, members: list[Any]) -> Any:
        return self._fill(set(), members)

    def fill_frozenset(self, members: list[Any]) -> Any:
        if len(members) > LARGEST_FROZENSET:
            raise Malformed(f"a frozenset of more than {LARGEST_FROZENSET}")
        filled = self.fill_set(members)
        started = thread_time()
        frozen = frozenset(filled)
        self._spend(started)
        return frozen

    def _fill(self, container: Any, members: list[Any]) -> Any:
        """Puts members in their places, few at a time, for as long as `keys_cpu` lasts."""
        for start in range(0, len(members), KEYS_AT_ONCE):
            started = thread_time()
            container.update(members[start : start + KEYS_AT_ONCE])
            self._spend(started)
        return container

    def _spend(self, started: float) -> None:
        self.keys_cpu -= thread_time() - started
        if self.keys_cpu < 0:
            raise Malformed("keys that get in each other's way")

    def _until(self, end: bytes, most: int) -> str:
        stop = self.data.index(end, self.at, self.at + most)
        text = self.data[self.at : stop].decode("ascii")
        self.at = stop + 1
        return text

    def _count(self) -> int:
        digits = self._until(b":", 12)
        if not digits.isdigit() or int(digits) > len(self.data):  # an item takes a byte at least
            raise Malformed("a count that cannot be")
        return int(digits)

    def _take(self, count: int) -> bytes:
        taken = self.data[self.at : self.at + count]
        if len(taken) != count:
            raise Malformed("cut short")
        self.at += count
        return taken


def _int(text: str) -> int:
    if not _DIGITS.issuperset(text):  # int() would take "1_0" and blanks as well
        raise Malformed("not a number")
    return int(text, 16)


def _complex(text: str) -> complex:
    real, imaginary = text.split(",")
    return complex(float.fromhex(real), float.fromhex(imaginary))


_CONSTANTS: dict[bytes, Any] = {b"N": None, b"T": True, b"F": False}
_NUMBERS: dict[bytes, Callable[[str], Any]] = {b"i": _int, b"f": float.fromhex, b"c": _complex}
_STRINGS: dict[bytes, Callable[[bytes], Any]] = {
    b"s": lambda data: data.decode("utf-8", "surrogatepass"),
    b"b": lambda data: data,
    b"y": lambda data: _TYPES.get(data) or Opaque("type"),
    b"o": lambda data: Opaque(data[:100].decode("utf-8", "replace")),
}
_CONTAINERS: dict[bytes, Callable[[list[Any]], Any]] = {
    b"l": lambda items: items,
    b"t": tuple,
}
# How a member is read, and where it goes.
_HASHED: dict[bytes, tuple[Callable[[_Reader, int], Any], Callable[[_Reader, list[Any]], Any]]] = {
    b"S": (_Reader.value, _Reader.fill_set),
    b"Z": (_Reader.value, _Reader.fill_frozenset),
    b"d": (_Reader.pair, _Reader.fill_dict),
}


def frame(call: int, kind: bytes, body: bytes) -> bytes:
    return HEAD.pack(len(body), call, kind) + body


def read_frame(read: Callable[[int], bytes], most: int) -> tuple[int, bytes, bytes]:
    """The next `(call id, kind, body)`; `EOFError` where the far end is gone, `Malformed` for a body above `most`."""
    length, call, kind = HEAD.unpack(read_exactly(read, HEAD.size))
    if length > most:
        raise Malformed(f"{length} bytes where {most} are allowed")
    return call, kind, read_exactly(read, length)


def read_exactly(read: Callable[[int], bytes], count: int) -> bytes:
    parts = []
    while count:
        part = read(min(count, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
