"""Batches over worker processes: in order, complete, and done in time whatever happens to a worker."""

from __future__ import annotations

import time

import pytest

from rewards.math_answer import batch, verify, verify_all


def test_verdicts_are_those_of_verify_in_order() -> None:
    pairs = [(str(number), rf"so \boxed{{{number % 3}}}") for number in range(30)]
    verdicts = verify_all(pairs, workers=3)
    assert [(v.ok, v.reason, v.stage, v.extracted) for v in verdicts] == [
        (v.ok, v.reason, v.stage, v.extracted) for v in (verify(gold, text) for gold, text in pairs)
    ]


def test_bare_answers_and_no_pairs() -> None:
    assert [verdict.ok for verdict in batch.verify_all([("1/2", "0.5"), ("1", "2")], form="answer", workers=1)] == [
        True,
        False,
    ]
    assert verify_all([]) == []


def test_a_worker_that_hangs_is_killed_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    given = batch._Worker.give

    def give(self: batch._Worker, at: int, line: bytes, deadline: float) -> None:
        given(self, at, b"" if at == 1 else line, deadline)  # the worker waits for a pair that never comes
        if at == 1:
            self.due = time.monotonic() + deadline

    monkeypatch.setattr(batch._Worker, "give", give)
    verdicts = verify_all([("1", "1"), ("2", "2"), ("3", "3")], workers=1, deadline=0.3)
    assert [(verdict.ok, verdict.stage) for verdict in verdicts] == [
        (True, "text"),
        (False, "deadline"),
        (True, "text"),
    ]


def test_a_worker_that_dies_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    given = batch._Worker.give

    def give(self: batch._Worker, at: int, line: bytes, deadline: float) -> None:
        given(self, at, b"no JSON\n" if at == 1 else line, deadline)

    monkeypatch.setattr(batch._Worker, "give", give)
    verdicts = verify_all([("1", "1"), ("2", "2"), ("3", "3")], workers=1)
    assert [verdict.ok for verdict in verdicts] == [True, False, True]
    assert verdicts[1].reason == "the worker died"


def test_workers_and_policy_are_checked() -> None:
    with pytest.raises(ValueError, match="workers must be at least 1"):
        verify_all([("1", "1")], workers=0)
    with pytest.raises(ValueError, match="train, eval"):
        verify_all([("1", "1")], "best")
