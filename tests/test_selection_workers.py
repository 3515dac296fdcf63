"""Filters in processes: the same bytes with any number of them, and a sentence where one dies or a filter raises."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from grpo.config import Select
from grpo.errors import DataError
from grpo.selection import workers
from grpo.selection.decontaminate import Decontaminator, Text
from grpo.selection.filters import FILTERS, Context, alone, chain, together
from grpo.selection.workers import Sieve, sifted
from rewards import repetition
from tests.conftest import ROOT
from tests.selections import candidate, collect, one, write_jsonl
from tests.test_selection_select import ALL, ENDS, places, problems, run  # noqa: F401  # a fixture

SIEVE = Sieve(Select(), 0, Decontaminator({}, 8), True)


def groups(count: int):
    return [[candidate(f"Problem {n} has the answer {n}.", n, problem=f"p{n}")] for n in range(count)]


@pytest.fixture
def few(monkeypatch):
    """Processes for the third problem already."""
    monkeypatch.setattr(workers, "ROWS", 2)
    monkeypatch.setattr(workers, "FIRST", 1)
    monkeypatch.setattr(workers, "cores", lambda: 2)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_processes_writes_the_same_bytes(places, monkeypatch, few, count):  # noqa: F811
    asked = {**ALL, "decontaminate": ["test.jsonl", "more.jsonl"]}
    write_jsonl(Path("more.jsonl"), [{"problem": "Hello 3", "answer": "4"}, {"problem": "Problem 17?", "answer": "4"}])
    collect(Path("again"), {**problems(3), "other": [one(n, f"the completion number {n} of it") for n in range(9)]})
    sources = ("collected", "again", "general.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(workers, "ROWS", 10**6)  # one batch, which is this process's
        patch.setattr(workers, "_in_processes", None)
        said = run("alone/o.jsonl", *sources, **asked)
    monkeypatch.setattr(workers, "cores", lambda: count)
    assert run("o.jsonl", *sources, **asked)[:-1] == said[:-1]
    assert [Path(f"alone/o.jsonl{end}").read_bytes() for end in ENDS] == [
        Path(f"o.jsonl{end}").read_bytes() for end in ENDS
    ]


def test_parts_come_in_the_order_of_the_groups_however_long_each_takes(few, monkeypatch):
    def slow(text: str) -> str:
        time.sleep(0.05 if "Problem 4" in text else 0)
        return ""

    monkeypatch.setattr(repetition, "looped", slow)
    given = groups(23)
    parts = list(sifted(SIEVE, given))
    assert [group for part in parts for group in part.kept] == given
    assert [part.funnel.seen for part in parts] == [2] * 11 + [1]


def test_only_so_much_is_read_ahead_and_nothing_is_started_for_a_small_source(few, monkeypatch):
    read = []
    parts = sifted(SIEVE, (read.append(group) or group for group in groups(100)))
    next(parts)
    assert len(read) == 2
    next(parts)
    assert len(read) <= 2 + workers.AHEAD * 2 * 2
    parts.close()
    monkeypatch.setattr(workers, "_in_processes", None)
    assert len(list(sifted(SIEVE, groups(2)))) == 1


@pytest.mark.parametrize("count", [1, 2])
def test_a_filter_that_raises_is_a_sentence_with_the_problems(few, monkeypatch, count):
    monkeypatch.setattr(workers, "cores", lambda: count)
    monkeypatch.setattr(repetition, "looped", lambda text: 1 / 0 if "Problem 7 " in text else "")
    with pytest.raises(DataError, match=r"^s: a filter fails between the problems p6 and p7 \(ZeroDivisionError: div"):
        list(sifted(SIEVE, groups(20)))


def test_a_process_that_is_killed_is_a_sentence(few, monkeypatch):
    def die(text: str) -> str:
        if "Problem 7 " in text:
            os.kill(os.getpid(), signal.SIGKILL)
        return ""

    monkeypatch.setattr(repetition, "looped", die)
    with pytest.raises(DataError, match=r"^grpo select: one of its 2 processes was killed"):
        list(sifted(SIEVE, groups(20)))


ENDLESS = """
import itertools, multiprocessing
from grpo.selection import workers
from tests.test_selection_workers import SIEVE, groups
workers.cores = lambda: 2
for part in workers.sifted(SIEVE, itertools.chain.from_iterable(map(groups, itertools.repeat(50)))):
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
"""


def test_processes_end_when_the_command_is_killed(tmp_path):
    command = subprocess.Popen(
        [sys.executable, "-c", ENDLESS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])},
        stdout=subprocess.PIPE,
        text=True,
    )
    children: list[int] = []
    for line in command.stdout:
        if children := [int(pid) for pid in line.split()]:
            break
    command.kill()
    command.wait()
    until = time.monotonic() + 60
    while any(map(runs, children)) and time.monotonic() < until:
        time.sleep(0.05)
    assert len(children) == 2 and not any(map(runs, children))


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # which waits for an init that may never look
    except psutil.NoSuchProcess:
        return False


def test_every_filter_is_on_one_side_and_those_that_remember_come_last():
    filters = chain(
        Context(Select(max_tokens=9, language="en", solved=(0.0, 1.0), layout="think"), 0, bool), judged=True
    )
    assert [*alone(filters), *together(filters)] == list(FILTERS)
    assert list(together(filters)) == ["duplicate", "near duplicate", "over the cap"]


def test_what_is_found_is_counted_once_wherever_it_was_found():
    text = Text("set", "1", "problem", "one two three four five six seven eight nine")
    detector = Decontaminator({"set": [text]}, 8)
    row = candidate("I say: one two three four five six seven eight nine.")
    assert detector.find(row) == detector.find(row) and detector.report["set"].rows == 0
    assert detector.overlaps(row) == detector.find(row) and detector.report["set"].rows == 1
