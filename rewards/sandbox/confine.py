"""Everything a job gives up, in the order in which it must: prepared once by the keeper, put on in each child.

limits     address space, CPU, file size, descriptors, threads: hard and soft alike
user       a number that owns nothing (where the keeper may change user), no groups, no capabilities
Landlock   the standard library and shared libraries to read; nothing to write but /dev/null
seccomp    the calls in `syscalls`, last, because it refuses what the steps above need
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass

from . import kernel, landlock
from .seccomp import Filter
from .trees import DEVICES, Trees

STACK = 512 << 20  # bytes, for the main thread, so that deep recursion is no crash
OPEN_FILES = 64
NICE = 10
CLOSE_RANGE = 436  # the call's number on every machine


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one job may use, as the keeper is told it."""

    kind: str  # "program", "calls", "check": see `program`
    cpu: float  # seconds, for each call where there are calls
    wall: float  # seconds, likewise
    total_cpu: float  # seconds
    memory: int  # bytes of address space
    files: int  # bytes of stdout and of stderr
    value: int  # bytes of a reply
    threads: int


class Confinement:
    """`user`: the number that jobs run under, or None to keep the keeper's.  `abi`: 0 for no Landlock.

    `others`: how many processes the kernel counts with a job's threads against its limit; None where it counts all of
    the user's, so that it cannot be used.
    """

    def __init__(self, user: int | None, abi: int, trees: Trees, others: int | None) -> None:
        self._user, self._others = user, others
        _limit(_SAME_FOR_ALL)  # the keeper's own, which jobs inherit
        os.nice(NICE)  # likewise; a change in each job would cost a look at the scheduler's queue
        self._rules = landlock.ruleset(abi, trees.readable, DEVICES, trees.listable) if abi else None
        self._filter = Filter(kernel.ARCH)

    def enter(self, allowance: Allowance, parent: int, keep_below: int) -> None:
        """Confine this process for good; descriptors from `keep_below` on are closed."""
        _limit(_of_this_job(allowance))
        if self._others is not None:
            _limit({resource.RLIMIT_NPROC: allowance.threads + self._others})
        if self._user is not None:
            os.setgroups([])
            os.setresgid(self._user, self._user, self._user)
            os.setresuid(self._user, self._user, self._user)
        kernel.drop_capabilities()  # a change of user does so too, unless the container's securebits say otherwise
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)  # /proc/self and ptrace belong to root then
        kernel.die_with_parent(parent)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        if self._rules is not None:
            landlock.restrict(self._rules)
        kernel.call("close_range", CLOSE_RANGE, keep_below, 0xFFFFFFFF, 0)
        self._filter.install(os.getpid())


_SAME_FOR_ALL = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_MEMLOCK: 0,
    resource.RLIMIT_MSGQUEUE: 0,
    resource.RLIMIT_RTPRIO: 0,
    resource.RLIMIT_NICE: 0,
    resource.RLIMIT_STACK: STACK,
}


def _of_this_job(allowance: Allowance) -> dict[int, int]:
    return {
        resource.RLIMIT_CPU: int(allowance.total_cpu) + 2,  # a back-stop: the keeper's clock comes first
        resource.RLIMIT_FSIZE: allowance.files + 1,  # one more, so that reaching it can be told from filling it
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_AS: allowance.memory,
    }


def _limit(limits: dict[int, int]) -> None:
    """Hard and soft alike; never above what this process was given."""
    for limit, value in limits.items():
        hard = resource.getrlimit(limit)[1]
        lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (lower, lower))
