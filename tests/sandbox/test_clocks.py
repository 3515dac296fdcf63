"""What the keeper's clocks say of a job whose waiting and threads are made up."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from rewards.sandbox import clocks, tally
from rewards.sandbox.client import memory_file
from rewards.sandbox.clocks import PATIENCE, Clocks
from rewards.sandbox.confine import Allowance
from rewards.sandbox.proc import Proc

ALLOWANCE = Allowance("calls", cpu=1e6, wall=10, total_cpu=1e6, memory=1, files=1, value=1, threads=4)


class FakeProc(Proc):
    """One thread that has not waited, unless told."""

    def __init__(self) -> None:
        self.seconds, self.count = 0.0, 1

    def number(self, pidfd: int) -> int:
        return 1

    def threads(self, number: int) -> int:
        return self.count

    def waited(self, number: int) -> float:
        return self.seconds


class Watched:
    """A job's clocks, its tally, and a time that passes when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.laps, self.proc = 0.0, 0, FakeProc()
        self.file = memory_file(bytes(tally.SIZE))
        monkeypatch.setattr(clocks.time, "monotonic", lambda: self.now)
        self.clocks = Clocks(os.getpid(), 0, ALLOWANCE, 0, self.file, self.proc)

    def after(self, seconds: float, waited: float = 0.0) -> str:
        self.now += seconds
        self.proc.seconds += waited
        return self.clocks.look()

    def lap(self, times: int = 1) -> None:
        self.laps += times
        tally.write(self.file, tally.LAPS, self.laps)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    watched = Watched(monkeypatch)
    yield watched
    os.close(watched.file)


def test_wall_limit_is_passed_by_what_is_no_waiting(job: Watched) -> None:
    assert [job.after(9), job.after(2)] == ["", "timeout_wall"]


def test_waiting_for_a_processor_is_subtracted(job: Watched) -> None:
    assert [job.after(11, waited=5), job.after(3), job.after(2)] == ["", "", "timeout_wall"]  # 11, 14, 16 - 5


def test_patience_ends_however_long_a_job_waited(job: Watched) -> None:
    assert job.after(10 + 10 * PATIENCE, waited=1e6) == ""
    assert job.after(1) == "timeout_wall"


def test_between_a_reply_and_the_next_call_the_wall_stands_still_however_many_laps_went_by(job: Watched) -> None:
    job.lap(1002)
    assert [job.after(1), job.after(1000)] == ["", ""]
    job.lap(1001)
    assert [job.after(1), job.after(11)] == ["", "timeout_wall"]


def test_waiting_in_an_earlier_call_excuses_nothing_in_this_one(job: Watched) -> None:
    job.lap()
    assert job.after(1, waited=100) == ""
    assert job.after(11) == "timeout_wall"


def test_more_threads_than_allowed_are_seen_at_a_look(job: Watched) -> None:
    job.proc.count = 4
    assert job.after(0) == ""
    job.proc.count = 5
    assert job.after(0) == "thread_limit"


def test_kernel_counts_the_waiting_of_this_process() -> None:
    proc = Proc()
    pidfd = os.pidfd_open(os.getpid())
    try:
        number = proc.number(pidfd)
        assert proc.threads(number) == len(os.listdir("/proc/self/task"))
        if not os.path.exists("/proc/self/schedstat"):
            pytest.skip("this kernel keeps no count of waiting")
        before = time.monotonic()
        assert 0 < proc.waited(number) < before  # since boot
    finally:
        os.close(pidfd)
