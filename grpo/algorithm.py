"""GRPO, all of it: group-relative policy optimisation (arXiv 2402.03300, section 4.1; arXiv 2501.12948, section 2.1).

For each problem q sample a group of G completions o_1 … o_G from the current policy (the rollout), score each with a
rule, and let the group be its own baseline:

    A_i = (r_i - mean(r_1 … r_G)) / std(r_1 … r_G)

Then move the policy by gradient descent on

    L = Σ_i Σ_t w_it · [ -c_it · min(u_it A_i, clip(u_it, 1-ε_low, 1+ε_high) A_i) + β · KL_it ]

    u_it   π(o_it) / π_old(o_it), the importance ratio to the policy as it was when the group was sampled
    c_it   the correction for a sampler whose arithmetic is not quite the policy's, from π_old(o_it) / π_sampler(o_it)
    KL_it  an estimate of KL(π ‖ π_reference)
    w_it   the weight of a token

This is the classical form.  GRPO, DAPO, GSPO and their kin differ in how advantages and weights are made and in the
surrogate, the part with the min; `grpo.objectives` has these functions by name.  What is here is the same for all.

A teacher, where there is one (`grpo distill`), says something of each token, so the advantage is one of tokens:

    A_it = A_i + c · (log π_teacher(o_it) - log π_old(o_it))

or its distribution is all that is learned from (`divergence_loss`).  docs/distillation.md has the sources.

The weights are made once per update, over all its completions, and travel with the tokens.  So the loss is a plain
sum, nobody divides inside, and micro-batches of any size add up to the same gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grpo.behind import behind_sums
from grpo.config import Distill, Optim, Sampling
from grpo.engine import Engine, Update
from grpo.learning.batch import Batch, Loss, Sequences, Targets, Terms, padded, spread
from grpo.mismatch import gap_sums
from grpo.objectives import GroupRewards, Objective, Tokens, zero_variance
from grpo.objectives.control import Control, as_they_are
from grpo.scoring import Scorer
from grpo.types import Completion, Group, Prompt, SamplingParams, ScoredGroup

# --- Loss ---------------------------------------------------------------------------------------------------------


def policy_loss(logprobs_BT: Tensor, targets: Targets, *, objective: Objective, teacher_coef: float = 1.0) -> Terms:
    """The bracket of L above for some completions of an update, weighted and summed, with sums over tokens to watch.

    Where the targets have no "old" log-probabilities the policy has not moved since it sampled: it is its own old self.
    Where they have the "teacher"'s, `teacher_coef` is c.
    """
    mask_BT, settings = targets.mask_BT, objective.settings
    old_BT, advantages_BT = targets.per_token.get("old", logprobs_BT.detach()), targets["advantages"]
    behind = {}
    if "teacher" in targets.per_token:
        behind_BT = old_BT - targets["teacher"]
        advantages_BT = advantages_BT - teacher_coef * behind_BT
        behind = behind_sums(behind_BT, mask_BT)
    ratio_BT = objective.ratio(logprobs_BT, old_BT, mask_BT)
    tokens = Tokens(logprobs_BT, old_BT, targets["sampler"], advantages_BT, ratio_BT)
    surrogate = objective.surrogate(tokens, settings)

    mismatch_BT = old_BT - targets["sampler"]  # log of π_old / π_sampler
    correction_BT = objective.correct(mismatch_BT, mask_BT)
    loss_BT = -correction_BT * surrogate.gain

    log_ratio_BT = mismatch_BT.clamp(-20, 20)
    raw_BT, gap_BT = log_ratio_BT.exp(), log_ratio_BT.abs()
    watched = {
        "policy/ratio_mean": ratio_BT,
        "policy/clipped": surrogate.clipped,
        "policy/sampler_gap": gap_BT,
        "policy/sampler_ratio_mean": raw_BT,
        "policy/sampler_weight": correction_BT,
        "policy/sampler_dropped": correction_BT == 0,
    }
    if "reference" in targets.per_token:
        watched["policy/kl"] = kl_BT = objective.estimator(logprobs_BT, targets["reference"])
        loss_BT = loss_BT + settings.kl_coef * kl_BT * (ratio_BT if settings.kl_unbiased else 1.0)

    sums = {name: values_BT.detach()[mask_BT].sum() for name, values_BT in watched.items()}
    sums |= gap_sums(gap_BT, mask_BT) | behind
    highest = {"policy/ratio_max": ratio_BT, "policy/sampler_ratio_max": raw_BT}
    peaks = {name: values_BT.detach()[mask_BT].max() for name, values_BT in highest.items()}
    # Outside the mask there may be anything, and 0 · infinity is not 0.
    return Terms(torch.where(mask_BT, targets.weights_BT * loss_BT, 0.0).sum(), sums, peaks)


def divergence_loss(divergences_BT: Tensor, targets: Targets) -> Terms:
    """Σ w · D for some completions of an update, with D the divergence of the policy's distribution from the teacher's
    at each token: on-policy distillation with the whole vocabulary (GKD, arXiv 2306.13649)."""
    mask_BT = targets.mask_BT
    loss = torch.where(mask_BT, targets.weights_BT * divergences_BT, 0.0).sum()
    return Terms(loss, behind_sums(divergences_BT, mask_BT))


# --- One step -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class TokenView:
    """What the policy makes of each token of a completion before the step's updates; neither moves anything."""

    logprobs: NDArray[np.float32]
    entropies: NDArray[np.float32]  # nats


