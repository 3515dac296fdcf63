"""The real data sets, where they are at hand: every row of every file is a problem with an answer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from grpo.config import Data
from grpo.errors import DataError
from grpo.problems import load_problems

DATA = Path(os.environ.get("GRPO_DATA", Path(__file__).parents[2] / "shared" / "data"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data sets in {DATA} (GRPO_DATA names another place)")

# file: rows, the first problem's id and answer
FILES = {
    "gsm8k/train.jsonl": (7473, "train/0", "72"),
    "gsm8k/test.jsonl": (1319, "test/0", "18"),
    "math/math500.jsonl": (500, "test/precalculus/807.json", r"\left( 3, \frac{\pi}{2} \right)"),
    "math/aime24.jsonl": (30, "aime24-0", "73"),
    "math/aime25.jsonl": (30, "aime25-0", "70"),
    "math/amc23.jsonl": (40, "0", "27.0"),
    "math/minerva.jsonl": (272, "0", "1.6"),
    "math/olympiadbench.jsonl": (675, "1606", "2"),
}


def load(name, **settings):
    return load_problems(Data(source=str(DATA / name)), **settings)


@pytest.mark.parametrize("name", FILES)
def test_every_row_has_an_answer(name):
    rows, id, answer = FILES[name]
    problems = load(name)
    assert (len(problems), problems[0].id, problems[0].facts["answer"]) == (rows, id, answer)
    assert len({problem.id for problem in problems}) == rows
    assert all(problem.facts["answer"].strip() for problem in problems)


def test_the_two_rows_of_math_train_that_have_no_answer_are_counted_and_the_first_is_named():
    with pytest.raises(DataError, match=r"row 2301: no answer .*\(the first of 2 such, of 7500 problems\)"):
        load("math/math_train_7500.json")
    problems = load("math/math_train_7500.json", needs=())
    assert [problem.id for problem in problems if not problem.facts["answer"]] == [
        "math_train_7500/2300",
        "math_train_7500/2544",
    ]


def test_gsm8k_answers_are_plain_integers():
    assert all(problem.facts["answer"].lstrip("-").isdigit() for problem in load("gsm8k/train.jsonl"))


def test_the_box_in_a_math_solution_holds_the_answer_column():
    boxed = load_problems(Data(source=str(DATA / "math/math500.jsonl"), answer="solution"))
    given = load("math/math500.jsonl")
    assert [problem.facts["answer"] for problem in boxed] == [problem.facts["answer"] for problem in given]


@pytest.mark.parametrize(
    ("name", "first"),
    [("code/HumanEval.jsonl.gz", "HumanEval/0"), ("code/mbpp.jsonl", "1"), ("code/leetcode_contest_180.jsonl", None)],
)
def test_programming_problems_have_their_reference_as_answer_where_there_is_one(name, first):
    problems = load(name, needs=())
    assert first in (None, problems[0].id)
    assert all(("answer" in problem.facts) == (first is not None) for problem in problems)
