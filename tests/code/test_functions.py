"""The generated functions: always the same, held apart, and their references are what passes."""

from __future__ import annotations

import pytest

from grpo.config import Data
from grpo.errors import DataError
from grpo.problems import functions, load_problems
from rewards.code_tests import code

SPLITS = {split: functions.rows(split) for split in functions.SIZES}


def run(program: str, x: int) -> int:
    space: dict = {}
    exec(program, space)
    return space["f"](x)


def passes(program: str, row: dict) -> bool:
    return all(run(program, *test["args"]) == test["returns"] for test in row["tests"])


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_has_its_size_and_is_always_the_same(split):
    assert len(SPLITS[split]) == functions.SIZES[split]
    assert functions.rows(split) == SPLITS[split]
    assert len({row["problem"] for row in SPLITS[split]}) == len(SPLITS[split])


def test_no_held_out_problem_is_trained_on():
    held_out = {row["problem"] for row in SPLITS["test"]}
    assert not held_out & {row["problem"] for split in ("train", "worked") for row in SPLITS[split]}


def test_every_reference_passes_its_tests():
    assert all(passes(row["reference"], row) for row in SPLITS["test"])


def test_a_hasty_function_passes_where_the_product_comes_first():
    shares = [passes(f"def f(x):return x{row['problem']}", row) for row in SPLITS["test"]]
    assert shares == [row["problem"].startswith("*") for row in SPLITS["test"]]
    assert 0.2 < sum(shares) / len(shares) < 0.4


def test_worked_examples_are_hasty_or_careful():
    hasty = 0
    for row in SPLITS["worked"]:
        assert row["solution"] in (row["reference"], f"def f(x):return x{row['problem']}")
        hasty += row["solution"] != row["reference"]
    assert hasty / len(SPLITS["worked"]) == pytest.approx(functions.HASTY, abs=0.03)


def test_the_tests_by_hand():
    # ((x + 3) · 2) - 5 at 0, 1, 2, 7, -3, 100
    assert [functions._applied([("+", 3), ("*", 2), ("-", 5)], x) for x in functions.INPUTS] == [1, 3, 5, 15, -5, 201]


def test_an_unknown_split_is_refused():
    with pytest.raises(DataError, match="no split 'dev'; it has train, test, worked"):
        functions.rows("dev")


@pytest.mark.usefixtures("sandbox")
def test_the_reward_accepts_the_reference_and_not_the_hasty_one():
    problems = load_problems(Data(source="builtin:functions", split="test", limit=5))
    for problem in problems:
        assert code(problem.facts["answer"], problem.facts).value == 1
        assert code(f"def f(x):return x{problem.facts['problem']}+1", problem.facts).value == 0