@dataclass(frozen=True, slots=True)
class JudgedGroup:
    """A scored group with the advantage of each completion."""

    scored: ScoredGroup
    advantages: tuple[float, ...]
    useful: bool  # it tells some of its completions from others, or a teacher does
    views: tuple[TokenView, ...] = ()  # one per completion of a group that is shown
    dropped: bool = False  # too old to learn from: see `grpo.asynchronous`


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step, whole.  `gap` is the canary: mean |Δ log-probability| between sampler and policy after the transfer."""

    groups: tuple[JudgedGroup, ...]  # all that were sampled, in the order of their problems
    updates: tuple[Update, ...]
    rounds: int  # of sampling
    gap: float


class Sample(NamedTuple):
    """A completion that is learned from."""

    group: Group
    completion: Completion
    advantage: float


class Clock(Protocol):
    """Measures the phases "sample", "score", "update" and "sync" of a step."""

    def __call__(self, phase: str) -> AbstractContextManager[None]: ...


class Source(Protocol):
    """Where a step's problems come from, and its randomness: functions of the step, not of what happened before."""

    def prompts(self, count: int) -> Sequence[Prompt]:
        """The next `count`; other ones in every call while there are others."""
        ...

    def seed(self, round: int) -> int:
        """For the draws of a round of sampling, counted from 0."""
        ...


