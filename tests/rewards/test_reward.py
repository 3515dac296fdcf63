"""The reward `math`, and which golds can be used."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.math_answer import gold_problem, math


def test_right_wrong_and_absent() -> None:
    right = math(r"so \boxed{0.50}", {"answer": "1/2"})
    assert (right.value, right.answer, right.parsed) == (1.0, "1/2", True)
    wrong = math(r"so \boxed{0.51}", {"answer": "1/2"})
    assert (wrong.value, wrong.answer, wrong.parsed) == (0.0, "51/100", True)
    absent = math("I have no idea what to do here", {"answer": "1/2"})
    assert (absent.value, absent.parsed) == (0.0, False)
    assert right.why and wrong.why and absent.why


@pytest.mark.parametrize(
    "gold", [5, 5.0, "5", "5.0", "$5$", r"\boxed{5}", "long solution\n#### 5", r"so it is \boxed{5}."]
)
def test_a_gold_may_be_a_number_or_a_text_that_announces_it(gold: Any) -> None:
    assert math(r"\boxed{5}", {"answer": gold}).value == 1.0
    assert math(r"\boxed{6}", {"answer": gold}).value == 0.0
    assert gold_problem(gold) is None


@pytest.mark.parametrize("gold", ["", "  ", r"\frac{", None, True, ["5"], "(" * 200])
def test_a_gold_that_cannot_be_used_is_named_and_never_rewarded(gold: Any) -> None:
    assert gold_problem(gold)
    if gold is None or isinstance(gold, str):
        assert math(r"\boxed{}", {"answer": gold}).value in (None, 0.0)
        assert math(r"\boxed{5}", {"answer": gold}).value is None  # nobody could be right: leaves the baseline


def test_the_policy_is_an_option() -> None:
    assert math("It is 5 in all.", {"answer": "5"}).value == 0.0
    assert math("It is 5 in all.", {"answer": "5"}, policy="eval").value == 1.0
    with pytest.raises(ValueError, match="train, eval"):
        math("5", {"answer": "5"}, policy="strict")


@given(st.text(max_size=200))
def test_any_completion_has_a_score(completion: str) -> None:
    assert math(completion, {"answer": "5"}).value in (0.0, 1.0)
