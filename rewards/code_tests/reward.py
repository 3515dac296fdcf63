"""The reward `code`: the completion's program against the tests of the problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from rewards.code_tests.compare import Mode
from rewards.code_tests.datasets import read_task
from rewards.code_tests.fences import last_block
from rewards.code_tests.judge import ProgramReport
from rewards.contract import Score, declare

LONGEST_ANSWER = 2000  # characters of the program in `Score.answer`


# One test may use 6 seconds of CPU time, and a program has several.
@declare(timeout=60.0, rejected_golds="drop")
def code(
    completion: str,
    problem: Mapping[str, Any],
    *,
    mode: Mode = "tolerant",
    fraction: bool = False,
    cpu: float = 6.0,
    memory: int = 4096,
    packages: Sequence[str] = (),
) -> Score:
    """1 if the program in `completion` (`fences`) passes the tests of `problem`, else 0; the reason is in `why`.

    `problem` is a row of HumanEval, MBPP, LiveCodeBench, or of our own form (docs/code.md).  Without any fence the
    whole completion is the program.  `fraction`: the share of tests that pass instead.  `mode`: how outputs are
    compared (`rewards.code_tests.compare`).  `cpu`: seconds for one test.  `memory`: MiB.  `packages`: installed ones
    that programs may import beside the standard library, such as "numpy".

    Raises `BadTask` where the problem has no tests that can judge anything, `SandboxUnavailable` where the machine
    cannot hold untrusted code (it says what is missing: there is no unsafe way to go on), and `SandboxError` where the
    sandbox itself fails, twice.  None of them says anything about the completion.
    """
    from rewards.code_tests.jail import run  # here, because whoever only reads tests needs no sandbox

    if mode not in get_args(Mode):
        raise ValueError(f"mode = {mode!r}: must be one of {', '.join(get_args(Mode))}")
    task = read_task(problem)
    found = last_block(completion, task.tests.names)
    if found.code is None and found.opened:
        return Score(0.0, why="compile_error: its code fence never closes", parsed=False)
    program = completion if found.code is None else found.code
    if not program.strip():
        return Score(0.0, why="compile_error: there is no program", parsed=False)
    report, level = run(
        task, program, mode=mode, cpu=cpu, memory=memory << 20, every=fraction, packages=tuple(packages)
    )
    value = report.passed / report.total if fraction else float(report.reason == "pass")
    return Score(
        value,
        answer=program.strip()[:LONGEST_ANSWER].encode(errors="replace").decode(),
        why=_in_words(report, mode, level),
        parsed=report.reason not in ("compile_error", "source_too_large"),
    )


def _in_words(report: ProgramReport, mode: Mode, level: str) -> str:
    what = f"{report.reason}: {report.detail}" if report.detail else report.reason
    return f"{what} [{report.passed} of {report.total} tests, {mode}, {level}]"
