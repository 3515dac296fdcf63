"""Loss and gradients are those of TRL, on the same tokens, rewards and log-probabilities.

reference.json holds what TRL 1.16.0 itself computed (make_reference.py); cases.py holds what both are given; README.md
says where definitions differ.  Ours goes the way of a training step, from rewards to the gradient of each weight.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from grpo import config
from grpo.algorithm import JudgedGroup, Trainer, advantages, k3, policy_loss
from grpo.learning.batch import Batch
from grpo.learning.policy import LanguageModel, Policy, Terms
from grpo.types import Completion, Group, Problem, Prompt, ScoredGroup
from rewards import Score
from tests.parity import cases
from tests.parity.cases import CASES, Case

HERE = Path(__file__).parent
REFERENCE = json.loads((HERE / "reference.json").read_text())
NORMALIZE = {"grpo": "sequence", "dapo": "token", "dr_grpo": "constant"}


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
    """The one known difference: TRL counts truncated completions among those it averages over, though their loss is
    left out of the sum.  We leave them out of both."""
    if case.mask_truncated and case.loss_type != "dapo":
        return len(cases.COMPLETIONS) / (len(cases.COMPLETIONS) - len(cases.TRUNCATED))
    return 1.0


@pytest.mark.parametrize(("scale_rewards", "scale_by_std"), [("group", True), ("none", False)])
def test_advantages_equal_those_of_trl_also_where_completions_were_not_judged(
    scale_rewards: str, scale_by_std: bool
) -> None:
    flat = [a for rewards in cases.REWARDS_WITH_NONE for a in advantages(rewards, scale_by_std=scale_by_std)]
    assert flat == pytest.approx(REFERENCE["advantages"][scale_rewards], abs=1e-5)


def test_the_cases_would_notice_a_difference() -> None:
    clipped = [REFERENCE[case.name]["clipped"] for case in CASES if case.moved]
    assert min(clipped) > 0.1, "hardly a token is clipped"
    losses = {round(REFERENCE[case.name]["loss"], 4) for case in CASES if case.parts == 1}
    assert len(losses) == sum(case.parts == 1 for case in CASES), "two settings give the same loss"


@pytest.mark.parity
def test_the_reference_is_what_trl_computes(tmp_path: Path) -> None:
    root = HERE.parents[1]
    path = tmp_path / "reference.json"
    subprocess.run([root / "scripts" / "parity", path], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    fresh = json.loads(path.read_text())
    assert fresh.keys() == REFERENCE.keys()
    for case in CASES:
        assert fresh[case.name]["loss"] == pytest.approx(REFERENCE[case.name]["loss"], abs=1e-6)


# --- Our side -----------------------------------------------------------------------------------------------------


def ours(case: Case) -> tuple[float, dict[str, list[float]]]:
    settings = make_config(case)
    model = make_model("sampled")
    policy = Policy(model, settings.optim, temperature=case.temperature, gradient_checkpointing=False)
    reference = LanguageModel(make_model("reference"), temperature=case.temperature, tokens_per_microbatch=4096)

    (batch,) = trainer(settings, policy, reference).batches(judged_groups(case))
    if case.moved:
        batch = batch.with_logprobs("old", policy.logprobs(batch))
        load(model, "moved")

    def loss(logprobs_BT: torch.Tensor, rows: Batch) -> Terms:
        terms = policy_loss(logprobs_BT, rows, settings=settings.objective)
        return Terms(terms.loss + case.beta * bias_correction(logprobs_BT, rows)) if case.bias_correction else terms

    totals = policy.forward_backward(batch, loss)
    return totals["loss"], {name: summary(weight) for name, weight in model.named_parameters()}


def bias_correction(logprobs_BT: torch.Tensor, rows: Batch) -> torch.Tensor:
    """What TRL's default adds to the KL penalty: it is multiplied by the ratio, gradient and all."""
    ratio_BT = (logprobs_BT - rows.logprobs.get("old", logprobs_BT.detach())).exp()
    return (rows.weights_BT * (ratio_BT - 1) * k3(logprobs_BT, rows.logprobs["reference"])).sum()


def trainer(settings: config.Config, policy: Policy, reference: LanguageModel) -> Trainer:
    nobody: Any = None  # samples and scores: that has been done
    return Trainer(settings, policy, nobody, nobody, reference.logprobs, nobody, nobody)


def make_config(case: Case) -> config.Config:
    longest = max(map(len, cases.PROMPTS)) + cases.MAX_TOKENS
    return config.Config(
        model=config.Model(name="none"),
        data=config.Data(source="none"),
        sampling=config.Sampling(
            group_size=cases.GROUP_SIZE, max_tokens=cases.MAX_TOKENS, temperature=case.temperature
        ),
        objective=config.Objective(
            normalize=NORMALIZE[case.loss_type],  # type: ignore[arg-type]
            scale_by_std=case.scale_rewards == "group",
            clip_low=cases.EPSILON_LOW,
            clip_high=cases.EPSILON_HIGH,
            kl=case.beta,
            importance_cap=cases.IMPORTANCE_CAP if case.importance else 0.0,
            drop_agreeing=False,
            drop_truncated=case.mask_truncated,
        ),
        optim=config.Optim(tokens_per_microbatch=longest * len(cases.COMPLETIONS) // case.parts),
    )


def judged_groups(case: Case) -> list[JudgedGroup]:
    """Made as a step makes them."""
    groups = []
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
        rewards = tuple(cases.REWARDS[problem])
        scored = ScoredGroup(
            Group(asked, tuple(completions), policy_step=0),
            tuple({"given": Score(reward)} for reward in rewards),
            rewards,
        )
        scale_by_std = case.scale_rewards == "group"
        groups.append(JudgedGroup(scored, tuple(advantages(rewards, scale_by_std=scale_by_std))))
    return groups


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
