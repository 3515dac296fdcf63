"""Writes reference.json: loss and gradients of TRL's own GRPOTrainer for the cases in cases.py.

Nothing of TRL is written again here.  A real trainer is made; only its sampling is replaced, by completions that are
already there.  From these TRL computes advantages, old and reference log-probabilities, importance ratios, the loss
and its gradient, through the same functions as in training.  Run it with scripts/parity.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
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
from trl.trainer.distillation_trainer import _chunked_divergence_loss
from trl.trainer.utils import split_tensor_dict

from tests.parity import cases
from tests.parity.cases import Case

ROWS = [{"prompt": str(problem)} for problem in range(len(cases.PROMPTS)) for _ in range(cases.GROUP_SIZE)]


class PreparedTrainer(GRPOTrainer):  # type: ignore[misc]
    """TRL's trainer, given its completions."""

    sampler_logprobs: list[list[float]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []  # log-probabilities and entropies, of each pass

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        logprobs, entropies, auxiliary_loss = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        self.seen.append((logprobs.detach(), entropies))
        return logprobs, entropies, auxiliary_loss

    def _generate(self, prompts: list[str]) -> tuple[Any, ...]:
        prompt_ids = [cases.PROMPTS[int(prompt)] for prompt in prompts]
        return prompt_ids, cases.COMPLETIONS, None, ["text"] * len(prompts), self.sampler_logprobs, {}, None, None


def main(path: Path) -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    assert len({case.name for case in cases.CASES}) == len(cases.CASES), "two cases of one name"
    sampler_logprobs = make_sampler_logprobs()
    reference = {
        "versions": {"trl": trl.__version__, "torch": torch.__version__, "transformers": transformers.__version__},
        "sampler_logprobs": sampler_logprobs,
        "advantages": {name: advantages(*given) for name, given in cases.ADVANTAGES.items()},
        "divergences": {str(beta): divergence(beta) for beta in cases.BETAS},
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


def advantages(settings: Mapping[str, Any], rewards: Sequence[cases.Rewards]) -> list[float]:
    """Of groups some of whose completions could not be judged.  TRL mixes them into a loss; here they stand alone."""
    trainer = make_trainer(Case("grpo", "advantages", **settings), make_sampler_logprobs(), rewards)
    # As many copies of the first problem's completions as there are rewards: only these matter here.
    trainer._generate = lambda prompts: (
        [cases.PROMPTS[0]] * len(prompts),
        [[cases.END]] * len(prompts),
        *(None, ["text"] * len(prompts), None, {}, None, None),
    )
    scored = trainer._generate_and_score_completions([{"prompt": "0"} for _ in flattened(rewards[0])])
    return [float(value) for value in scored["advantages"]]


def run(case: Case, sampler_logprobs: list[list[float]]) -> dict[str, Any]:
    trainer = make_trainer(case, sampler_logprobs, case.rewards)
    model = trainer.model
    load(model, "sampled")
    scored = trainer._generate_and_score_completions([dict(row) for row in ROWS])
    if case.moved:
        load(model, "moved")
    trainer.seen.clear()
    losses = []
    for part in split_tensor_dict(scored, case.parts):
        loss = trainer.compute_loss(model, part)
        loss.backward()
        losses.append(float(loss.detach()))
    return {
        "loss": sum(losses),
        "clipped": clipped(trainer),
        **felt(case, trainer, scored),
        "gradients": {name: summary(parameter.grad) for name, parameter in sorted(model.named_parameters())},
    }


def divergence(beta: float) -> dict[str, Any]:
    """What `DistillationTrainer` makes of hidden states: its loss, of the policy as it sampled from the reference as a
    teacher."""
    student, teacher = make_model("sampled"), make_model("reference")
    rows = [(cases.PROMPTS[row // cases.GROUP_SIZE], tokens) for row, tokens in enumerate(cases.COMPLETIONS)]
    one, other = ([], [])
    for prompt, tokens in rows:
        ids = torch.tensor([prompt + tokens])
        for model, states in ((student, one), (teacher, other)):
            states.append(model.model(ids).last_hidden_state[:, len(prompt) - 1 : -1])
    states, others = torch.cat(one, dim=1), torch.cat(other, dim=1).detach()
    mask = torch.ones(states.shape[:2])
    heads = student.lm_head.weight, teacher.lm_head.weight.detach()
    loss, *_ = _chunked_divergence_loss(
        states, others, *heads, mask, beta, num_items_in_batch=mask.sum(), temperature=cases.TEMPERATURE
    )
    loss.backward()
    return {
        "loss": float(loss.detach()),
        "gradients": {name: summary(parameter.grad) for name, parameter in sorted(student.named_parameters())},
    }


def clipped(trainer: PreparedTrainer) -> float:
    """As TRL's own metric has it: the share of tokens, or of completions if these have one ratio; of cispo, those with
    A > 0 alone, though its cap is on all.  sapo clips nothing."""
    metrics = {name: sum(values) / len(values) for name, values in trainer._metrics["train"].items()}
    return metrics.get("clip_ratio/region_mean", metrics.get("cispo_clip_ratio", 0.0))


def felt(case: Case, trainer: PreparedTrainer, scored: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """On what share of the tokens each further setting is felt, so that a test can tell that the case would notice it.
    Of completions, where what it is about has one value for each."""
    mask_BT = scored["completion_mask"]
    advantages_B1 = scored["advantages"].unsqueeze(1)
    logprobs_BT, entropies_BT = (torch.cat(parts) for parts in zip(*trainer.seen, strict=True))
    log_ratio = (logprobs_BT - scored.get("old_per_token_logps", logprobs_BT)) * mask_BT
    if case.importance_sampling_level == "sequence":
        log_ratio = log_ratio.sum(1, keepdim=True) / mask_BT.sum(1, keepdim=True).clamp(min=1)
    ratio = log_ratio.exp()

    def share(where: torch.Tensor) -> float:
        weights = mask_BT if where.shape == mask_BT.shape else torch.ones_like(where, dtype=torch.long)
        return round(float((where * weights).sum() / weights.sum()), 4)

    shares = {}
    cap = case.epsilon_high if case.loss_type == "cispo" else case.delta
    if cap is not None:
        shares["beyond the cap, A > 0"] = share((ratio > cap) & (advantages_B1 > 0))
        shares["beyond the cap, A < 0"] = share((ratio > cap) & (advantages_B1 < 0))
    if case.top_entropy_quantile < 1:
        kept = trainer.get_high_entropy_mask(entropies_BT, mask_BT, 1 - case.top_entropy_quantile)
        shares["below the entropy threshold"] = share(~kept)
    if case.importance:
        correction = (scored["old_per_token_logps"] - scored["sampling_per_token_logps"]) * mask_BT
        if case.mode.startswith("sequence"):
            correction = correction.sum(1, keepdim=True)
        if case.clip_min is not None:
            shares["correction below"] = share(correction.exp() < case.clip_min)
        if case.clip_max is not None:
            shares["correction above"] = share(correction.exp() > case.clip_max)
    return shares


def summary(gradient: torch.Tensor) -> list[float]:
    """The norm, then a dozen entries."""
    flat = gradient.flatten()
    values = [flat.norm(), *(flat[i] for i in cases.watched(len(flat)))]
    return [float(f"{float(value):.8g}") for value in values]


def make_trainer(case: Case, sampler_logprobs: list[list[float]], rewards: Sequence[cases.Rewards]) -> PreparedTrainer:
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
        importance_sampling_level=case.importance_sampling_level,
        epsilon=case.epsilon,
        epsilon_high=case.epsilon_high,
        delta=case.delta,
        sapo_temperature_pos=case.sapo_temperature_pos,
        sapo_temperature_neg=case.sapo_temperature_neg,
        top_entropy_quantile=case.top_entropy_quantile,
        reward_weights=list(case.reward_weights),
        multi_objective_aggregation=case.multi_objective_aggregation,
        temperature=case.temperature,
        mask_truncated_completions=case.mask_truncated,
        vllm_importance_sampling_correction=case.importance,
        vllm_importance_sampling_mode=case.mode,
        vllm_importance_sampling_clip_min=case.clip_min,
        vllm_importance_sampling_clip_max=case.clip_max,
    )
    model = make_model("sampled")
    model.config._name_or_path = save_reference_model()
    trainer = PreparedTrainer(
        model=model,
        reward_funcs=[reward_function(index, given) for index, given in enumerate(rewards)],
        args=arguments,
        train_dataset=Dataset.from_list(ROWS),
        processing_class=make_tokenizer(),
    )
    trainer.model.train()
    trainer.sampler_logprobs = sampler_logprobs
    trainer.current_gradient_accumulation_steps = case.parts  # set by the training loop otherwise
    trainer.use_vllm = case.importance  # after construction, which would start an engine
    return trainer


def reward_function(index: int, rewards: cases.Rewards) -> Callable[..., list[float | None]]:
    def function(**_: Any) -> list[float | None]:
        return flattened(rewards)

    function.__name__ = f"reward_{index}"  # TRL logs by name
    return function


def flattened(rewards: cases.Rewards) -> list[float | None]:
    return [reward for group in rewards for reward in group]


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
