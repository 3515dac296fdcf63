"""The worker's side: load the rewards, then score one completion per request, until the parent is gone.

Requests are pickles (a problem's columns may be dates or arrays); replies are JSON, so nothing of the user's is ever
unpickled in the trainer.  They travel on a socket of their own: what a reward prints goes to the trainer's stderr, and
what it reads is empty.

A worker must not outlive the trainer, however that ends, and a reward may be stuck inside C code with the interpreter
locked, where no thread and no signal handler of ours would run.  So the kernel does it: stdin is a pipe that the
parent never writes to, and when its last writer is gone the kernel sends SIGKILL to the worker's process group.
"""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import select
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

from grpo import stacks
from grpo.errors import RewardError
from grpo.scoring.adapters import Judge, Misuse
from grpo.scoring.load import load

LONGEST_NAME = 2000  # characters of an exception in a sentence; the sandbox says at length what a machine lacks
LONGEST_TRACEBACK = 20_000  # characters, of its end


def main(socket: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the trainer's to handle
    _die_with_parent()
    stacks.answer()
    os.set_inheritable(socket, False)  # what a reward starts must not hold the socket open
    try:
        _serve(Connection(socket))
    except (EOFError, ConnectionError):
        os.killpg(0, signal.SIGKILL)  # the parent is gone; what the rewards started goes with us


def _serve(connection: Connection[Any, Any]) -> None:
    specs, chat = pickle.loads(connection.recv_bytes())
    judges = _load(connection, specs, chat)
    me = os.getpid()
    while judges:
        index, completion, problem = pickle.loads(connection.recv_bytes())
        reply = _judge(judges[index], completion, problem)
        if os.getpid() != me:
            os._exit(1)  # a reward forked and its child came back here: two of us would answer
        _send(connection, reply)


def _load(connection: Connection[Any, Any], specs: Sequence[tuple[str, Mapping[str, Any]]], chat: bool) -> list[Judge]:
    judges, declarations = [], []
    for use, options in specs:
        _send(connection, {"loading": use})  # so that the parent can say which one hangs
        try:
            judge, declaration = load(use, options, chat=chat)
        except RewardError as error:
            _send(connection, {"refused": str(error)})
            return []
        judges.append(judge)
        declarations.append(asdict(declaration))
    _send(connection, {"ready": declarations})
    return judges


def _judge(judge: Judge, completion: str, problem: Mapping[str, Any]) -> dict[str, Any]:
    """The border to the user's code: whatever it raises, SystemExit included, is reported and the worker goes on."""
    try:
        score = judge(completion, problem)
    except Misuse as error:
        return {"fault": error.what, "advice": error.advice, "traceback": ""}
    except BaseException as error:  # noqa: BLE001
        return {
            "fault": f"raised {_named(error)}",
            "advice": "",
            "traceback": traceback.format_exc()[-LONGEST_TRACEBACK:],
        }
    return {"score": [score.value, score.answer, score.why, score.parsed]}  # and no failure: that is not its to say


def _named(error: BaseException) -> str:
    try:
        return " ".join(repr(error)[:LONGEST_NAME].split())
    except Exception:  # noqa: BLE001  # still the user's code
        return type(error).__name__


def _send(connection: Connection[Any, Any], reply: Mapping[str, Any]) -> None:
    connection.send_bytes(json.dumps(reply).encode())


def _die_with_parent() -> None:
    lifeline = os.dup(sys.stdin.fileno())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)
    if sys.platform == "linux":  # elsewhere a worker that hangs while its parent dies stays until it comes back
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())  # negative: the whole process group
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([lifeline], [], [], 0)[0]:  # gone already, before the kernel was asked
            os.killpg(0, signal.SIGKILL)
