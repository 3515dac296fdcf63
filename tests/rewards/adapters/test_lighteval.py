"""lighteval's own classes around our verdicts; `scripts/lighteval` makes the environment that this needs."""

from __future__ import annotations

import pytest

pytest.importorskip("lighteval", reason="lighteval is not installed here; scripts/lighteval runs this")

from lighteval.metrics.metrics import Metrics
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc

from rewards.adapters.lighteval import math_answer, math_pass_at_k


def _doc(*golds: str) -> Doc:
    return Doc(query="?", choices=list(golds), gold_index=list(range(len(golds))))


@pytest.mark.parametrize("gold", ["1/2", "ANSWER: 1/2", r"ANSWER: We halve, so it is $\boxed{\frac{1}{2}}$."])
def test_a_gold_answer_may_be_bare_announced_or_at_the_end_of_a_solution(gold: str) -> None:
    metric = math_answer()
    right, wrong = (ModelResponse(text=[text]) for text in (r"\boxed{0.5}", r"\boxed{0.25}"))
    assert metric.compute_sample(doc=_doc(gold), model_response=right) == {"math_answer": 1.0}
    assert metric.compute_sample(doc=_doc(gold), model_response=wrong) == {"math_answer": 0.0}


def test_a_sample_s_details_say_what_was_judged_and_why() -> None:
    doc = _doc("ANSWER: 42")
    math_answer().compute_sample(doc=doc, model_response=ModelResponse(text=["The answer is 41."]))
    assert doc.specific == {
        "extracted_golds": ["42"],
        "extracted_predictions": ["41"],
        "reasons": ["different numbers"],
    }


def test_any_gold_answer_will_do() -> None:
    score = math_answer().compute_sample(doc=_doc("1", "2"), model_response=ModelResponse(text=[r"\boxed{2}"]))
    assert score == {"math_answer": 1.0}


def test_pass_at_k_is_lighteval_s_estimate_over_our_verdicts() -> None:
    texts = [r"\boxed{2}", r"\boxed{3}", r"\boxed{3}", r"\boxed{3}"]
    ours = math_pass_at_k(k=2, n=4).compute_sample(doc=_doc("2"), model_response=ModelResponse(text=texts))
    # 1 - C(3, 2) / C(4, 2) = 1 - 3/6
    assert list(ours.values()) == [pytest.approx(0.5)]


def test_it_stands_where_lighteval_s_own_metric_stands() -> None:
    theirs = Metrics.pass_at_k_math.value(sample_params={"k": 1, "n": 1})
    for gold, text in ((r"ANSWER: $\boxed{12}$", r"\boxed{12}"), ("ANSWER: 12", r"\boxed{13}")):
        scores = [
            list(metric.compute_sample(doc=_doc(gold), model_response=ModelResponse(text=[text])).values())
            for metric in (theirs, math_pass_at_k(k=1, n=1))
        ]
        assert scores[0] == scores[1]
