"""One job from its client's side: its files, its channel, its end."""

from __future__ import annotations

import os
import secrets
import select
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from . import codec
from .client import Client, memory_file
from .codec import Malformed
from .confine import Allowance
from .ends import exit_code_of, reason_of
from .types import End, Limits, Ran

STDERR_TAIL = 4096  # bytes


class Job:
    """Started on construction.  `close` ends it if it has not ended, and leaves the keeper ready for the next.

    `calls`: how many calls it will get at most; 0 for a program with stdin and stdout.
    """

    def __init__(
        self, client: Client, kind: str, limits: Limits, entry: str, source: bytes, stdin: bytes = b"", calls: int = 0
    ) -> None:
        total = limits.cpu * (calls + 1)
        allowance = Allowance(
            kind, limits.cpu, limits.wall_seconds, total, limits.memory, limits.output, limits.threads
        )
        self._client = client
        self._limits = limits
        self._ended: Mapping[str, Any] | None = None
        self._files: list[int] = []
        self._channel: socket.socket | None = None
        try:
            for data in (stdin, b"", b"", entry.encode() + b"\n" + source):
                self._files.append(memory_file(data))
            descriptors = list(self._files)
            if kind == "program":
                client.start(allowance, descriptors)
            else:
                self._channel, theirs = socket.socketpair()
                with theirs:
                    client.start(allowance, [*descriptors, theirs.fileno()])
        except BaseException:
            self._release()
            raise

    def ended(self) -> Mapping[str, Any]:
        """How it ended, as the keeper tells it; waits for that."""
        if self._ended is None:
            self._ended = self._client.wait()
        return self._ended

    def reason(self) -> End:
        """Why it ended.  A program that filled stdout did not end for another reason, whatever it says."""
        reason = reason_of(self.ended())
        full = os.fstat(self._files[1]).st_size > self._limits.output
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
            self._channel.sendall(codec.frame(call, kind, body))
        except OSError:
            raise EOFError from None

    def receive(self, most: int) -> tuple[int, bytes, bytes]:
        """A frame from the job.  Waits for as long as the job may run: the keeper owns the clocks."""
        assert self._channel is not None
        channel = self._channel

        def read(count: int) -> bytes:
            try:
                return channel.recv(count)
            except OSError:  # reset: it died with our words unread
                return b""

        return codec.read_frame(read, most)

    def ask(self, request: bytes) -> tuple[bytes, bytes]:
        """One call: kind and body of the reply to it.  `Malformed` for words that are no reply to this call."""
        if self._has_unasked():
            raise Malformed("a reply before the call")
        call = secrets.randbits(63)  # so that a reply cannot be written ahead of its call
        self.send(call, b"C", request)
        replied, kind, body = self.receive(self._limits.output)
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
        self._client.say(b"c")
        try:
            yield
        finally:
            self._client.say(b"r")

    def stop(self) -> None:
        """End it now."""
        if self._channel is not None:
            self._channel.close()
        if self._ended is None:
            self._client.say(b"x")

    def close(self) -> None:
        """Leave the keeper without a job: stop it, wait for its end, give up its files."""
        try:
            self.stop()
            self.ended()
        finally:
            self._release()

    def _release(self) -> None:
        if self._channel is not None:
            self._channel.close()
        while self._files:
            os.close(self._files.pop())
