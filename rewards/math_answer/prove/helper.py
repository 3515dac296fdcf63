"""The caller's end of the algebra process: start it, ask it, give up on it."""

from __future__ import annotations

import json
import os
import select
import time

from rewards.math_answer.nodes import Node
from rewards.math_answer.processes import start_python
from rewards.math_answer.prove.wire import to_wire

CPU = 0.3  # seconds of computation for one question, however busy the machine is
DEADLINE = 0.45  # seconds on the clock
GRACE = 0.1  # seconds for the helper to report
PATIENCE = 4.0  # seconds that a question waits for the helper to start: less than a reward's usual deadline of 5
STUCK = 5.0  # seconds after which a helper that owes an answer is given up
_ANSWERS = {b"equal": True, b"different": False}


class Starting(Exception):
    """The helper has not started yet."""


class Helper:
    """Every failure is an OSError, after which the helper is of no more use."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.process = start_python("prove.algebra")
        self.ready = False
        self.asked = self.answered = 0  # numbers of questions
        self.since = 0.0  # when the last one was asked

    def alive(self) -> bool:
        return self.process.poll() is None

    def wait(self, seconds: float) -> None:
        """Until it has imported sympy.  Raises `Starting` where that takes longer: it goes on starting meanwhile."""
        if not self.ready:
            if not self.readable(seconds):
                raise Starting
            self.ready = self.line(GRACE) == b"ready"

    def ask(self, gold: Node, pred: Node) -> bool | None:
        """The answer; None where it does not come in time.  A late one is skipped when the next question is asked:
        on a busy machine a helper may be late, and starting another would take longer."""
        assert self.process.stdin is not None
        self.wait(PATIENCE)
        if self.answered < self.asked and time.monotonic() - self.since > STUCK:
            raise OSError("the algebra process does not answer")
        self.asked += 1
        self.since = time.monotonic()
        self.process.stdin.write(json.dumps([self.asked, to_wire(gold), to_wire(pred)]).encode() + b"\n")
        self.process.stdin.flush()
        while self.readable(self.since + DEADLINE + GRACE - time.monotonic()):
            number, _, answer = self.line(GRACE).partition(b" ")
            self.answered = int(number)
            if self.answered == self.asked:
                return _ANSWERS.get(answer)
        return None

    def line(self, seconds: float) -> bytes:
        """One line from the process."""
        assert self.process.stdout is not None
        handle = self.process.stdout.fileno()
        end = time.monotonic() + seconds
        read = b""
        while not read.endswith(b"\n"):
            piece = os.read(handle, 64) if self.readable(end - time.monotonic()) else b""
            if not piece:
                raise OSError("the algebra process ended or did not answer")
            read += piece
        return read.strip()

    def readable(self, seconds: float) -> bool:
        """Whether something comes within that time.  (`poll`, because `select` fails beyond 1024 open files.)"""
        assert self.process.stdout is not None
        poll = select.poll()
        poll.register(self.process.stdout, select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))

    def kill(self) -> None:
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
