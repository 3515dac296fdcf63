"""The keeper: a process of its own, started clean with the standard library loaded, that forks one job at a time.

It is the parent of every job and the only one that can end it: it watches the job's CPU clock and the wall clock from
outside and kills through a pidfd, so no handler, swallowed exception or loop in C matters.  A job cannot fork, so the
kill is complete.  The keeper reads limits and hands on descriptors; it never reads a program, an input or an output,
and so its memory, which the next job inherits, holds nothing of the last.

    client ──▶ allowance + stdin, stdout, stderr, payload [, channel]        one message
           ──▶ "c" a call begins, "r" its reply came, "x" stop it            while a job runs; read when convenient
           ◀── how it ended                                                  one message

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
import resource
import select
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any, NoReturn

from . import landlock, namespaces, program
from .confine import STACK, Allowance, Confinement
from .trees import trees

TICK = 0.05  # seconds between looks at a job's clocks: the most by which a limit is overrun
ORPHAN_CHECK = 1.0  # seconds; for a client that died while a fork of it holds the socket's other end
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


def main(connection: int, orders: str) -> None:
    """Prepare, say so or why not, then serve until the client is gone."""
    control = socket.socket(fileno=fcntl.fcntl(connection, fcntl.F_DUPFD_CLOEXEC, landlock.HIGH))
    os.close(connection)
    try:
        confinement = _prepare(Orders(**json.loads(orders)), control)
    except (OSError, ImportError) as error:
        control.send(json.dumps({"refused": str(error)}).encode())
        return
    control.send(b"{}")
    try:
        _serve(control, confinement)
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    confinement = Confinement(orders.user, orders.abi, places)
    sys.path_importer_cache.clear()  # a job looks again, with its own rights
    gc.collect()
    gc.freeze()  # shared with every job, so not to be touched by their collections
    return confinement


def _serve(control: socket.socket, confinement: Confinement) -> None:
    parent = os.getppid()
    waiting = select.poll()
    waiting.register(control, select.POLLIN)
    while True:
        if not waiting.poll(ORPHAN_CHECK * 1000):
            if os.getppid() != parent:
                return
            continue
        message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 8)
        if not message:
            return
        if not descriptors:  # word about a job that has ended meanwhile
            continue
        allowance = Allowance(**json.loads(message))
        keeper = os.getpid()
        pid = os.fork()
        if pid == 0:
            _be_a_job(allowance, confinement, descriptors, control, keeper)
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(json.dumps(_watch(pid, control, allowance)).encode())


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
    program.run(allowance.kind, allowance.output)


def _watch(pid: int, control: socket.socket, allowance: Allowance) -> dict[str, Any]:
    """Wait for the job's end, or make it."""
    started = time.monotonic()
    job = os.pidfd_open(pid)
    waiting = select.poll()
    waiting.register(job, select.POLLIN)
    waiting.register(control, select.POLLRDHUP)  # not POLLIN: word of calls does not wake us
    clocks = _Clocks(pid, allowance, started)
    killed = ""
    pause = clocks.pause()
    while True:
        events = dict(waiting.poll(max(1, pause * 1000)))
        if job in events:
            break
        if control.fileno() in events:
            killed = "stopped"
        else:
            killed = clocks.look(control)
        if killed:
            signal.pidfd_send_signal(job, signal.SIGKILL)
            break
        pause = clocks.pause()
    _, status, used = os.wait4(pid, 0)
    os.close(job)
    wall = time.monotonic() - started
    cpu = used.ru_utime + used.ru_stime
    return {"status": status, "killed": killed, "cpu": cpu, "wall": wall, "rss": used.ru_maxrss * 1024}


class _Clocks:
    """A job's clocks.  Each call starts them anew; what lies between a reply and the next call costs CPU only."""

    def __init__(self, pid: int, allowance: Allowance, now: float) -> None:
        self._clock = (~pid << 3) | 2  # the CPU clock of a whole process, as clock_getcpuclockid(3) makes it
        self._allowance = allowance
        self._cpu_from, self._wall_from = 0.0, now
        self._idle = False

    def _cpu(self) -> float:
        try:
            return time.clock_gettime(self._clock)
        except OSError:  # it has just ended
            return 0.0

    def pause(self) -> float:
        """Seconds until a limit can be reached, by one thread."""
        left = self._allowance.cpu - (self._cpu() - self._cpu_from)
        return max(0.001, min(TICK, left, self._wall_from + self._allowance.wall - time.monotonic()))

    def look(self, control: socket.socket) -> str:
        """The limit that is passed, if one is."""
        words = _drain(control)
        cpu, now = self._cpu(), time.monotonic()
        if "x" in words:
            return "stopped"
        if words:
            self._cpu_from, self._wall_from = cpu, now
            self._idle = words.endswith("r")
        if cpu - self._cpu_from > self._allowance.cpu:
            return "timeout_cpu"
        if not self._idle and now - self._wall_from > self._allowance.wall:
            return "timeout_wall"
        return ""


def _drain(control: socket.socket) -> str:
    words = ""
    while True:
        try:
            word = control.recv(16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return words
        if not word:
            return words + "x"
        words += word.decode()


def raise_stack_limit() -> None:
    """Leaves room for a deep stack and starts this interpreter again: the kernel lays memory out at exec."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    wanted = STACK if hard == resource.RLIM_INFINITY else min(STACK, hard)
    if soft != wanted:
        resource.setrlimit(resource.RLIMIT_STACK, (wanted, hard))
        os.execv(sys.executable, sys.orig_argv)
