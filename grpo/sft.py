"""Supervised fine-tuning: show a model what to write.  `grpo sft`, and the cold start of `grpo train`.

The loss is -log π(token | all before it), the mean over the update's tokens that are the assistant's.  Batch, policy
and optimizer are those of GRPO; the targets have a mask and weights, and nothing else.  The rows of a micro-batch are
packed without padding (`grpo.learning.packed`), and neighbours in a packed row do not see each other.

How `grpo sft` runs is in `grpo.tune`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from grpo.assemble import ModelFiles, choose_place, open_model, worked_examples
from grpo.config import Cluster, Config, Data, Sft
from grpo.engines import make_policy
from grpo.errors import ConfigError, DataError, LearningError
from grpo.learning import lora
from grpo.learning.batch import Batch, Sequences, Targets, Terms, padded, spread
from grpo.learning.policy import Policy
from grpo.memory import Work, shape_of, this_machine
from grpo.problems import Example, draw, load_conversations, to_examples
from grpo.run.checkpoints import write_whole
from grpo.sampling.tokens import Vocabulary
from grpo.sizes import choose


@dataclass(frozen=True, slots=True)
class Schedule:
    """What each step is shown, and at which learning rate; steps are counted from 0.

    Examples come epoch after epoch, each in an order of its own that `seed` fixes.  A batch may end one epoch and begin
    the next, so only the last of all may be smaller, and where epochs are asked for each example is shown as often.
    """

    settings: Sft
    examples: Sequence[Example]
    seed: int

    @property
    def steps(self) -> int:
        return self.settings.steps or -(-self._shown // self.settings.batch_size)

    @property
    def _shown(self) -> int:
        """Examples in all epochs."""
        return (self.settings.epochs or 0) * len(self.examples)

    def drawn(self, steps: int) -> int:
        """Examples shown in the first so many steps."""
        drawn = steps * self.settings.batch_size
        return drawn if self.settings.steps else min(drawn, self._shown)

    def batch(self, step: int) -> list[Example]:
        drawn = self.drawn(step)
        return draw(self.examples, drawn, self.drawn(step + 1) - drawn, seed=self.seed)

    def lr(self, step: int) -> float:
        return self.settings.lr * warmup_cosine(step, self.steps)


def fine_tune(
    schedule: Schedule, policy: Policy, files: ModelFiles, target: Path, *, shown: Callable[[int, float], None]
) -> ModelFiles:
    """The cold start: fine-tune the open model `policy` of `files` and write it to `target`, beside losses.jsonl.  An
    adapter that was learned is merged into it, and lies under adapter/ besides.

    `shown(step, loss)` is called after each step, counted from 1.
    """
    losses = []
    for step in range(schedule.steps):
        totals = policy.forward_backward(batch_of(schedule.batch(step)), cross_entropy)
        norm = policy.optim_step(schedule.lr(step))
        refuse_unfinite(step, totals["loss"], norm, schedule.settings)
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


def refuse_unfinite(step: int, loss: float, norm: float, settings: Sft) -> None:
    """After step `step`, counted from 0, that moved nothing if its gradient norm is not finite."""
    if not math.isfinite(norm):
        raise LearningError(
            f"sft: gradients of step {step + 1} are not finite (loss {loss}); lower sft.lr = {settings.lr}"
        )


def open_learner(config: Config, files: ModelFiles, examples: Sequence[Example]) -> Policy:
    """The model to fine-tune: its log-probabilities are at temperature 1, whatever it will be sampled with.

    It has the device to itself, so its sizes are its own.  Raises `ConfigError` where none fit.
    """
    lora.check(config.model)
    place = choose_place(config.model)
    longest = max(map(len, examples))
    work = Work(shape_of(files, config.model), place, longest, longest, 0, None, Cluster(learners=0, samplers=0))
    choice = choose(config, work, this_machine(place, 1))
    if choice.certain:
        raise ConfigError(
            f"sft: {choice.lack}; take a smaller model, an adapter (model.lora_rank), or shorter examples"
        )
    return make_policy(files, choice.written_into(config), temperature=1.0)


def load_examples(data: Data, settings: Sft, files: ModelFiles, say: Callable[[str], None]) -> list[Example]:
    """[sft]'s data, as tokens.  Raises `DataError` where an example does not fit the model's context."""
    source = worked_examples(data, settings)
    if source is None:
        raise ConfigError("sft.source is not set; name the worked examples, such as --set sft.source=examples.jsonl")
    conversations = load_conversations(source)
    ends = Vocabulary(files.name, files.revision, files.context).end_tokens
    examples = to_examples(conversations, files.tokenizer, source, ends=ends, vocabulary=files.vocabulary)
    if len(examples) > len(conversations):
        say(
            f"examples: {len(examples):,} from {len(conversations):,} conversations, because the chat template renders "
            "a message otherwise once others follow; then each of the assistant's is an example after its own prompt"
        )
    _check_room(examples, files.context)
    return examples


def _check_room(examples: Sequence[Example], context: int) -> None:
    sizes = list(map(len, examples))
    longest = max(range(len(sizes)), key=sizes.__getitem__)
    if sizes[longest] > context:
        raise DataError(
            f"example {examples[longest].id}: prompt and target are {sizes[longest]} tokens, more than the model's "
            f"context of {context} ({sum(size > context for size in sizes)} of {len(sizes)} examples are too long); "
            "take them out"
        )


def digest(examples: Sequence[Example]) -> str:
    """Of all that is shown: what is gone on with must be what was begun with."""
    sums = hashlib.sha256()
    for example in examples:
        for part in (example.prompt, example.tokens, example.learned):
            sums.update(len(part).to_bytes(8, "little") + part.tobytes())
    return sums.hexdigest()


def batch_of(examples: Sequence[Example]) -> Batch:
    """One update's examples; each token of the assistant's weighs 1 / all of the assistant's."""
    sequences = Sequences.of([(example.prompt.tolist(), example.tokens) for example in examples])
    learned_BT = padded([example.learned for example in examples], torch.bool)
    weights = [1 / int(learned_BT.sum())] * len(examples)
    return Batch(sequences, Targets(learned_BT, spread(weights, learned_BT)))


def cross_entropy(logprobs_BT: Tensor, targets: Targets) -> Terms:
    return Terms(-(targets.weights_BT * logprobs_BT).sum())


def warmup_cosine(step: int, steps: int) -> float:
    """Share of the peak learning rate at `step`, from 0: up over a tenth of the steps, then a cosine to a tenth."""
    warmup = max(1, steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * progress))
