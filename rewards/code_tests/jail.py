"""This process's sandbox: started at the first program, and dead with the process.

A process scores one completion at a time, so the sandbox has one worker.  Many completions at once are many processes,
as in `grpo`'s scoring, or threads with a `Sandbox` of your own and `rewards.code_tests.judge`.
"""

from __future__ import annotations

import os
from functools import lru_cache

from rewards.code_tests.compare import Mode
from rewards.code_tests.judge import Verdict, judge
from rewards.code_tests.tests import Task
from rewards.sandbox import Limits, Sandbox, SandboxError, SandboxUnavailable


def run(task: Task, program: str, *, mode: Mode, cpu: float, memory: int, every: bool) -> tuple[Verdict, str]:
    """The verdict and the sandbox's level.  A failure of the sandbox is no verdict: another one tries once more."""
    limits = Limits(cpu=cpu, memory=memory)
    try:
        jail = _sandbox(os.getpid())
        return judge(jail, task, program, mode=mode, limits=limits, every=every), jail.level
    except SandboxUnavailable:
        raise
    except SandboxError:
        _sandbox(os.getpid()).close()
        _sandbox.cache_clear()
        jail = _sandbox(os.getpid())
        return judge(jail, task, program, mode=mode, limits=limits, every=every), jail.level


@lru_cache(maxsize=1)
def _sandbox(process: int) -> Sandbox:
    """`process` is the key, because a sandbox cannot be used across a fork."""
    return Sandbox(workers=1)
