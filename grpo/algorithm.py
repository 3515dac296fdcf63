"""GRPO, all of it: group-relative policy optimisation (arXiv 2402.03300, section 4.1; arXiv 2501.12948, section 2.1).

For each problem q sample a group of G completions o_1 … o_G from the current policy, score each with a rule, and let
the group be its own baseline:

    A_i = (r_i - mean(r_1 … r_G)) / std(r_1 … r_G)

Then move the policy by gradient descent on

    L = Σ_i Σ_t w_i · [ -ρ_it · min(u_it A_i, clip(u_it, 1-ε_low, 1+ε_high) A_i) + β · KL_it ]

    u_it   π(o_it) / π_old(o_it), the ratio to the policy as it was when the group was sampled
    ρ_it   min(π_old(o_it) / π_sampler(o_it), C), because the sampler's arithmetic is not quite the policy's
    KL_it  the k3 estimate of KL(π ‖ π_reference)
    w_i    the weight of a token, in which GRPO, DAPO and Dr. GRPO differ: see `WEIGHTS`

The weights are made once per update, over all its completions, and travel with the tokens.  So the loss is a plain
sum, nobody divides inside, and micro-batches of any size add up to the same gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from grpo.config import Config, Objective
from grpo.learning.batch import Batch, Row, collate
from grpo.learning.policy import Policy, Terms
from grpo.sampling import Sampler
from grpo.sampling.canary import Canary
from grpo.scoring import Scorer
from grpo.types import Prompt, SamplingParams, ScoredGroup

# --- Advantages ---------------------------------------------------------------------------------------------------


def advantages(rewards_G: Sequence[float | None], *, scale_by_std: bool) -> list[float]:
    """How much better than its group each completion is.

    `None`, a completion that could not be judged, is no part of the baseline and gets 0.  So does a group that
    agrees.  The standard deviation is the unbiased one, with 1e-4 added, as in TRL.
    """
    judged = torch.tensor([r for r in rewards_G if r is not None], dtype=torch.float64)
    if agrees(rewards_G):
        return [0.0] * len(rewards_G)
    mean, std = float(judged.mean()), float(judged.std())
    divisor = std + 1e-4 if scale_by_std else 1.0
    return [0.0 if r is None else (r - mean) / divisor for r in rewards_G]


def agrees(rewards_G: Sequence[float | None]) -> bool:
    """Whether the group says nothing about which completion is better; rounding noise is no opinion."""
    judged = [r for r in rewards_G if r is not None]
    return not judged or max(judged) - min(judged) <= 1e-6 * max(1.0, max(map(abs, judged)))


# --- Weights ------------------------------------------------------------------------------------------------------


def per_sequence(lengths_B: Sequence[int], max_tokens: int) -> list[float]:
    """Mean over completions of the mean over tokens: GRPO, arXiv 2402.03300 eq. 3."""
    return [1 / (len(lengths_B) * length) for length in lengths_B]


def per_token(lengths_B: Sequence[int], max_tokens: int) -> list[float]:
    """Mean over all tokens of the update: DAPO, arXiv 2503.14476 eq. 8."""
    return [1 / sum(lengths_B)] * len(lengths_B)


def constant(lengths_B: Sequence[int], max_tokens: int) -> list[float]:
    """Mean over completions of the sum over tokens, over a constant: Dr. GRPO, arXiv 2503.20783."""
    return [1 / (len(lengths_B) * max_tokens)] * len(lengths_B)


WEIGHTS: Mapping[str, Callable[[Sequence[int], int], list[float]]] = {
    "sequence": per_sequence,
    "token": per_token,
    "constant": constant,
}


# --- Loss ---------------------------------------------------------------------------------------------------------


def policy_loss(logprobs_BT: Tensor, rows: Batch, *, settings: Objective) -> Terms:
    """The bracket of L above for some rows of an update, weighted and summed, with sums over tokens to watch.

    Where the batch has no "old" log-probabilities the policy has not moved since it sampled, and is its own old self.
    """
    advantages_B1 = rows.advantages_B.unsqueeze(1)
    old_BT = rows.logprobs.get("old", logprobs_BT.detach())

    ratio_BT = (logprobs_BT - old_BT).exp()
    clipped_BT = ratio_BT.clamp(1 - settings.clip_low, 1 + settings.clip_high)
    gain_BT = torch.minimum(ratio_BT * advantages_B1, clipped_BT * advantages_B1)

    # Log-ratios are cut at 20 before exp: e^20 is far beyond any cap, and infinity times 0 would be NaN.
    mismatch_BT = (old_BT - rows.logprobs["sampler"]).clamp(-20, 20).exp()
    importance_BT = mismatch_BT.clamp(max=settings.importance_cap) if settings.importance_cap else 1.0
    loss_BT = -importance_BT * gain_BT

    watched = {
        "policy/ratio_mean": ratio_BT,
        "policy/clipped": gain_BT < ratio_BT * advantages_B1,
        "policy/sampler_gap": mismatch_BT.log().abs(),
    }
    if settings.kl:
        watched["policy/kl"] = kl_BT = k3(logprobs_BT, rows.logprobs["reference"])
        loss_BT = loss_BT + settings.kl * kl_BT

    real_BT = rows.weights_BT > 0
    sums = {name: values_BT.detach()[real_BT].sum() for name, values_BT in watched.items()}
    peaks = {
        "policy/ratio_max": ratio_BT.detach()[real_BT].max(),
        "policy/sampler_ratio_max": mismatch_BT.detach()[real_BT].max(),
    }
    return Terms((rows.weights_BT * loss_BT).sum(), sums, peaks)


def k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Estimate of KL(π ‖ reference) from one sample, ≥ 0: http://joschu.net/blog/kl-approx.html; 2402.03300 eq. 4."""
    difference = reference - logprobs
    return torch.expm1(difference) - difference


