"""Run a program against the tests of a task, and say how it went.

    program + header ──sandbox──▶ outputs ──compare──▶ report

The program goes into the sandbox as text: it is never parsed, compiled or imported here.  Expected values stay here,
and are compared with what comes out.  The first failure ends it, unless the share of passed tests is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from rewards.code_tests.compare import Mode, same_output, same_value
from rewards.code_tests.tests import AssertTests, CallTests, StdinTests, Task

if TYPE_CHECKING:
    from rewards.sandbox import Checked, Limits, Ran, Returned

# The tests that follow fail too: a timeout would cost its whole limit again.
_ENDS_ALL = ("timeout_cpu", "timeout_wall", "compile_error")
_FUTURE = re.compile(r"^from __future__ import [^\n]*$", re.MULTILINE)
ROOM = 64 << 20  # bytes of program, header and glue together
LONGEST_SHOWN = 60  # characters of an output in `why`
LONGEST_ERROR = 200  # characters of an error, and of the line that raised it


class Jail(Protocol):
    """What is needed of `rewards.sandbox.Sandbox`."""

    @property
    def level(self) -> str: ...
    def run_stdin(self, source: str, stdin: bytes, limits: Limits = ...) -> Ran: ...
    def call_functions(
        self, source: str, entry: str, calls: list[list[Any]], limits: Limits = ...
    ) -> Iterator[Returned]: ...
    def check_asserts(self, source: str, entry: str, test_code: str, limits: Limits = ...) -> Checked: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one test: "pass", or why not, and in what words."""

    reason: str
    detail: str = ""


Outcomes = Generator[Outcome, None, None]


@dataclass(frozen=True, slots=True)
class ProgramReport:
    """Of a program: "pass" where all tests pass, else the reason of the first that does not.

    Example: `ProgramReport("wrong_answer", passed=2, total=7, detail="test 3: expected 5, returned 6")`.
    """

    reason: str
    passed: int
    total: int
    detail: str = ""


def judge(jail: Jail, task: Task, program: str, *, mode: Mode, limits: Limits, every: bool = False) -> ProgramReport:
    """`every`: go on after a failure, to count the tests that pass."""
    try:
        size = len(program.encode())
    except UnicodeEncodeError:  # half of a surrogate pair
        return ProgramReport("compile_error", 0, len(task.tests.cases), "the program is not valid Unicode")
    if size > limits.source:
        detail = f"{size} bytes, allowed are {limits.source}"
        return ProgramReport("source_too_large", 0, len(task.tests.cases), detail)
    source = with_header(task.header, program)
    room = replace(limits, source=ROOM)  # checked above; what is ours around the program does not count
    passed, failure = 0, None
    with closing(_outcomes(jail, task, source, mode, room)) as outcomes:
        for number, outcome in enumerate(outcomes, start=1):
            if outcome.reason == "pass":
                passed += 1
                continue
            failure = failure or (number, outcome)
            if not every or outcome.reason in _ENDS_ALL:
                break
    total = len(task.tests.cases)
    if failure is None:
        # Fewer outcomes than tests can only be a fault of ours, and must not pass.
        return ProgramReport("pass" if passed == total else "died", passed, total)
    number, first = failure
    return ProgramReport(first.reason, passed, total, f"test {number}" + (f": {first.detail}" if first.detail else ""))


def with_header(header: str, program: str) -> str:
    """The program behind its header; what must stand at the top of a file is put there."""
    if not header:
        return program
    futures = _FUTURE.findall(program) if "__future__" in program else []
    return "\n".join([*futures, header, _FUTURE.sub("", program) if futures else program])


def _outcomes(jail: Jail, task: Task, source: str, mode: Mode, limits: Limits) -> Outcomes:
    match task.tests:
        case StdinTests() as tests:
            return _stdin(jail, tests, source, mode, limits)
        case CallTests() as tests:
            return _calls(jail, tests, source, mode, limits)
        case AssertTests() as tests:
            return _asserts(jail, tests, source, limits)


def _stdin(jail: Jail, tests: StdinTests, source: str, mode: Mode, limits: Limits) -> Outcomes:
    for case in tests.cases:
        output = max(limits.output, 2 * len(case.expected.encode()))  # a right answer always has room
        ran = jail.run_stdin(source, case.stdin.encode(), replace(limits, output=output))
        if ran.reason != "ok":
            yield Outcome(ran.reason, _error(ran.stderr))
        elif ran.exit_code and mode != "lcb":  # LiveCodeBench swallows SystemExit
            yield Outcome("runtime_error", f"exit status {ran.exit_code}")
        elif same_output(printed := ran.stdout.decode(errors="replace"), case.expected, mode):
            yield Outcome("pass")
        else:
            yield Outcome("wrong_answer", f"expected {_shown(case.expected)}, printed {_shown(printed)}")


def _calls(jail: Jail, tests: CallTests, source: str, mode: Mode, limits: Limits) -> Outcomes:
    source = with_header(tests.glue, source)  # before it, because a program may end with `sys.exit()`
    returns = jail.call_functions(source, tests.entry, [case.args for case in tests.cases], limits)
    for case, returned in zip(tests.cases, returns, strict=False):  # it may end early
        if returned.reason != "ok":
            error = ": ".join(part for part in (returned.raised, _error(returned.error)) if part)
            yield Outcome(returned.reason, error)
        elif same_value(returned.value, case.expected, mode, json=tests.json):
            yield Outcome("pass")
        else:
            detail = f"expected {_shown(case.expected)}, returned {_shown(returned.value)}"
            yield Outcome("wrong_answer", detail)


def _asserts(jail: Jail, tests: AssertTests, source: str, limits: Limits) -> Outcomes:
    for case in tests.cases:
        checked = jail.check_asserts(source, " ".join(tests.names), f"{tests.setup}\n{case}\n", limits)
        yield Outcome(checked.reason, _error(checked.error))


def _shown(value: Any) -> str:
    """A text or value in few characters.  Whole numbers of thousands of digits have no repr; nothing else may fail."""
    try:
        text = repr(value[: LONGEST_SHOWN + 1] if isinstance(value, str | bytes | list | tuple) else value)
    except (ValueError, RecursionError):
        return f"a large {type(value).__name__}"
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


def _error(text: str) -> str:
    """What a program said at its end, in one line: of a traceback the last, and the line of the program's it names."""
    lines = text.strip().splitlines() or [""]
    places = [number for number, line in enumerate(lines[:-1]) if line.lstrip().startswith('File "<solution>"')]
    if places:
        words = f"{lines[-1][:LONGEST_ERROR]} (in `{lines[places[-1] + 1].strip()[:LONGEST_ERROR]}`)"
    else:
        words = " ".join(lines)[: 3 * LONGEST_ERROR]
    # It goes into files and terminals: no half of a surrogate pair, no escape sequence.
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words)
