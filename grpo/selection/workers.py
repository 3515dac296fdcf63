"""The filters that look at one problem alone, on all cores.

    groups ──batches──▶ processes, a few batches ahead ──▶ parts, in the order of the groups

Parts come in order, so that what is written does not depend on how many processes there are.  Processes are forked:
they share the index of the evaluation sets, and never run the user's main script again.  Nothing of torch is loaded by
then, and what they do needs no thread that they lose.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import chain as chained
from itertools import islice

from grpo.config import Select
from grpo.errors import DataError, first_line
from grpo.selection.candidates import Candidate, Group
from grpo.selection.decontaminate import Decontaminator, Overlap
from grpo.selection.filters import Context, Funnel, alone, chain

ROWS = 32  # that a process is handed at a time, or one problem's
FIRST = 8  # batches that no process is started for
MOST = (
    8  # processes; reading, the filters that remember and writing are one process's, and keep no more than these busy
)
AHEAD = 2  # batches in flight for each process

Found = list[tuple[Candidate, list[Overlap]]]


@dataclass(frozen=True, slots=True)
class Part:
    """What is left of a batch of problems, with the counts of what was dropped, and what of evaluation sets it had."""

    funnel: Funnel
    kept: list[Group]
    found: Found


@dataclass(frozen=True, slots=True)
class Sieve:
    """The filters for a batch of problems, all but those that remember what was kept before."""

    settings: Select
    seed: int
    detector: Decontaminator
    judged: bool

    def __call__(self, groups: list[Group]) -> Part:
        """Raises `DataError` where a filter raises anything."""
        part = Part(Funnel(), [], [])
        contaminated = partial(_is_contaminated, self.detector, part.found) if self.settings.decontaminate else None
        filters = alone(chain(Context(self.settings, self.seed, contaminated), judged=self.judged))
        try:
            part.kept.extend(part.funnel.through(filters, groups))
        except Exception as error:
            first, last = groups[0][0], groups[-1][0]
            raise DataError(
                f"{first.source}: a filter fails between the problems {first.problem} and {last.problem} "
                f"({type(error).__name__}: {first_line(error)}); take out what it fails at, and report it"
            ) from error
        return part


def _is_contaminated(detector: Decontaminator, found: Found, row: Candidate) -> bool:
    overlaps = detector.find(row)
    if overlaps:
        found.append((row, overlaps))
    return bool(overlaps)


def cores() -> int:
    """Those this process may use; 1 where a process cannot be forked without harm (macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def sifted(sieve: Sieve, groups: Iterable[Group]) -> Iterator[Part]:
    """What `sieve` says of the groups, in their order.  Raises `DataError`."""
    batches = _batches(groups)
    processes = min(MOST, cores())
    yield from map(sieve, batches if processes == 1 else islice(batches, FIRST))
    if (batch := next(batches, None)) is not None:
        yield from _in_processes(sieve, chained([batch], batches), processes)


def _batches(groups: Iterable[Group]) -> Iterator[list[Group]]:
    batch: list[Group] = []
    for group in groups:
        batch.append(group)
        if sum(map(len, batch)) >= ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _in_processes(sieve: Sieve, batches: Iterable[list[Group]], processes: int) -> Iterator[Part]:
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), _start, (sieve,))
    running: deque[Future[Part]] = deque()
    try:
        for batch in batches:
            running.append(pool.submit(_sift, batch))
            if len(running) >= AHEAD * processes:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    except BrokenProcessPool:
        raise DataError(
            f"grpo select: one of its {processes} processes was killed, most likely for want of memory; free some, or "
            "use fewer cores (taskset -c 0,1 grpo select …)"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


_sieve: Sieve  # of a process


def _start(sieve: Sieve) -> None:
    global _sieve
    _sieve = sieve
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A pool's processes would wait for work for ever where their parent was killed."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _sift(batch: list[Group]) -> Part:
    return _sieve(batch)
