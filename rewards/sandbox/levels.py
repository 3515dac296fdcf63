"""What this machine grants, found by trying it, and the strongest confinement that comes of it.

    L0   Landlock + seccomp + limits                    any process, on a kernel from 5.13 with Landlock on
    L1   L0 + a user of its own for each keeper         root that may change user, as in a Docker container
    L2   namespaces + an empty root + seccomp + limits  root on the host, or where users may make namespaces;
         with L1's user and L0's Landlock where they are granted too

A level is used if a keeper starts in it, works, and passes the self-test.  One that starts and leaks is no reason to
try the next: the machine does not do what it says, and that is refused.
"""

from __future__ import annotations

import os
import platform
import pwd
import resource
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from . import landlock, selftest, syscalls
from .client import Client, Lost, Refused, interpreter
from .keeper import Orders
from .types import SandboxUnavailable

LEAST_FILES = 64  # open at a time; a keeper holds about 10, and numbers up to 40
_HOW = """\
A container needs no privilege for L0: Landlock (kernel 5.13 or newer, in the list at /sys/kernel/security/lsm) and \
seccomp filters, which Docker's and Kubernetes' default profiles allow.  For L1 run as root with CAP_SETUID and \
CAP_SETGID, Docker's default.  For L2 run as root with CAP_SYS_ADMIN, or with user namespaces allowed \
(`docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined`; on Ubuntu \
`sysctl kernel.apparmor_restrict_unprivileged_userns=0`)."""


@dataclass(frozen=True, slots=True)
class Forced:
    """For tests: no other level than this, no newer Landlock, another interpreter."""

    level: str | None = None
    abi: int | None = None
    python: str | None = None


@dataclass(frozen=True, slots=True)
class Grants:
    """What was found.  `refused`: the levels above that the machine does not grant, and why."""

    level: str
    abi: int  # Landlock's; 0: none
    own_user: bool
    orders: Orders
    python: str
    refused: tuple[tuple[str, str], ...]

    def lines(self) -> list[str]:
        """For a person, and for the header of a run."""
        landlock_ = f"Landlock ABI {self.abi}" if self.abi else "no Landlock"
        layers = [landlock_, "seccomp", "limits", *(["a user of its own"] if self.own_user else [])]
        layers += ["namespaces and an empty root"] if self.orders.namespaces else []
        machine = f"{platform.machine()}, Linux {platform.release()}, {self.python}"
        return [f"{self.level}: {', '.join(layers)}", machine, *(f"not {level}: {why}" for level, why in self.refused)]


def find(packages: Sequence[str], forced: Forced) -> tuple[Grants, Client]:
    """The strongest level, and a first keeper in it; raises `SandboxUnavailable` where there is none."""
    if platform.machine() not in syscalls.MACHINES or sys.platform != "linux":
        raise SandboxUnavailable(
            f"sandbox: no table of system calls for {sys.platform} on {platform.machine()}; "
            f"it runs on Linux on {' and '.join(syscalls.MACHINES)}"
        )
    if lacking := _lacking_everywhere():
        raise SandboxUnavailable(f"sandbox: {lacking}")
    abi = min(landlock.abi(), landlock.NEWEST if forced.abi is None else forced.abi)
    refused: list[tuple[str, str]] = []
    python = forced.python or interpreter()
    for level in ("L2", "L1", "L0") if forced.level is None else (forced.level,):
        orders = _orders(level, abi, packages)
        lacking = _lacking(level, abi)
        if lacking:
            refused.append((level, lacking))
            continue
        try:
            client = start(orders, python)
        except (Refused, Lost, OSError) as error:
            refused.append((level, str(error)))
            continue
        return Grants(level, abi, orders.user is not None, orders, python, tuple(refused)), client
    found = "; ".join(f"{level} not: {why}" for level, why in refused)
    raise SandboxUnavailable(f"sandbox: this machine cannot hold untrusted code ({found}).  {_HOW}")


def start(orders: Orders, python: str) -> Client:
    """A keeper that has passed the self-test."""
    client = Client(orders if orders.user is None else replace(orders, user=_nobody()), python)
    try:
        leaks = selftest.leaks(client)
    except BaseException:
        client.close()
        raise
    if leaks:
        client.close()
        raise SandboxUnavailable(
            f"sandbox: the self-test got out of confinement that this kernel claims to enforce: {', '.join(leaks)}; "
            f"no program is run on this machine.  Please report it with the kernel's version ({platform.release()})"
        )
    return client


def _orders(level: str, abi: int, packages: Sequence[str]) -> Orders:
    user = _nobody() if level != "L0" and os.geteuid() == 0 else None
    return Orders(level == "L2", user, abi, tuple(packages), tuple(sys.path) if packages else ())


def _lacking_everywhere() -> str:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files < LEAST_FILES:
        return f"{files} files may be open at a time, and it needs {LEAST_FILES}; raise the limit with `ulimit -n 1024`"
    if not os.path.exists("/proc/self/stat"):
        return "/proc is not mounted, and it tells what jobs do; mount it with `mount -t proc proc /proc`"
    return ""


def _lacking(level: str, abi: int) -> str:
    """What is known to be missing before it is tried."""
    if abi == 0 and level != "L2":
        return "Landlock is absent, off, or hidden by the container's own filter"
    if level == "L1" and os.geteuid() != 0:
        return "only root may give jobs a user of their own"
    return ""


def _nobody() -> int:
    """A user number that owns nothing, drawn anew for each keeper so that two never share one."""
    with open("/proc/self/uid_map") as file:
        ranges = [(int(first), int(count)) for first, _, count in (line.split() for line in file)]
    first, count = max(ranges, key=lambda one: one[1])
    low, high = max(first, 1000), min(first + count, 0x7FFFFFFF)  # systemd and NFS keep the numbers above
    while True:
        number = low + secrets.randbelow(high - low) if high > low else first
        try:
            pwd.getpwuid(number)
        except KeyError:
            return number
