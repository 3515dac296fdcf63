"""End a run that hangs, and say where.

A run makes a mark whenever it gets on: a phase begins or ends, a group arrives.  The time without one that is taken for
a hang is learned: ten times the longest pause so far, at least ten minutes, and an hour in a phase that has never been
through, or until a step is finished, because a first time compiles, loads and fills caches.

    every few seconds a thread looks   over the limit: stacks of all processes into the run folder, a sentence, the end
    the thread itself does not run     a timer in C (faulthandler) that it sets anew at every look dumps our stacks and
                                       ends the process: so also where C code never gives the interpreter back

What is on disk resumes: the end is no other than that of a kill.  A process that was stopped (Ctrl-Z) has not hung for
the thread; the timer cannot tell, so one that sleeps for longer than the limit is ended when it wakes.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Self

import psutil

from grpo import stacks
from grpo.errors import EXIT_HUNG

LEAST = 600.0  # seconds
FACTOR = 10  # times the longest pause
FIRST = 3600.0  # seconds
_LOOKS = 60  # within the least limit
_LAST = 60.0  # seconds that the dump may take before the timer ends it, too
_PACKAGE = str(Path(__file__).parent)


def _nobody(text: str) -> None:
    pass


class Watchdog:
    """Watches from the first mark until the context ends.  `folder`: where stacks go; None: nobody watches.

    `tell` gets the sentence before the process ends.
    """

    def __init__(
        self,
        folder: Path | None = None,
        tell: Callable[[str], None] = _nobody,
        *,
        least: float = LEAST,
        factor: float = FACTOR,
        first: float = FIRST,
    ) -> None:
        self.step = 0  # the last that is finished
        self._folder, self._tell = folder, tell
        self._least, self._factor, self._first = least, factor, first
        self._tick = least / _LOOKS
        self._from = 0  # the step that was finished when the first mark was made
        self._phase, self._been = "", set[str]()
        self._longest, self._marks, self._marked = 0.0, 0, time.monotonic()
        self._file: IO[str] | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self._file is not None:
            faulthandler.cancel_dump_traceback_later()
            self._file.close()
            Path(self._file.name).unlink(missing_ok=True)

    def mark(self, phase: str | None = None) -> None:
        """The run has got on.  `phase` is the one that begins, "" where one has ended."""
        if self._folder is None or self._ended.is_set():
            return
        now = time.monotonic()
        if self._thread is None:
            self._from = self.step
            self._begin(self._folder)
        else:
            self._longest = max(self._longest, now - self._marked)
        self._marked, self._marks = now, self._marks + 1
        if phase is not None and phase != self._phase:
            self._been.add(self._phase)
            self._phase = phase

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        self.mark(phase)
        yield
        self.mark("")

    @property
    def limit(self) -> float:
        """Seconds without a mark, from here on."""
        learned = max(self._least, self._factor * self._longest)
        known = self._phase in self._been and self.step > self._from  # what comes before a step is no measure of it
        return learned if known else max(self._first, learned)

    def _begin(self, folder: Path) -> None:
        for left in folder.glob("stall-*.txt"):  # by a kill, with nothing in it
            if not left.stat().st_size:
                left.unlink()
        path = folder / time.strftime(f"stall-%Y%m%d-%H%M%S-{os.getpid()}.txt")
        self._file = path.open("w", encoding="utf-8")
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        assert self._file is not None
        seen, idle, before = self._marks, 0.0, time.monotonic()
        while True:
            faulthandler.dump_traceback_later(self.limit + 3 * self._tick, file=self._file, exit=True)
            if self._ended.wait(self._tick):
                return
            now = time.monotonic()
            # Of the time in which the process, or its machine, was stopped only a little counts.
            idle = 0.0 if self._marks != seen else idle + min(now - before, 2 * self._tick)
            seen, before = self._marks, now
            if idle > self.limit:
                self._end(idle, self._file)

    def _end(self, idle: float, file: IO[str]) -> None:
        # Whatever holds up what follows, the process ends.
        faulthandler.dump_traceback_later(_LAST, file=file, exit=True)
        text = self._sentence(idle, file.name)
        file.write(f"{text}\n\nprocess {os.getpid()}, this run\n")
        file.flush()
        faulthandler.dump_traceback(file, all_threads=True)
        children = psutil.Process().children(recursive=True)
        for paragraph in stacks.of_processes(children):
            file.write(f"\n{paragraph}")
            file.flush()
        os.write(2, f"\ngrpo: {text}\n".encode())  # sys.stderr may be locked by who hangs
        self._tell(text)
        for child in children:
            with suppress(psutil.Error):
                child.kill()
        os._exit(EXIT_HUNG)

    def _sentence(self, idle: float, file: str) -> str:
        where = f"in phase {self._phase}" if self._phase else "between two phases"
        return (
            f"hangs: no progress for {idle:.0f} s (run.watchdog allows {self.limit:.0f}) after step {self.step}, "
            f"{where}, at {_place(threading.main_thread())}; the stacks of all processes are in {file}; what is saved "
            "goes on with --resume"
        )


def _place(thread: threading.Thread) -> str:
    """The innermost line of ours that the thread is in."""
    frame: FrameType | None = sys._current_frames().get(thread.ident or 0)
    while frame is not None and not frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    if frame is None:
        return "no line of grpo"
    file = Path(frame.f_code.co_filename).relative_to(Path(_PACKAGE).parent)
    return f"{file}:{frame.f_lineno} ({frame.f_code.co_qualname})"
