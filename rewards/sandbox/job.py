"""One job from its client's side: its files, its channel, its end."""

from __future__ import annotations

import os
import resource
import secrets
import select
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from . import codec
from .client import Client, Died, memory_file
from .clocks import PATIENCE
from .codec import Malformed
from .confine import Allowance
from .ends import exit_code_of, reason_of
from .types import MIB, End, Limits, Ran, SandboxError

STDERR_TAIL = 4096  # bytes
FILES = 16 * MIB  # bytes of stdout and of stderr that the kernel takes; `Limits.output` is then for us to look at
GRACE = 30.0  # seconds beyond all that a keeper may take; then it is killed


class Job:
    """Started on construction.  `close` ends it if it has not ended, and leaves the keeper ready for the next.

    Whatever is waited for here has a deadline; a keeper that misses it is killed, and the job has `Died`.

    `calls`: how many calls it will get at most; 0 for a program with stdin and stdout.
    """

    def __init__(
        self, client: Client, kind: str, limits: Limits, entry: str, source: bytes, stdin: bytes = b"", calls: int = 0
    ) -> None:
        total = limits.cpu * (calls + 1)
        wall, files = limits.wall_seconds, _file_limit(limits.output)
        allowance = Allowance(kind, limits.cpu, wall, total, limits.memory, files, limits.value, limits.threads)
        self._client = client
        self._limits = limits
        self._ended: Mapping[str, Any] | None = None
        self._files: list[int] = []
        self._channel: socket.socket | None = None
        self._prints = kind == "program"
        self._renew()
        try:
            descriptors = self._open(stdin, entry.encode() + b"\n" + source)
            if kind == "program":
                client.start(allowance, descriptors)
            else:
                self._channel, theirs = socket.socketpair()
                with theirs:
                    client.start(allowance, [*descriptors, theirs.fileno()])
        except BaseException:
            self._release()
            raise

    def _open(self, stdin: bytes, payload: bytes) -> list[int]:
        """stdin, stdout, stderr and the payload.  What a function prints is nobody's: as much as it likes."""
        try:
            for data in (stdin, b"", b"", payload):
                self._files.append(memory_file(data))
            if not self._prints:
                os.close(self._files[1])
                self._files[1] = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            raise SandboxError(f"sandbox: no file for a job: {error.strerror} (`ulimit -n` is {most})") from None
        return list(self._files)

    def _renew(self) -> None:
        self._deadline = time.monotonic() + (1 + PATIENCE) * self._limits.wall_seconds + GRACE

    def _left(self) -> float:
        return max(0.001, self._deadline - time.monotonic())

    def _overdue(self) -> SandboxError:
        return self._client.give_up("sandbox: its keeper did not end a job in time")

    def ended(self) -> Mapping[str, Any]:
        """How it ended, as the keeper tells it; waits for that."""
        if self._ended is None:
            self._ended = self._client.wait(self._left())
        return self._ended

    def reason(self) -> End:
        """Why it ended.  A program that filled stdout did not end for another reason, whatever it says."""
        reason = reason_of(self.ended())
        full = self._prints and os.fstat(self._files[1]).st_size > self._limits.output
        return "output_limit" if full and reason in ("ok", "runtime_error") else reason

    def ran(self) -> Ran:
        ended, reason = self.ended(), self.reason()
        stdout = os.pread(self._files[1], self._limits.output, 0)
        return Ran(reason, stdout, self.stderr(), exit_code_of(ended), ended["cpu"], ended["wall"], ended["rss"])

    def stderr(self) -> str:
        size = os.fstat(self._files[2]).st_size
        return os.pread(self._files[2], STDERR_TAIL, max(0, size - STDERR_TAIL)).decode("utf-8", "replace")

    def send(self, call: int, kind: bytes, body: bytes) -> None:
        """A frame to the job; `EOFError` if it is gone."""
        assert self._channel is not None
        try:
            self._channel.settimeout(self._left())  # for all of it
            self._channel.sendall(codec.frame(call, kind, body))
        except TimeoutError:
            raise self._overdue() from None
        except OSError:
            raise EOFError from None

    def receive(self, most: int) -> tuple[int, bytes, bytes]:
        """A frame from the job.  Waits for as long as the job may run: the keeper owns the clocks."""
        assert self._channel is not None
        channel = self._channel

        def read(count: int) -> bytes:
            try:
                channel.settimeout(self._left())
                return channel.recv(count)
            except TimeoutError:
                raise self._overdue() from None
            except OSError:  # reset: it died with our words unread
                return b""

        return codec.read_frame(read, most)

    def ask(self, request: bytes) -> tuple[bytes, bytes]:
        """One call: kind and body of the reply to it.  `Malformed` for words that are no reply to this call."""
        if self._has_unasked():
            raise Malformed("a reply before the call")
        call = secrets.randbits(63)  # so that a reply cannot be written ahead of its call
        self.send(call, b"C", request)
        replied, kind, body = self.receive(self._limits.value)
        if replied != call or kind not in (b"V", b"X"):
            raise Malformed("a reply to another call")
        return kind, body

    def _has_unasked(self) -> bool:
        assert self._channel is not None
        waiting = select.poll()
        waiting.register(self._channel, select.POLLIN)
        if not any(event & select.POLLIN for _, event in waiting.poll(0)):
            return False
        try:
            return bool(self._channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:  # reset: it looked at our last words, answered and ended without having taken them
            raise EOFError from None

    @contextmanager
    def lap(self) -> Iterator[None]:
        """Clocks that start anew, for one call."""
        self._renew()
        self._client.lap()
        try:
            yield
        finally:
            self._client.lap()

    def stop(self) -> None:
        """End it now."""
        if self._channel is not None:
            self._channel.close()
        if self._ended is None:
            self._client.stop()
            self._deadline = min(self._deadline, time.monotonic() + GRACE)

    def close(self) -> None:
        """Leave the keeper without a job: stop it, wait for its end, give up its files.

        Whoever closes it has all that was wanted of it, so a keeper that dies meanwhile is the next job's to find out.
        """
        try:
            self.stop()
            with suppress(Died):
                self.ended()
        finally:
            self._release()

    def _release(self) -> None:
        if self._channel is not None:
            self._channel.close()
        while self._files:
            os.close(self._files.pop())


def _file_limit(output: int) -> int:
    """A job may read its limits, so this one must not tell how long the expected output is."""
    limit = FILES
    while limit < output:
        limit *= 4
    return limit
