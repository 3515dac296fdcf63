"""One keeper from its client's side: start it with an empty environment, hand it jobs, hear how they ended.

Nothing here waits for ever: a keeper that is silent for longer than its job may take is killed, and the job with it.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import select
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import tally
from .confine import Allowance
from .keeper import Orders
from .types import SandboxError

START = 30.0  # seconds; a tenth on an idle machine
CLOSE = 5.0  # seconds for a keeper to end by itself, and again when it is killed
# The packages' own __init__ stay out, and with them all that a client needs and a job does not.
_BOOT = """
import sys, types
for name, place in (("rewards", {outer!r}), ("rewards.sandbox", {inner!r})):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [place]
from rewards.sandbox import keeper
keeper.raise_stack_limit()
keeper.main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
"""
_HERE = Path(__file__).resolve().parent
_ENVIRONMENT = {"PYTHONHASHSEED": "0", "LANG": "C.UTF-8"}


class Lost(SandboxError):
    """The keeper is gone, and was before it took the job."""


class Died(SandboxError):
    """The keeper died with a job in it."""


class Refused(SandboxError):
    """The keeper cannot do on this machine what it was ordered to."""


class Client:
    """`python`: the interpreter that the jobs run in."""

    def __init__(self, orders: Orders, python: str) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        file = memory_file(bytes(tally.SIZE))
        self._tally = mmap.mmap(file, tally.SIZE)
        self.jobs = 0
        boot = _BOOT.format(outer=str(_HERE.parent), inner=str(_HERE))
        # Above the standard streams, where this process may have nothing open.
        handed = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 3) for one in (theirs.fileno(), file)]
        command = [python, "-B", "-P", "-s", "-S", "-c", boot, *map(str, handed), json.dumps(asdict(orders))]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL if sys.__stderr__ is None else None,  # None: closed when Python started
                cwd="/",
                env=_ENVIRONMENT,
                pass_fds=handed,
                start_new_session=True,  # a Ctrl-C is for the client, which then closes the socket
            )
        finally:
            theirs.close()
            for descriptor in (file, *handed):
                os.close(descriptor)
        try:
            self._receive(START)
        except SandboxError:
            self.close()
            raise

    def start(self, allowance: Allowance, descriptors: list[int]) -> None:
        self.jobs += 1
        self._send(json.dumps(asdict(allowance)).encode(), descriptors)

    def lap(self) -> None:
        """A call begins, or its reply has come."""
        tally.COUNT.pack_into(self._tally, tally.LAPS, tally.COUNT.unpack_from(self._tally, tally.LAPS)[0] + 1)

    def taken(self) -> int:
        """How many jobs the keeper has taken."""
        return int(tally.COUNT.unpack_from(self._tally, tally.TAKEN)[0])

    def stop(self) -> None:
        """End the job now."""
        with suppress(OSError):  # a queue that is full, or a keeper that is gone: `wait` will tell
            self._socket.send(b"x", socket.MSG_DONTWAIT)

    def wait(self, seconds: float) -> dict[str, Any]:
        """How the job ended.  `Lost` if the keeper is gone and never had it, `Died` if it is gone and had."""
        try:
            return self._receive(seconds)
        except Lost as error:
            raise self.give_up(str(error)) from None

    def give_up(self, why: str) -> Lost | Died:
        """End the keeper without its help, and with it its job.  `Lost` if it never had that, and `Died` if it had."""
        self._process.kill()
        return Lost(why) if self.taken() < self.jobs else Died(why)

    def hang_up(self) -> None:
        """Ask the keeper to end; also wakes a thread that waits for its job."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the keeper, and with it its job."""
        self.hang_up()
        for _ in range(2):
            try:
                self._process.wait(CLOSE)
                break
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._socket.close()

    def _send(self, message: bytes, descriptors: list[int]) -> None:
        try:
            socket.send_fds(self._socket, [message], descriptors)
        except OSError as error:
            raise Lost(f"sandbox: its keeper is gone ({error})") from None

    def _receive(self, timeout: float) -> dict[str, Any]:
        waiting = select.poll()
        try:
            waiting.register(self._socket, select.POLLIN)
        except ValueError:
            raise Lost("sandbox: its keeper was closed") from None
        if not waiting.poll(timeout * 1000):
            raise Lost(f"sandbox: its keeper said nothing for {timeout:.0f} s")
        try:
            message = self._socket.recv(1 << 16)
        except OSError:
            message = b""
        if not message:
            raise Lost("sandbox: its keeper died")
        reply: dict[str, Any] = json.loads(message)
        if "refused" in reply:
            raise Refused(reply["refused"])
        return reply


def memory_file(data: bytes = b"") -> int:
    """A descriptor of a file that is nowhere, with `data` in it and its position at the start."""
    descriptor = os.memfd_create("job", os.MFD_CLOEXEC)
    try:
        written = 0
        while written < len(data):
            written += os.pwrite(descriptor, data[written:], written)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def interpreter() -> str:
    """The base interpreter: a virtual environment's adds nothing but packages, which jobs do not see."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))
