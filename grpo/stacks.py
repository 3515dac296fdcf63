"""What every process of a run does just now: stacks of those that are ours, what the kernel says of the others.

Ours are the processes that called `answer`: they wait for SIGUSR2, and write their threads' stacks into a file in
memory, which whoever looks reads through /proc.  The signal is handled in C, so a process answers that sits in C code
with its interpreter locked.  To others it would be deadly, and is never sent: they are known by that file.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

_NAME = "grpo-stacks"
ANSWER = 2.0  # seconds that all of them together get to answer
_POLL = 0.05  # seconds


def answer() -> None:
    """From now on this process tells its stacks.  Elsewhere than on Linux there is no file in memory: it stays mute."""
    if sys.platform == "linux":
        faulthandler.register(signal.SIGUSR2, file=os.memfd_create(_NAME), all_threads=True)


def of_processes(processes: Sequence[psutil.Process]) -> Iterator[str]:
    """A paragraph of each."""
    files = {process.pid: file for process in processes if (file := _file_of(process.pid))}
    before = {pid: _read(file) for pid, file in files.items()}
    for pid in files:
        _ask(pid)
    until = time.monotonic() + ANSWER
    while time.monotonic() < until and any(_read(file) == before[pid] for pid, file in files.items()):
        time.sleep(_POLL)
    time.sleep(_POLL)  # the last may be writing
    for process in processes:
        told = _read(files[process.pid])[len(before[process.pid]) :] if process.pid in files else ""
        yield f"{_described(process)}\n{told or _seen_from_outside(process.pid)}"


def _file_of(pid: int) -> Path | None:
    """Of its memory file, if it has one; a program that it became by exec has none, and does not listen either."""
    try:
        return next(file for file in Path(f"/proc/{pid}/fd").iterdir() if f"/memfd:{_NAME}" in os.readlink(file))
    except (OSError, StopIteration):
        return None


def _ask(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGUSR2)
    except OSError:
        return  # it is gone


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def _described(process: psutil.Process) -> str:
    try:
        with process.oneshot():
            return f"process {process.pid}, {process.name()}, {process.status()}: {' '.join(process.cmdline())[:300]}"
    except psutil.Error:
        return f"process {process.pid}: is gone"


def _seen_from_outside(pid: int) -> str:
    """What its threads wait for in the kernel, as far as that may be read."""
    lines = []
    for task in sorted(Path(f"/proc/{pid}/task").glob("*")):
        name, waits, stack = (_read(task / file).strip() for file in ("comm", "wchan", "stack"))
        lines.append(f"  thread {task.name} {name}: {waits if waits not in ('', '0') else 'runs, or is not told'}")
        lines += [f"    {line}" for line in stack.splitlines()]
    return "\n".join(lines) + "\n"
