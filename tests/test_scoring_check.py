"""Before a run: what does each reward say of the gold answer and of nothing?"""

from __future__ import annotations

import pytest

from grpo.config import Reward
from grpo.errors import RewardError
from grpo.scoring import check_golds, check_rewards
from grpo.types import Problem
from rewards import Score

CODE = """
import os, time

def boxed(completion, problem):
    return float(completion.endswith("\\\\boxed{" + problem["answer"] + "}"))

def tagged(completion, problem):
    return float(f"<answer>{problem['answer']}</answer>" in completion)

def bare(completion, problem):
    return 2.0 if completion == str(problem["answer"]) else -1.0

def even_only(completion, problem):
    return float(int(problem["answer"]) % 2 == 0 and str(problem["answer"]) in completion)

def always(completion, problem):
    return 1.0

def tokens(completion, problem):
    return problem["completion_tokens"]

def hangs(completion, problem):
    if completion: time.sleep(60)
    return 0.0

def hangs_on_nothing(completion, problem):
    if not completion: time.sleep(60)
    return 0.0

def dies(completion, problem):
    os._exit(5)

def raises(completion, problem):
    return problem["solution"]
"""


@pytest.fixture
def a(tmp_path):
    (tmp_path / "my.py").write_text(CODE)
    return lambda function, **settings: Reward(use=f"{tmp_path}/my.py:{function}", **settings)


def problem(answer: object, id: str = "p/0") -> Problem:
    return Problem(id, ({"role": "user", "content": "?"},), {} if answer is None else {"answer": answer})


def test_the_gold_is_tried_in_every_layout_and_the_best_counts(a):
    checks = check_rewards([a("boxed"), a("tagged"), a("bare"), a("tokens")], problem("4"))
    assert [(check.name, check.text, check.gold.value, check.empty.value) for check in checks] == [
        ("boxed", "The answer is \\boxed{4}", 1.0, 0.0),
        ("tagged", "<think>…</think><answer>4</answer>", 1.0, 0.0),
        ("bare", "4", 2.0, -1.0),
        ("tokens", "The answer is \\boxed{4}", 4.0, 0.0),
    ]


def test_a_problem_without_an_answer_has_no_gold_to_try(a):
    [check] = check_rewards([a("always")], problem(None))
    assert (check.gold.value, check.gold.why) == (None, "the problem has no answer")
    assert check.empty.value == 1.0


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        ("hangs", r"my.py:hangs: no answer within 0.5 s on problem p/0; make it faster or raise reward.timeout$"),
        ("hangs_on_nothing", r"my.py:hangs_on_nothing: no answer within 0.5 s on problem p/0"),
        ("dies", r"my.py:dies: the reward's process died \(exit code 5\) on problem p/0; mend it$"),
        ("raises", r"raises raised KeyError\('solution'\) on problem p/0$"),
    ],
)
def test_a_reward_that_hangs_dies_or_raises_is_refused_at_start_up(a, function, sentence):
    with pytest.raises(RewardError, match=sentence) as refusal:
        check_rewards([a(function, timeout=0.5 if function.startswith("hangs") else 30)], problem("4"))
    assert refusal.value.exit_code == 2


def test_a_reward_that_may_be_skipped_is_not_refused_for_raising(a):
    [check] = check_rewards([a("raises", on_error="skip")], problem("4"))
    assert check.gold == check.empty == Score(None, why="raised KeyError('solution')", failure="fault")


def test_the_golds_that_a_reward_rejects_are_listed_with_the_reason(a):
    problems = [problem(str(n), f"p/{n}") for n in range(6)]
    rejected = check_golds(a("even_only"), problems, workers=2)
    assert rejected == [(f"p/{n}", str(n), "scores 0, others score 1") for n in (1, 3, 5)]
    assert check_golds(a("bare"), problems) == []
    assert check_golds(a("bare"), []) == []


def test_a_missing_or_empty_gold_is_rejected_and_never_accepted(a):
    rejected = check_golds(a("tagged"), [problem("4"), problem("", "p/1"), problem(None, "p/2")])
    why = "not judged, others score 1: the problem has no answer"
    assert rejected == [("p/1", "", why), ("p/2", "", why)]


def test_a_reward_that_gives_golds_no_more_than_nothing_rejects_them_all(a):
    rejected = check_golds(a("always"), [problem("4"), problem("5", "p/1")])
    assert [gold.why for gold in rejected] == ["scores 1, no more than an empty completion"] * 2
