"""Supervised fine-tuning: show a model what to write.  `grpo sft`, and the cold start of `grpo train`.

The loss is -log π(target | prompt), the mean over the update's target tokens.  It is the batch, the policy and the
optimizer of GRPO with other weights and another sum: one row per example, and no advantage.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from torch import Tensor

from grpo.assemble import (
    ModelFiles,
    Place,
    choose_place,
    find_model,
    make_policy,
    open_model,
    prompts_for,
    worked_examples,
)
from grpo.config import Config
from grpo.errors import ConfigError, DataError, LearningError
from grpo.learning.batch import Batch, Row, collate
from grpo.learning.policy import Terms
from grpo.problems import draw, load_problems
from grpo.run.checkpoints import write_whole


@dataclass(frozen=True, slots=True)
class Example:
    """What to write after a prompt; `tokens` end with the model's end token."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]


def fine_tune(
    config: Config, start: ModelFiles, place: Place, target: Path, *, shown: Callable[[int, float], None]
) -> ModelFiles:
    """Fine-tune the model `start` as [sft] says and write it to `target`, beside losses.jsonl.

    `shown(step, loss)` is called after each step, counted from 1.
    """
    examples = load_examples(config, start)
    policy = make_policy(config.with_changes(sampling={"temperature": 1.0}), start, place)
    losses = []
    for step in range(config.sft.steps):
        chosen = draw(examples, step, config.sft.batch_size, seed=config.run.seed, shuffle=config.data.shuffle)
        totals = policy.forward_backward(batch_of(chosen), cross_entropy)
        norm = policy.optim_step(config.sft.lr * warmup_cosine(step, config.sft.steps))
        if not math.isfinite(norm):
            raise LearningError(
                f"sft: gradients of step {step + 1} are not finite (loss {totals['loss']}); "
                f"lower sft.lr = {config.sft.lr}"
            )
        losses.append(totals["loss"])
        shown(step + 1, totals["loss"])

    def write(folder: Path) -> None:
        policy.save(folder)
        start.tokenizer.save_pretrained(folder)
        rows = ({"step": step, "sft/loss": loss} for step, loss in enumerate(losses, start=1))
        (folder / "losses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    write_whole(target, write)
    return open_model(str(target))


def load_examples(config: Config, files: ModelFiles) -> list[Example]:
    """[sft]'s data, as tokens.  Raises `DataError` where an example does not fit the model's context."""
    data = worked_examples(config)
    if data is None:
        raise ConfigError("sft.source is not set; name the worked examples, such as --set sft.source=examples.jsonl")
    problems = load_problems(data, needs=(config.sft.target,))
    targets = [str(problem.facts[config.sft.target]) for problem in problems]
    tokenizer = files.tokenizer
    end = [tokenizer.eos_token_id]
    tokens = [(*ids, *end) for ids in tokenizer(targets, add_special_tokens=False)["input_ids"]]
    prompts = prompts_for(problems, files, data, max_tokens=1)
    examples = [Example(prompt.token_ids, ids) for prompt, ids in zip(prompts, tokens, strict=True)]
    _check_room(examples, [problem.id for problem in problems], files.context)
    return examples


def _check_room(examples: Sequence[Example], ids: Sequence[str], context: int) -> None:
    sizes = [len(example.prompt) + len(example.tokens) for example in examples]
    longest = max(range(len(sizes)), key=sizes.__getitem__)
    if sizes[longest] > context:
        raise DataError(
            f"example {ids[longest]}: prompt and target are {sizes[longest]} tokens, more than the model's context of "
            f"{context} ({sum(size > context for size in sizes)} of {len(sizes)} examples are too long); take them out"
        )


def batch_of(examples: Sequence[Example]) -> Batch:
    """One update's examples; each target token weighs 1 / all target tokens."""
    weight = 1 / sum(len(example.tokens) for example in examples)
    return collate([Row(e.prompt, e.tokens, (0.0,) * len(e.tokens), 0.0, weight) for e in examples])


def cross_entropy(logprobs_BT: Tensor, rows: Batch) -> Terms:
    return Terms(-(rows.weights_BT * logprobs_BT).sum())


def warmup_cosine(step: int, steps: int) -> float:
    """Share of the peak learning rate at `step`, from 0: up over a tenth of the steps, then a cosine to a tenth."""
    warmup = max(1, steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * progress))


def sft(config: Config, target: Path, *, say: Callable[[str], None]) -> ModelFiles:
    """`grpo sft`: from the settings to a fine-tuned model in `target`."""
    if not config.sft.steps:
        raise ConfigError("sft.steps = 0: nothing to do; set it, as in --set sft.steps=500")
    if target.exists():
        raise ConfigError(f"{target}: exists already; choose another folder with --out")
    recent: list[float] = []

    def shown(step: int, loss: float) -> None:
        recent.append(loss)
        if step % max(1, config.sft.steps // 10) == 0:
            say(f"step {step}/{config.sft.steps}  loss {fmean(recent):.4f}")
            recent.clear()

    start = find_model(config, target.with_name(target.name + "-start"))
    files = fine_tune(config, start, choose_place(config), target, shown=shown)
    say(f"fine-tuned model: {target}")
    return files
