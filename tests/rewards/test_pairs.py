"""The ladder as a whole, on pairs of bare answers: right ones accepted, wrong ones refused, in either order."""

from __future__ import annotations

import pytest

from rewards.math_answer import verify_answer
from rewards.math_answer.leniency import TRAIN
from tests.rewards.pairs import DIFFERENT, EQUAL


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_two_ways_to_write_an_answer_are_one_answer(one: str, other: str) -> None:
    for policy in ("train", "eval"):
        for gold, answer in ((one, other), (other, one)):
            verdict = verify_answer(gold, answer, policy)
            assert verdict.ok, verdict


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_another_answer_is_refused(one: str, other: str) -> None:
    for gold, answer in ((one, other), (other, one)):
        verdict = verify_answer(gold, answer, TRAIN)
        assert not verdict.ok, verdict


@pytest.mark.parametrize("answer", sorted({text for pair in EQUAL + DIFFERENT for text in pair}))
def test_every_answer_equals_itself(answer: str) -> None:
    assert verify_answer(answer, answer, TRAIN).ok


def test_every_verdict_has_a_reason_and_a_stage() -> None:
    for one, other in EQUAL + DIFFERENT:
        verdict = verify_answer(one, other)
        assert verdict.reason and verdict.stage and verdict.ms >= 0


@pytest.mark.parametrize(
    ("gold", "answer", "train", "eval_"),
    [
        (r"\pi", "3.14159265358979", False, True),  # a long decimal is what it rounds, when the policy says so
        (r"\frac{1}{12}", "0.0833333333333333", False, True),
        (r"\frac{1}{12}", "0.0833333333333334", False, True),  # give or take one in the last digit
        (r"\frac{1}{12}", "0.0833333333333363", False, False),
        ("0.458", r"\frac{27}{59}", False, True),  # a gold decimal may be a rounding
        ("0.46", r"\frac{27}{59}", False, False),  # two digits are too few to tell
        ("C", "c", False, True),
        ("C", "(C) 12", True, True),
        ("12", "(C) 12", True, True),
        ("1.5", "1,5", False, True),
        ("2", r"\sum_{k=0}^{2} \frac{2}{3}", False, True),  # not worked out: it may be the question
        (r"25\%", "25", True, True),
        (r"25\%", "0.25", True, True),
        ("0.25", r"25\%", True, True),
        ("25", r"25\%", True, True),
        ("0.25", "25", False, False),
        ("0.5", r"0.5\%", False, False),
    ],
)
def test_what_is_forgiven_is_the_policy_s_choice(gold: str, answer: str, train: bool, eval_: bool) -> None:
    assert verify_answer(gold, answer, "train").ok is train
    assert verify_answer(gold, answer, "eval").ok is eval_
