"""Supervised fine-tuning: show a model what to write.  `grpo sft`, and the cold start of `grpo train`.

The loss is -log π(target | prompt), the mean over the update's target tokens.  Batch, policy and optimizer are those of
GRPO; the targets have a mask and weights, and nothing else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from torch import Tensor

from grpo.assemble import ModelFiles, choose_place, find_model, open_model, prompts_for, worked_examples
from grpo.config import Cluster, Config, Data, Sft
from grpo.engines import make_policy
from grpo.errors import ConfigError, DataError, LearningError
from grpo.learning import lora
from grpo.learning.batch import Batch, Sequences, Targets, Terms, spread
from grpo.learning.policy import Policy
from grpo.memory import Work, shape_of, this_machine
from grpo.problems import draw, is_unicode, load_problems
from grpo.run.checkpoints import write_whole
from grpo.sizes import choose

TARGET = "solution"  # the column with the whole text that the model should write


@dataclass(frozen=True, slots=True)
class Example:
    """What to write after a prompt; `tokens` end with the model's end token."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]


def fine_tune(
    settings: Sft,
    examples: Sequence[Example],
    policy: Policy,
    files: ModelFiles,
    target: Path,
    *,
    seed: int,
    shown: Callable[[int, float], None],
) -> ModelFiles:
    """Fine-tune the open model `policy` of `files` on `examples` and write it to `target`, beside losses.jsonl.  An
    adapter that was learned is merged into it, and lies under adapter/ besides.

    `shown(step, loss)` is called after each step, counted from 1.
    """
    losses = []
    for step in range(settings.steps):
        chosen = draw(examples, step * settings.batch_size, settings.batch_size, seed=seed)
        totals = policy.forward_backward(batch_of(chosen), cross_entropy)
        norm = policy.optim_step(settings.lr * warmup_cosine(step, settings.steps))
        if not math.isfinite(norm):
            raise LearningError(
                f"sft: gradients of step {step + 1} are not finite (loss {totals['loss']}); "
                f"lower sft.lr = {settings.lr}"
            )
        losses.append(totals["loss"])
        shown(step + 1, totals["loss"])

    def write(folder: Path) -> None:
        if lora.has_adapter(policy.model):  # what comes next starts from a whole model
            policy.save(folder / "adapter")
            lora.fold(policy.model)
        policy.save(folder)
        files.tokenizer.save_pretrained(folder)
        rows = ({"step": step, "sft/loss": loss} for step, loss in enumerate(losses, start=1))
        (folder / "losses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    write_whole(target, write)
    return open_model(str(target))


def open_learner(config: Config, files: ModelFiles, examples: Sequence[Example]) -> Policy:
    """The model to fine-tune: its log-probabilities are at temperature 1, whatever it will be sampled with.

    It has the device to itself, so its sizes are its own.  Raises `ConfigError` where none fit.
    """
    lora.check(config.model)
    place = choose_place(config.model)
    longest = max(len(example.prompt) + len(example.tokens) for example in examples)
    work = Work(shape_of(files, config.model), place, longest, longest, 0, None, Cluster(learners=0, samplers=0))
    choice = choose(config, work, this_machine(place, 1))
    if choice.certain:
        raise ConfigError(
            f"sft: {choice.lack}; take a smaller model, an adapter (model.lora_rank), or shorter examples"
        )
    return make_policy(files, choice.written_into(config), temperature=1.0)


def load_examples(data: Data, settings: Sft, files: ModelFiles) -> list[Example]:
    """[sft]'s data, as tokens.  Raises `DataError` where an example does not fit the model's context."""
    source = worked_examples(data, settings)
    if source is None:
        raise ConfigError("sft.source is not set; name the worked examples, such as --set sft.source=examples.jsonl")
    problems = load_problems(source, needs=(TARGET,))
    tokenizer = files.tokenizer
    end = [tokenizer.eos_token_id]
    written = [str(problem.facts[TARGET]) for problem in problems]
    if bad := next((p.id for p, text in zip(problems, written, strict=True) if not is_unicode(text)), None):
        raise DataError(f"{source.source}: {TARGET} of {bad} has half of a surrogate pair in it, no character; mend it")
    tokens = [(*ids, *end) for ids in tokenizer(written, add_special_tokens=False)["input_ids"]]
    prompts = prompts_for(problems, files, source, max_tokens=1)
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
    sequences = Sequences.of([(example.prompt, example.tokens) for example in examples])
    weights = [1 / sum(sequences.lengths)] * len(examples)
    return Batch(sequences, Targets(sequences.real_BT, spread(weights, sequences.real_BT)))


def cross_entropy(logprobs_BT: Tensor, targets: Targets) -> Terms:
    return Terms(-(targets.weights_BT * logprobs_BT).sum())


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

    start = find_model(config.model, target.with_name(target.name + "-start"), seed=config.run.seed)
    examples = load_examples(config.data, config.sft, start)
    learner = open_learner(config, start, examples)
    files = fine_tune(config.sft, examples, learner, start, target, seed=config.run.seed, shown=shown)
    say(f"fine-tuned model: {target}")
    return files
