"""What the kernel tells about a job in /proc: how many threads it has, and how long they waited for a processor.

The keeper opens /proc before it goes into namespaces of its own and reads through that descriptor afterwards.  There a
job has another number than the keeper knows it by, which the kernel says of the job's pidfd.
https://docs.kernel.org/filesystems/proc.html, https://docs.kernel.org/scheduler/sched-stats.html
"""

from __future__ import annotations

import fcntl
import os

from .landlock import HIGH

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Proc:
    def __init__(self) -> None:
        opened = os.open("/proc", _DIRECTORY)
        self._root = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, HIGH)
        os.close(opened)

    def number(self, pidfd: int) -> int:
        """The number of a process there; -1 where it has just ended."""
        for line in self._read(f"self/fdinfo/{pidfd}", self._root).splitlines():
            if line.startswith("Pid:"):
                return int(line.split()[1])
        return -1

    def threads(self, number: int) -> int:
        """0 where it has just ended."""
        try:
            return os.stat(f"{number}/task", dir_fd=self._root).st_nlink - 2  # one directory for each
        except (FileNotFoundError, ProcessLookupError):
            return 0

    def waited(self, number: int) -> float:
        """Seconds that one of its living threads was ready to run while others ran: the one that waited longest.

        Their sum would be a program's to raise: of many threads that want the processor by turns all but one wait.
        """
        try:
            tasks = os.open(f"{number}/task", _DIRECTORY, dir_fd=self._root)
        except (FileNotFoundError, ProcessLookupError):
            return 0.0
        try:
            figures = [self._read(f"{task}/schedstat", tasks).split() for task in os.listdir(tasks)]
        except (FileNotFoundError, ProcessLookupError):
            return 0.0
        finally:
            os.close(tasks)
        return max((int(one[1]) for one in figures if len(one) == 3), default=0) / 1e9  # nanoseconds

    @staticmethod
    def _read(path: str, directory: int) -> str:
        """ "" for a thread that has just ended, and on a kernel that does not keep these figures."""
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
        except (FileNotFoundError, ProcessLookupError):
            return ""
        try:
            return os.read(file, 4096).decode()
        except ProcessLookupError:
            return ""
        finally:
            os.close(file)
