"""The generated task of the whole recipe: what each split is for, and that the test is in none of the others."""

from __future__ import annotations

import re

import pytest

from grpo.errors import DataError
from grpo.problems import recipe

SPLITS = {split: recipe.rows(split) for split in recipe.SIZES}
WITH_SOLUTIONS = ("pretraining", "cold-start", "general")


def share(split: str, kind: str) -> float:
    return sum(row["type"] == kind for row in SPLITS[split]) / len(SPLITS[split])


def test_the_test_occurs_in_no_other_split() -> None:
    test = {row["problem"] for row in SPLITS["test"]}
    for split, rows in SPLITS.items():
        assert split == "test" or test.isdisjoint(row["problem"] for row in rows), split


def test_no_problem_and_no_id_comes_twice_in_a_split_and_a_split_is_always_the_same() -> None:
    for split, rows in SPLITS.items():
        assert len({row["problem"] for row in rows}) == len({row["id"] for row in rows}) == recipe.SIZES[split]
        assert recipe.rows(split) == rows


def test_each_split_has_the_kinds_that_it_is_for() -> None:
    assert share("cold-start", "sum") == share("sums", "sum") == share("general", "maximum") == 1
    for split in ("pretraining", "all", "test"):
        assert share(split, "maximum") == pytest.approx(recipe.GENERAL, abs=0.03)


def test_gold_answers_are_what_python_computes() -> None:
    for row in (row for rows in SPLITS.values() for row in rows):
        kind, problem = row["type"], row["problem"]
        right = eval(problem) if kind == "sum" else max(map(int, problem.removeprefix("max ").split(",")))
        assert row["answer"] == str(right)


def test_solutions_are_where_something_is_shown_and_maxima_are_read_off() -> None:
    for split, rows in SPLITS.items():
        assert {("solution" in row) for row in rows} == {split in WITH_SOLUTIONS}
    for row in SPLITS["general"]:
        assert row["solution"] == f"<think></think><answer>{row['answer']}</answer>"


def test_what_people_write_has_a_slip_in_one_of_four() -> None:
    solutions = [(row["solution"], row["answer"]) for row in SPLITS["cold-start"]]
    assert all(re.fullmatch(r"<think>\d[-+=\d]+</think><answer>\d+</answer>", text) for text, _ in solutions)
    slips = sum(not text.endswith(f"<answer>{gold}</answer>") for text, gold in solutions)
    assert slips / len(solutions) == pytest.approx(recipe.SLIP_OF_PEOPLE, abs=0.08)


def test_a_split_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(DataError, match="there is no split 'worked'; it has pretraining, cold-start"):
        recipe.rows("worked")