@dataclass(frozen=True)
class Trainer:
    """What a step works with.  `arrived(done, total)` is called as groups come in, and may raise to stop the step
    before anything was learned from it."""

    engine: Engine
    scorer: Scorer
    objective: Objective
    sampling: Sampling
    optim: Optim
    clock: Clock
    arrived: Callable[[int, int], None]
    distill: Distill = field(default_factory=Distill)
    control: Control = as_they_are
    shown_groups: int = 0

    def step(self, step: int, source: Source, *, lr: float) -> StepResult:
        """Sample, score, compare, learn, publish: step `step`, counted from 1."""
        return self.learn_from(*self.rollout(source), step, lr)

    def learn_from(self, scored: Sequence[ScoredGroup], rounds: int, step: int, lr: float) -> StepResult:
        """What step `step` does with its rollout, wherever that was made."""
        with self.clock("score"):
            groups = self.compare(scored, step)
        with self.clock("update"):
            groups = self.with_views(groups)
            updates = self.learn(self.batches(groups), lr)
        with self.clock("sync"):
            gap = self.engine.publish(step)
        return StepResult(tuple(groups), tuple(updates), rounds, gap)

    def rollout(self, source: Source) -> tuple[list[ScoredGroup], int]:
        """Scored groups, all of them, and in how many rounds they were sampled: until enough carry a signal (dynamic
        sampling, DAPO, arXiv 2503.14476 eq. 11), or for `max_num_gen_batches` rounds."""
        wanted, scored, rounds = self.sampling.problems_per_step, list[ScoredGroup](), 0
        lacking = asked = wanted
        while lacking > 0 and rounds < self.sampling.max_num_gen_batches:
            scored += self.sample(source.prompts(asked), source.seed(rounds))
            rounds += 1
            # In the first reward: to a total every completion's length may add something, and no group would be alike.
            rewards = [self.rewards_of(group) for group in scored]
            useful = sum(
                self.distill.is_on or (self.objective.has_signal(group) and not zero_variance(group.first))
                for group in rewards
            )
            lacking = wanted - useful
            share = max(0.25, useful / len(scored))  # as many as should suffice if the next are like the last
            asked = min(wanted, math.ceil(lacking / share))
        return scored, rounds

    def sample(self, prompts: Sequence[Prompt], seed: int) -> list[ScoredGroup]:
        """A scored group for each prompt.  Scoring goes on in other processes while the engine samples."""
        params = SamplingParams(self.sampling.max_tokens, self.sampling.temperature, seed=seed, stop=self.sampling.stop)
        futures = {}
        with self.clock("sample"):
            for index, group in self.engine.sample(prompts, self.sampling.group_size, params):
                futures[index] = self.scorer.submit(group)
                self.arrived(len(futures), len(prompts))
        with self.clock("score"):
            return [futures[index].result() for index in range(len(prompts))]

    def compare(self, scored: Sequence[ScoredGroup], step: int) -> list[JudgedGroup]:
        """The advantages of all completions in step `step`.  Which groups are useful is a matter of their rewards,
        without the KL."""
        rewards = self.control([self.rewards_of(group) for group in scored], step)
        useful = [self.has_signal(group) for group in rewards]
        if self.objective.settings.kl_coef and self.objective.settings.kl_in == "reward":
            rewards = self.less_kl(scored, rewards)
        advantages = self.objective.advantages(rewards, self.objective.settings)
        return [JudgedGroup(s, tuple(a), u) for s, a, u in zip(scored, advantages, useful, strict=True)]

    def with_views(self, groups: Sequence[JudgedGroup]) -> list[JudgedGroup]:
        """The groups, with views of those that are shown: the first that are useful, or else the first."""
        first = sorted(range(len(groups)), key=lambda index: not groups[index].useful)
        shown = sorted(first[: self.shown_groups])
        samples = [(index, c) for index in shown for c in groups[index].scored.group.completions]
        if not samples:
            return list(groups)
        sequences = Sequences.of([(groups[index].scored.group.prompt.token_ids, c.token_ids) for index, c in samples])
        logprobs_BT, entropies_BT = self.engine.logprobs(sequences), self.engine.entropies(sequences)
        views: dict[int, list[TokenView]] = {index: [] for index in shown}
        for (index, completion), logprobs_T, entropies_T in zip(samples, logprobs_BT, entropies_BT, strict=True):
            n = len(completion.token_ids)
            views[index].append(TokenView(logprobs_T[:n].numpy(), entropies_T[:n].numpy()))
        return [replace(group, views=tuple(views.get(index, ()))) for index, group in enumerate(groups)]

    def has_signal(self, group: GroupRewards) -> bool:
        """Whether anything is learned from the group.  A teacher says something of every token."""
        return self.distill.is_on or self.objective.has_signal(group)

    def rewards_of(self, scored: ScoredGroup) -> GroupRewards:
        return GroupRewards.of(scored, self.scorer.weights)

    def less_kl(self, scored: Sequence[ScoredGroup], rewards: Sequence[GroupRewards]) -> list[GroupRewards]:
        """What each completion earned, less β Σ_t (log π_old - log π_reference): a KL penalty in the reward."""
        sequences = Sequences.of([(s.group.prompt.token_ids, c.token_ids) for s in scored for c in s.group.completions])
        k1_BT = self.engine.logprobs(sequences) - self.engine.logprobs(sequences, "reference")
        penalties = iter((-self.objective.settings.kl_coef * k1_BT.sum(dim=1)).tolist())
        return [group.plus("kl", [next(penalties) for _ in group.totals]) for group in rewards]

    def batches(self, groups: Sequence[JudgedGroup]) -> list[Batch]:
        """One batch for each update of a pass, of whole groups; fewer where some were filtered, none where all were."""
        settings = self.objective.settings
        batches = [self.batch(share) for share in self.shares(groups)]
        if self.distill.is_full:  # whose loss reads the weights alone
            return batches
        if self.distill.is_on:
            batches = [_having(b, teacher=self.engine.logprobs(b.sequences, "teacher")) for b in batches]
        if settings.kl_coef and settings.kl_in == "loss":
            batches = [_having(b, reference=self.engine.logprobs(b.sequences, "reference")) for b in batches]
        if len(batches) * self.optim.num_iterations > 1:  # each needs the policy as it was before the first
            batches = [_having(b, old=self.engine.logprobs(b.sequences)) for b in batches]
        if settings.top_entropy_quantile < 1:
            batches = [self.of_highest_entropy(b) for b in batches]
        return batches

    def shares(self, groups: Sequence[JudgedGroup]) -> list[list[Sample]]:
        """The completions that each update of a pass learns from."""
        n = self.optim.updates_per_step
        kept = [group for group in groups if group.useful or not self.objective.settings.filter_groups]
        shares = [self.samples(kept[i * len(kept) // n : (i + 1) * len(kept) // n]) for i in range(n)]
        return [share for share in shares if share]

    def samples(self, groups: Sequence[JudgedGroup]) -> list[Sample]:
        left_out = "length" if self.objective.settings.mask_truncated_completions else None  # a way to finish
        return [
            Sample(judged.scored.group, completion, advantage)
            for judged in groups
            for completion, advantage, reward in zip(
                judged.scored.group.completions, judged.advantages, judged.scored.rewards, strict=True
            )
            if (reward is not None or self.distill.is_on) and completion.finish != left_out
        ]

    def batch(self, share: Sequence[Sample]) -> Batch:
        sequences = Sequences.of([(sample.group.prompt.token_ids, sample.completion.token_ids) for sample in share])
        real_BT = sequences.real_BT
        weights = self.objective.weights(sequences.lengths, self.sampling.max_tokens)
        per_token = {
            "sampler": padded([sample.completion.logprobs for sample in share], torch.float32),
            "advantages": spread([sample.advantage for sample in share], real_BT),
        }
        return Batch(sequences, Targets(real_BT, spread(weights, real_BT), per_token))

    def of_highest_entropy(self, batch: Batch) -> Batch:
        """The tokens at which the policy was least sure keep their advantage (arXiv 2506.01939); the others get 0, and
        stay in the denominators."""
        entropies_BT = self.engine.entropies(batch.sequences)
        of_all = entropies_BT[batch.targets.mask_BT]
        left_out = math.ceil((len(of_all) - 1) * (1 - self.objective.settings.top_entropy_quantile))
        threshold = of_all.kthvalue(left_out + 1).values
        return _having(batch, advantages=batch.targets["advantages"] * (entropies_BT >= threshold))

    @property
    def loss(self) -> Loss:
        if self.distill.is_full:
            return divergence_loss
        return partial(policy_loss, objective=self.objective, teacher_coef=self.distill.coef)

    def learn(self, batches: Sequence[Batch], lr: float) -> list[Update]:
        """An update on each batch in turn, in every pass over them."""
        return [self.engine.update(batch, self.loss, lr) for _ in range(self.optim.num_iterations) for batch in batches]


def _having(batch: Batch, **per_token: Tensor) -> Batch:
    return replace(batch, targets=batch.targets.having(**per_token))
