"""One step: what is summed, what is sampled again, what each update learns from, in what order the engine is asked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from grpo.algorithm import JudgedGroup, Trainer, policy_loss
from grpo.config import Objective, Optim, Sampling
from grpo.engine import Update
from grpo.learning.batch import Batch, Loss, Sequences, Targets
from grpo.learning.policy import Policy
from grpo.objectives import OBJECTIVES, choose
from grpo.types import Completion, Group, Problem, Prompt, SamplingParams, ScoredGroup
from rewards import Score
from tests.fakes import FakeScorer
from tests.tiny import make_model

# --- Loss ---------------------------------------------------------------------------------------------------------


def targets(
    old: Sequence[float], sampler: Sequence[float], advantage: float, *, weight: float = 1.0, **others: Sequence[float]
) -> Targets:
    """One row of len(old) tokens."""
    T = len(old)
    columns = {"old": old, "sampler": sampler, "advantages": [advantage] * T, **others}
    per_token = {name: torch.tensor([list(values)]) for name, values in columns.items()}
    return Targets(torch.ones(1, T, dtype=torch.bool), torch.full((1, T), weight), per_token)


def loss(logprobs: Sequence[float], given: Targets, **settings: float) -> tuple[float, Tensor]:
    """The loss of one row and its gradient with respect to the log-probabilities."""
    logprobs_BT = torch.tensor([list(logprobs)], requires_grad=True)
    terms = policy_loss(logprobs_BT, given, objective=choose(Objective(**settings)))  # type: ignore[arg-type]
    terms.loss.backward()  # type: ignore[no-untyped-call]
    assert logprobs_BT.grad is not None
    return float(terms.loss.detach()), logprobs_BT.grad[0]


def test_on_policy_the_gradient_is_minus_advantage_times_weight() -> None:
    value, grad = loss([-1.0, -2.0], targets([-1.0, -2.0], [-1.0, -2.0], advantage=3.0, weight=0.5))
    assert value == pytest.approx(-3.0)  # 2 tokens · 0.5 · -3
    assert grad.tolist() == pytest.approx([-1.5, -1.5])


def test_a_gain_beyond_the_clip_has_no_gradient() -> None:
    # ratio e^0.5 = 1.65 > 1 + 0.28 with A > 0: gain is 1.28 · A, flat
    value, grad = loss([-0.5], targets([-1.0], [-1.0], advantage=2.0))
    assert value == pytest.approx(-2.56)
    assert grad.tolist() == [0.0]
    # ratio e^-0.5 = 0.61 < 1 - 0.2 with A < 0: gain is 0.8 · A, flat
    value, grad = loss([-1.5], targets([-1.0], [-1.0], advantage=-2.0))
    assert value == pytest.approx(1.6)
    assert grad.tolist() == [0.0]


def test_a_loss_beyond_the_clip_keeps_its_gradient() -> None:
    # ratio 1.65 with A < 0: the pessimistic bound is the unclipped one
    value, grad = loss([-0.5], targets([-1.0], [-1.0], advantage=-1.0))
    assert value == pytest.approx(math.exp(0.5))
    assert grad.tolist() == pytest.approx([math.exp(0.5)])


def test_the_sampler_correction_multiplies_and_is_capped() -> None:
    # π_old / π_sampler = e^-0.7 = 0.4966 stays, e^+3 is capped at 2
    value, _ = loss([-1.0, -1.0], targets([-1.0, -1.0], [-0.3, -4.0], advantage=1.0))
    assert value == pytest.approx(-(math.exp(-0.7) + 2.0))
    value, _ = loss([-1.0, -1.0], targets([-1.0, -1.0], [-0.3, -4.0], advantage=1.0), correction="off")
    assert value == pytest.approx(-2.0)


def test_without_old_logprobs_the_policy_is_its_own_old_self() -> None:
    given = targets([-1.0], [-1.0], advantage=2.0)
    without = Targets(given.mask_BT, given.weights_BT, {k: v for k, v in given.per_token.items() if k != "old"})
    assert loss([-1.0], without)[1].tolist() == pytest.approx([-2.0])


def test_metrics_are_sums_over_the_tokens_of_the_mask() -> None:
    given = targets([-1.0, -1.0], [-1.0, -1.5], advantage=1.0)
    pad = partial(torch.nn.functional.pad, pad=(0, 3))
    padded = Targets(
        pad(given.mask_BT), pad(given.weights_BT), {name: pad(values) for name, values in given.per_token.items()}
    )
    logprobs_BT = torch.tensor([[-0.5, -1.0, 0.0, math.inf, math.nan]])  # outside the mask there may be anything
    terms = policy_loss(logprobs_BT, padded, objective=choose(Objective()))
    assert float(terms.sums["policy/clipped"]) == 1
    assert float(terms.sums["policy/ratio_mean"]) == pytest.approx(math.exp(0.5) + 1)
    assert float(terms.sums["policy/sampler_gap"]) == pytest.approx(0.5)
    assert (float(terms.sums["gap/from/0"]), int(terms.sums["gap/tokens/0"])) == (pytest.approx(0.5), 2)
    assert float(terms.peaks["policy/ratio_max"]) == pytest.approx(math.exp(0.5))
    assert math.isfinite(float(terms.loss))


# --- A step, with an engine and a scorer made for it --------------------------------------------------------------


class FakeEngine:
    """Completions are written as the test says: `earned(problem, g)` tokens of group member g, all alike.

    It notes in which order it is asked.
    """

    name = "fake"
    remarks = ()

    def __init__(self, length: int = 3, finish: str = "stop") -> None:
        self.calls: list[str] = []
        self.seeds: list[int] = []
        self.batches: list[Batch] = []
        self.length, self.finish = length, finish

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> Iterator[tuple[int, Group]]:
        self.calls.append(f"sample {len(prompts)}")
        self.seeds.append(params.seed)
        for index, prompt in reversed(list(enumerate(prompts))):
            tokens = [tuple(range(3, 3 + self.length + g)) for g in range(n)]
            completions = [Completion(t, (-1.0,) * len(t), str(g), self.finish) for g, t in enumerate(tokens)]  # type: ignore[arg-type]
            yield index, Group(prompt, tuple(completions), 0)

    def logprobs(self, sequences: Sequences, of: str = "policy") -> Tensor:
        self.calls.append(f"logprobs of the {of}")
        return (-1.0 if of == "policy" else -1.5) * sequences.real_BT

    def entropies(self, sequences: Sequences) -> Tensor:
        self.calls.append("entropies")
        return torch.arange(sequences.tokens_BT.numel()).view(sequences.tokens_BT.shape).float()

    def update(self, batch: Batch, loss: Loss, lr: float) -> Update:
        self.calls.append("update")
        self.batches.append(batch)
        loss(torch.zeros_like(batch.targets.weights_BT), batch.targets)
        return Update(batch, lr, 1.0, {"loss": 0.0, "tokens/update": 0.0, "tokens/padding": 0.0})

    def publish(self, step: int) -> float:
        self.calls.append(f"publish {step}")
        return 0.0

    def save(self, folder: Any, *, resumable: bool) -> None:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError


class Numbered:
    """Problems p0, p1, …, with prompts of their own; seeds 100, 101, …"""

    def __init__(self) -> None:
        self.drawn = 0

    def prompts(self, count: int) -> list[Prompt]:
        numbers = range(self.drawn, self.drawn + count)
        self.drawn += count
        return [Prompt(Problem(f"p{i}", ({"role": "user", "content": "?"},), {}), (1, i + 1)) for i in numbers]

    def seed(self, round: int) -> int:
        return 100 + round


def trainer(reward: Any, engine: FakeEngine | None = None, **changes: dict[str, Any]) -> Trainer:
    sampling = Sampling(**{"problems_per_step": 4, "group_size": 2, "max_tokens": 9, **changes.get("sampling", {})})
    return Trainer(
        engine or FakeEngine(),  # type: ignore[arg-type]
        FakeScorer(reward),  # type: ignore[arg-type]
        choose(Objective(**changes.get("objective", {}))),
        sampling,
        Optim(**changes.get("optim", {})),
        lambda phase: nullcontext(),
        lambda done, total: None,
    )


def second_is_better(problem: str, g: int) -> float:
    return float(g == 1)


def test_a_step_samples_learns_and_publishes_in_this_order() -> None:
    made = trainer(second_is_better)
    result = made.step(7, Numbered(), lr=1e-3)
    assert made.engine.calls == ["sample 4", "update", "publish 7"]  # type: ignore[attr-defined]
    assert [group.scored.group.prompt.problem.id for group in result.groups] == ["p0", "p1", "p2", "p3"]
    assert (len(result.updates), result.rounds, result.gap) == (1, 1, 0.0)
    assert result.updates[0].lr == 1e-3


def test_several_updates_share_the_step_and_remember_how_the_policy_stood_before_the_first() -> None:
    made = trainer(second_is_better, optim={"updates_per_step": 2})
    made.step(1, Numbered(), lr=1e-3)
    assert made.engine.calls == ["sample 4", *["logprobs of the policy"] * 2, "update", "update", "publish 1"]  # type: ignore[attr-defined]
    batches = made.engine.batches  # type: ignore[attr-defined]
    assert [len(batch.sequences.prompts) for batch in batches] == [4, 4]
    assert not set(batches[0].sequences.prompts) & set(batches[1].sequences.prompts)  # whole groups
    assert all("old" in batch.targets.per_token for batch in batches)


def test_several_passes_go_over_the_same_batches() -> None:
    made = trainer(second_is_better, optim={"updates_per_step": 2, "num_iterations": 3})
    result = made.step(1, Numbered(), lr=1e-3)
    batches = made.engine.batches  # type: ignore[attr-defined]
    assert len(result.updates) == 6
    assert [batch is batches[i % 2] for i, batch in enumerate(batches)] == [True] * 6
    assert made.engine.calls.count("logprobs of the policy") == 2  # type: ignore[attr-defined]  # before the first pass


def test_one_update_in_several_passes_needs_old_log_probabilities() -> None:
    made = trainer(second_is_better, optim={"num_iterations": 2})
    made.step(1, Numbered(), lr=1e-3)
    assert made.engine.calls[:2] == ["sample 4", "logprobs of the policy"]  # type: ignore[attr-defined]


def test_zero_variance_groups_are_left_out_of_the_denominators_or_stay_in_them() -> None:
    def only_p0(problem: str, g: int) -> float:
        return float(problem == "p0" and g)

    for filtered, rows in ((True, 2), (False, 8)):
        made = trainer(only_p0, objective={"filter_groups": filtered})
        result = made.step(1, Numbered(), lr=1e-3)
        (batch,) = made.engine.batches  # type: ignore[attr-defined]
        assert len(batch.sequences.prompts) == rows
        assert float(batch.targets.weights_BT.sum()) == pytest.approx(1)
        assert [group.useful for group in result.groups] == [True, False, False, False]


def test_a_step_in_which_no_group_carries_a_signal_publishes_and_learns_nothing() -> None:
    made = trainer(lambda problem, g: 0.0)
    assert made.step(1, Numbered(), lr=1e-3).updates == ()
    assert made.engine.calls == ["sample 4", "publish 1"]  # type: ignore[attr-defined]


def test_truncated_completions_leave_the_loss_and_stay_in_the_baseline() -> None:
    made = trainer(second_is_better, FakeEngine(finish="length"), objective={"mask_truncated_completions": True})
    result = made.step(1, Numbered(), lr=1e-3)
    assert result.updates == ()
    assert all(group.useful for group in result.groups)


def test_the_top_entropy_tokens_keep_their_advantage_and_all_stay_in_the_denominator() -> None:
    made = trainer(second_is_better, objective={"top_entropy_quantile": 0.2}, sampling={"problems_per_step": 1})
    made.step(1, Numbered(), lr=1e-3)
    (batch,) = made.engine.batches  # type: ignore[attr-defined]
    # 3 and 4 tokens; entropies 0 1 2 and 4 5 6 7 by place: of 7 the upper fifth is from rank ⌈6 · 0.8⌉ = 5 on: 6 and 7
    assert batch.targets["advantages"].ne(0).tolist() == [[False] * 4, [False, False, True, True]]
    assert batch.targets.weights_BT[batch.targets.mask_BT].tolist() == pytest.approx([1 / 7] * 7)


def test_a_penalty_in_the_loss_asks_the_reference_and_one_in_the_reward_moves_the_advantages() -> None:
    in_loss = trainer(second_is_better, objective={"kl_coef": 0.1})
    in_loss.step(1, Numbered(), lr=1e-3)
    assert in_loss.engine.calls == ["sample 4", "logprobs of the reference", "update", "publish 1"]  # type: ignore[attr-defined]
    assert "reference" in in_loss.engine.batches[0].targets.per_token  # type: ignore[attr-defined]

    in_reward = trainer(second_is_better, objective={"kl_coef": 0.1, "kl_in": "reward", "advantages": "group_mean"})
    result = in_reward.step(1, Numbered(), lr=1e-3)
    assert "reference" not in in_reward.engine.batches[0].targets.per_token  # type: ignore[attr-defined]
    # k1 = -1 - -1.5 per token: 3 tokens cost 0.15, 4 tokens 0.2, so rewards are -0.15 and 0.8
    assert result.groups[0].advantages == pytest.approx((-0.475, 0.475))


# --- Dynamic sampling ---------------------------------------------------------------------------------------------


def useful_ones(*useful: int) -> Any:
    def reward(problem: str, g: int) -> float:
        return float(g) if int(problem[1:]) in useful else 0.0

    return reward


def test_sampling_goes_on_until_enough_groups_carry_a_signal() -> None:
    # Of p0 … p3 one is useful: 3 are lacking, and at a rate of 1/4 it takes 12, but 4 are the most at a time.  Then 3
    # of 8 are, 1 is lacking, and it takes ⌈8/3⌉ = 3.
    made = trainer(useful_ones(0, 5, 6, 9), sampling={"max_num_gen_batches": 5})
    source = Numbered()
    result = made.step(1, source, lr=1e-3)
    assert made.engine.calls[:3] == ["sample 4", "sample 4", "sample 3"]  # type: ignore[attr-defined]
    assert made.engine.seeds == [100, 101, 102]  # type: ignore[attr-defined]
    assert (source.drawn, len(result.groups), result.rounds) == (11, 11, 3)
    assert sum(group.useful for group in result.groups) == 4
    (batch,) = made.engine.batches  # type: ignore[attr-defined]
    assert len(batch.sequences.prompts) == 8


def test_dynamic_sampling_ends_at_its_bound_and_the_step_learns_from_what_there_is() -> None:
    made = trainer(useful_ones(1), sampling={"max_num_gen_batches": 3})
    result = made.step(1, Numbered(), lr=1e-3)
    assert (len(result.groups), result.rounds, len(result.updates)) == (12, 3, 1)


def test_without_dynamic_sampling_a_step_samples_in_one_round() -> None:
    assert trainer(useful_ones()).step(1, Numbered(), lr=1e-3).rounds == 1


@given(st.sets(st.integers(0, 40)), st.integers(1, 6), st.integers(1, 6))
def test_whatever_is_sampled_is_counted_and_no_problem_is_drawn_twice(
    useful: set[int], wanted: int, rounds: int
) -> None:
    made = trainer(useful_ones(*useful), sampling={"problems_per_step": wanted, "max_num_gen_batches": rounds})
    source = Numbered()
    result = made.step(1, source, lr=1e-3)
    names = [group.scored.group.prompt.problem.id for group in result.groups]
    assert names == [f"p{i}" for i in range(source.drawn)]
    carrying = sum(group.useful for group in result.groups)
    assert carrying == len(useful & set(range(source.drawn)))
    assert carrying >= wanted or result.rounds == rounds


# --- Invariance ---------------------------------------------------------------------------------------------------


def judged(seed: int) -> list[JudgedGroup]:
    """Three groups of four ragged completions, with rewards that differ."""
    draw = torch.Generator().manual_seed(seed)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=draw))

    groups = []
    for index in range(3):
        tokens = [tuple(number(4, 90) for _ in range(number(1, 9))) for _ in range(4)]
        logprobs = [tuple(-3 * torch.rand(len(t), generator=draw)) for t in tokens]
        completions = [Completion(t, tuple(map(float, lp)), "", "stop") for t, lp in zip(tokens, logprobs, strict=True)]
        prompt = Prompt(Problem(str(index), ({"role": "user", "content": "?"},), {}), (5, 6 + index))
        rewards = tuple(map(float, torch.rand(4, generator=draw)))
        scored = ScoredGroup(Group(prompt, tuple(completions), 0), tuple({"given": Score(r)} for r in rewards), rewards)
        groups.append(JudgedGroup(scored, tuple(float(a) for a in torch.randn(4, generator=draw)), True))
    return groups


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy(make_model(True), Optim(), temperature=0.9, gradient_checkpointing=False)


def gradient(
    policy: Policy, name: str, groups: Sequence[JudgedGroup], tokens: int, order: Sequence[int] | None = None
) -> Tensor:
    made = trainer(second_is_better, objective={"name": name, "kl_coef": 0.1})
    (share,) = made.shares(groups)
    batch = made.batch(share if order is None else [share[i] for i in order])
    old_BT = policy.logprobs(batch.sequences)
    shift_BT = 0.3 * torch.sin(batch.sequences.tokens_BT.float())  # moved, by an amount that depends on the token alone
    moved = batch.targets.having(old=old_BT + shift_BT, reference=old_BT - shift_BT)
    policy.tokens_per_microbatch = tokens
    found = policy.gradients(Batch(batch.sequences, moved), partial(policy_loss, objective=made.objective))
    return torch.cat([found[weight].flatten() for weight in sorted(found)])


@pytest.mark.parametrize("name", OBJECTIVES)
@settings(max_examples=4)
@given(st.integers(1, 60), st.permutations(range(12)), st.integers(0, 50))
def test_neither_micro_batches_nor_the_order_of_rows_change_the_gradient_of_any_objective(
    policy: Policy, name: str, tokens: int, order: list[int], seed: int
) -> None:
    groups = judged(seed)
    whole = gradient(policy, name, groups, 10_000)
    for other in (gradient(policy, name, groups, tokens), gradient(policy, name, groups, 10_000, order)):
        assert float((other - whole).norm()) <= 2e-5 * float(whole.norm()) + 1e-7
