"""What a step says about itself: one flat row of numbers, and one row per completion.

Shares are between 0 and 1, times in seconds, lengths in tokens.  The names are those of the types on the path.  What a
phase took is `time/<phase>`, what it worked on `tokens/<phase>`: those of all completions in "sample", those of one
forward and backward pass, prompts and padding included, in "update".

`memory/<phase>_gib` is what the driver counts as taken on this process's GPU when the phase ends, by whomever: PyTorch
keeps the most that it had until a sampler wakes up, so it is the phase's peak, and what a sleeping vLLM has given back
is not in it.  `memory/peak_gib` is the largest of these.  Where this process uses no GPU it is the process's own peak
since it began.  What is taken on a cluster's other devices and machines is in neither.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, get_args

import numpy as np
import torch

from grpo import behind, mismatch
from grpo.algorithm import JudgedGroup, StepResult
from grpo.engine import Update
from grpo.types import Completion, Group, Problem, ScoredGroup, Scores, Span
from rewards import Failure, Score

Row = dict[str, Any]
FAILURES: tuple[Failure, ...] = get_args(Failure)


class Stopwatch:
    """Seconds per phase of one step, and GiB of the GPU at its end.  `phase` is the one under way; `mark` hears of each
    that begins, and "" where it has ended."""

    def __init__(self, mark: Callable[[str], None] = lambda phase: None) -> None:
        self._mark = mark
        self.restart()

    def restart(self) -> None:
        self.phase = ""
        self.seconds: dict[str, float] = {}
        self.gib: dict[str, float] = {}
        self.started = self.since = time.perf_counter()

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        self._mark(phase)
        self.phase, self.since = phase, time.perf_counter()
        yield
        self.seconds = self._until(time.perf_counter())
        if (gib := gpu_memory()) is not None:
            self.gib[phase] = max(gib, self.gib.get(phase, 0.0))
        self.phase = ""
        self._mark("")

    def row(self) -> Row:
        """Of the step so far, the phase under way included: the row is made in one, the last."""
        now = time.perf_counter()
        return {
            **{f"time/{phase}": seconds for phase, seconds in self._until(now).items()},
            "time/step": now - self.started,
        }

    def memory(self) -> Row:
        """Of the step's phases that are over, and the largest."""
        peak = max(self.gib.values()) if self.gib else process_memory()
        return {**{f"memory/{phase}_gib": gib for phase, gib in self.gib.items()}, "memory/peak_gib": peak}

    def _until(self, now: float) -> dict[str, float]:
        if not self.phase:
            return self.seconds
        return {**self.seconds, self.phase: self.seconds.get(self.phase, 0.0) + now - self.since}


def step_row(step: int, result: StepResult, *, reward_names: Sequence[str]) -> Row:
    """All of a step's metrics except times and memory, which `Stopwatch` gives."""
    scored = [group.scored for group in result.groups]
    return {
        "step": step,
        **completion_shares(scored, reward_names[0]),
        **reward_statistics(scored, reward_names),
        "groups/sampled": len(scored),
        "groups/useful": _mean(group.useful for group in result.groups),
        "groups/solved": _mean(solved_share([group], reward_names[0]) > 0 for group in scored),
        "groups/rounds": result.rounds,
        **_update_metrics(result.updates),
        "policy/entropy": entropy(scored),
        "sync/logprob_gap": result.gap,
        "tokens/sample": sum(len(completion.token_ids) for completion in _completions(scored)),
    }


def tokens_by_age(step: int, groups: Iterable[Group]) -> Counter[int]:
    """How many of the groups' tokens are so many updates old when step `step` learns from them: 0 where they were drawn
    with the weights that it starts from."""
    ages = Counter[int]()
    for group in groups:
        for completion in group.completions:
            for span in completion.spans or (Span(group.policy_step, len(completion.token_ids)),):
                ages[step - 1 - span.step] += span.tokens
    return ages


def staleness_row(step: int, groups: Sequence[JudgedGroup], max_staleness: int) -> Row:
    """Where sampling runs ahead: the share of tokens of each age among those that were not too old, and how many groups
    were."""
    row: Row = {"groups/dropped": sum(group.dropped for group in groups)}
    ages = tokens_by_age(step, [group.scored.group for group in groups if not group.dropped])
    tokens = ages.total()
    if not tokens:
        return row
    shares = {f"staleness/{age}": ages[age] / tokens for age in range(max_staleness + 1)}
    mean = sum(age * count for age, count in ages.items()) / tokens
    return row | {"staleness/mean": mean, "staleness/max": max(ages), **shares}


def completion_shares(scored: Sequence[ScoredGroup], headline: str) -> Row:
    """`headline` names the reward that says whether a problem was solved: the first in the configuration."""
    completions = list(_completions(scored))
    lengths = [len(completion.token_ids) for completion in completions]
    return {
        **score_shares([Scores(group.scores, group.rewards) for group in scored], headline),
        "completions/truncated": _mean(completion.finish == "length" for completion in completions),
        "completions/length_mean": _mean(lengths),
        "completions/length_max": max(lengths),
    }


