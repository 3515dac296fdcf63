"""A teacher in the step: its gradient is that of the reverse KL, and nothing it can teach from is left out."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from grpo import distillation, estimates
from grpo.algorithm import Trainer, divergence_loss, policy_loss
from grpo.behind import behind_metrics, behind_sums
from grpo.config import Distill, Objective, Optim
from grpo.errors import ConfigError
from grpo.learning.batch import Batch, Targets
from grpo.learning.divergence import Divergences
from grpo.learning.policy import LanguageModel, Policy
from grpo.objectives import OBJECTIVES, choose
from grpo.scoring.scorer import total
from grpo.train import train
from grpo.types import Problem
from tests import runs
from tests.test_algorithm import FakeEngine, Numbered, second_is_better
from tests.test_algorithm import trainer as made
from tests.test_learning_divergence import plain
from tests.test_learning_policy import ragged
from tests.tiny import make_model

# --- The loss -----------------------------------------------------------------------------------------------------


def gradient_over_all_tokens(logits: Tensor, teacher: Tensor, coef: float = 1.0, **settings: Any) -> Tensor:
    """The expected gradient: a row for each token of the vocabulary, which counts as often as it is drawn."""
    logits = logits.clone().requires_grad_()
    logprobs_V1 = logits.log_softmax(0).unsqueeze(1)
    sampled = logprobs_V1.detach()
    per_token = {"sampler": sampled, "advantages": torch.zeros_like(sampled), "teacher": teacher.unsqueeze(1)}
    targets = Targets(torch.ones_like(sampled, dtype=torch.bool), sampled.exp(), per_token)
    objective = choose(Objective(**settings))
    policy_loss(logprobs_V1, targets, objective=objective, teacher_coef=coef).loss.backward()
    assert logits.grad is not None
    return logits.grad


@pytest.mark.parametrize("name", [name for name, parts in OBJECTIVES.items() if parts.ratio == "token"])
@pytest.mark.parametrize("coef", [1.0, 0.25])
def test_the_expected_gradient_is_that_of_the_reverse_kl(name: str, coef: float) -> None:
    logits, teacher = torch.tensor([0.3, -1.2, 1.0]), torch.tensor([0.7, 0.1, 0.2]).log()
    found = gradient_over_all_tokens(logits, teacher, coef, name=name)
    exact = logits.clone().requires_grad_()
    own = exact.log_softmax(0)
    (coef * (own.exp() * (own - teacher)).sum()).backward()  # c · KL(π ‖ π_T)
    assert exact.grad is not None and float(exact.grad.abs().max()) > 0.05
    assert torch.allclose(found, exact.grad, atol=1e-6)


def test_the_teachers_part_is_added_to_the_groups_and_is_of_the_policy_before_the_update() -> None:
    def column(*values: float) -> Tensor:
        return torch.tensor([values])

    targets = Targets(
        torch.ones(1, 2, dtype=torch.bool),
        column(1.0, 1.0),
        {"sampler": column(-1.0, -2.0), "old": column(-1.0, -2.0), "advantages": column(0.5, 0.5)}
        | {"teacher": column(-0.5, -4.0)},
    )
    moved = column(-0.9, -2.1).requires_grad_()
    terms = policy_loss(moved, targets, objective=choose(Objective()), teacher_coef=2.0)
    terms.loss.backward()
    # A = 0.5 + 2 · 0.5 and 0.5 + 2 · (-2); the gradient is -u A with u = e^0.1 and e^-0.1, both within the clip
    assert moved.grad is not None
    assert moved.grad[0].tolist() == pytest.approx([-1.5 * math.exp(0.1), 3.5 * math.exp(-0.1)], rel=1e-5)
    assert behind_metrics({k: float(v) for k, v in terms.sums.items()})["distill/kl"] == pytest.approx(0.75)


def test_single_tokens_bring_a_policy_to_its_teacher() -> None:
    """64 tokens an update, drawn from the policy: from 0.43 nats to next to none."""
    logits, teacher = torch.tensor([0.3, -1.2, 1.0], requires_grad=True), torch.tensor([0.7, 0.1, 0.2]).log()
    draws, objective = torch.Generator().manual_seed(0), choose(Objective())
    apart = []
    for _ in range(100):
        own = logits.log_softmax(0)
        apart.append(float((own.exp() * (own - teacher)).sum().detach()))
        index = torch.multinomial(own.detach().exp(), 64, replacement=True, generator=draws)
        logprobs_BT, mask_BT = own[index].unsqueeze(1), torch.ones(64, 1, dtype=torch.bool)
        per_token = {"sampler": logprobs_BT.detach(), "advantages": torch.zeros(64, 1)}
        targets = Targets(mask_BT, mask_BT / 64, per_token | {"teacher": teacher[index].unsqueeze(1)})
        (gradient,) = torch.autograd.grad(policy_loss(logprobs_BT, targets, objective=objective).loss, logits)
        logits = (logits - gradient).detach().requires_grad_()
    assert apart[0] > 0.4 and max(apart[-10:]) < 0.01


def policies(beta: float, **teachers: Any) -> tuple[Policy, LanguageModel]:
    student = Policy(make_model(True), Optim(), temperature=0.7, gradient_checkpointing=False)
    teacher = LanguageModel(make_model(**{"tied": True, **teachers}), temperature=0.7, tokens_per_microbatch=64)
    student.per_token = Divergences(student, teacher, beta)
    return student, teacher


@pytest.mark.parametrize("beta", [1.0, 0.5, 0.0])
def test_a_teacher_that_is_the_student_gives_no_gradient(beta: float) -> None:
    batch, (student, teacher) = ragged(), policies(beta)
    whole = student.gradients(batch, divergence_loss)
    assert max(float(gradient.abs().max()) for gradient in whole.values()) < 1e-6

    student.per_token = student._logprobs
    targets = batch.targets.having(
        advantages=torch.zeros(batch.targets.mask_BT.shape), teacher=teacher.logprobs(batch.sequences)
    )
    loss = partial(policy_loss, objective=choose(Objective(correction="off")))
    sampled = student.gradients(Batch(batch.sequences, targets), loss)
    assert max(float(gradient.abs().max()) for gradient in sampled.values()) < 1e-6


@pytest.mark.parametrize("beta", [1.0, 0.5, 0.0])
def test_the_gradient_of_a_model_is_that_of_the_divergence_of_its_own_logits(beta: float) -> None:
    """Row by row, from whole logits of both models, whose widths differ; in micro-batches of any size."""
    batch = ragged()
    student, teacher = policies(beta, tied=False, seed=3)
    student.tokens_per_microbatch = 12
    found = student.gradients(batch, divergence_loss)
    model, expected = student.model, torch.zeros(())
    sequences, weights_BT = batch.sequences, batch.targets.weights_BT
    for row, (prompt, length) in enumerate(zip(sequences.prompts, sequences.lengths, strict=True)):
        ids = torch.tensor([[*prompt, *sequences.tokens_BT[row, :length].tolist()]])
        one, other = (each(input_ids=ids).logits[0, len(prompt) - 1 : -1] for each in (model, teacher.model))
        expected = expected + (weights_BT[row, :length] * plain(one, other.detach(), beta, 0.7)).sum()
    expected.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert float((found[name] - parameter.grad).norm() / parameter.grad.norm()) < 1e-4, name


# --- The step -----------------------------------------------------------------------------------------------------


def trainer(reward: Any, **changes: Any) -> Trainer:
    return replace(made(reward, **changes), distill=Distill(teacher="t", mode=changes.get("mode", "on_policy")))


def engine_of(step: Trainer) -> FakeEngine:
    assert isinstance(step.engine, FakeEngine)
    return step.engine


@pytest.mark.parametrize("mode", ["on_policy", "full"])
def test_groups_whose_rewards_agree_are_learned_from_and_asked_once(mode: str) -> None:
    step = trainer(lambda problem, g: 1.0, mode=mode, sampling={"max_num_gen_batches": 4})
    result = step.step(1, Numbered(), lr=1e-3)
    assert [group.useful for group in result.groups] == [True] * 4 and result.rounds == 1
    of_teacher = ["logprobs of the teacher"] * (mode == "on_policy")
    assert engine_of(step).calls == ["sample 4", *of_teacher, "update", "publish 1"]
    assert len(engine_of(step).batches[0].sequences.prompts) == 8


def test_several_updates_of_a_divergence_need_no_old_log_probabilities() -> None:
    step = trainer(second_is_better, mode="full", optim={"updates_per_step": 2})
    step.step(1, Numbered(), lr=1e-3)
    assert engine_of(step).calls == ["sample 4", "update", "update", "publish 1"]


def test_a_completion_that_nobody_could_judge_is_learned_from() -> None:
    step = trainer(lambda problem, g: None)
    step.step(1, Numbered(), lr=1e-3)
    (batch,) = engine_of(step).batches
    assert len(batch.sequences.prompts) == 8 and float(batch.targets["advantages"].abs().max()) == 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_without_rewards_that_count_every_advantage_is_zero(name: str) -> None:
    step = trainer(second_is_better, objective={"name": name})
    step.scorer.weights["given"] = 0.0
    scored = [replace(s, rewards=total(s.scores, step.scorer.weights)) for s in step.sample(Numbered().prompts(2), 0)]
    assert [s.rewards for s in scored] == [(0.0, 0.0)] * 2
    judged = step.compare(scored, 1)
    assert [a for group in judged for a in group.advantages] == [0.0] * 4 and all(group.useful for group in judged)


# --- What is told of each step ------------------------------------------------------------------------------------


def test_how_far_behind_is_told_with_its_tail_and_by_tenths_of_each_completion() -> None:
    mask_BT = torch.ones(2, 20, dtype=torch.bool)
    mask_BT[1, 10:] = False
    behind_BT = torch.arange(20.0).repeat(2, 1) / 2  # 0, 0.5 … 9.5, and of the second row the first half
    row = behind_metrics({name: float(value) for name, value in behind_sums(behind_BT, mask_BT).items()})
    assert row["distill/kl"] == pytest.approx((95 + 22.5) / 30)
    assert row["distill/kl_far"] == pytest.approx(9 / 30)  # above 5: 5.5 … 9.5
    assert 8.5 <= row["distill/kl_p95"] <= 9.6
    # two tokens of the first row and one of the second: (0 + 0.5 + 0) / 3, …, (9 + 9.5 + 4.5) / 3
    assert row["distill/kl_tenth_1"] == pytest.approx(0.5 / 3) and row["distill/kl_tenth_10"] == pytest.approx(23 / 3)


def test_how_far_behind_may_be_below_zero_and_is_of_the_mask_alone() -> None:
    mask_BT = torch.tensor([[True, True, False]])
    row = behind_metrics({k: float(v) for k, v in behind_sums(torch.tensor([[-1.0, -2.0, math.nan]]), mask_BT).items()})
    assert (row["distill/kl"], row["distill/kl_p95"], row["distill/kl_far"]) == (-1.5, 0.0, 0.0)
    assert behind_metrics({}) == {}


# --- What was kept ------------------------------------------------------------------------------------------------


def by_id(values: Sequence[float]) -> dict[str, float]:
    return {str(index): value for index, value in enumerate(values)}


def test_shares_of_the_teacher_are_ratios_of_means_with_paired_intervals() -> None:
    teacher, before = [1.0] * 80 + [0.0] * 20, [1.0] * 20 + [0.0] * 80
    after = [1.0] * 60 + [0.0] * 40
    found = estimates.kept(by_id(teacher), by_id(before), by_id(after))
    assert found.kept is not None and found.gap_closed is not None
    assert found.kept.mean == pytest.approx(0.75) and found.gap_closed.mean == pytest.approx(40 / 60)
    # paired: of the 80 that the teacher solves the student solves 60; a ratio of independent means would be wider
    reach = 1.96 * math.sqrt(0.75 * 0.25 / 80)
    assert found.kept.low == pytest.approx(0.75 - reach, abs=0.02)
    assert found.kept.high == pytest.approx(0.75 + reach, abs=0.02)
    assert estimates.kept(by_id(teacher), by_id(before), by_id(after)) == found, "the draws are seeded"


def test_a_gap_that_may_be_none_has_no_share() -> None:
    teacher, before = [1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 1.0]
    found = estimates.kept(by_id(teacher), by_id(before), by_id(before))
    assert found.gap_closed is None and found.kept is not None and found.kept.mean == 1
    assert estimates.kept(by_id([0.0, 0.0]), by_id([0.0, 1.0]), by_id([1.0, 1.0])).kept is None


def test_a_student_as_good_as_its_teacher_everywhere_has_kept_all_for_certain() -> None:
    teacher = by_id([1.0] * 50 + [0.0] * 50)
    found = estimates.kept(teacher, by_id([0.0] * 100), teacher)
    assert found.kept == found.gap_closed == estimates.Estimate(1.0, 1.0, 1.0)


def test_what_was_kept_is_told_by_the_columns_of_the_data(tmp_path: Path) -> None:
    problems = [Problem(str(i), ({"role": "user", "content": "?"},), {"level": "ab"[i % 2]}) for i in range(40)]
    solved = {"teacher": [1.0] * 40, "before": [0.0] * 40, "after": [1.0, 0.0] * 20}
    for label, values in solved.items():
        (tmp_path / label).mkdir()
        (tmp_path / label / "results.json").write_text(json.dumps({"solved": by_id(values)}))
    said: list[str] = []
    distillation.conclude(tmp_path, problems, said.append)
    assert said[0] == "student: 0.0% before, 50.0% after, teacher 100.0% of 40 held-out problems"
    assert said[1] == "kept: 50.0% [35.0%, 65.0%] of the teacher, 50.0% [35.0%, 65.0%] of the gap closed"
    assert said[2:] == [
        f"kept: level {level} (20 problems): {share} of the teacher, {share} of the gap closed"
        for level, share in (("a", "100.0% [100.0%, 100.0%]"), ("b", "0.0% [0.0%, 0.0%]"))
    ]
    tree = json.loads((tmp_path / "distill.json").read_text())
    assert tree["by"]["level"]["a"]["kept"]["mean"] == 1 and tree["gap_closed"]["mean"] == 0.5


# --- Settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distill", "objective", "sentence"),
    [
        ({"mode": "traces"}, {}, "is three stages and no training run"),
        ({"mode": "full", "coef": 2.0}, {}, "distill.coef does not weigh"),
        ({"mode": "full"}, {"kl_coef": 0.1}, "set objective.kl_coef = 0"),
        ({"beta": 0.5}, {}, "leave distill.beta out"),
        ({}, {"name": "gspo"}, "would spread what the teacher says"),
        ({}, {"top_entropy_quantile": 0.2}, "takes advantages away"),
    ],
)
def test_settings_that_say_nothing_of_tokens_are_refused(
    tmp_path: Path, tiny_model: Path, distill: dict[str, Any], objective: dict[str, Any], sentence: str
) -> None:
    runs.write_inputs(tmp_path)
    given = runs.settings(tmp_path, tiny_model, distill={"teacher": str(tiny_model), **distill}, objective=objective)
    with pytest.raises(ConfigError, match=sentence):
        train(given, tmp_path / "run")
    assert not (tmp_path / "run").exists()
