"""The judge's own decisions, with a sandbox that says what it is told to say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from rewards.code_tests.judge import judge
from rewards.code_tests.tests import AssertTests, CallTest, CallTests, StdinTest, StdinTests, Task
from rewards.sandbox import Checked, Limits, Ran, Returned

LIMITS = Limits()
STDIN = Task(StdinTests(tuple(StdinTest(str(n), str(n)) for n in range(4))))
CALLS = Task(CallTests("f", tuple(CallTest([n], n) for n in range(4))))
ASSERTS = Task(AssertTests("f", "", ("assert f(1)", "assert f(2)")))


@dataclass
class SaysSo:
    """Gives `answers` in turn, and remembers what it was asked."""

    answers: list
    asked: list = field(default_factory=list)
    level = "L9"

    def run_stdin(self, source: str, stdin: bytes, limits: Limits) -> Ran:
        self.asked.append(stdin)
        reason, out = self.answers.pop(0)
        return Ran(reason, out.encode(), "", 0, 0.0, 0.0, 0)

    def call_functions(self, source: str, entry: str, calls: list, limits: Limits) -> Iterator[Returned]:
        for answer in self.answers:
            self.asked.append(source)
            yield answer

    def check_asserts(self, source: str, entry: str, test_code: str, limits: Limits) -> Checked:
        self.asked.append(test_code)
        return self.answers.pop(0)


def ask(jail: SaysSo, task: Task, *, every: bool = False, program: str = "p"):
    return judge(jail, task, program, mode="tolerant", limits=LIMITS, every=every)


def test_the_first_failure_ends_it_unless_all_are_counted():
    answers = [("ok", "0"), ("ok", "?"), ("ok", "2"), ("ok", "3")]
    jail = SaysSo(list(answers))
    assert (ask(jail, STDIN).passed, len(jail.asked)) == (1, 2)
    jail = SaysSo(list(answers))
    report = ask(jail, STDIN, every=True)
    assert (report.reason, report.passed, report.total, len(jail.asked)) == ("wrong_answer", 3, 4, 4)
    assert report.detail == "test 2: expected '1', printed '?'"


@pytest.mark.parametrize("reason", ["timeout_cpu", "timeout_wall", "compile_error"])
def test_what_would_happen_again_in_every_test_happens_once(reason):
    jail = SaysSo([("ok", "0"), (reason, ""), ("ok", "2"), ("ok", "3")])
    assert (ask(jail, STDIN, every=True).passed, len(jail.asked)) == (1, 2)


def test_results_that_are_missing_are_no_pass():
    report = ask(SaysSo([Returned("ok", 0), Returned("ok", 1)]), CALLS)
    assert (report.reason, report.passed, report.total) == ("died", 2, 4)


def test_an_ending_that_is_not_ok_is_no_pass_whatever_was_printed():
    assert ask(SaysSo([("died", "0")]), STDIN).reason == "died"
    assert ask(SaysSo([Returned("protocol", 0)]), CALLS).reason == "protocol"
    assert ask(SaysSo([Checked("pass", 1), Checked("not_called", 0)]), ASSERTS).reason == "not_called"


def test_expected_values_are_not_among_what_the_sandbox_is_given():
    task = Task(CallTests("f", (CallTest([1], "secret"),)))
    jail = SaysSo([Returned("ok", "secret")])
    assert ask(jail, task).reason == "pass"
    assert "secret" not in jail.asked[0]


def test_a_program_that_is_too_large_or_no_text_never_reaches_the_sandbox():
    jail = SaysSo([])
    assert ask(jail, STDIN, program="x" * (LIMITS.source + 1)).reason == "source_too_large"
    assert ask(jail, STDIN, program="\ud800").reason == "compile_error"
    assert jail.asked == []


def test_a_returned_value_that_has_no_short_form_is_still_a_wrong_answer():
    huge = 10**10_000  # its repr is refused by Python
    assert ask(SaysSo([Returned("ok", huge)]), CALLS).detail == "test 1: expected 0, returned a large int"
