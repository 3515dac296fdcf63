"""A stage's command in a process of its own, which hears what the pipeline hears and ends where the pipeline ends.

The command has a process group of its own, so that Ctrl-C reaches it once: through us.  Where the pipeline itself is
killed, the kernel tells the command to stop (on Linux), and it saves; whoever starts the pipeline again waits for it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import psutil

from grpo import deadline
from grpo.interrupt import Hearing

# Not `-m grpo`, which would put the working directory, and whatever lies there, before everything that is installed.
BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); sys.argv[0] = 'grpo'; "
    "from grpo.cli import main; main()"
)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Forwarding(Hearing):
    """Within this context signals go to the command that runs, and are remembered in `received`."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._sent = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        if self._child is not None:
            self._child.send_signal(number)
            self._sent = True

    def run(self, arguments: Sequence[str], note: Path) -> int:
        """`grpo ARGUMENTS`; returns its exit code, 128 + N where signal N ended it.  `note` says who it is while it
        runs."""
        command = [sys.executable, "-c", BOOT, json.dumps(sys.path), *arguments]
        environment = {**os.environ, deadline.BEGAN: str(deadline.began())}
        ends_with_us = _ends_with(os.getpid())
        with subprocess.Popen(command, process_group=0, preexec_fn=ends_with_us, env=environment) as child:
            note.write_text(json.dumps([child.pid, psutil.Process(child.pid).create_time()]))
            self._child = child
            if self.received is not None and not self._sent:  # before the command was there
                child.send_signal(self.received)
            code = child.wait()
            self._child = None
        note.unlink(missing_ok=True)
        return code if code >= 0 else 128 - code


def _ends_with(parent: int) -> Callable[[], None]:
    """What makes a child stop as by SIGTERM when `parent` is gone."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def bind() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # gone before the kernel was asked
                os._exit(128 + signal.SIGTERM)

    return bind


def wait_for_leftover(note: Path, say: Callable[[str], None]) -> None:
    """Where a pipeline was killed, its command may still be saving."""
    try:
        pid, created = json.loads(note.read_text())
        left = psutil.Process(pid)
        if left.create_time() != created:
            return
    except (OSError, ValueError, psutil.NoSuchProcess):
        return
    say(f"waiting for process {pid}, which a pipeline that was killed has left at work")
    while left.is_running() and left.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.1)
