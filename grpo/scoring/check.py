"""Try rewards before a run depends on them: does each give the gold answer its best value?

How a reward wants an answer written is its own business, so the gold is tried in the layouts that models are asked
for, and the best value counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from grpo.errors import RewardError
from grpo.scoring.load import reward_names
from grpo.scoring.pool import Call, Pool
from grpo.scoring.process import Fault
from grpo.scoring.scorer import as_rewards_see, fault_error, skipped
from grpo.types import Problem
from rewards import Score

if TYPE_CHECKING:
    from grpo.config import Reward

LAYOUTS = (
    "The answer is \\boxed{{{gold}}}",
    "<think>…</think><answer>{gold}</answer>",
    "{gold}",
)
UNANSWERED = ("timeout", "crash")  # failures that a reward may not have on its first problem, whatever its on_error


@dataclass(frozen=True, slots=True)
class RewardCheck:
    """What a reward says of the gold answer, written as `text`, and of an empty completion."""

    name: str
    text: str
    gold: Score
    empty: Score


class RejectedGold(NamedTuple):
    """A gold answer that does not get the reward's best value, and why."""

    problem_id: str
    gold: str
    why: str


def check_rewards(specs: Sequence[Reward], problem: Problem, *, chat: bool = True) -> list[RewardCheck]:
    """Call every reward on one problem.  Raises `RewardError` (exit 2) where one hangs, dies, or raises."""

    def check(call: Call) -> list[RewardCheck]:
        checks = []
        for index, (name, spec) in enumerate(zip(reward_names(specs), specs, strict=True)):
            text, gold = _best(call, index, spec, problem)
            empty = _ask(call, index, spec, problem, "")
            for score in (gold, empty):
                if score.failure in UNANSWERED:
                    advice = "make it faster or raise reward.timeout" if score.failure == "timeout" else "mend it"
                    raise RewardError(f"{spec.use}: {score.why} on problem {problem.id}; {advice}", exit_code=2)
            checks.append(RewardCheck(name, text, gold, empty))
        return checks

    pool = Pool(specs, workers=1, chat=chat)
    try:
        return pool.submit(check).result()
    finally:
        pool.close()


def check_golds(
    spec: Reward, problems: Iterable[Problem], *, chat: bool = True, workers: int = 1
) -> list[RejectedGold]:
    """The golds to which the reward does not give the best value it gives to any gold.

    Where that best value is no more than an empty completion's, it rejects them all.
    """
    problems = list(problems)
    if not problems:
        return []
    pool = Pool([spec], workers=workers, chat=chat)
    try:
        nothing = pool.submit(partial(_ask, index=0, spec=spec, problem=problems[0], text="")).result()
        parts = [pool.submit(partial(_best, index=0, spec=spec, problem=problem)) for problem in problems]
        scores = [part.result()[1] for part in parts]
    finally:
        pool.close()
    values = [score.value for score in scores if score.value is not None]
    best = max(values, default=None)
    if best is not None and nothing.value is not None and best <= nothing.value:
        best = None
    return [
        RejectedGold(problem.id, _gold(problem), _reason(score, best))
        for problem, score in zip(problems, scores, strict=True)
        if best is None or score.value != best
    ]


def _reason(score: Score, best: float | None) -> str:
    value = "not judged" if score.value is None else f"scores {score.value:g}"
    against = "no more than an empty completion" if best is None else f"others score {best:g}"
    return f"{value}, {against}" + (f": {score.why}" if score.why else "")


def _best(call: Call, index: int, spec: Reward, problem: Problem) -> tuple[str, Score]:
    """The text that states the gold and gets most, with what it gets; the first of equals."""
    gold = _gold(problem)
    if not gold:
        return "", Score.none("the problem has no answer")
    best = ("", Score.none(""))
    for layout in LAYOUTS:
        text = layout.format(gold=gold)
        score = _ask(call, index, spec, problem, text)
        if score.failure in UNANSWERED:
            return text, score  # the others would take as long
        if not best[0] or _value(score) > _value(best[1]):
            best = (text, score)
    return best


def _value(score: Score) -> float:
    return float("-inf") if score.value is None else score.value


def _ask(call: Call, index: int, spec: Reward, problem: Problem, text: str) -> Score:
    outcome = call(index, text, as_rewards_see(problem, len(text.split())))  # words stand in for tokens
    if not isinstance(outcome, Fault):
        return outcome
    if spec.on_error == "skip":
        return skipped(outcome)
    raise fault_error(spec, outcome, problem, exit_code=2)


def _gold(problem: Problem) -> str:
    answer = problem.facts.get("answer")
    return "" if answer is None else str(answer)
