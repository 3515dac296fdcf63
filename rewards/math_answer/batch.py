"""Many pairs at once, over worker processes that are killed when they do not answer.

The deadline belongs to the parent: no signal, no thread, nothing inside the worker that a hang could swallow.  A
worker that is late is killed and replaced, and its pair is judged wrong with the stage "deadline"; so a batch takes at
most ceil(pairs / workers) × deadline, whatever is in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import IO, Literal

from rewards.math_answer.leniency import Leniency, named
from rewards.math_answer.verdict import Verdict

Pair = tuple[str | int | float, str]
DEADLINE = 2.0  # seconds for one pair
START = 30.0  # seconds for a worker's first pair: Python has to start


def _start() -> subprocess.Popen[bytes]:
    """A worker, wherever the package lies."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    plain = {"MPMATH_NOGMPY": "1"}  # gmpy2, where mpmath finds it, aborts the process on numbers that are too large
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "rewards.math_answer.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | plain | {"PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])},
    )


class _Worker:
    def __init__(self) -> None:
        self.process = _start()
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
    return _Batch(lines, deadline).run(workers)


class _Batch:
    """The pairs that wait, the workers that are busy with one each, and the verdicts so far."""

    def __init__(self, lines: list[bytes], deadline: float) -> None:
        self.lines = lines
        self.deadline = deadline
        self.waiting = deque(range(len(lines)))
        self.busy: set[_Worker] = set()
        self.selector = selectors.DefaultSelector()
        self.verdicts: list[Verdict | None] = [None] * len(lines)

    def run(self, workers: int) -> list[Verdict]:
        try:
            for _ in range(min(workers, len(self.lines))):
                self.start()
            while self.busy:
                self.hear()
                self.end_the_late()
        finally:
            for worker in list(self.busy):
                self.stop(worker)
            self.selector.close()
        return [verdict for verdict in self.verdicts if verdict is not None]

    def hear(self) -> None:
        """What the workers say before the next deadline."""
        pause = max(0.0, min(worker.due for worker in self.busy) - time.monotonic())
        for key, _events in self.selector.select(pause):
            worker = key.data
            self.verdicts[worker.pair] = answer = _answer(worker)
            self.go_on(worker, dead=answer == _DIED or worker.process.poll() is not None)

    def go_on(self, worker: _Worker, dead: bool) -> None:
        if dead:
            self.replace(worker)
        elif self.waiting:
            self.give(worker)
        else:
            self.stop(worker)

    def end_the_late(self) -> None:
        for worker in [worker for worker in self.busy if worker.due <= time.monotonic()]:
            late = Verdict(False, f"no verdict in {self.deadline} s", "deadline", None, self.deadline * 1000)
            self.verdicts[worker.pair] = late
            self.replace(worker)

    def start(self) -> None:
        worker = _Worker()
        self.busy.add(worker)
        self.selector.register(worker.output, selectors.EVENT_READ, worker)
        self.give(worker)

    def give(self, worker: _Worker) -> None:
        at = self.waiting.popleft()
        worker.give(at, self.lines[at], self.deadline)

    def stop(self, worker: _Worker) -> None:
        self.selector.unregister(worker.output)
        self.busy.discard(worker)
        worker.kill()

    def replace(self, worker: _Worker) -> None:
        self.stop(worker)
        if self.waiting:
            self.start()


_DIED = Verdict(False, "the worker died", "deadline", None, 0.0)


def _answer(worker: _Worker) -> Verdict:
    line = worker.output.readline()
    worker.judged += 1
    return Verdict(*json.loads(line)) if line else _DIED
