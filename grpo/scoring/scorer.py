"""Score groups as they arrive: every reward on every completion, then their weighted sum.

    reward of completion g = Σ_k weight_k · value_kg

Two rules keep "could not be judged" apart from "wrong".  A reward that gives a completion no value (`None`) leaves
that completion unscored: it must not count as 0.  A reward that gives the whole group no value says nothing about it,
and is left out of the sum.  No answer in time, on the other hand, is 0 with the reason: a policy must not escape a bad
mark by hanging the checker.
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
from typing import TYPE_CHECKING, Any, Self, get_args

from grpo.errors import RewardError
from grpo.scoring.load import reward_names
from grpo.scoring.pool import Call, Pool, gather
from grpo.scoring.process import Fault
from grpo.types import Group, Problem, ScoredGroup, Scores
from rewards import Failure, Score

if TYPE_CHECKING:
    from grpo.config import Reward


class Scorer:
    """Rewards in `workers` processes.  Use it as a context: leaving it kills them.

    `chat`: problems are asked through a chat template.  `failed`: where the completion is saved on which a reward
    raised, when that stops the run.  `declarations` are what the rewards declare, in the order of `specs`.
    """

    def __init__(self, specs: Sequence[Reward], *, workers: int, chat: bool, failed: Path | None = None) -> None:
        self.names = reward_names(specs)
        self.weights = {name: spec.weight for name, spec in zip(self.names, specs, strict=True)}
        self._specs = tuple(specs)
        self._failed = failed
        self._stopping = threading.Lock()
        self._stopped: RewardError | None = None
        self._pool = Pool(specs, workers=workers, chat=chat)
        self.declarations = self._pool.declarations

    def submit(self, group: Group) -> Future[ScoredGroup]:
        """Returns at once.  The future raises `RewardError` where a reward raised and on_error is "stop"."""
        texts = [completion.text for completion in group.completions]
        tokens = [len(completion.token_ids) for completion in group.completions]
        scoring = self.score(group.prompt.problem, texts, tokens)
        return gather([scoring], lambda scored: ScoredGroup(group, scored[0].scores, scored[0].rewards))

    def score(self, problem: Problem, texts: Sequence[str], tokens: Sequence[int | None]) -> Future[Scores]:
        """As `submit`, of completions of which only the text is there: `tokens` counts them, None where not known."""
        if not texts:
            raise ValueError(f"{problem.id}: there is no text to score")
        shown = [(text, as_rewards_see(problem, count)) for text, count in zip(texts, tokens, strict=True)]
        parts = [self._pool.submit(partial(self._score, problem, text, row)) for text, row in shown]
        return gather(parts, self._added_up)

    def close(self) -> None:
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _score(self, problem: Problem, text: str, row: Mapping[str, Any], call: Call) -> dict[str, Score]:
        if self._stopped is not None:
            raise self._stopped
        scores = {}
        for index, (name, spec) in enumerate(zip(self.names, self._specs, strict=True)):
            outcome = call(index, text, row)
            if isinstance(outcome, Fault):
                outcome = self._settle(spec, outcome, problem, text)
            scores[name] = outcome
        return scores

    def _added_up(self, scores: list[dict[str, Score]]) -> Scores:
        return Scores(tuple(scores), total(scores, self.weights))

    def _settle(self, spec: Reward, fault: Fault, problem: Problem, text: str) -> Score:
        if spec.on_error == "skip":
            return skipped(fault)
        with self._stopping:  # the first fault stops the run: one sentence, and the one completion that it names
            if self._stopped is None:
                saved = "" if self._failed is None else _save(self._failed, spec, fault, problem, text)
                self._stopped = fault_error(spec, fault, problem, saved)
        raise self._stopped


def total(scores: Sequence[Mapping[str, Score]], weights: Mapping[str, float]) -> tuple[float | None, ...]:
    """The weighted sum for each completion of one group, `None` where it could not be judged.

    A reward with weight 0 is only watched: what it cannot judge costs nothing.  Where all are, everybody gets 0.
    """
    if not any(weights.values()):
        return (0.0,) * len(scores)
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


def failures(groups: Iterable[ScoredGroup]) -> dict[Failure, int]:
    """How often a reward gave no answer of its own, by how that was."""
    counts: dict[Failure, int] = dict.fromkeys(get_args(Failure), 0)
    for group in groups:
        for scores in group.scores:
            for score in scores.values():
                if score.failure is not None:
                    counts[score.failure] += 1
    return counts


def skipped(fault: Fault) -> Score:
    """What a reward with on_error = "skip" is taken to say where it raised or broke its contract."""
    return Score(None, why=fault.what, failure="fault")


def as_rewards_see(problem: Problem, completion_tokens: int | None) -> dict[str, Any]:
    """The row's own columns, the messages that asked, and how long the completion is, where that is known."""
    seen = {**problem.facts, "prompt": [dict(message) for message in problem.messages]}
    seen.pop("completion_tokens", None)  # a column of that name is about some other completion
    return seen if completion_tokens is None else {**seen, "completion_tokens": completion_tokens}


def fault_error(spec: Reward, fault: Fault, problem: Problem, saved: str = "", *, exit_code: int = 1) -> RewardError:
    parts = [f"{spec.use} {fault.what} on problem {problem.id}", fault.advice, saved]
    return RewardError("; ".join(part for part in parts if part), exit_code=exit_code)


def _save(path: Path, spec: Reward, fault: Fault, problem: Problem, text: str) -> str:
    content = {
        "reward": spec.use,
        "what": fault.what,
        "problem": problem.id,
        "facts": dict(problem.facts),
        "completion": text,
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
