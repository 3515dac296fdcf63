"""Objects that stay in the program's jail, and what stands for them in the jail of the tests.

    tests                                     program
    Remote("f")(3)       ── call "f" (3,) ──▶  f(3)           plain data comes back as a copy,
    Remote(7)            ◀── handle 7 ───────  <generator>    anything else as a number
    next(Remote(7))      ── next 7 ─────────▶  next(kept[7])

A stand-in can be called, iterated and handed back to the program.  Nothing else is asked of the program: what it says
about `==`, `<`, `in` or truth would be its own verdict on itself, so a stand-in is true, and equal to itself alone.
Where the tests name a class of the program's they were written for its objects, and attributes, `len`, `[]` and `str`
are asked for as well.
"""

from __future__ import annotations

import builtins
import operator
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

from .codec import Handle, Malformed, decode, encode
from .types import Opaque

MOST_ITEMS = 1 << 30  # in a request, which comes from tests of ours
OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda function, *args, **kwargs: function(*args, **kwargs),
    "iter": iter,
    "next": next,
    "getattr": getattr,
    "setattr": setattr,
    "len": len,
    "getitem": operator.getitem,
    "setitem": operator.setitem,
    "str": str,
    "repr": repr,
}
# A test that lets one of these pass, as `zip`, a generator or a thread does, would end without having failed.
_STEERING = (StopIteration, StopAsyncIteration)


class Kept:
    """The program's side: objects by number, functions and classes by name.  `find` looks a name up."""

    def __init__(self, find: Callable[[str], Any]) -> None:
        self._find = find
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}

    def answer(self, request: bytes) -> bytes:
        """Do what the tests ask; raises what the program raises."""
        operation, target, args, kwargs = decode(request, MOST_ITEMS, self._held)
        value = OPERATIONS[operation](self._held(target), *args, **kwargs)
        # What gives nothing back was called for what it does to its arguments.  What gives something back may not
        # alter them: `assert f(a) == sorted(a)` holds for any f that empties its argument.
        changed = [args, kwargs] if value is None and operation == "call" else None
        return encode([value, changed], self._keep)

    def _held(self, handle: Handle) -> Any:
        return self._objects[handle] if isinstance(handle, int) else self._find(handle)

    def _keep(self, value: Any) -> Handle | None:
        if type(value) is Opaque:  # an object of the tests'
            return None
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        return self._numbers[id(value)]


class Remote:
    """The tests' side: stands for a function or object of the program's."""

    __slots__ = ("_asking", "_handle")
    _asking: Asking
    _handle: Handle

    def __init__(self, asking: Asking, handle: Handle) -> None:
        object.__setattr__(self, "_asking", asking)
        object.__setattr__(self, "_handle", handle)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._asking.ask("call", self._handle, args, kwargs)

    def __iter__(self) -> Any:
        return self._asking.ask("iter", self._handle)

    def __next__(self) -> Any:
        return self._asking.ask("next", self._handle)

    def __contains__(self, item: Any) -> NoReturn:  # by iteration, `range(10**18)` would contain every answer
        raise TypeError("`in` is not asked of the program; make a list of its result")


class RemoteObject(Remote):
    """Of a class that the tests know."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # Python itself asks for these, to copy, print and compare
            raise AttributeError(name)
        return self._asking.ask("getattr", self._handle, (name,))

    def __setattr__(self, name: str, value: Any) -> None:
        self._asking.ask("setattr", self._handle, (name, value))

    def __len__(self) -> int:
        return self._asking.ask("len", self._handle)  # type: ignore[no-any-return]

    def __getitem__(self, key: Any) -> Any:
        return self._asking.ask("getitem", self._handle, (key,))

    def __setitem__(self, key: Any, value: Any) -> None:
        self._asking.ask("setitem", self._handle, (key, value))

    def __str__(self) -> str:
        return self._asking.ask("str", self._handle)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return self._asking.ask("repr", self._handle)  # type: ignore[no-any-return]

    def __bool__(self) -> bool:
        return True


class Asking:
    """Asks the program.  `exchange` sends a request and returns kind and body of the reply; `broken` ends the tests
    with the words given, so that nothing in them can catch it."""

    def __init__(
        self, exchange: Callable[[bytes], tuple[bytes, bytes]], broken: Callable[[str], NoReturn], *, objects: bool
    ) -> None:
        self._exchange = exchange
        self._broken = broken
        self._class = RemoteObject if objects else Remote
        self._remotes: dict[Handle, Remote] = {}
        self._one_at_a_time = threading.Lock()  # tests may have threads, and there is one channel
        self.raised: BaseException | None = None  # the last that was the program's

    def remote(self, handle: Handle) -> Remote:
        """The same for the same handle, so that `is` tells the program's objects apart."""
        if type(handle) not in (int, str):
            raise Malformed("no handle")
        if handle not in self._remotes:
            self._remotes[handle] = self._class(self, handle)
        return self._remotes[handle]

    def ask(self, operation: str, handle: Handle, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        request = encode([operation, handle, args, kwargs], _handle_of)
        with self._one_at_a_time:
            kind, body = self._exchange(request)
        try:
            if kind == b"V":
                value, changed = decode(body, held=self.remote)
            else:
                raised, words, _ = map(_text, decode(body))
        except (ValueError, TypeError) as error:
            self._broken(str(error))
        if kind != b"V":
            self.raised = self._exception(operation, raised, words)
            raise self.raised
        if changed is not None:
            _restore([args, kwargs], changed)
        return value

    def _exception(self, operation: str, raised: str, words: str) -> BaseException:
        if raised == "Malformed":
            self._broken(words)
        if raised == "StopIteration" and operation == "next":  # the end of an iterator, which is no error
            return StopIteration()
        kind = getattr(builtins, raised, None)
        if not (isinstance(kind, type) and issubclass(kind, Exception)) or issubclass(kind, _STEERING):
            return RuntimeError(f"{raised}: {words}")
        try:
            error: BaseException = kind(words)
        except TypeError:  # UnicodeDecodeError wants five arguments
            return RuntimeError(words)
        return error


def _handle_of(value: Any) -> Handle | None:
    return value._handle if isinstance(value, Remote) else None


def _text(value: Any) -> str:
    if type(value) is not str:
        raise Malformed("an exception without words")
    return value


def _restore(old: Any, new: Any) -> Any:
    """`old` with the content of `new`: what a function did to its arguments in the other jail is done here as well."""
    if type(new) is Opaque or type(old) is not type(new):
        return old if type(new) is Opaque else new
    if isinstance(old, list | tuple):
        items = [_restore(*pair) for pair in zip(old, new, strict=False)] + list(new[len(old) :])
        if isinstance(old, tuple):
            return tuple(items)
        old[:] = items
    elif isinstance(old, dict):
        items = [(key, _restore(old[key], value) if key in old else value) for key, value in new.items()]
        old.clear()
        old.update(items)
    elif isinstance(old, set):
        old.clear()
        old.update(new)
    elif isinstance(old, deque | bytearray):
        old.clear()
        old.extend(new)
    else:
        return new
    return old
