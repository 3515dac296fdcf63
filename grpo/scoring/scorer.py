"""Score groups as they arrive: every reward on every completion, then their weighted sum.

    reward of completion g = Σ_k weight_k · value_kg

Two rules keep "could not be judged" apart from "wrong".  A reward that gives a completion no value (`None`) leaves
that completion unscored: it must not count as 0.  A reward that gives the whole group no value says nothing about it,
and is left out of the sum.  No answer within the deadline, on the other hand, is 0 with the reason: a policy must not
escape a bad mark by hanging the checker.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from grpo.errors import RewardError
from grpo.scoring.load import reward_names
from grpo.scoring.pool import Call, Pool, gather
from grpo.scoring.process import CRASH, DEADLINE, Fault
from grpo.types import Completion, Group, Problem, ScoredGroup
from rewards import Score

if TYPE_CHECKING:
    from grpo.config import Reward

FAULT = "fault: "  # how `why` begins where a reward raised and on_error = "skip"


class Scorer:
    """Rewards in `workers` processes.  Use it as a context: leaving it kills them.

    `chat`: problems are asked through a chat template.  `failed`: where the completion is saved on which a reward
    raised, when that stops the run.
    """

    def __init__(self, specs: Sequence[Reward], *, workers: int, chat: bool, failed: Path | None = None) -> None:
        self.names = reward_names(specs)
        self._specs = tuple(specs)
        self._failed = failed
        self._stopping = threading.Lock()
        self._stopped: RewardError | None = None
        self._pool = Pool(specs, workers=workers, chat=chat)

    def submit(self, group: Group) -> Future[ScoredGroup]:
        """Returns at once.  The future raises `RewardError` where a reward raised and on_error is "stop"."""
        parts = [self._pool.submit(partial(self._score, group, completion)) for completion in group.completions]
        return gather(parts, partial(self._scored, group))

    def close(self) -> None:
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _score(self, group: Group, completion: Completion, call: Call) -> dict[str, Score]:
        if self._stopped is not None:
            raise self._stopped
        problem = group.prompt.problem
        row = as_rewards_see(problem, len(completion.token_ids))
        scores = {}
        for index, (name, spec) in enumerate(zip(self.names, self._specs, strict=True)):
            outcome = call(index, completion.text, row)
            if isinstance(outcome, Fault):
                outcome = self._settle(spec, outcome, problem, completion)
            scores[name] = outcome
        return scores

    def _scored(self, group: Group, scores: list[dict[str, Score]]) -> ScoredGroup:
        weights = {name: spec.weight for name, spec in zip(self.names, self._specs, strict=True)}
        return ScoredGroup(group, tuple(scores), total(scores, weights))

    def _settle(self, spec: Reward, fault: Fault, problem: Problem, completion: Completion) -> Score:
        if spec.on_error == "skip":
            return Score.none(FAULT + fault.what)
        with self._stopping:  # the first fault stops the run: one sentence, and the one completion that it names
            if self._stopped is None:
                saved = "" if self._failed is None else _save(self._failed, spec, fault, problem, completion)
                self._stopped = fault_error(spec, fault, problem, saved)
        raise self._stopped


def total(scores: Sequence[Mapping[str, Score]], weights: Mapping[str, float]) -> tuple[float | None, ...]:
    """The weighted sum for each completion of one group, `None` where it could not be judged.

    A reward with weight 0 is only watched: what it cannot judge costs nothing.
    """
    judging = [
        name
        for name, weight in weights.items()
        if weight != 0 and any(score[name].value is not None for score in scores)
    ]
    return tuple(_weighted_sum({name: score[name] for name in judging}, weights) for score in scores)


def _weighted_sum(scores: Mapping[str, Score], weights: Mapping[str, float]) -> float | None:
    values = {name: score.value for name, score in scores.items() if score.value is not None}
    if not scores or len(values) < len(scores):
        return None
    return sum(weights[name] * value for name, value in values.items())


def mishaps(groups: Iterable[ScoredGroup]) -> dict[str, int]:
    """How often a reward gave no answer of its own: "deadline", "crash", and "fault" (it raised and was skipped)."""
    counts = {kind.removesuffix(": "): 0 for kind in (DEADLINE, CRASH, FAULT)}
    for group in groups:
        for scores in group.scores:
            for score in scores.values():
                if score.why.startswith((DEADLINE, CRASH, FAULT)):
                    counts[score.why.partition(":")[0]] += 1
    return counts


def as_rewards_see(problem: Problem, completion_tokens: int) -> dict[str, Any]:
    """The row's own columns, how long the completion is, and the messages that asked for it."""
    asked = [dict(message) for message in problem.messages]
    return {**problem.facts, "completion_tokens": completion_tokens, "prompt": asked}


def fault_error(spec: Reward, fault: Fault, problem: Problem, saved: str = "", *, exit_code: int = 1) -> RewardError:
    parts = [f"{spec.use} {fault.what} on problem {problem.id}", fault.advice, saved]
    return RewardError("; ".join(part for part in parts if part), exit_code=exit_code)


def _save(path: Path, spec: Reward, fault: Fault, problem: Problem, completion: Completion) -> str:
    content = {
        "reward": spec.use,
        "what": fault.what,
        "problem": problem.id,
        "facts": dict(problem.facts),
        "completion": completion.text,
        "traceback": fault.traceback,
    }
    unfinished = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(json.dumps(content, indent=2, default=repr) + "\n", encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:  # the reward's fault is the news, not the full disk
        return f"completion could not be saved to {path} ({error.strerror})"
    return f"completion saved to {path}"