# --- One step -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JudgedGroup:
    """A scored group with the advantage of each completion; the end of the path before tensors."""

    scored: ScoredGroup
    advantages: tuple[float, ...]

    @property
    def useful(self) -> bool:
        return not agrees(self.scored.rewards)


@dataclass(frozen=True, slots=True)
class Update:
    """What one optimizer update did.  `grad_norm` is before clipping; not finite means that nothing was moved."""

    tokens: int
    lr: float
    grad_norm: float
    totals: Mapping[str, float]  # "loss", sums over tokens, peaks
    batch: Batch

    @property
    def moved(self) -> bool:
        return math.isfinite(self.grad_norm)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One step, whole.  `gap` is the canary: mean |Δ log-probability| between sampler and policy after the transfer."""

    groups: tuple[JudgedGroup, ...]
    updates: tuple[Update, ...]
    gap: float


class Clock(Protocol):
    """Measures the phases "sample", "score", "update" and "sync" of a step."""

    def __call__(self, phase: str) -> AbstractContextManager[None]: ...


@dataclass(frozen=True)
class Trainer:
    """What a step works with.  `reference` says what the model the run starts from makes of a batch; it is called only
    where there is a KL penalty.  `arrived(done, total)` is called as groups come in, and may raise to stop the step
    before anything was learned from it."""

    config: Config
    policy: Policy
    sampler: Sampler
    scorer: Scorer
    reference: Callable[[Batch], Tensor]
    clock: Clock
    arrived: Callable[[int, int], None]
    canary: Canary = field(default_factory=Canary)

    def step(self, step: int, prompts: Sequence[Prompt], *, lr: float, seed: int) -> Outcome:
        """Sample, score, compare, learn, hand over: step `step`, counted from 1, on `prompts`."""
        scored = self.rollout(prompts, seed)
        scale = self.config.objective.scale_by_std
        groups = [JudgedGroup(s, tuple(advantages(s.rewards, scale_by_std=scale))) for s in scored]
        with self.clock("update"):
            updates = [self.update(batch, lr) for batch in self.batches(groups)]
        with self.clock("sync"):
            gap = self.sync(step, scored)
        return Outcome(tuple(groups), tuple(updates), gap)

    def rollout(self, prompts: Sequence[Prompt], seed: int) -> list[ScoredGroup]:
        """A scored group for each prompt.  Scoring goes on in other processes while the sampler works."""
        settings = self.config.sampling
        params = SamplingParams(settings.max_tokens, settings.temperature, seed=seed, stop=settings.stop)
        futures = {}
        with self.clock("sample"):
            for index, group in self.sampler.sample(prompts, settings.group_size, params):
                futures[index] = self.scorer.submit(group)
                self.arrived(len(futures), len(prompts))
            self.sampler.sleep()
        with self.clock("score"):
            return [futures[index].result() for index in range(len(prompts))]

    def batches(self, groups: Sequence[JudgedGroup]) -> list[Batch]:
        """One batch for each update, of whole groups; fewer where groups were dropped, none where all were.

        Several updates share a sampled step, so each needs to know how the policy stood before the first of them.
        """
        objective, n = self.config.objective, self.config.optim.updates_per_step
        kept = [group for group in groups if group.useful or not objective.drop_agreeing]
        shares = [kept[i * len(kept) // n : (i + 1) * len(kept) // n] for i in range(n)]
        rows = [_rows(share, objective, self.config.sampling.max_tokens) for share in shares]
        batches = [collate(part) for part in rows if part]
        if objective.kl:
            batches = [batch.with_logprobs("reference", self.reference(batch)) for batch in batches]
        if len(batches) > 1:
            batches = [batch.with_logprobs("old", self.policy.logprobs(batch)) for batch in batches]
        return batches

    def update(self, batch: Batch, lr: float) -> Update:
        totals = self.policy.forward_backward(batch, partial(policy_loss, settings=self.config.objective))
        return Update(batch.n_tokens, lr, self.policy.optim_step(lr), totals, batch)

    def sync(self, step: int, scored: Sequence[ScoredGroup]) -> float:
        """Hand the weights over, and let the sampler prove on a few of the step's own tokens that it has them."""
        self.policy.release_memory()
        self.sampler.wake()
        self.sampler.load_weights(self.policy.weights(), step)
        return self.canary.gap([s.group for s in scored], self.sampler, self.policy.score, step)


def _rows(groups: Sequence[JudgedGroup], objective: Objective, max_tokens: int) -> list[Row]:
    """The completions that are learned from, with the weight of their tokens."""
    kept = [
        (judged.scored.group, completion, advantage)
        for judged in groups
        for completion, advantage, reward in zip(
            judged.scored.group.completions, judged.advantages, judged.scored.rewards, strict=True
        )
        if reward is not None and not (objective.drop_truncated and completion.finish == "length")
    ]
    if not kept:
        return []
    weights = WEIGHTS[objective.normalize]([len(completion.token_ids) for _, completion, _ in kept], max_tokens)
    return [
        Row(group.prompt.token_ids, completion.token_ids, completion.logprobs, advantage, weight)
        for (group, completion, advantage), weight in zip(kept, weights, strict=True)
    ]
