"""Ctrl-C, SIGTERM and a lost terminal ask a run to stop where it loses nothing; a second Ctrl-C stops it at once."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Self

from grpo.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
    """Within this context the signals are remembered, and `check` raises for them."""

    def __init__(self) -> None:
        self._received: signal.Signals | None = None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = signal.Signals(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def check(self) -> None:
        if self._received is not None:
            raise Interrupted(f"stopped by {self._received.name}", exit_code=128 + self._received)
