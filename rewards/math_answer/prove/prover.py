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
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from rewards.math_answer.nodes import Node

if TYPE_CHECKING:
    from rewards.math_answer.prove.helper import Helper

_lock = threading.Lock()
_helper: Helper | None = None


def prove(gold: Node, pred: Node) -> bool | None:
    """Whether two trees are equal, by computer algebra; None where it finds no answer in time."""
    return _with_helper(lambda helper: helper.ask(gold, pred))


def warm() -> None:
    """Start the helper now, so that the first question does not wait for it."""
    from rewards.math_answer.processes import START

    _with_helper(lambda helper: helper.wait(START))


def _with_helper(use: Callable[[Helper], bool | None]) -> bool | None:
    from rewards.math_answer.prove.helper import Helper, Starting  # subprocess and json: most pairs never come here

    global _helper
    with _lock:
        if _helper is not None and _helper.owner != os.getpid():
            _helper = None  # inherited by a fork: it belongs to the parent
        if _helper is not None and not _helper.alive():
            close()
        try:
            if _helper is None:
                _helper = Helper()
            return use(_helper)
        except Starting:
            return None  # the machine is busy; the helper will be there for a later question
        except OSError:
            close()
            return None


def is_warm() -> bool:
    return _helper is not None and _helper.ready and _helper.alive()


def close() -> None:
    """End the helper.  The next question starts another."""
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
