"""Whose turn it is at an engine that several threads use: one pass at a time, or an update of its weights.

Turns are given in the order of asking.  `threading.Lock` does not: a thread that runs pass after pass takes it again
before a waiting one has woken up, and new weights would wait for the last completion.  And an update keeps its turn
over several calls, whichever threads they come from.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from grpo.errors import SamplerError


class Turns:
    """`limit` is how many seconds one update may take.  None, while nobody in another process sends any: no limit."""

    def __init__(self) -> None:
        self.limit: float | None = None
        self.step = 0  # of the weights that come, or came last
        self._updating = False
        self._verbs = threading.Lock()
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()  # the first has the turn

    @contextmanager
    def one(self) -> Iterator[None]:
        """A turn, for what is inside.  Waited for as long as an update that broke off and a whole one may take."""
        patience = None if self.limit is None else 2 * self.limit
        if not self._take(patience):
            raise SamplerError(
                f"sampling waited {patience:g} s for the weights of step {self.step}, of which not all have come; "
                "the learner, or its connection to this sampler, was lost"
            )
        try:
            yield
        finally:
            self._give()

    @contextmanager
    def verb(self) -> Iterator[None]:
        """For what a sender asks: one thing after another, in the turn of the update where one is held."""
        if not self._verbs.acquire(timeout=-1 if self.limit is None else self.limit):
            raise SamplerError("this sampler is still busy with what a sender asked before; start it anew")
        try:
            yield
        finally:
            self._verbs.release()

    @contextmanager
    def one_or_the_updates(self) -> Iterator[None]:
        with nullcontext() if self._updating else self.one():
            yield

    def start_update(self, step: int) -> None:
        """Take a turn until `finish_update`.  After an update that broke off, it is still ours."""
        if not self._updating and not self._take(self.limit):
            raise SamplerError(
                f"the weights of step {step} waited {self.limit:g} s for the batch that is being sampled; "
                "allow more time, or sample fewer tokens at a time"
            )
        self._updating, self.step = True, step

    def finish_update(self) -> None:
        self._updating = False
        self._give()

    def _take(self, timeout: float | None) -> bool:
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            given = self._changed.wait_for(lambda: self._queue[0] is ticket, timeout)
            if not given:
                self._queue.remove(ticket)
                self._changed.notify_all()
            return given

    def _give(self) -> None:
        with self._changed:
            self._queue.popleft()
            self._changed.notify_all()
