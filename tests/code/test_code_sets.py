"""How `grpo` asks programming tasks: questions, references, windows of dates, and what it refuses at load."""

from __future__ import annotations

import json

import pytest

from grpo.config import Data
from grpo.errors import DataError
from grpo.problems import load_problems
from grpo.scoring.scorer import as_rewards_see
from rewards.code_tests import read_task
from tests.code.test_datasets import FUNCTIONAL, HUMAN_EVAL, MBPP, STDIN, livecodebench, packed


@pytest.fixture
def load(tmp_path):
    def load(rows, **settings):
        path = tmp_path / "tasks.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return load_problems(Data(source=str(path), **settings), needs=())

    return load


def test_human_eval_asks_for_the_whole_function_and_has_its_reference_as_answer(load):
    [problem] = load([HUMAN_EVAL])
    assert problem.id == "HumanEval/x"
    assert problem.messages[0]["content"].startswith("Complete this Python function.")
    assert problem.facts["answer"] == f"```python\n{HUMAN_EVAL['prompt']}    return twice(x)\n```"


@pytest.mark.parametrize("row", [HUMAN_EVAL, MBPP, livecodebench(STDIN, packed(STDIN))])
def test_what_the_reward_sees_holds_the_same_task_as_the_row(load, row):
    [problem] = load([row])
    assert read_task(as_rewards_see(problem, 1)) == read_task(row)


def test_a_base_model_may_be_shown_the_bare_prompt(load):
    [problem] = load([HUMAN_EVAL], problem="prompt", chat=False)
    assert problem.messages[0]["content"] == HUMAN_EVAL["prompt"]


def test_livecodebench_says_how_input_and_output_go(load):
    rows = [livecodebench(STDIN, packed([]))]
    rows += [livecodebench(FUNCTIONAL, packed([]), starter_code="class Solution:", metadata='{"func_name": "g"}')]
    by_stdin, by_call = (problem.messages[0]["content"] for problem in load(rows))
    assert "Read the input from stdin" in by_stdin
    assert "class Solution:" in by_call


def test_own_rows_are_asked_as_they_say(load):
    [problem] = load([{"problem": "Square it.", "tests": [{"input": "2", "output": "4"}], "reference": "print(4)"}])
    assert problem.messages[0]["content"] == "Square it."
    assert problem.facts["answer"] == "```python\nprint(4)\n```"


def test_rows_that_can_judge_nothing_are_named_before_anything_runs(load):
    bad = MBPP | {"task_id": 7, "test_list": []}
    with pytest.raises(DataError, match=r"tasks\.jsonl: 1 of 2 tasks .* \(7: it has no tests\); mend or remove"):
        load([MBPP, bad])


DATED = [livecodebench(STDIN, "[]", question_id=day, contest_date=f"{day}T00:00:00") for day in
         ("2024-07-31", "2024-08-01", "2025-01-31", "2025-02-01")]  # fmt: skip


@pytest.mark.parametrize(
    ("window", "ids"),
    [
        ("2024-08-01..2025-02-01", ["2024-08-01", "2025-01-31"]),
        ("2025-01-01..", ["2025-01-31", "2025-02-01"]),
        ("..2024-08-01", ["2024-07-31"]),
        (None, ["2024-07-31", "2024-08-01", "2025-01-31", "2025-02-01"]),
    ],
)
def test_a_window_of_dates_takes_its_first_day_and_leaves_its_last(load, window, ids):
    assert [problem.id for problem in load(DATED, subset=window)] == ids


def test_a_window_without_tasks_says_which_dates_there_are(load):
    with pytest.raises(DataError, match="no task of these dates; they run from 2024-07-31 to 2025-02-01"):
        load(DATED, subset="2030-01-01..")


def test_a_window_over_rows_without_dates_is_refused(load):
    with pytest.raises(DataError, match="has no column contest_date"):
        load([MBPP], subset="2024-01-01..")
