"""A job's clocks and its threads, watched from outside by the keeper.

Each call starts the clocks anew; what lies between a reply and the next call costs CPU only.  The wall clock stands
still while the job is ready to run and others have the processor, up to `PATIENCE` times its limit: on a busy machine
a program that would have passed passes, only later.
"""

from __future__ import annotations

import time

from . import tally
from .confine import Allowance
from .proc import Proc

TICK = 0.02  # seconds between looks: the most by which a limit is overrun
PATIENCE = 10  # times the wall limit that a job may wait for a processor


class Clocks:
    """`job`: the pidfd of process `pid`.  `laps`: the tally's count when the job was taken."""

    def __init__(self, pid: int, job: int, allowance: Allowance, laps: int, file: int, proc: Proc) -> None:
        self._clock = (~pid << 3) | 2  # the CPU clock of a whole process, as clock_getcpuclockid(3) makes it
        self._job, self._proc, self._number = job, proc, 0
        self._allowance, self._file = allowance, file
        self._laps, self._idle = laps, False
        self._cpu_from, self._wall_from = 0.0, time.monotonic()
        self._waited_from = self._excused = 0.0

    def _cpu(self) -> float:
        try:
            return time.clock_gettime(self._clock)
        except OSError:  # it has just ended
            return 0.0

    def pause(self) -> float:
        """Seconds until a limit can be reached, by one thread."""
        cpu_left = self._allowance.cpu - (self._cpu() - self._cpu_from)
        wall_left = self._wall_from + self._allowance.wall + self._excused - time.monotonic()
        return max(0.001, min(TICK, cpu_left, TICK if self._idle else wall_left))

    def look(self) -> str:
        """The limit that is passed, if one is."""
        self._number = self._number or self._proc.number(self._job)
        if self._proc.threads(self._number) > self._allowance.threads:
            return "thread_limit"
        cpu, now = self._cpu(), time.monotonic()
        laps = tally.read(self._file, tally.LAPS)
        if laps != self._laps:
            self._laps, self._idle = laps, laps % 2 == 0
            self._cpu_from, self._wall_from = cpu, now
            self._waited_from, self._excused = self._proc.waited(self._number), 0.0
        if cpu - self._cpu_from > self._allowance.cpu:
            return "timeout_cpu"
        over = now - self._wall_from - self._allowance.wall
        return "timeout_wall" if not self._idle and over > 0 and over > self._excuse() else ""

    def _excuse(self) -> float:
        waited = self._proc.waited(self._number) - self._waited_from
        self._excused = min(max(0.0, waited), PATIENCE * self._allowance.wall)
        return self._excused
