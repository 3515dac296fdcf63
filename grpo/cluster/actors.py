"""Actors as seen from the driver: asked, waited for, and found out when they are gone or frozen.

Ray says within seconds that a process has died.  Of one that merely stands still (a stopped process, a machine without
a network) it says nothing, and whoever waits for it waits for ever.  So every actor has a method that only answers,
in a thread of its own; while anything is waited for, all concerned are asked again and again, and who does not answer
within a bound is killed, after which what was asked of it fails like that of any dead one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from grpo.errors import GrpoError

BEAT = 1.0  # seconds between looks at who still answers
START = 600.0  # seconds that a process may take until it first answers: it imports, perhaps from a slow disk
NOTICE = 5.0  # seconds that Ray may take to see that a process has ended


class Whereabouts(NamedTuple):
    """Of an actor's process."""

    node: str  # Ray's id
    address: str  # of the machine
    pid: int


def whereabouts() -> Whereabouts:
    """Of the process that asks."""
    return Whereabouts(ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address(), os.getpid())


class Actor:
    """A handle of an actor whose class has `pulse`, with the name that a user reads.

    `timeout`: seconds without an answer after which it counts as frozen.
    """

    def __init__(self, name: str, handle: Any, timeout: float) -> None:
        self.name, self.handle, self.timeout = name, handle, timeout
        self.place: Whereabouts | None = None  # known once it has told
        self.frozen = False
        self._pulse: Any = None
        self._asked = 0.0

    def beat(self) -> None:
        """Look whether it still answers; one that has not for too long is killed."""
        now = time.monotonic()
        if self._pulse is None:
            self._pulse, self._asked = self.handle.pulse.remote(), now
        elif ray.wait([self._pulse], timeout=0)[0]:
            with contextlib.suppress(RayError):  # dead: what was asked of it says so
                self.place = ray.get(self._pulse)
            self._pulse = None
        elif now - self._asked > (START if self.place is None else self.timeout):
            self.frozen = True
            self.kill()

    def kill(self) -> None:
        """For good, whatever state its process is in: Ray only asks a process to end, and one that stands still does
        not."""
        ray.kill(self.handle, no_restart=True)
        if self.place is not None:
            node = NodeAffinitySchedulingStrategy(self.place.node, soft=False)
            _end.options(scheduling_strategy=node, num_cpus=0).remote(self.place.pid)

    def fate(self) -> str:
        """What became of it, for a sentence."""
        return f"gave no sign of life for {self.timeout:g} seconds" if self.frozen else "died"


@ray.remote
def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def first_ready(refs: Sequence[Any], actors: Iterable[Actor], *, wait: float | None = None) -> list[Any]:
    """Those of `refs` that are done, as soon as any is; after `wait` seconds perhaps none.  `actors` are who works."""
    actors, until = list(actors), None if wait is None else time.monotonic() + wait
    while True:
        left = BEAT if until is None else min(BEAT, max(0.0, until - time.monotonic()))
        ready, _ = ray.wait(list(refs), num_returns=1, timeout=left)
        if ready:
            # ray.wait gives one; the others that are done cost no waiting.
            done, _ = ray.wait(list(refs), num_returns=len(refs), timeout=0)
            return list(done)
        for actor in actors:
            actor.beat()
        if until is not None and time.monotonic() >= until:
            return []


def results(refs: Sequence[Any], actors: Sequence[Actor]) -> list[Any]:
    """What each of `refs` gives, one per actor.

    Raises what the first failure was: a `GrpoError` as itself, `RayActorError` where a process is gone.
    """
    waiting = list(refs)
    while waiting:
        for ref in first_ready(waiting, actors):
            result(ref)
            waiting.remove(ref)
    return [ray.get(ref) for ref in refs]


def result(ref: Any) -> Any:
    """Of a ref that is done.  An actor's `GrpoError` comes through as itself: it has the sentence."""
    try:
        return ray.get(ref, timeout=BEAT)
    except RayTaskError as error:
        if isinstance(error.cause, GrpoError):
            raise error.cause from None
        raise


def is_gone(actor: Actor) -> bool:
    """Whether its process has ended.  Of two that talk to each other, the one that lives may be the first to complain
    of the connection, so Ray gets some time to notice."""
    if actor.frozen:
        return True
    try:
        ray.get(actor.handle.pulse.remote(), timeout=NOTICE)
    except RayActorError:
        return True
    except GetTimeoutError:
        return False
    return False
