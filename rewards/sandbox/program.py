"""What runs inside a job once it is confined: the program itself, and the far end of the channel.

    program   the source as `__main__`, with stdin and stdout; its output is all that counts
    calls     the source as `__main__`, then function calls in lock step: one frame in, one frame out
    check     test code of ours, with `candidate` and the function's name bound to a stub that asks the other jail

Nothing here is trusted by anyone: a program can rewrite all of it from inside, and gains a wrong answer by that.  The
exit status only turns one failure into another.
"""

# ruff: noqa: BLE001  # a program may raise anything, also what is no Exception, and each must become an end

from __future__ import annotations

import atexit
import builtins
import os
import random
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import CodeType, ModuleType
from typing import Any, NoReturn

from .codec import Malformed, decode, encode, frame, read_frame

PAYLOAD, CHANNEL = 3, 4  # descriptors, after 0, 1 and 2
RAISED, NOT_PYTHON, NO_MEMORY, TOO_MUCH_OUTPUT = 117, 118, 119, 116  # exit statuses; see `ends`
LONGEST_INT = 50_000  # digits, as LiveCodeBench sets it
LARGEST_REQUEST = 1 << 30  # bytes; the far end is ours, the limit is a guard against nonsense
CLIP = 2000  # characters of an error's words
_EFBIG = 27
_exit = os._exit  # a program that puts another in its place must still end


def run(kind: str, largest_reply: int) -> NoReturn:
    """Run the payload as `kind` and end the process, whatever happens."""
    try:
        try:
            entry, _, source = _payload().partition(b"\n")
            sys.set_int_max_str_digits(LONGEST_INT)
            sys.argv[:] = ["solution.py"]
            random.seed(0)  # the same program gets the same verdict
            status = _KINDS[kind](source, entry.decode(), largest_reply)
        except BaseException as error:
            status = _status(error)
        _end(status)
    finally:  # an error within the above: never back into the keeper's code
        _exit(RAISED)


def _payload() -> bytes:
    data = os.pread(PAYLOAD, os.fstat(PAYLOAD).st_size, 0)
    os.close(PAYLOAD)
    return data


def _status(error: BaseException) -> int:
    """The exit status for what came out of a program, and its traceback on stderr."""
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 0xFF
        print(_words(error), file=sys.stderr)  # noqa: T201  # what Python does with sys.exit("text")
        return 1
    with suppress(BaseException):  # its own __str__ may raise anything, and stderr may be full
        traceback.print_exception(error, limit=-8)
    if isinstance(error, MemoryError):
        return NO_MEMORY
    return TOO_MUCH_OUTPUT if isinstance(error, OSError) and error.errno == _EFBIG else RAISED


def _end(status: int) -> NoReturn:
    """What the interpreter does at its end as far as a program can see it, without freeing the heap."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
        atexit._run_exitfuncs()
    except BaseException as error:
        status = status or _status(error)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException as error:  # closed, full, replaced
            status = status or (TOO_MUCH_OUTPUT if getattr(error, "errno", 0) == _EFBIG else 120)  # 120: as Python
    _exit(status)


def _load(source: bytes) -> ModuleType:
    module = ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = module
    exec(_compile(source, "<solution>"), module.__dict__)
    return module


def _compile(source: bytes, name: str) -> CodeType:
    try:
        return compile(source, name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError, RecursionError) as error:
        traceback.print_exception(error, limit=0)
        _end(NOT_PYTHON)


def _program(source: bytes, entry: str, largest_reply: int) -> int:
    _load(source)
    return 0


def _send(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(CHANNEL, view) :]


def _receive() -> tuple[int, bytes, bytes]:
    return read_frame(lambda count: os.read(CHANNEL, count), LARGEST_REQUEST)


def _calls(source: bytes, entry: str, largest_reply: int) -> int:
    module = _load(source)
    find = _finder(module, entry)
    _send(frame(0, b"L", b""))
    while True:
        try:
            call, _, request = _receive()
        except EOFError:
            return 0
        args, kwargs = decode(request, most_items=LARGEST_REQUEST)
        try:
            kind, body = b"V", encode(find()(*args, **kwargs))
            if len(body) > largest_reply:
                kind, body = b"X", encode(["Malformed", f"a value of {len(body)} bytes; {largest_reply} are allowed"])
        except BaseException as error:
            kind, body = b"X", encode([_nearest(error), _words(error)])
        _send(frame(call, kind, body))


def _finder(module: ModuleType, entry: str) -> Callable[[], Callable[..., Any]]:
    """Finds the function for each call: a method of `class Solution` on a fresh object, else a function."""
    solution = getattr(module, "Solution", None)
    if isinstance(solution, type) and hasattr(solution, entry):
        return lambda: getattr(solution(), entry)
    if not callable(getattr(module, entry, None)):
        raise NameError(f"the program defines no function {entry!r}")
    return lambda: getattr(module, entry)


def _nearest(error: BaseException) -> str:
    if isinstance(error, Malformed):
        return "Malformed"
    names = (kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind)
    return str(next(names))


def _words(error: BaseException) -> str:
    try:
        return str(error)[:CLIP]
    except BaseException:
        return "an error that cannot be printed"


class _Gone(BaseException):
    """The other jail has ended; not an Exception, so that no test catches it."""


def _check(source: bytes, entry: str, largest_reply: int) -> int:
    calls, remote = 0, None

    def candidate(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls, remote
        calls += 1
        _send(frame(calls, b"C", encode([args, kwargs])))
        try:
            _, kind, body = _receive()
        except EOFError:
            raise _Gone from None
        value = decode(body)
        if kind == b"V":
            return value
        remote = _exception(getattr(builtins, value[0], None), value[1])
        raise remote

    names: dict[str, Any] = {"__name__": "__check__", "candidate": candidate, entry: candidate}
    try:
        code = compile(source, "<tests>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        _send(frame(0, b"S", encode(_words(error))))
        return 0
    try:
        exec(code, names)
        _send(frame(0, b"P", b""))
    except _Gone:
        pass
    except BaseException as error:
        kind = b"M" if isinstance(error, Malformed) else b"R" if error is remote else b"W"
        _send(frame(0, kind, encode(f"{type(error).__name__}: {_words(error)}")))
    return 0


def _exception(kind: Any, words: str) -> BaseException:
    if not (isinstance(kind, type) and issubclass(kind, BaseException)):
        kind = RuntimeError
    try:
        error: BaseException = kind(words)
        return error
    except TypeError:  # UnicodeDecodeError wants five arguments
        return RuntimeError(words)


_KINDS: dict[str, Callable[[bytes, str, int], int]] = {"program": _program, "calls": _calls, "check": _check}
