"""The tests of a task: three forms, each frozen, and all that the judge has to know of a task.

    stdin     the program reads an input and prints an output
    calls     a function is called with arguments and returns a value
    asserts   trusted code that calls the program's functions, and fails by raising

In the first two the expected value is data and never enters the process that runs the program.  Asserts decide by
themselves, so they run in a process of their own, where the function is a stand-in that asks the program for values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar


class BadTask(ValueError):
    """Tests that cannot judge anything: there are none, they call nothing, or they cannot be read."""


@dataclass(frozen=True, slots=True)
class StdinTest:
    """Example: `StdinTest("1 2\\n", "3\\n")`."""

    stdin: str
    expected: str


@dataclass(frozen=True, slots=True)
class StdinTests:
    cases: tuple[StdinTest, ...]
    names: ClassVar[tuple[str, ...]] = ()  # what the program must define

    def __post_init__(self) -> None:
        _require_some(self.cases)


@dataclass(frozen=True, slots=True)
class CallTest:
    """Example: `CallTest([1, 2], 3)`."""

    args: list[Any]
    expected: Any


@dataclass(frozen=True, slots=True)
class CallTests:
    """`entry` is a function, or a method of `class Solution`.

    `glue` is code of ours that is put before the program and defines `entry`, and `called` what it calls of the
    program's (`rewards.code_tests.expressions`).
    `json`: the expected values were written in JSON, which has no tuples.
    """

    entry: str
    cases: tuple[CallTest, ...]
    glue: str = ""
    json: bool = True
    called: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require_some(self.cases)

    @property
    def names(self) -> tuple[str, ...]:
        return self.called or (self.entry,)


@dataclass(frozen=True, slots=True)
class AssertTests:
    """Each of `cases` is run by itself after `setup`, with `candidate` and `entry` bound to a stand-in.

    `others`: more names of the program's functions and classes that the tests use.

    Example: `AssertTests("add", "", ("assert add(1, 2) > 2",))`.
    """

    entry: str
    setup: str
    cases: tuple[str, ...]
    others: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require_some(self.cases)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.entry, *self.others)


Tests = StdinTests | CallTests | AssertTests


@dataclass(frozen=True, slots=True)
class Task:
    """What a program is judged by.

    `header` is code that the program continues or may rely on (HumanEval's prompt, LeetCode's imports); it is put
    before it.  `question` is how the task is asked, `reference` a program that solves it; both may be missing ("").
    """

    tests: Tests
    header: str = ""
    question: str = ""
    reference: str = ""


def _require_some(cases: tuple[Any, ...]) -> None:
    if not cases:
        raise BadTask("it has no tests")
