"""One worker process from the parent's side: start it, ask it with a timeout, kill it.

Workers are started as fresh interpreters, never forked (torch and vLLM have threads by then) and never through
`multiprocessing`, which would run the user's main script again.  Each leads a session of its own, so that Ctrl-C does
not reach it and a kill takes along what its rewards started.

Covered: a reward that hangs (also inside C code), exits, crashes, prints, forks, returns or raises anything.
Not covered: a reward that attacks, such as one that leaves the session or writes to our socket on purpose.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from typing import TYPE_CHECKING, Any

from grpo.errors import RewardError
from rewards import Declaration, Score

if TYPE_CHECKING:
    from grpo.config import Reward

LOAD_TIMEOUT = 60.0  # seconds, for the import of one reward and of what it needs
LARGEST_REPLY = 1 << 20  # bytes; texts are clipped by the worker, so more than this is not a reply
BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); socket = int(sys.argv[2]); sys.argv[1:] = []; "
    "from grpo.scoring.worker import main; main(socket)"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A reward raised, or broke its contract: `what` it did, after its name, and what to do instead."""

    what: str
    advice: str
    traceback: str


class RewardProcess:
    """A worker that has loaded `specs`; asked by one thread at a time, killed from any.

    `declarations` are what the rewards declare, in the order of `specs`: the worker reports them once they are loaded.
    """

    declarations: tuple[Declaration, ...]

    def __init__(self, specs: Sequence[Reward], *, chat: bool) -> None:
        self._specs = specs
        self._connection, theirs = Pipe()
        self._ending = threading.Lock()
        self._ended = False
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", BOOT, json.dumps(sys.path), str(theirs.fileno())],
                stdin=subprocess.PIPE,  # never written: the worker's lifeline
                stdout=2,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                # The workers together use the cores; a NumPy that starts a thread for each would fight the others.
                env={"OMP_NUM_THREADS": "1", **os.environ},
            )
        with suppress(ConnectionError):  # dead already: `wait_until_loaded` says so
            self._connection.send_bytes(pickle.dumps(([(spec.use, spec.options) for spec in specs], chat)))

    def wait_until_loaded(self) -> None:
        """Returns when every reward is loaded, and raises `RewardError` for the one that cannot be."""
        loading = "rewards"
        while True:
            try:
                reply = self._receive(LOAD_TIMEOUT)
            except (EOFError, OSError, ValueError):
                self.kill()
                raise RewardError(
                    f"{loading}: its process died while it was imported ({self._end()})", exit_code=2
                ) from None
            if reply is None:
                self.kill()
                advice = "move slow work out of the module's top level"
                raise RewardError(f"{loading}: still importing after {LOAD_TIMEOUT:g} s; {advice}", exit_code=2)
            if "refused" in reply:
                self.kill()
                raise RewardError(reply["refused"], exit_code=2)
            if "ready" in reply:
                self.declarations = tuple(
                    Declaration(tuple(d["needs"]), d["timeout"], d["rejected_golds"]) for d in reply["ready"]
                )
                return
            loading = reply["loading"]

    def call(self, index: int, completion: str, problem: Mapping[str, Any]) -> Score | Fault:
        """What reward `index` says, within its timeout; without an answer the process is dead and the score 0."""
        timeout = self._specs[index].timeout or self.declarations[index].timeout
        request = pickle.dumps((index, completion, problem))
        try:
            self._connection.send_bytes(request)
            reply = self._receive(timeout)
            if reply is None:
                self.kill()
                return Score(0.0, why=f"no answer within {timeout:g} s", failure="timeout")
            if "score" in reply:
                value, answer, why, parsed = reply["score"]
                return Score(value, answer, why, parsed)
            return Fault(reply["fault"], reply["advice"], reply["traceback"])
        except (EOFError, OSError, ValueError, KeyError, TypeError):  # closed, or not one of our replies
            self.kill()
            return Score(0.0, why=f"the reward's process died ({self._end()})", failure="crash")

    def is_alive(self) -> bool:
        """Whether it can be asked.  Between calls it has nothing to say, so something to read is its end."""
        return not self._ended and not self._connection.poll(0)

    def kill(self) -> None:
        """End the process and what it started, now.  Safe to call twice, and while another thread waits in `call`."""
        with self._ending:
            if self._ended:
                return
            self._ended = True
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)  # before it is reaped, while the number is still its own
            self._process.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()

    def _receive(self, timeout: float) -> dict[str, Any] | None:
        # The second look is for a parent that was itself stopped (Ctrl-Z, a laptop's lid): the answer may be there.
        if not (self._connection.poll(timeout) or self._connection.poll(0)):
            return None
        reply = json.loads(self._connection.recv_bytes(LARGEST_REPLY))
        if not isinstance(reply, dict):
            raise ValueError("not a reply")
        return reply

    def _end(self) -> str:
        code = self._process.returncode
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
