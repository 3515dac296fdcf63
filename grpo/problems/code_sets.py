"""Data sets of programming tasks: how they are asked, what solves them, and which of their rows can judge nothing.

`rewards.code_tests` reads the tests, here and when a completion is scored, so both see the same ones.  A row of
HumanEval, MBPP, LiveCodeBench or LeetCode becomes a problem that says what is wanted and how to answer; where the set
has a reference solution it becomes the gold answer, and is tried like any other before the first step.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from grpo.errors import DataError
from grpo.problems.files import place_of
from rewards.code_tests import BadTask, Task, is_task, read_task

Row = Mapping[str, Any]

_WINDOW = re.compile(r"(\d{4}-\d\d-\d\d)?\.\.(\d{4}-\d\d-\d\d)?", re.ASCII)
_DAY = len("2024-08-01")


def prepare(rows: Sequence[Row], source: str) -> list[Row]:
    """`rows` with columns `problem` and `answer` where they are programming tasks; all others as they are.

    Raises `DataError` that names the rows whose tests could judge nothing.
    """
    if not any(map(is_task, rows)):
        return list(rows)
    prepared, bad = [], []
    for number, row in enumerate(rows):
        try:
            prepared.append(_asked(row, read_task(row)))
        except BadTask as error:
            own = next((row[name] for name in ("task_id", "question_id", "id") if name in row), None)
            bad.append(f"{own or place_of(source, number) or f'row {number}, counted from 0'}: {error}")
    if bad:
        raise DataError(
            f"{source}: {len(bad)} of {len(rows)} tasks have tests that cannot judge a program "
            f"({'; '.join(bad[:3])}{'; …' if len(bad) > 3 else ''}); mend or remove these rows"
        )
    return prepared


def in_window(rows: list[dict[str, Any]], window: str | None, source: str) -> list[dict[str, Any]]:
    """The rows whose `contest_date` is in `window`, such as "2024-08-01..2025-02-01", its second day left out."""
    match = _WINDOW.fullmatch(window or "")
    if match is None:
        return rows
    first, end = match[1] or "", match[2] or "9999"
    if not all(isinstance(row.get("contest_date"), str) for row in rows):
        raise DataError(f'data.subset = "{window}": is a window of dates, and {source} has no column contest_date')
    inside = [row for row in rows if first <= row["contest_date"][:_DAY] < end]
    if not inside:
        dates = sorted(row["contest_date"][:_DAY] for row in rows)
        raise DataError(
            f'data.subset = "{window}": {source} has no task of these dates; they run from {dates[0]} to {dates[-1]}'
        )
    return inside


def _asked(row: Row, task: Task) -> Row:
    """The row's own columns come first: who has a `problem` has said how to ask it."""
    added: dict[str, Any] = {}
    if task.question and "problem" not in row:
        added["problem"] = task.question
    if task.reference and "answer" not in row:
        reference = task.reference.replace("\r\n", "\n").strip("\n")
        added["answer"] = f"```python\n{reference}\n```"  # fenced, because golds are stripped and a body is indented
    if isinstance(row.get("prompt"), str):
        added["code_prompt"] = row["prompt"]  # part of the program in some sets; rewards see the messages as `prompt`
    meta = row.get("meta")
    if isinstance(meta, Mapping) and "difficulty" in meta and "difficulty" not in row:
        added["difficulty"] = meta["difficulty"]  # LeetCode's file keeps it one level down
    return {**row, **added}
