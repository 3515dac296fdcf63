"""Ctrl-C, SIGTERM and a lost terminal ask a run to stop where it loses nothing; a second Ctrl-C stops it at once.

SIGUSR1 is what a scheduler sends some time before a job's end (Slurm's --signal): it stops a run likewise, and the exit
code asks for it to be run again.  So does a deadline, which needs no signal.
"""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Self

from grpo.deadline import Deadline
from grpo.errors import EXIT_AGAIN, Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def exit_code_for(received: signal.Signals) -> int:
    """Of what the signal stopped."""
    return EXIT_AGAIN if received == signal.SIGUSR1 else 128 + received


class Hearing:
    """Within this context the signals go to `_receive`.  A SIGHUP that is ignored already, as under nohup, stays so."""

    def __enter__(self) -> Self:
        heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._receive) for number in heard}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        raise NotImplementedError


class StopRequest(Hearing):
    """Within this context the signals are remembered, and `check` raises for them, or for a deadline."""

    def __init__(self, deadline: Deadline | None = None) -> None:
        self.deadline = deadline or Deadline()
        self.received: signal.Signals | None = None  # the first: a scheduler's warning, and not the end that follows

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def check(self, *ahead: str) -> None:
        """Raises `Interrupted` where the run is to stop, or has no time for what is `ahead`: see `Deadline`."""
        if self.received is not None:
            raise Interrupted(f"stopped by {self.received.name}", exit_code=exit_code_for(self.received))
        self.deadline.check(*ahead)
