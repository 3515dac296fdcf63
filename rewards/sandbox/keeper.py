"""The keeper: a process of its own, started clean with the standard library loaded, that forks one job at a time.

It is the parent of every job and the only one that can end it: it watches the job's CPU clock, the wall clock and its
threads from outside and kills through a pidfd, so no handler, swallowed exception or loop in C matters.  A job cannot
fork, so the kill is complete.  The keeper reads limits and hands on descriptors; it never reads a program, an input or
an output, and so its memory, which the next job inherits, holds nothing of the last.

    client ──▶ allowance + stdin, stdout, stderr, payload [, channel]        one message
           ──▶ "x" stop it                                                   one message, at most
           ◀── how it ended                                                  one message
           ◀─▶ calls and replies, jobs taken                                 counts in a file; see `tally`

It ends with its client: the socket's end is seen at once, also while a job runs.  If it is killed itself, the kernel
kills the job.
"""

from __future__ import annotations

import _sitebuiltins
import builtins
import fcntl
import gc
import importlib
import json
import os
import re
import resource
import select
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any, NoReturn

from . import landlock, namespaces, program, streams, tally
from .clocks import Clocks
from .confine import STACK, Allowance, Confinement
from .proc import Proc
from .trees import trees

THREAD_STACK = 16 << 20  # bytes of address space
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
PRELUDE = """
    abc array ast bisect calendar cmath collections contextlib copy ctypes dataclasses datetime decimal enum fractions
    functools hashlib heapq io itertools json math numbers operator queue random re statistics string struct textwrap
    threading time traceback types typing unicodedata unittest
"""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a keeper is started with."""

    namespaces: bool
    user: int | None
    abi: int
    packages: tuple[str, ...]
    package_path: tuple[str, ...]  # where they come from


def main(connection: int, file: int, orders: str) -> None:
    """Prepare, say so or why not, then serve until the client is gone.  `file`: the tally."""
    high = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, landlock.HIGH) for one in (connection, file)]
    os.close(connection)
    os.close(file)
    control = socket.socket(fileno=high[0])
    try:
        proc = Proc()
        confinement = _prepare(Orders(**json.loads(orders)), control)
    except (OSError, ImportError) as error:
        control.send(json.dumps({"refused": str(error)}).encode())
        return
    control.send(b"{}")
    try:
        _serve(control, high[1], confinement, proc)
    except ConnectionError:
        return


def _prepare(orders: Orders, control: socket.socket) -> Confinement:
    if orders.packages:
        sys.path += orders.package_path
    threading.stack_size(THREAD_STACK)  # by default it would be that of the main thread, which is large
    os.environ |= ONE_THREAD  # the keeper must have one thread only when it forks
    for name in (*PRELUDE.split(), *orders.packages):
        importlib.import_module(name)
    for name in ("exit", "quit"):  # programs end with them, and only `site`, which is not loaded, makes them
        setattr(builtins, name, _sitebuiltins.Quitter(name, "end of file"))
    for name in ONE_THREAD:
        del os.environ[name]
    places = trees(orders.packages)
    with open("/proc/self/oom_score_adj", "w") as file:  # out of memory, a job is to go, not the trainer
        file.write("1000")
    if orders.namespaces:
        namespaces.enter(places, control)
        streams.open_by_name()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    confinement = Confinement(orders.user, orders.abi, places, _counted_with_a_job(orders))
    sys.path_importer_cache.clear()  # a job looks again, with its own rights
    gc.collect()
    gc.freeze()  # shared with every job, so not to be touched by their collections
    return confinement


def _counted_with_a_job(orders: Orders) -> int | None:
    """The kernel counts threads by user: over the whole machine, or since Linux 5.14 over a user namespace."""
    if orders.user is not None:
        return 0
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    recent = release is not None and (int(release[1]), int(release[2])) >= (5, 14)
    return 2 if orders.namespaces and recent else None  # the keeper's own two processes


def _serve(control: socket.socket, file: int, confinement: Confinement, proc: Proc) -> None:
    parent, jobs = os.getppid(), 0
    waiting = select.poll()
    waiting.register(control, select.POLLIN)
    while True:
        if not waiting.poll(namespaces.ORPHAN_CHECK * 1000):
            if os.getppid() != parent:
                return
            continue
        message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 8)
        if not message:
            return
        if not descriptors:  # word to stop a job that has ended meanwhile
            continue
        allowance = Allowance(**json.loads(message))
        keeper, laps, jobs = os.getpid(), tally.read(file, tally.LAPS), jobs + 1
        tally.write(file, tally.TAKEN, jobs)
        pid = os.fork()
        if pid == 0:
            _be_a_job(allowance, confinement, descriptors, control, keeper)
        for descriptor in descriptors:
            os.close(descriptor)
        job = os.pidfd_open(pid)
        ended = _watch(pid, job, control, Clocks(pid, job, allowance, laps, file, proc))
        os.close(job)
        control.send(json.dumps(ended).encode())


def _be_a_job(
    allowance: Allowance, confinement: Confinement, descriptors: list[int], control: socket.socket, keeper: int
) -> NoReturn:
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        high = [os.dup2(descriptor, 16 + i, False) for i, descriptor in enumerate(descriptors)]  # out of the way
        for place, descriptor in enumerate(high):  # stdin, stdout, stderr, payload, channel: see `program`
            os.dup2(descriptor, place)
        confinement.enter(allowance, keeper, keep_below=len(high))
    except BaseException as error:  # noqa: BLE001  # before any line of the program, so it is ours to answer for
        control.send(json.dumps({"refused": str(error)}).encode())
        os._exit(1)
    program.run(allowance.kind, allowance.value)


def _watch(pid: int, job: int, control: socket.socket, clocks: Clocks) -> dict[str, Any]:
    """Wait for the job's end, or make it."""
    started = time.monotonic()
    waiting = select.poll()
    waiting.register(job, select.POLLIN)
    waiting.register(control, select.POLLIN)  # word to stop it, or the client's end
    killed = ""
    while True:
        events = dict(waiting.poll(max(1, clocks.pause() * 1000)))
        if job in events:
            break
        killed = "stopped" if control.fileno() in events else clocks.look()
        if killed:
            signal.pidfd_send_signal(job, signal.SIGKILL)
            break
    _, status, used = os.wait4(pid, 0)
    if killed and not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
        killed = ""  # it was ending by itself
    wall = time.monotonic() - started
    cpu = used.ru_utime + used.ru_stime
    return {"status": status, "killed": killed, "cpu": cpu, "wall": wall, "rss": used.ru_maxrss * 1024}


def raise_stack_limit() -> None:
    """Leaves room for a deep stack and starts this interpreter again: the kernel lays memory out at exec."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    wanted = STACK if hard == resource.RLIM_INFINITY else min(STACK, hard)
    if soft != wanted:
        resource.setrlimit(resource.RLIMIT_STACK, (wanted, hard))
        os.execv(sys.executable, sys.orig_argv)
