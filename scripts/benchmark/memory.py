"""How much memory a process holds and has held, in bytes.  Linux with glibc.

`VmHWM` of /proc/self/status is the exact high-water mark of what is resident; writing 5 into /proc/self/clear_refs sets
it to what is resident now.  So peaks are read, not sampled.  Of child processes, which here are reward workers that
stay as they are, what only they hold (USS) is counted at the end of every step.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import psutil

MIB = 2**20


def trim() -> None:
    """Give freed memory back to the system: else it counts as resident, and the next phase grows into it unseen."""
    ctypes.CDLL(None).malloc_trim(0)


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}: the benchmark needs Linux")


def _children() -> int:
    return sum(int(child.memory_full_info().uss) for child in psutil.Process().children(recursive=True))


class Gauge:
    """Growth over what was resident when it was made, and of the update alone."""

    def __init__(self) -> None:
        trim()
        self.before = _status("VmRSS") + _children()
        self.peak = self.before
        self.update_growth = 0
        self._at_update = 0
        self._reset()

    def update_starts(self, *, trimmed: bool) -> None:
        self._read()
        if trimmed:
            trim()
        self._reset()
        self._at_update = _status("VmRSS")

    def update_ends(self) -> None:
        """The growth of the last update stands."""
        self.update_growth = _status("VmHWM") - self._at_update
        self._read()

    def row(self) -> dict[str, int]:
        self._read()
        grown = self.peak - self.before
        return {"before": self.before, "peak": self.peak, "growth": grown, "update_growth": self.update_growth}

    def _read(self) -> None:
        self.peak = max(self.peak, _status("VmHWM") + _children())

    def _reset(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")
