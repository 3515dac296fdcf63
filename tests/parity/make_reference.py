"""Writes reference.json: loss and gradients of TRL's own GRPOTrainer for the cases in cases.py.

Nothing of TRL is written again here.  A real trainer is made; only its sampling is replaced, by completions that are
already there.  From these TRL computes advantages, old and reference log-probabilities, importance ratios, the loss
and its gradient, through the same functions as in training.  Run it with scripts/parity.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import split_tensor_dict

from tests.parity import cases
from tests.parity.cases import Case

ROWS = [{"prompt": str(problem)} for problem in range(len(cases.PROMPTS)) for _ in range(cases.GROUP_SIZE)]


class PreparedTrainer(GRPOTrainer):  # type: ignore[misc]
    """TRL's trainer, given its completions."""

    sampler_logprobs: list[list[float]]

    def _generate(self, prompts: list[str]) -> tuple[Any, ...]:
        prompt_ids = [cases.PROMPTS[int(prompt)] for prompt in prompts]
        return prompt_ids, cases.COMPLETIONS, None, ["text"] * len(prompts), self.sampler_logprobs, {}, None, None


def main(path: Path) -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    sampler_logprobs = make_sampler_logprobs()
    reference = {
        "versions": {"trl": trl.__version__, "torch": torch.__version__, "transformers": transformers.__version__},
        "sampler_logprobs": sampler_logprobs,
        "advantages": {scale: advantages(scale) for scale in ("group", "none")},
        **{case.name: run(case, sampler_logprobs) for case in cases.CASES},
    }
    lines = [
        f"{json.dumps(name)}: {json.dumps(value)}" for name, value in reference.items()
    ]  # a diff shows what changed
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def make_sampler_logprobs() -> list[list[float]]:
    """The policy's own at temperature 1, and noise."""
    model = make_model("sampled")
    rows = []
    for row, completion in enumerate(cases.COMPLETIONS):
        prompt = cases.PROMPTS[row // cases.GROUP_SIZE]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        own = logits.log_softmax(-1).gather(1, torch.tensor(completion).unsqueeze(1)).squeeze(1).tolist()
        rows.append([round(value + cases.sampler_noise(row, t), 6) for t, value in enumerate(own)])
    return rows


def advantages(scale_rewards: str) -> list[float]:
    """Of groups some of whose completions could not be judged.  TRL mixes them into a loss; here they stand alone."""
    rewards = [reward for group in cases.REWARDS_WITH_NONE for reward in group]
    case = Case("grpo", "advantages", scale_rewards=scale_rewards)  # type: ignore[arg-type]
    trainer = make_trainer(case, make_sampler_logprobs(), rewards)
    # As many copies of the first problem's completions as there are groups: only the rewards matter here.
    trainer._generate = lambda prompts: (
        [cases.PROMPTS[0]] * len(prompts),
        [[cases.END]] * len(prompts),
        *(None, ["text"] * len(prompts), None, {}, None, None),
    )
    scored = trainer._generate_and_score_completions([{"prompt": "0"} for _ in rewards])
    return [float(value) for value in scored["advantages"]]


def run(case: Case, sampler_logprobs: list[list[float]]) -> dict[str, Any]:
    trainer = make_trainer(case, sampler_logprobs, [reward for group in cases.REWARDS for reward in group])
    model = trainer.model
    load(model, "sampled")
    scored = trainer._generate_and_score_completions([dict(row) for row in ROWS])
    if case.moved:
        load(model, "moved")
    losses = []
    for part in split_tensor_dict(scored, case.parts):
        loss = trainer.compute_loss(model, part)
        loss.backward()
        losses.append(float(loss.detach()))
    metrics = {name: sum(values) / len(values) for name, values in trainer._metrics["train"].items()}
    return {
        "loss": sum(losses),
        "clipped": metrics["clip_ratio/region_mean"],
        "gradients": {name: summary(parameter.grad) for name, parameter in sorted(model.named_parameters())},
    }


def summary(gradient: torch.Tensor) -> list[float]:
    """The norm, then a dozen entries."""
    flat = gradient.flatten()
    values = [flat.norm(), *(flat[i] for i in cases.watched(len(flat)))]
    return [float(f"{float(value):.8g}") for value in values]


def make_trainer(case: Case, sampler_logprobs: list[list[float]], rewards: list[float | None]) -> PreparedTrainer:
    arguments = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        bf16=False,
        report_to=[],
        per_device_train_batch_size=len(ROWS) // case.parts,
        gradient_accumulation_steps=case.parts,
        num_generations=cases.GROUP_SIZE,
        max_completion_length=cases.MAX_TOKENS,
        num_iterations=2 if case.moved else 1,  # from 2 on TRL keeps the old log-probabilities
        loss_type=case.loss_type,
        scale_rewards=case.scale_rewards,
        beta=case.beta,
        use_bias_correction_kl=case.bias_correction,
        epsilon=cases.EPSILON_LOW,
        epsilon_high=cases.EPSILON_HIGH,
        temperature=case.temperature,
        mask_truncated_completions=case.mask_truncated,
        vllm_importance_sampling_correction=case.importance,
        vllm_importance_sampling_mode="token_truncate",
        vllm_importance_sampling_clip_max=cases.IMPORTANCE_CAP,
    )
    model = make_model("sampled")
    model.config._name_or_path = save_reference_model()
    trainer = PreparedTrainer(
        model=model,
        reward_funcs=lambda **_: rewards,
        args=arguments,
        train_dataset=Dataset.from_list(ROWS),
        processing_class=make_tokenizer(),
    )
    trainer.model.train()
    trainer.sampler_logprobs = sampler_logprobs
    trainer.current_gradient_accumulation_steps = case.parts  # set by the training loop otherwise
    trainer.use_vllm = case.importance  # after construction, which would start an engine
    return trainer


def make_model(state: cases.State) -> Qwen2ForCausalLM:
    model = Qwen2ForCausalLM(Qwen2Config(**cases.MODEL))
    load(model, state)
    return model


def load(model: torch.nn.Module, state: cases.State) -> None:
    parameters: Mapping[str, torch.Tensor] = dict(model.named_parameters())
    values = cases.weights({name: parameter.shape for name, parameter in parameters.items()}, state)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.tensor(values[name], dtype=torch.float64).view_as(parameter))


def save_reference_model() -> str:
    """TRL loads the reference from where the policy's configuration says that it came from."""
    folder = tempfile.mkdtemp()
    make_model("reference").save_pretrained(folder)
    return folder


def make_tokenizer() -> PreTrainedTokenizerFast:
    words = {"<pad>": cases.PADDING, "<end>": cases.END} | {f"w{i}": i for i in range(2, cases.VOCABULARY)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="<pad>")), pad_token="<pad>", eos_token="<end>"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("reference.json"))
