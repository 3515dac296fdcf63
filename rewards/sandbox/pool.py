"""The sandbox: programs in, what they did out; a pool of keepers, started when first needed, shared by threads.

A slot is a keeper for programs and, for test code of ours, a second one beside it; the two take turns, so that a slot
is one core's work.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any, TypeVar

from . import codec, levels
from .client import Client, Died, Lost, Refused
from .codec import Malformed
from .job import Job
from .levels import Forced, Grants
from .program import CLIP
from .types import Checked, End, Limits, Ran, Reason, Returned, SandboxError

DEFAULT = Limits()
LONGEST = 200  # characters of an exception's words and of the line that raised it
MOST_JOBS = 10_000  # of one keeper; then a fresh one takes its place
Result = TypeVar("Result")


class _Slot:
    """Keepers by what they are for, "program" or "check"; started when asked for, given up at any doubt."""

    def __init__(self, grants: Grants) -> None:
        self._grants = grants
        self._closed = False
        self.keepers: dict[str, Client] = {}

    def keeper(self, purpose: str) -> Client:
        if purpose in self.keepers and self.keepers[purpose].jobs >= MOST_JOBS:
            self.keepers.pop(purpose).close()
        if purpose not in self.keepers:
            self._check()
            self.keepers[purpose] = levels.start(self._grants.orders, self._grants.python)
        self._check()
        return self.keepers[purpose]

    def _check(self) -> None:
        if self._closed:
            self.give_up()
            raise SandboxError("sandbox: closed while a program ran")

    def give_up(self) -> None:
        for keeper in list(self.keepers.values()):
            keeper.hang_up()
        with suppress(KeyError):  # another thread may give them up too
            while True:
                self.keepers.popitem()[1].close()

    def hang_up(self) -> None:
        self._closed = True
        for keeper in list(self.keepers.values()):
            keeper.hang_up()


class Sandbox:
    """Runs programs that nobody trusts.  A context manager; its methods may be called from any thread.

    `workers`: how many run at once; None for the cores of this process.  `packages`: names of installed packages that
    programs may import beside the standard library, such as "numpy".  Raises `SandboxUnavailable` where the machine
    cannot confine a program; nothing turns that off.
    """

    def __init__(
        self, workers: int | None = None, *, packages: Sequence[str] = (), _forced: Forced | None = None
    ) -> None:
        self.workers = workers or len(os.sched_getaffinity(0))
        self.grants, first = levels.find(packages, _forced or Forced())
        self.deaths = 0  # keepers that died while a job ran, which then counts as failed
        self._owner = os.getpid()
        self._closed = False
        self._lock = threading.Lock()
        self._slots = [_Slot(self.grants) for _ in range(self.workers)]
        self._slots[0].keepers["program"] = first
        self._free: queue.LifoQueue[_Slot] = queue.LifoQueue()  # the last used first: few threads start few keepers
        for slot in reversed(self._slots):
            self._free.put(slot)

    @property
    def level(self) -> str:
        """ "L0", "L1" or "L2"; see `levels`."""
        return self.grants.level

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every keeper, and every job with it.  Calls under way in other threads raise `SandboxError`."""
        with self._lock:
            if self._closed or self._owner != os.getpid():
                return
            self._closed = True
        for slot in self._slots:
            slot.hang_up()
        for slot in self._slots:
            slot.give_up()

    def run_stdin(self, source: str, stdin: bytes, limits: Limits = DEFAULT) -> Ran:
        """Run a program once, with `stdin`, and return what it wrote and how it ended."""
        if len(stdin) > limits.stdin:
            raise ValueError(f"run_stdin: stdin has {len(stdin)} bytes; Limits.stdin allows {limits.stdin}")
        payload = _payload(source)
        if len(payload) > limits.source:
            return _not_run("source_too_large")

        def run(slot: _Slot) -> Ran:
            job = Job(slot.keeper("program"), "program", limits, "", payload, stdin)
            with closing(job):
                return job.ran()

        with self._slot() as slot:
            try:
                return self._twice(slot, run)
            except Died:
                self._note_death(slot)
                return _not_run("died")

    def call_functions(
        self, source: str, entry: str, calls: Sequence[Sequence[Any]], limits: Limits = DEFAULT
    ) -> Iterator[Returned]:
        """Load a program once and call its function `entry` with each of `calls`, the positional arguments.

        Lazy: a call is made when its result is asked for, so whoever stops at the first failure closes the iterator
        and saves the rest.  If the program does not load, the one result says why.  `class Solution` is taken before a
        plain function of the same name, a fresh object for each call.
        """
        if not entry.isidentifier():
            raise ValueError(f"call_functions: {entry!r} is not the name of a function")
        payload = _payload(source)
        if len(payload) > limits.source:
            yield Returned("source_too_large")
            return

        def load(slot: _Slot) -> tuple[Job, Reason | None]:
            job = Job(slot.keeper("program"), "calls", limits, entry, payload, calls=len(calls))
            try:
                return job, _not_loaded(job)
            except BaseException:
                job.close()
                raise

        with self._slot() as slot:
            try:
                job, reason = self._twice(slot, load)
                with closing(job):
                    if reason:
                        yield Returned(reason, error=job.stderr())
                    else:
                        yield from _lock_step(job, calls)
            except Died:
                self._note_death(slot)
                yield Returned("died")

    def check_asserts(self, source: str, entry: str, test_code: str, limits: Limits = DEFAULT) -> Checked:
        """Run `test_code`, which is ours, against the function `entry` of a program, which is not.

        The tests run in a jail of their own; there `candidate` and the name `entry` ask the program's jail, and all
        that comes back is plain data, a stand-in (`remote`), or an exception of a built-in type.  `entry` may be
        several names with blanks between, of functions and classes; the first is `candidate`.  Limits count for the
        tests as a whole.  Tests that end without a call are "not_called", never "pass".
        """
        if not entry.split() or not all(name.isidentifier() for name in entry.split()):
            raise ValueError(f"check_asserts: {entry!r} is not the name of a function")
        try:
            compile(test_code, "<tests>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            raise ValueError(f"check_asserts: the tests are not Python ({error})") from None
        payload = _payload(source)
        if len(payload) > limits.source:
            return Checked("source_too_large", 0)

        def check(slot: _Slot) -> Checked:
            checker = slot.keeper("check")  # before the program's clocks run: it may have to be started
            with closing(Job(slot.keeper("program"), "objects", limits, entry, payload)) as job:
                if reason := _not_loaded(job):
                    return Checked(reason, 0, job.stderr())
                with closing(Job(checker, "check", limits, entry, test_code.encode(), calls=1)) as tests:
                    return _relay(job, tests)

        with self._slot() as slot:
            try:
                return self._twice(slot, check)
            except Died:
                self._note_death(slot)
                return Checked("died", 0)

    @contextmanager
    def _slot(self) -> Iterator[_Slot]:
        if self._owner != os.getpid():
            raise SandboxError("sandbox: made before a fork and used after it; make one in each process")
        slot = self._free.get()
        try:
            if self._closed:
                raise SandboxError("sandbox: used after close")
            yield slot
        except GeneratorExit:  # the caller has seen enough; the job is closed and the keeper ready
            raise
        except BaseException:
            slot.give_up()
            raise
        finally:
            self._free.put(slot)

    def _twice(self, slot: _Slot, work: Callable[[_Slot], Result]) -> Result:
        """`work`, and once more with new keepers if theirs were gone before the program had run."""
        try:
            return work(slot)
        except (Lost, Refused):
            slot.give_up()
            return work(slot)

    def _note_death(self, slot: _Slot) -> None:
        slot.give_up()
        if self._closed:
            raise SandboxError("sandbox: closed while a program ran")
        with self._lock:
            self.deaths += 1


def _lock_step(job: Job, calls: Sequence[Sequence[Any]]) -> Iterator[Returned]:
    for arguments in calls:
        request = codec.encode([list(arguments), {}])
        returned = _call(job, request)
        yield returned
        if returned.reason not in ("ok", "runtime_error"):
            return


def _call(job: Job, request: bytes) -> Returned:
    """One call with clocks of its own."""
    started = time.monotonic()
    try:
        with job.lap():
            kind, body = job.ask(request)
        value = codec.decode(body)
        wall = time.monotonic() - started
        if kind == b"V":
            return Returned("ok", value, wall=wall)
        raised, words, place = (_text(word) for word in value)
        words = f"{words[:LONGEST]} (in `{place[:LONGEST]}`)" if place else words
    except EOFError:
        return Returned(_failed(job), error=job.stderr(), wall=time.monotonic() - started)
    except (Malformed, TypeError, ValueError) as error:
        return Returned("protocol", error=str(error)[:CLIP], wall=time.monotonic() - started)
    return Returned(_RAISED.get(raised, "runtime_error"), raised=raised, error=words, wall=wall)


def _text(word: Any) -> str:
    if not isinstance(word, str):
        raise Malformed("an exception without words")
    return word[:CLIP]


_RAISED: dict[str, Reason] = {"MemoryError": "memory", "Malformed": "protocol"}


def _not_loaded(job: Job) -> Reason | None:
    """Why the source has not run through, or the function is not there; None if all is well."""
    try:
        return None if job.receive(0)[1] == b"L" else "protocol"
    except EOFError:
        return _failed(job)
    except Malformed:
        return "protocol"


def _failed(job: Job) -> Reason:
    """Why a job is gone that should still be there."""
    job.stop()
    reason = job.reason()
    return "died" if reason == "ok" else reason


def _relay(job: Job, tests: Job) -> Checked:
    """Carry calls from the tests to the program and replies back, until the tests say how it went."""
    calls = 0
    while True:
        try:
            call, kind, body = tests.receive(_LARGEST_REQUEST)
        except EOFError:
            reason = tests.reason()  # values of the program's can make the tests slow or large
            return Checked("wrong_answer" if reason == "ok" else reason, calls, tests.stderr())
        except Malformed as error:  # not from tests of ours, unless they ran what came back
            return Checked("protocol", calls, str(error))
        if kind != b"C":
            return _outcome(kind, body, calls)
        calls += 1
        try:
            kind, body = job.ask(body)
            tests.send(call, kind, body)
        except EOFError:
            return Checked(_failed(job), calls, job.stderr())
        except Malformed as error:
            return Checked("protocol", calls, str(error)[:CLIP])


def _outcome(kind: bytes, body: bytes, calls: int) -> Checked:
    if kind == b"P":
        return Checked("pass" if calls else "not_called", calls)
    try:
        words = codec.decode(body)
    except Malformed:
        words = None
    if kind not in _OUTCOMES or not isinstance(words, str):
        return Checked("protocol", calls, "the tests ended in words that are none of ours")
    return Checked(_OUTCOMES[kind], calls, words[:CLIP])


_OUTCOMES: dict[bytes, Reason] = {b"W": "wrong_answer", b"R": "runtime_error", b"M": "protocol"}
_LARGEST_REQUEST = 1 << 28  # bytes, from tests that are ours


def _payload(source: str) -> bytes:
    return source.encode("utf-8", "surrogatepass")  # a lone surrogate is then no Python, as it should be


def _not_run(reason: End) -> Ran:
    return Ran(reason, stdout=b"", stderr="", exit_code=None, cpu=0.0, wall=0.0, rss=0)
