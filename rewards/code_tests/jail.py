"""This process's sandbox: started at the first program, and dead with the process.

A process scores one completion at a time, so the sandbox has one worker.  Many completions at once are many processes,
as in `grpo`'s scoring, or threads with a `Sandbox` of your own and `rewards.code_tests.judge`.
"""

from __future__ import annotations

import os

from rewards.code_tests.compare import Mode
from rewards.code_tests.judge import ProgramReport, judge
from rewards.code_tests.tests import Task
from rewards.sandbox import Limits, Sandbox, SandboxError, SandboxUnavailable


def run(
    task: Task, program: str, *, mode: Mode, cpu: float, memory: int, every: bool, packages: tuple[str, ...]
) -> tuple[ProgramReport, str]:
    """The report and the sandbox's level.  A failure of the sandbox is no report: another one tries once more."""
    limits = Limits(cpu=cpu, memory=memory)
    try:
        jail = _sandbox(packages)
        return judge(jail, task, program, mode=mode, limits=limits, every=every), jail.level
    except SandboxUnavailable:
        raise
    except SandboxError:
        close()
        jail = _sandbox(packages)
        return judge(jail, task, program, mode=mode, limits=limits, every=every), jail.level


def close() -> None:
    """End this process's sandboxes; the next program starts one anew."""
    for sandbox in _SANDBOXES.values():
        sandbox.close()
    _SANDBOXES.clear()


# By process too, because a sandbox cannot be used across a fork.
_SANDBOXES: dict[tuple[int, tuple[str, ...]], Sandbox] = {}


def _sandbox(packages: tuple[str, ...]) -> Sandbox:
    key = (os.getpid(), packages)
    if key not in _SANDBOXES:
        _SANDBOXES[key] = Sandbox(workers=1, packages=packages)
    return _SANDBOXES[key]
