"""The weight canary: after every transfer, does the sampler serve what the learner has?

A sampler that missed a transfer still samples, nothing raises, and the run learns from another model's completions
for weeks (verl issue 7495, ms-swift issue 9855).  Two things are looked at after each transfer, with a few of the
step's own completions that both sides score:

- The mean |Δ log-probability| per token is a metric of every step; beyond rounding, the run stops.
- In bfloat16, rounding is more than what many small steps move.  So tokens of an earlier transfer are scored again.  A
  sampler whose scores are the same to the last bit may have missed the weights, or a step may have moved nothing, which
  a policy that is not deterministic (on GPUs) hides in its noise.  Those tokens are kept until either the sampler's
  scores change, or the policy's have moved further from what they were than rounding and noise ever take them: then the
  sampler has missed transfers.  Movement adds up over steps and noise does not, so waiting costs a few steps at most.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol

from grpo.errors import SamplerError
from grpo.sampling import Continuations, Dtype
from grpo.types import Group

TOLERANCE: dict[Dtype, float] = {"float32": 1e-3, "bfloat16": 0.1}  # mean |Δ log-probability| per token
FLOOR = 0.01  # of the tolerance: no movement is told from noise below it, whatever was measured
MARGIN = 3  # so many times the noise is movement: with Gaussian noise on 10 tokens, not once in a million steps

Logprobs = list[list[float]]  # of each sequence's completion tokens


class Scoring(Protocol):
    """As much of a sampler as is looked at."""

    name: str

    def score(self, sequences: Continuations) -> Logprobs: ...


class Canary:
    """Of one sampler and the policy it serves; remembers a probe and what both sides said of it.

    `tolerance` is the largest mean |Δ log-probability| that is put down to rounding; 0 allows any.
    """

    def __init__(self, sampler: Scoring, policy_score: Callable[[Continuations], Logprobs], tolerance: float) -> None:
        self._sampler, self._policy_score, self._tolerance = sampler, policy_score, tolerance
        self._kept: tuple[Continuations, Logprobs, Logprobs] | None = None

    def check(self, groups: Sequence[Group], step: int) -> float:
        """Mean |Δ log-probability| on some tokens of `groups` after the transfer of step `step`.

        Raises `SamplerError` where the weights did not arrive, in whole or in part.
        """
        unchanged = self._kept is not None and self._same_as_before(*self._kept, step)
        sequences = probe(groups, seed=step)
        of_sampler, of_policy = self._sampler.score(sequences), self._policy_score(sequences)
        if not unchanged:
            self._kept = (sequences, of_sampler, of_policy)
        gap = logprob_gap(of_sampler, of_policy)
        self._refuse_gap(gap, step)
        return gap

    def _same_as_before(self, sequences: Continuations, of_sampler: Logprobs, of_policy: Logprobs, step: int) -> bool:
        """Whether the sampler's scores are.  Raises where the policy's have certainly moved.

        How far rounding and noise take them is measured: by the gap between the two sides when the probe was taken, and
        by scoring once more, in the reverse order, which changes what is computed side by side with what.
        """
        if self._sampler.score(sequences) != of_sampler:
            return False
        now, again = self._policy_score(sequences), self._policy_score(sequences[::-1])[::-1]
        noise = max(logprob_gap(of_sampler, of_policy), logprob_gap(now, again), FLOOR * self._tolerance)
        if logprob_gap(now, of_policy) <= MARGIN * noise:
            return True
        raise SamplerError(
            f"{self._sampler.name}: did not take the weights of step {step}: the policy's log-probabilities have "
            'moved and the sampler\'s are the same to the last bit; set sampling.backend = "transformers" '
            "to go on, and report the model"
        )

    def _refuse_gap(self, gap: float, step: int) -> None:
        if self._tolerance == 0 or gap <= self._tolerance:  # written so that a gap of nan is refused
            return
        raise SamplerError(
            f"{self._sampler.name}: after the weights of step {step} its log-probabilities are {gap:.3g} off the "
            f"policy's on average ({self._tolerance:g} allowed), so it does not serve the policy's weights or computes "
            'them differently; set sampling.backend = "transformers" to go on and report the model, '
            "or raise sampling.sync_tolerance if the gap is steady from the first step and only rounding"
        )


def probe(groups: Sequence[Group], *, seed: int, count: int = 4, max_tokens: int = 128) -> Continuations:
    """`count` completions, or all if there are fewer, each cut to its first `max_tokens`, with their prompts."""
    everyone = [(group.prompt.token_ids, completion.token_ids) for group in groups for completion in group.completions]
    chosen = random.Random(seed).sample(everyone, min(count, len(everyone)))
    return [(prompt, tuple(completion[:max_tokens].tolist())) for prompt, completion in chosen]


def logprob_gap(sampler_logprobs: Sequence[Sequence[float]], policy_logprobs: Sequence[Sequence[float]]) -> float:
    """Mean |Δ log-probability| over all tokens; `nan` where either side has one."""
    pairs = [
        pair
        for sampler_T, policy_T in zip(sampler_logprobs, policy_logprobs, strict=True)
        for pair in zip(sampler_T, policy_T, strict=True)
    ]
    if not pairs:
        raise ValueError("logprob_gap: there are no tokens to compare")
    return sum(abs(sampler - policy) for sampler, policy in pairs) / len(pairs)


def tolerance(dtype: Dtype, setting: float | None = None) -> float:
    """`sampling.sync_tolerance` where it is set, else what rounding explains in this dtype."""
    return TOLERANCE[dtype] if setting is None else setting
