"""What runs inside a job once it is confined: the program itself, and the far end of the channel.

    program   the source as `__main__`, with stdin and stdout; its output is all that counts
    calls     the source as a module, then function calls in lock step: one frame in, one frame out
    objects   likewise, for the tests of a `check`: objects that are no plain data stay here (`remote`)
    check     test code of ours, with `candidate` and the program's names bound to stand-ins that ask the other jail

Nothing here is trusted by anyone: a program can rewrite all of it from inside, and gains a wrong answer by that.  The
exit status only turns one failure into another.
"""

# ruff: noqa: BLE001  # a program may raise anything, also what is no Exception, and each must become an end

from __future__ import annotations

import atexit
import builtins
import linecache
import os
import random
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import CodeType, ModuleType, TracebackType
from typing import Any, NoReturn

from .codec import Malformed, decode, encode, frame, read_frame
from .remote import MOST_ITEMS, Asking, Kept

PAYLOAD, CHANNEL = 3, 4  # descriptors, after 0, 1 and 2
RAISED, NOT_PYTHON, NO_MEMORY, TOO_MUCH_OUTPUT = 117, 118, 119, 116  # exit statuses; see `ends`
LONGEST_INT = 50_000  # digits, as LiveCodeBench sets it
LARGEST_REQUEST = 1 << 30  # bytes; the far end is ours, the limit is a guard against nonsense
CLIP = 2000  # characters of an error's words
LONGEST_LINE = 200  # characters of the line that raised it
SOLUTION, TESTS = "<solution>", "<tests>"  # what frames of theirs are named
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
        _show_lines()
        traceback.print_exception(type(error), error, _own(error), limit=-8)
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
    # The first two may have been replaced, or detached by what has replaced them, which is then no failure.
    streams: list[tuple[Any, int]] = [(sys.stdout, 120), (sys.stderr, 120), (sys.__stdout__, 0), (sys.__stderr__, 0)]
    for stream, broken in streams:  # 120: as Python
        try:
            stream.flush()
        except BaseException as error:  # closed, full, replaced
            status = status or (TOO_MUCH_OUTPUT if getattr(error, "errno", 0) == _EFBIG else broken)
    _exit(status)


def _module(name: str) -> ModuleType:
    module = ModuleType(name)
    module.__dict__["__builtins__"] = builtins
    # `__main__` as well: doctest and unittest look there.
    sys.modules[name] = sys.modules["__main__"] = module
    return module


def _load(source: bytes, module: ModuleType) -> None:
    _SOURCES[SOLUTION] = source
    exec(_compile(source, SOLUTION), module.__dict__)


def _compile(source: bytes, name: str) -> CodeType:
    try:
        return compile(source, name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError, RecursionError) as error:
        traceback.print_exception(error, limit=0)
        _end(NOT_PYTHON)


def _program(source: bytes, entry: str, largest_reply: int) -> int:
    _load(source, _module("__main__"))
    return 0


def _send(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(CHANNEL, view) :]


def _receive() -> tuple[int, bytes, bytes]:
    return read_frame(lambda count: os.read(CHANNEL, count), LARGEST_REQUEST)


def _calls(source: bytes, entry: str, largest_reply: int) -> int:
    find = _finder(source)
    find(entry)

    def answer(request: bytes) -> bytes:
        args, kwargs = decode(request, MOST_ITEMS)
        return encode(find(entry)(*args, **kwargs))

    return _reply(answer, largest_reply)


def _objects(source: bytes, entry: str, largest_reply: int) -> int:
    return _reply(Kept(_finder(source)).answer, largest_reply)


def _reply(answer: Callable[[bytes], bytes], largest: int) -> int:
    """Say that the program has loaded, then answer requests until there are no more."""
    _send(frame(0, b"L", b""))
    while True:
        try:
            call, _, request = _receive()
        except EOFError:
            return 0
        try:
            kind, body = b"V", answer(request)
            if len(body) > largest:
                raise Malformed(f"a value of {len(body)} bytes; {largest} are allowed")
        except BaseException as error:
            kind, body = b"X", encode([_nearest(error), _words(error), _place(error)])
        _send(frame(call, kind, body))


def _finder(source: bytes) -> Callable[[str], Any]:
    """Runs the program, then finds its functions: a method of `class Solution` on a fresh object, else a function."""
    # Not "__main__": a demonstration below `if __name__ == "__main__"` is no part of the function.
    module = _module("solution")
    with suppress(SystemExit):  # a demonstration, or `unittest.main()`, without that condition
        _load(source, module)

    def find(name: str) -> Any:
        solution = getattr(module, "Solution", None)
        if isinstance(solution, type) and hasattr(solution, name):
            return getattr(solution(), name)
        if not callable(found := getattr(module, name, None)):
            raise NameError(f"the program defines no function {name!r}")
        return found

    return find


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


def _place(error: BaseException) -> str:
    """The line of the program, or of the tests, in which `error` arose; "" if it has none."""
    line, trace = "", error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name in _SOURCES:
            _show_lines()
            line = linecache.getline(name, trace.tb_lineno).strip() or line
        trace = trace.tb_next
    return line[:LONGEST_LINE]


def _show_lines() -> None:
    """Let tracebacks have the text of the lines that they name; only once there is one, because it costs time."""
    for name, source in _SOURCES.items():
        lines = source.decode("utf-8", "replace").splitlines(keepends=True)
        linecache.cache[name] = (len(source), None, lines, name)


def _own(error: BaseException) -> TracebackType | None:
    """The traceback of `error` without our frames."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename not in _SOURCES:
        trace = trace.tb_next
    return trace


def _check(source: bytes, entry: str, largest_reply: int) -> int:
    """`entry`: the names of the program's functions and classes, with blanks between; the first is `candidate`."""
    calls = 0

    def exchange(request: bytes) -> tuple[bytes, bytes]:
        nonlocal calls
        calls += 1
        _send(frame(calls, b"C", request))
        try:
            _, kind, body = _receive()
        except EOFError:  # the other jail has ended, and the client knows why
            _exit(0)
        return kind, body

    def broken(words: str) -> NoReturn:
        _send(frame(0, b"M", encode(words)))
        _exit(0)

    asking = Asking(exchange, broken, objects=any(name[0].isupper() for name in entry.split()))
    remotes = {name: asking.remote(name) for name in entry.split()}
    names = {"__name__": "__check__", "candidate": next(iter(remotes.values())), **remotes}
    _SOURCES[TESTS] = source
    try:
        exec(compile(source, TESTS, "exec", dont_inherit=True), names)
        _send(frame(0, b"P", b""))
    except BaseException as error:
        kind = b"M" if isinstance(error, Malformed) else b"R" if error is asking.raised else b"W"
        place = _place(error)
        words = f"{type(error).__name__}: {_words(error)[:LONGEST_LINE]}"
        _send(frame(0, kind, encode(f"{words} (in `{place}`)" if place else words)))
    return 0


_SOURCES: dict[str, bytes] = {}  # what runs here, by the names that its frames have
_KINDS: dict[str, Callable[[bytes, str, int], int]] = {
    "program": _program,
    "calls": _calls,
    "objects": _objects,
    "check": _check,
}
