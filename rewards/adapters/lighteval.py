r"""Metrics for lighteval's tasks that judge mathematics as `grpo eval` does.

In a file of custom tasks, in the place of `Metrics.pass_at_k_math` or `Metrics.expr_gold_metric`:

    from rewards.adapters.lighteval import math_pass_at_k

    TASKS_TABLE = [LightevalTaskConfig(name="my_math", …, metrics=[math_pass_at_k(k=1, n=4)])]

The gold answer may be bare, a worked solution, or follow "ANSWER:", as in lighteval's own tasks.  `math_answer` also
puts what was extracted and the reason of each verdict into the sample's details (lighteval's pass@k keeps none of its
completions').  Written for lighteval 0.13, which must be installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lighteval.metrics.metrics_sample import PassAtK, SampleLevelComputation
from lighteval.metrics.utils.metric_utils import SampleLevelMetric
from lighteval.tasks.requests import SamplingMethod

from rewards.math_answer.find.extract import extract
from rewards.math_answer.leniency import EVAL
from rewards.math_answer.verdict import verify


class MathAnswer(SampleLevelComputation):  # type: ignore[misc]
    """1.0 where one of the completions has one of the gold answers, else 0.0."""

    def __init__(self, policy: str = "eval") -> None:
        self.policy = policy

    def compute(self, doc: Any, model_response: Any, **_: Any) -> float:
        golds = [_bare(gold) for gold in doc.get_golds()]
        verdicts = [verify(gold, text, self.policy) for text in model_response.final_text for gold in golds]
        doc.specific = (doc.specific or {}) | {
            "extracted_golds": golds,
            "extracted_predictions": [verdict.extracted for verdict in verdicts],
            "reasons": [verdict.reason for verdict in verdicts],
        }
        return float(any(verdict.ok for verdict in verdicts))


def _bare(gold: str) -> str:
    """The gold answer without what stands around it; the text itself where nothing announces an answer."""
    return extract(gold, EVAL).text or gold


def math_answer(policy: str = "eval") -> SampleLevelMetric:
    """A metric that is right where any completion of a sample is."""
    return _metric("math_answer", MathAnswer(policy))


def math_pass_at_k(k: int, n: int, policy: str = "eval") -> SampleLevelMetric:
    """lighteval's estimate of pass@k from n completions a problem, with our verdicts."""
    return _metric(f"math_pass@k:k={k}&n={n}", PassAtK(k, n, sample_scoring_function=MathAnswer(policy)))


def _metric(name: str, computation: SampleLevelComputation) -> SampleLevelMetric:
    return SampleLevelMetric(
        metric_name=name,
        sample_level_fn=computation,
        category=SamplingMethod.GENERATIVE,
        corpus_level_fn=np.mean,
        higher_is_better=True,
    )