def score_shares(judged: Sequence[Scores], headline: str) -> Row:
    """What the rewards said of completions, wherever these were made."""
    scores = [score for one in judged for by_name in one.scores for score in by_name.values()]
    parsed = [score.parsed for score in scores if score.parsed is not None]
    return {
        "solved": solved_share(judged, headline),
        "completions/unparseable": _mean(not found for found in parsed),
        "completions/unscored": _mean(reward is None for one in judged for reward in one.rewards),
        **{f"completions/{kind}": _mean(score.failure == kind for score in scores) for kind in FAILURES},
    }


def solved_share(judged: Sequence[Scores | ScoredGroup], headline: str) -> float:
    """Share of the completions that get 1 or more from the reward `headline`."""
    found = [by_name.get(headline) for one in judged for by_name in one.scores]
    return _mean(score is not None and (score.value or 0.0) >= 1 for score in found)


def entropy(scored: Sequence[ScoredGroup]) -> float:
    """Nats per token.  -log π of tokens drawn from π is an unbiased estimate, and free."""
    logprobs = [completion.logprobs for completion in _completions(scored)]
    return -float(np.concatenate(logprobs).mean(dtype=np.float64)) if logprobs else 0.0


def reward_statistics(scored: Sequence[ScoredGroup], reward_names: Sequence[str]) -> Row:
    """Mean and standard deviation of the reward, and the mean of each part of it."""
    rewards = torch.tensor([r for group in scored for r in group.rewards if r is not None], dtype=torch.float64)
    row: Row = {}
    if len(rewards):
        row |= {"reward/mean": float(rewards.mean()), "reward/std": float(rewards.std(correction=0))}
    for name in reward_names:
        values = [by_name[name].value for group in scored for by_name in group.scores if name in by_name]
        judged = [value for value in values if value is not None]
        if judged:
            row[f"reward/{name}"] = _mean(judged)
    return row


def sample_rows(step: int, groups: Sequence[JudgedGroup], prompt_text: Mapping[str, str]) -> Iterator[Row]:
    """One row per completion, as rollouts/ and samples.jsonl hold them."""
    for judged in groups:
        group = judged.scored.group
        columns = zip(group.completions, judged.scored.scores, judged.scored.rewards, judged.advantages, strict=True)
        for index, (completion, scores, reward, advantage) in enumerate(columns):
            row = {
                "step": step,
                "problem": group.prompt.problem.id,
                "index": index,
                "prompt": prompt_text[group.prompt.problem.id],
                "gold": gold_of(group.prompt.problem),
                "completion": completion.text,
                "reward": reward,
                "advantage": advantage,
                "finish": completion.finish,
                "tokens": len(completion.token_ids),
                "scores": {name: score_row(score) for name, score in scores.items()},
            }
            yield {**row, "dropped": True} if judged.dropped else row


def token_rows(groups: Sequence[JudgedGroup], pieces: Callable[[Sequence[int]], list[str]]) -> Iterator[Row]:
    """What is said of each token, for the rows of `sample_rows`: of a group that is not shown, nothing."""
    for judged in groups:
        completions = judged.scored.group.completions
        if not judged.views:
            yield from ({} for _ in completions)
            continue
        for completion, view in zip(completions, judged.views, strict=True):
            yield {
                "pieces": pieces(completion.token_ids.tolist()),
                "token_ids": completion.token_ids,
                "sampler_logprobs": completion.logprobs,
                "policy_logprobs": view.logprobs,
                "entropies": view.entropies,
            }


def gold_of(problem: Problem) -> str | None:
    """The gold answer, where the problem has one."""
    return str(problem.facts.get("answer") or "") or None


def score_row(score: Score) -> Row:
    row: Row = {"value": score.value, "answer": score.answer, "why": score.why}
    return row if score.failure is None else {**row, "failure": score.failure}


def gpu_memory() -> float | None:
    """GiB that are taken just now of the GPU that this process uses; None: it uses none, and asking would change it."""
    if not torch.cuda.is_initialized():
        return None
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 2**30


def process_memory() -> float:
    """GiB of this process at the highest since it began."""
    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _update_metrics(updates: Sequence[Update]) -> Row:
    computed, padding = (_total(updates, name) for name in ("tokens/update", "tokens/padding"))
    row: Row = {
        "policy/updates": len(updates),
        "policy/skipped_updates": sum(not update.moved for update in updates),
        "tokens/update": int(computed),
        "update/padded": padding / max(1, computed),
    }
    if not updates:
        return row
    tokens = sum(update.batch.n_tokens for update in updates)
    for name in updates[0].totals:
        if name.endswith("_max"):
            row[name] = max(update.totals[name] for update in updates)
        elif name.startswith("policy/"):
            row[name] = _total(updates, name) / tokens
    sums, added_up = Counter[str](), (behind.PREFIX, mismatch.PREFIX)
    for update in updates:
        sums.update({name: total for name, total in update.totals.items() if name.startswith(added_up)})
    row |= mismatch.gap_metrics(sums) | behind.behind_metrics(sums)
    row["policy/loss"] = _total(updates, "loss") / len(updates)
    row["policy/grad_norm"] = _mean(update.grad_norm for update in updates)
    row["policy/lr"] = updates[-1].lr
    return row


def _total(updates: Sequence[Update], name: str) -> float:
    return sum(update.totals[name] for update in updates)


def _completions(scored: Iterable[ScoredGroup]) -> Iterator[Completion]:
    for group in scored:
        yield from group.group.completions


def _mean(values: Iterable[float]) -> float:
    numbers = [float(value) for value in values]
    return sum(numbers) / len(numbers) if numbers else 0.0
