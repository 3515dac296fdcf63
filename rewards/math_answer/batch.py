"""Many pairs at once, over worker processes that are killed when they do not answer.

The deadline belongs to the parent: no signal, no thread, nothing inside the worker that a hang could swallow.  A
worker that is late is killed and replaced, and its pair is judged wrong with the stage "deadline"; so a batch takes at
most ceil(pairs / workers) × deadline, whatever is in it.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import time
from collections import deque
from collections.abc import Sequence
from typing import IO, Literal

from rewards.math_answer.leniency import Leniency, named
from rewards.math_answer.processes import START, start_python
from rewards.math_answer.verdict import Verdict
from rewards.math_answer.worker import WARMING

Pair = tuple[str | int | float, str]
DEADLINE = 2.0  # seconds for one pair


class _Worker:
    def __init__(self) -> None:
        self.process = start_python("worker")
        self.pair = -1
        self.due = 0.0
        self.judged = 0

    @property
    def output(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def give(self, at: int, line: bytes, deadline: float) -> None:
        assert self.process.stdin is not None
        self.pair = at
        self.due = time.monotonic() + (deadline if self.judged else max(START, deadline))
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def verify_all(
    pairs: Sequence[Pair],
    policy: str | Leniency = "train",
    *,
    form: Literal["completion", "answer"] = "completion",
    workers: int = 2,
    deadline: float = DEADLINE,
) -> list[Verdict]:
    """One verdict for every (gold, text), in order.  `form` says whether the texts are whole completions or answers."""
    if workers < 1:
        raise ValueError(f"verify_all: workers must be at least 1 (given {workers})")
    name = named(policy).name
    lines = [json.dumps([gold, text, form, name]).encode() + b"\n" for gold, text in pairs]
    verdicts: list[Verdict | None] = [None] * len(pairs)
    waiting = deque(range(len(pairs)))
    selector = selectors.DefaultSelector()
    busy: set[_Worker] = set()
    try:
        for _ in range(min(workers, len(pairs))):
            _start(selector, busy, waiting, lines, deadline)
        while busy:
            pause = max(0.0, min(worker.due for worker in busy) - time.monotonic())
            for key, _events in selector.select(pause):
                worker = key.data
                answer = _answer(worker)
                if answer is None:
                    worker.due = time.monotonic() + START
                    continue
                verdicts[worker.pair] = answer
                if worker.process.poll() is not None or verdicts[worker.pair] == _DIED:
                    _replace(worker, selector, busy, waiting, lines, deadline)
                elif waiting:
                    at = waiting.popleft()
                    worker.give(at, lines[at], deadline)
                else:
                    _stop(worker, selector, busy)
            for worker in [worker for worker in busy if worker.due <= time.monotonic()]:
                verdicts[worker.pair] = Verdict(False, f"no verdict in {deadline} s", "deadline", None, deadline * 1000)
                _replace(worker, selector, busy, waiting, lines, deadline)
    finally:
        for worker in list(busy):
            _stop(worker, selector, busy)
        selector.close()
    return [verdict for verdict in verdicts if verdict is not None]


_DIED = Verdict(False, "the worker died", "deadline", None, 0.0)


def _answer(worker: _Worker) -> Verdict | None:
    """The worker's verdict; None where it says that it needs time to import sympy first."""
    line = worker.output.readline()
    answer = json.loads(line) if line else None
    if answer == WARMING:
        return None
    worker.judged += 1
    return _DIED if answer is None else Verdict(*answer)


def _start(
    selector: selectors.BaseSelector, busy: set[_Worker], waiting: deque[int], lines: list[bytes], deadline: float
) -> None:
    worker = _Worker()
    busy.add(worker)
    selector.register(worker.output, selectors.EVENT_READ, worker)
    at = waiting.popleft()
    worker.give(at, lines[at], deadline)


def _stop(worker: _Worker, selector: selectors.BaseSelector, busy: set[_Worker]) -> None:
    selector.unregister(worker.output)
    busy.discard(worker)
    worker.kill()


def _replace(
    worker: _Worker,
    selector: selectors.BaseSelector,
    busy: set[_Worker],
    waiting: deque[int],
    lines: list[bytes],
    deadline: float,
) -> None:
    _stop(worker, selector, busy)
    if waiting:
        _start(selector, busy, waiting, lines, deadline)
