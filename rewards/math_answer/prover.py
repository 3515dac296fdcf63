"""Computer algebra as the last resort, in a process that can be killed.

A helper process imports sympy once and then forks for every question, so that each question has its own memory and
its own end: the fork is killed on its deadline, and the helper is killed if it does not answer.  Nothing is shared and
nothing grows, and there is no pool to deadlock.

    caller ──question──▶ helper ──fork──▶ child: sympy, limits on memory and CPU time
           ◀──answer────        ◀─────── killed after DEADLINE seconds

It works from any thread, from asyncio, and inside daemonic worker processes (it is a plain subprocess).  When its
caller dies, even by SIGKILL, the helper reads the end of its pipe and ends, and its child with it.

Questions are trees in JSON, never text, so there is nothing in them to execute.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

from rewards.math_answer.nodes import Node
from rewards.math_answer.wire import to_wire

DEADLINE = 0.4  # seconds of computation for one question
GRACE = 0.15  # seconds for the helper to report
START = 20.0  # seconds for it to import sympy, once; the deadline counts after that

ROOT = str(Path(__file__).resolve().parents[2])  # where `rewards` is
_lock = threading.Lock()


class _Helper:
    def __init__(self) -> None:
        self.owner = os.getpid()
        environment = os.environ | {"SYMPY_GROUND_TYPES": "python", "MPMATH_NOGMPY": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "rewards.math_answer.algebra"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment | {"PYTHONPATH": os.pathsep.join([ROOT, *filter(None, sys.path)])},
        )
        self.ready = False

    def ask(self, question: bytes) -> bool | None:
        assert self.process.stdin is not None
        if not self.ready:
            self.ready = self.line(START) == b"ready"
            if not self.ready:
                raise OSError("no answer from the algebra process")
        self.process.stdin.write(question + b"\n")
        self.process.stdin.flush()
        return {b"equal": True, b"different": False}.get(self.line(DEADLINE + GRACE))

    def line(self, seconds: float) -> bytes:
        """One line from the helper; an OSError where none comes in time."""
        assert self.process.stdout is not None
        handle = self.process.stdout.fileno()
        end = time.monotonic() + seconds
        read = b""
        while not read.endswith(b"\n"):
            ready, _, _ = select.select([handle], [], [], max(0.0, end - time.monotonic()))
            piece = os.read(handle, 64) if ready else b""
            if not piece:
                raise OSError("the algebra process ended or did not answer")
            read += piece
        return read.strip()

    def kill(self) -> None:
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


_helper: _Helper | None = None


def prove(gold: Node, pred: Node) -> bool | None:
    """Whether two trees are equal, by computer algebra; None where it finds no answer in time."""
    global _helper
    question = json.dumps([to_wire(gold), to_wire(pred)]).encode()
    with _lock:
        if _helper is not None and _helper.owner != os.getpid():
            _helper = None  # inherited by a fork: it belongs to the parent
        try:
            if _helper is not None and _helper.process.poll() is not None:
                close()
            if _helper is None:
                _helper = _Helper()
            return _helper.ask(question)
        except (OSError, ValueError):
            close()
            return None


def warm() -> None:
    """Start the helper now, so that the first question does not wait for it."""
    from rewards.math_answer.nodes import num

    prove(num(0), num(0))


def close() -> None:
    global _helper
    if _helper is not None:
        helper, _helper = _helper, None
        with contextlib.suppress(OSError):
            helper.kill()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # a fork may have copied it locked


os.register_at_fork(after_in_child=_after_fork)
atexit.register(close)
