"""Rewards for code: run the program in a completion against tests, in a sandbox, and compare outside of it.

    from rewards.code_tests import code

    row = {"entry": "add", "tests": [{"args": [1, 2], "returns": 3}]}
    code("```python\\ndef add(a, b):\\n    return a + b\\n```", row).value  # 1.0

A completion earns 1 only where every test passes; everything that it can cause is a 0 with a reason:

    wrong_answer  runtime_error  compile_error  timeout_cpu  timeout_wall  memory  thread_limit  output_limit
    signal  blocked_syscall  protocol  not_called  died  source_too_large

`rewards.sandbox` says what holds the program, and what it does not cover.
"""

from __future__ import annotations

from rewards.code_tests.compare import Mode, same_output, same_value
from rewards.code_tests.datasets import is_task, read_task
from rewards.code_tests.fences import last_block
from rewards.code_tests.judge import ProgramReport, judge
from rewards.code_tests.reward import code
from rewards.code_tests.tests import AssertTests, BadTask, CallTest, CallTests, StdinTest, StdinTests, Task

__all__ = [
    "AssertTests",
    "BadTask",
    "CallTest",
    "CallTests",
    "Mode",
    "ProgramReport",
    "StdinTest",
    "StdinTests",
    "Task",
    "code",
    "is_task",
    "judge",
    "last_block",
    "read_task",
    "same_output",
    "same_value",
]
