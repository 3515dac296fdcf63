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
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import psutil
import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from grpo.errors import ClusterError, GrpoError

BEAT = 1.0  # seconds between looks at who still answers
START = 180.0  # seconds that a process may take until it first answers: it imports, perhaps from a slow disk
NOTICE = 5.0  # seconds that Ray may take to see that a process has ended


class Whereabouts(NamedTuple):
    """Of an actor's process."""

    node: str  # Ray's id
    address: str  # of the machine
    pid: int
    born: float  # when the process began, which tells it from a later one of that number


def whereabouts() -> Whereabouts:
    """Of the process that asks."""
    node, address = ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address()
    return Whereabouts(node, address, os.getpid(), psutil.Process().create_time())


class Actor:
    """A handle of an actor whose class has `pulse`, with the name that a user reads.

    `timeout`: seconds without an answer after which it counts as frozen.
    """

    def __init__(self, name: str, handle: Any, timeout: float) -> None:
        self.name, self.handle, self.timeout = name, handle, timeout
        self.place: Whereabouts | None = None  # known once it has told
        self.silent = 0.0  # seconds after which it was given up; 0: it was not
        self._pulse: Any = None
        self._asked = 0.0
        self._looking = threading.Lock()

    def beat(self) -> None:
        """Look whether it still answers; one that has not for too long is killed.  One thread's look is enough."""
        if self._looking.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._looking.release()

    def _look(self) -> None:
        now, patience = time.monotonic(), START if self.place is None else self.timeout
        if self._pulse is None:
            self._pulse, self._asked = self.handle.pulse.remote(), now
        elif ray.wait([self._pulse], timeout=0)[0]:
            with contextlib.suppress(RayError):  # dead: what was asked of it says so
                self.place = ray.get(self._pulse)
            self._pulse = None
        elif now - self._asked > patience:
            self.silent = patience
            self.kill()

    def kill(self) -> None:
        """For good, whatever state its process is in: Ray only asks a process to end, and one that stands still does
        not."""
        ray.kill(self.handle, no_restart=True)
        if self.place is not None:
            node = NodeAffinitySchedulingStrategy(self.place.node, soft=False)
            _end.options(scheduling_strategy=node, num_cpus=0).remote(self.place.pid, self.place.born)

    def fate(self) -> str:
        """What became of it, for a sentence."""
        return f"gave no sign of life for {self.silent:g} seconds" if self.silent else "died"


@ray.remote
def _end(pid: int, born: float) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if process.create_time() == born:
            process.send_signal(signal.SIGKILL)


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


def results(refs: Sequence[Any], actors: Sequence[Actor], *, within: float | None = None) -> list[Any]:
    """What each of `refs` gives, one per actor.

    Raises what the first failure was: a `GrpoError` as itself, `RayActorError` where a process is gone; and
    `ClusterError` after `within` seconds.
    """
    waiting, until = list(refs), time.monotonic() + (within or float("inf"))
    while waiting:
        for ref in first_ready(waiting, actors, wait=BEAT):
            result(ref)
            waiting.remove(ref)
        if time.monotonic() > until:
            names = ", ".join(actor.name for ref, actor in zip(refs, actors, strict=False) if ref in waiting)
            raise ClusterError(f"{names}: not done after {within:g} seconds; see Ray's logs of its worker")
    return [ray.get(ref) for ref in refs]


def result(ref: Any) -> Any:
    """Of a ref that is done.  An actor's `GrpoError` comes through as itself: it has the sentence; and so does what the
    system refuses, such as room on a disk."""
    try:
        return ray.get(ref, timeout=NOTICE)
    except RayTaskError as error:
        if isinstance(error.cause, GrpoError | OSError):
            raise error.cause from None
        raise
    except RayActorError:
        raise
    except RayError as error:
        raise ClusterError(
            f"cluster: {type(error).__name__}, {' '.join(str(error).split())[:200]}; see `ray status`, and go on with "
            "--resume"
        ) from error


def is_gone(actor: Actor) -> bool:
    """Whether its process has ended.  Of two that talk to each other, the one that lives may be the first to complain
    of the connection, so Ray gets some time to notice."""
    if actor.silent:
        return True
    try:
        ray.get(actor.handle.pulse.remote(), timeout=NOTICE)
    except RayActorError:
        return True
    except GetTimeoutError:
        return False
    return False
