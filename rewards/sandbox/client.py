"""One keeper from its client's side: start it with an empty environment, hand it jobs, hear how they ended."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .confine import Allowance
from .keeper import Orders
from .types import SandboxError

START = 30.0  # seconds; a tenth on an idle machine
# The packages' own __init__ stay out, and with them all that a client needs and a job does not.
_BOOT = """
import sys, types
for name, place in (("rewards", {outer!r}), ("rewards.sandbox", {inner!r})):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [place]
from rewards.sandbox import keeper
keeper.raise_stack_limit()
keeper.main(int(sys.argv[1]), sys.argv[2])
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
        self.jobs = 0
        boot = _BOOT.format(outer=str(_HERE.parent), inner=str(_HERE))
        command = [python, "-B", "-P", "-s", "-S", "-c", boot, str(theirs.fileno()), json.dumps(asdict(orders))]
        with theirs:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                env=_ENVIRONMENT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a Ctrl-C is for the client, which then closes the socket
            )
        try:
            self._receive(START)
        except SandboxError:
            self.close()
            raise

    def start(self, allowance: Allowance, descriptors: list[int]) -> None:
        self.jobs += 1
        self._send(json.dumps(asdict(allowance)).encode(), descriptors)

    def say(self, word: bytes) -> None:
        """Word of calls to the keeper, which reads it when convenient; one too many is dropped."""
        with suppress(BlockingIOError, ConnectionError):
            self._socket.send(word, socket.MSG_DONTWAIT)

    def wait(self) -> dict[str, Any]:
        """How the job ended."""
        try:
            return self._receive(None)
        except Lost as error:
            raise Died(*error.args) from None

    def close(self) -> None:
        """End the keeper, and with it its job."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # also wakes a thread that waits for the job
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._socket.close()

    def _send(self, message: bytes, descriptors: list[int]) -> None:
        try:
            socket.send_fds(self._socket, [message], descriptors)
        except OSError as error:
            raise Lost(f"sandbox: its keeper is gone ({error})") from None

    def _receive(self, timeout: float | None) -> dict[str, Any]:
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        if not waiting.poll(None if timeout is None else timeout * 1000):
            raise Lost(f"sandbox: its keeper did not start within {timeout:g} s")
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
