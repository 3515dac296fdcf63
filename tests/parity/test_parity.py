"""Loss and gradients are those of TRL, on the same tokens, rewards and log-probabilities.

reference.json holds what TRL 1.16.0 itself computed (make_reference.py); cases.py holds what both are given; README.md
says where definitions differ.  Ours goes the way of a training step, from rewards to the gradient of each weight.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from grpo import config
from grpo.algorithm import JudgedGroup, Trainer, divergence_loss, policy_loss
from grpo.learning.batch import Batch, Sequences, Targets
from grpo.learning.divergence import Divergences
from grpo.learning.policy import LanguageModel, Policy
from grpo.objectives import GroupRewards, Objective, choose
from grpo.objectives.surrogates import sapo_at
from grpo.types import Completion, Group, Problem, Prompt, ScoredGroup
from rewards import Score
from tests.parity import cases
from tests.parity.cases import CASES, Case

HERE = Path(__file__).parent
REFERENCE = json.loads((HERE / "reference.json").read_text())
ADVANTAGES = {"group": "group_std", "batch": "batch_std", "none": "group_mean"}
COUNTS_TRUNCATED = ("grpo", "sapo", "dr_grpo")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_loss_and_gradients_equal_those_of_trl(case: Case) -> None:
    loss, gradients = ours(case)
    theirs = REFERENCE[case.name]
    scale = definition(case)
    assert loss == pytest.approx(scale * theirs["loss"], abs=1e-6)
    assert gradients.keys() == theirs["gradients"].keys()
    for name, values in theirs["gradients"].items():
        assert gradients[name] == pytest.approx([scale * value for value in values], rel=1e-5, abs=1e-6), name


def definition(case: Case) -> float:
    """The one known difference: where TRL averages over completions it counts the truncated ones, though their loss is
    left out of the sum.  We leave them out of both."""
    if case.mask_truncated and case.loss_type in COUNTS_TRUNCATED:
        return len(cases.COMPLETIONS) / (len(cases.COMPLETIONS) - len(cases.TRUNCATED))
    return 1.0


# A sum of several rewards of which some could not be judged is not compared: TRL takes a missing one for 0, we take the
# completion for unjudged.
ALONE = [name for name in cases.ADVANTAGES if not ("two rewards" in name and "all judged" not in name)]


@pytest.mark.parametrize("name", ALONE)
def test_advantages_equal_those_of_trl_also_where_completions_were_not_judged(name: str) -> None:
    settings, functions = cases.ADVANTAGES[name]
    case = Case("grpo", name, **settings)
    groups = [
        group_rewards(case, [list(function[index]) for function in functions]) for index in range(len(functions[0]))
    ]
    objective = make_objective(case)
    flat = [advantage for group in objective.advantages(groups, objective.settings) for advantage in group]
    assert flat == pytest.approx(REFERENCE["advantages"][name], abs=1e-5)


def test_the_cases_of_parity_would_notice_a_difference() -> None:
    clipping = [c for c in CASES if c.moved and c.loss_type not in ("sapo", "cispo") and not c.delta]
    assert min(REFERENCE[case.name]["clipped"] for case in clipping) > 0.1, "hardly a token is clipped"
    capped = [c for c in CASES if c.moved and c.loss_type == "cispo" and c.epsilon_high < 5]
    assert min(REFERENCE[case.name]["clipped"] for case in capped) > 0.05  # TRL counts those with A > 0 only
    for case in CASES:
        found = REFERENCE[case.name]
        if case.delta is not None:
            assert found["beyond the cap, A < 0"] > 0, case.name
        if case.top_entropy_quantile < 1:
            assert 0.1 < found["below the entropy threshold"] < 0.9, case.name
        if case.importance:
            assert found["correction above"] > 0, case.name


@pytest.mark.parametrize("beta", cases.BETAS)
def test_divergence_and_gradients_equal_those_of_trls_distillation(beta: float) -> None:
    policy = Policy(make_model("sampled"), config.Optim(), temperature=cases.TEMPERATURE, gradient_checkpointing=False)
    teacher = LanguageModel(make_model("reference"), temperature=cases.TEMPERATURE, tokens_per_microbatch=64)
    policy.per_token = Divergences(policy, teacher, beta)
    pairs = [(cases.PROMPTS[row // cases.GROUP_SIZE], tokens) for row, tokens in enumerate(cases.COMPLETIONS)]
    sequences = Sequences.of(pairs)
    real_BT = sequences.real_BT
    batch = Batch(sequences, Targets(real_BT, real_BT / real_BT.sum()))
    theirs = REFERENCE["divergences"][str(beta)]
    assert policy.forward_backward(batch, divergence_loss)["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
    gradients = {name: summary(weight) for name, weight in policy.model.named_parameters()}
    assert gradients.keys() == theirs["gradients"].keys()
    for name, values in theirs["gradients"].items():
        assert gradients[name] == pytest.approx(values, rel=1e-5, abs=1e-6), name


@pytest.mark.parity
def test_the_reference_numbers_are_what_trl_computes(tmp_path: Path) -> None:
    root = HERE.parents[1]
    path = tmp_path / "reference.json"
    subprocess.run([root / "scripts" / "parity", path], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    fresh = json.loads(path.read_text())
    assert fresh.keys() == REFERENCE.keys()
    for case in CASES:
        # The sampler's log-probabilities are rounded to six digits, and another processor may round the last one apart.
        assert fresh[case.name]["loss"] == pytest.approx(REFERENCE[case.name]["loss"], abs=1e-5)


# --- Our side -----------------------------------------------------------------------------------------------------


class Models:
    """As much of an engine as it takes to make a batch."""

    def __init__(self, policy: Policy, reference: LanguageModel) -> None:
        self.policy, self.models = policy, {"policy": policy, "reference": reference}

    def logprobs(self, sequences: Any, of: str = "policy") -> torch.Tensor:
        return self.models[of].logprobs(sequences)

    def entropies(self, sequences: Any) -> torch.Tensor:
        return self.policy.entropies(sequences)


def ours(case: Case) -> tuple[float, dict[str, list[float]]]:
    """TRL looks for high entropies with the weights of each update, we with those before the first: here, too."""
    longest = max(map(len, cases.PROMPTS)) + cases.MAX_TOKENS
    optim = config.Optim(tokens_per_microbatch=longest * len(cases.COMPLETIONS) // case.parts)
    model = make_model("sampled")
    policy = Policy(model, optim, temperature=case.temperature, gradient_checkpointing=False)
    engine = Models(
        policy, LanguageModel(make_model("reference"), temperature=case.temperature, tokens_per_microbatch=4096)
    )
    objective, nobody = make_objective(case), Any
    sampling = config.Sampling(group_size=cases.GROUP_SIZE, max_tokens=cases.MAX_TOKENS, temperature=case.temperature)
    trainer = Trainer(engine, nobody, objective, sampling, optim, lambda _: nullcontext(), nobody)  # type: ignore[arg-type]

    (share,) = trainer.shares(judged_groups(case, objective))
    batch = trainer.batch(share)
    targets = batch.targets
    if case.beta:
        targets = targets.having(reference=engine.logprobs(batch.sequences, "reference"))
    if case.moved:
        targets = targets.having(old=policy.logprobs(batch.sequences))
        load(model, "moved")
    batch = replace(batch, targets=targets)
    if case.top_entropy_quantile < 1:
        batch = trainer.of_highest_entropy(batch)
    totals = policy.forward_backward(batch, partial(policy_loss, objective=objective))
    return totals["loss"], {name: summary(weight) for name, weight in model.named_parameters()}


def make_objective(case: Case) -> Objective:
    """The case in our words."""
    to_sum = case.multi_objective_aggregation == "sum_then_normalize"
    is_cispo = case.loss_type == "cispo"
    settings = config.Objective(
        name=case.loss_type,
        advantages=ADVANTAGES[case.scale_rewards] if to_sum else "gdpo",
        ratio=case.importance_sampling_level,
        clip_low=1.0 if is_cispo else case.epsilon,
        clip_high=case.epsilon_high - 1 if is_cispo else case.epsilon_high,
        dual_clip=case.delta or 0.0,
        top_entropy_quantile=case.top_entropy_quantile,
        kl_coef=case.beta,
        kl_unbiased=case.bias_correction,
        correction=case.mode if case.importance else "off",
        correction_min=case.clip_min,
        correction_max=case.clip_max,
        filter_groups=False,
        mask_truncated_completions=case.mask_truncated,
    )
    objective = choose(settings)
    if case.loss_type == "sapo":
        return replace(objective, surrogate=sapo_at(case.sapo_temperature_pos, case.sapo_temperature_neg))
    return objective


def group_rewards(case: Case, rewards: list[list[float | None]]) -> GroupRewards:
    """Of one group, by reward function."""
    named = [
        (f"r{i}", weight, values) for i, (weight, values) in enumerate(zip(case.reward_weights, rewards, strict=True))
    ]
    totals = [
        None if None in column else sum(w * r for w, r in zip(case.reward_weights, column, strict=True))  # type: ignore[operator]
        for column in zip(*rewards, strict=True)
    ]
    return GroupRewards(totals, {name: (weight, values) for name, weight, values in named})


def judged_groups(case: Case, objective: Objective) -> list[JudgedGroup]:
    """Made as a step makes them."""
    everything, scored = [], []
    for problem, prompt in enumerate(cases.PROMPTS):
        completions = [
            Completion(
                tuple(cases.COMPLETIONS[row]),
                tuple(REFERENCE["sampler_logprobs"][row]),
                "text",
                "length" if (problem, index) in cases.TRUNCATED else "stop",
            )
            for index, row in enumerate(range(problem * cases.GROUP_SIZE, (problem + 1) * cases.GROUP_SIZE))
        ]
        asked = Prompt(Problem(str(problem), ({"role": "user", "content": "?"},), {}), tuple(prompt))
        earned = group_rewards(case, [function[problem] for function in case.rewards])
        everything.append(earned)
        scores = tuple({"given": Score(total)} for total in earned.totals)
        scored.append(ScoredGroup(Group(asked, tuple(completions), policy_step=0), scores, tuple(earned.totals)))
    advantages = objective.advantages(everything, objective.settings)
    return [JudgedGroup(s, tuple(a), True) for s, a in zip(scored, advantages, strict=True)]


def make_model(state: cases.State) -> Qwen2ForCausalLM:
    model = Qwen2ForCausalLM(Qwen2Config(**cases.MODEL))
    load(model, state)
    return model


def load(model: Qwen2ForCausalLM, state: cases.State) -> None:
    parameters = dict(model.named_parameters())
    values = cases.weights({name: parameter.shape for name, parameter in parameters.items()}, state)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.tensor(values[name], dtype=torch.float64).view_as(parameter))


def summary(weight: torch.nn.Parameter) -> list[float]:
    """The norm of the gradient, then a dozen of its entries."""
    assert weight.grad is not None
    flat = weight.grad.flatten()
    return [float(flat.norm()), *(float(flat[i]) for i in cases.watched(len(flat)))]
