"""What `scripts/bench gpu` compares: a model of Qwen2.5-1.5B's shape, made-up groups, and three ways of one update.

All of them minimise the same loss on the same tokens from the same weights, so the norms of their gradients agree.
"""

from __future__ import annotations

import importlib.util
import random
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen2Config
from transformers.models.qwen2 import modeling_qwen2

from grpo.algorithm import policy_loss
from grpo.config import Objective, Optim
from grpo.learning.batch import Batch, Sequences, Targets, spread
from grpo.learning.policy import Policy
from grpo.objectives import choose

LR = 1e-6
# No correction for a sampler that there is none of: so both losses are the same, and their gradients' norms are.
OBJECTIVE = choose(Objective(correction="off", clip_low=0.2, clip_high=0.2))


@dataclass(frozen=True, slots=True)
class Size:
    """A Qwen2-shaped model with tied embeddings, the groups it learns from, and what may be in memory at a time."""

    layers: int
    width: int
    heads: int
    key_value_heads: int
    mlp: int
    vocabulary: int
    groups: int
    group_size: int
    prompt: int  # tokens
    new: int  # tokens, at most
    tokens: tuple[int, ...]  # optim.tokens_per_microbatch to try
    rows: tuple[int, ...]  # of the other side: completions in a micro-batch to try
    matrices: tuple[int, ...]  # sides of square matrices to multiply

    @property
    def head_size(self) -> int:
        return self.width // self.heads

    @property
    def layer_parameters(self) -> int:
        """Of the matrices: queries and output, keys and values, the three of the MLP."""
        attention = 2 * self.width * self.head_size * (self.heads + self.key_value_heads)
        return self.layers * (attention + 3 * self.width * self.mlp)


SIZES = {
    "1.5b": Size(
        layers=28,
        width=1536,
        heads=12,
        key_value_heads=2,
        mlp=8960,
        vocabulary=151_936,
        groups=8,
        group_size=8,
        prompt=512,
        new=1024,
        tokens=(8704, 17_408, 34_816),  # one, two and four groups
        rows=(4, 8, 16),
        matrices=(4096, 8192, 16_384),
    ),
    "tiny": Size(
        layers=2,
        width=64,
        heads=4,
        key_value_heads=2,
        mlp=128,
        vocabulary=512,
        groups=2,
        group_size=4,
        prompt=16,
        new=32,
        tokens=(128, 512),
        rows=(2, 8),
        matrices=(256, 512),
    ),
}


@dataclass(frozen=True, slots=True)
class Work:
    """One update's worth of groups; the completions of a group follow each other."""

    name: str
    prompts: tuple[tuple[int, ...], ...]
    completions: tuple[tuple[int, ...], ...]
    advantages: tuple[float, ...]

    @property
    def completion_tokens(self) -> int:
        return sum(map(len, self.completions))

    @property
    def distinct_tokens(self) -> int:
        return sum(map(len, self.prompts)) + self.completion_tokens

    def prompt_of(self, row: int) -> tuple[int, ...]:
        return self.prompts[row * len(self.prompts) // len(self.completions)]


def make_work(size: Size, shortest: int) -> Work:
    """Groups with completions of `shortest` to `size.new` tokens."""
    draw = random.Random(0)
    rows = size.groups * size.group_size

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, size.vocabulary) for _ in range(count))

    return Work(
        f"{shortest:,} to {size.new:,} new tokens" if shortest < size.new else f"{size.new:,} new tokens each",
        tuple(tokens(size.prompt) for _ in range(size.groups)),
        tuple(tokens(draw.randint(shortest, size.new)) for _ in range(rows)),
        tuple(draw.gauss(0, 1) for _ in range(rows)),
    )


def operations(size: Size, work: Work) -> float:
    """Floating-point operations that one update cannot do without: forward, and twice that backward.

        6 × parameters of the layers' matrices × distinct tokens          a group's prompt counts once
        6 × parameters of the output layer × completion tokens            prompts are not predicted
        12 × heads × head size × layers × pairs                           2 products, each 2 operations forward

    Pairs are those of a position and one that it attends to: T (T + 1) / 2 within a text of T tokens, and a completion
    attends to all of its prompt too.  Nothing is counted for what is computed again, for padding, or for AdamW.
    """
    pairs = sum(_triangle(len(prompt)) for prompt in work.prompts)
    for row, completion in enumerate(work.completions):
        pairs += _triangle(len(completion)) + len(completion) * len(work.prompt_of(row))
    layers = 6 * size.layer_parameters * work.distinct_tokens
    head = 6 * size.vocabulary * size.width * work.completion_tokens
    return float(layers + head + 12 * size.heads * size.head_size * size.layers * pairs)


def _triangle(length: int) -> int:
    return length * (length + 1) // 2


# --- The two sides ------------------------------------------------------------------------------------------------


MIXED = "bfloat16 + float32 masters"


@dataclass(frozen=True, slots=True)
class Setting:
    """`weights` is float32, computed with in bfloat16 on GPUs (autocast: TRL's default); MIXED, which is ours; or
    bfloat16, moments of AdamW included.  `at_a_time`: tokens of a micro-batch on our side, completions on the other.
    """

    weights: str
    checkpointing: bool
    at_a_time: int

    def __str__(self) -> str:
        checkpointing = "checkpointing" if self.checkpointing else "no checkpointing"
        return f"{self.weights}, {checkpointing}, {self.at_a_time:,}"


class Side(Protocol):
    def take(self, work: Work) -> None: ...
    def forward_backward(self) -> None: ...
    def optim_step(self) -> float:
        """The gradient's norm, before it is clipped."""


class SlowPath(Exception):
    """Ours does not share prompts here, and what would be timed is not what it is about."""


class Ours:
    """Raises `SlowPath`."""

    def __init__(self, size: Size, setting: Setting, device: torch.device, *, offload: bool = False) -> None:
        model = make_model(size, setting.weights, device)
        optim = Optim(tokens_per_microbatch=setting.at_a_time, offload=offload)
        self.policy = Policy(model, optim, temperature=1.0, gradient_checkpointing=setting.checkpointing)
        if self.policy.computation.fallback:
            raise SlowPath(f"ours does not share prompts here: {self.policy.computation.fallback}")

    def take(self, work: Work) -> None:
        rows = list(enumerate(work.completions))
        sequences = Sequences.of([(work.prompt_of(row), tokens) for row, tokens in rows])
        real_BT = sequences.real_BT
        per_token = {"sampler": torch.zeros(real_BT.shape), "advantages": spread(work.advantages, real_BT)}
        weights_BT = spread([1 / work.completion_tokens] * len(rows), real_BT)
        self.batch = Batch(sequences, Targets(real_BT, weights_BT, per_token))

    def forward_backward(self) -> None:
        self.policy.forward_backward(self.batch, partial(policy_loss, objective=OBJECTIVE))

    def optim_step(self) -> float:
        return self.policy.optim_step(LR)


Inputs = Mapping[str, Tensor]
RowsLoss = Callable[[Inputs], Tensor]  # some rows' share of the loss
MakeLoss = Callable[[PreTrainedModel, Size, Setting], RowsLoss]


class Theirs:
    """A training loop as usual; `make_loss` says what of."""

    def __init__(self, size: Size, setting: Setting, device: torch.device, *, make_loss: MakeLoss) -> None:
        self.rows, self.device = setting.at_a_time, device
        self.model = make_model(size, setting.weights, device).train()
        self.loss = make_loss(self.model, size, setting)
        if setting.checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        self.adamw = torch.optim.AdamW(self.model.parameters(), lr=LR, weight_decay=0.0, fused=True)

    def take(self, work: Work) -> None:
        longest, rows = max(map(len, work.completions)), range(len(work.completions))
        padded = [[*tokens, *[0] * (longest - len(tokens))] for tokens in work.completions]
        mask = [[1] * len(tokens) + [0] * (longest - len(tokens)) for tokens in work.completions]
        prompts = torch.tensor([work.prompt_of(row) for row in rows])
        inputs = {
            "prompt_ids": prompts,
            "prompt_mask": torch.ones_like(prompts),
            "completion_ids": torch.tensor(padded),
            "completion_mask": torch.tensor(mask),
            "advantages": torch.tensor(work.advantages),
            "num_items_in_batch": torch.tensor(work.completion_tokens),
        }
        self.inputs = {name: value.to(self.device) for name, value in inputs.items()}

    def forward_backward(self) -> None:
        for start in range(0, len(self.inputs["advantages"]), self.rows):
            part = {n: x[start : start + self.rows] if x.ndim else x for n, x in self.inputs.items()}
            self.loss(part).backward()

    def optim_step(self) -> float:
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0))
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        return norm


def textbook(model: PreTrainedModel, size: Size, setting: Setting) -> RowsLoss:
    def loss(inputs: Inputs) -> Tensor:
        tokens_BT, mask_BT = inputs["completion_ids"], inputs["completion_mask"]
        ids_BL = torch.cat([inputs["prompt_ids"], tokens_BT], dim=1)
        mask_BL = torch.cat([inputs["prompt_mask"], mask_BT], dim=1)
        with torch.autocast(ids_BL.device.type, torch.bfloat16, enabled=ids_BL.is_cuda):
            kept = tokens_BT.shape[1] + 1  # positions
            output = model(input_ids=ids_BL, attention_mask=mask_BL, use_cache=False, logits_to_keep=kept)
        logprobs_BTV = output.logits[:, :-1].float().log_softmax(-1)
        logprobs_BT = logprobs_BTV.gather(2, tokens_BT.unsqueeze(2)).squeeze(2)
        ratio_BT = (logprobs_BT - logprobs_BT.detach()).exp()
        gain_BT = ratio_BT * inputs["advantages"].unsqueeze(1) * mask_BT
        return -gain_BT.sum() / inputs["num_items_in_batch"]

    return loss


def trl_loss(model: PreTrainedModel, size: Size, setting: Setting) -> RowsLoss:
    """`compute_loss` of a real GRPOTrainer, which is given what it would have made of sampled completions.

    Its loss runs in bfloat16 on GPUs, with Liger's kernels for the layers where they are installed; the output layer is
    TRL's own.
    """
    from datasets import Dataset
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    cuda = model.device.type == "cuda"
    if cuda and importlib.util.find_spec("liger_kernel"):
        from liger_kernel.transformers import _apply_liger_kernel_to_instance

        _apply_liger_kernel_to_instance(model=model, fused_linear_cross_entropy=False)  # as TRL does when it trains
    parts = size.groups * size.group_size // setting.at_a_time
    words = Tokenizer(WordLevel({"<pad>": 0, "<end>": 1}, unk_token="<pad>"))
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=lambda **_: [],
        args=GRPOConfig(
            output_dir=tempfile.mkdtemp(),
            use_cpu=not cuda,
            bf16=cuda,
            report_to=[],
            gradient_checkpointing=False,  # is turned on by the loop, if at all
            per_device_train_batch_size=setting.at_a_time,
            gradient_accumulation_steps=parts,
            num_generations=size.group_size,
            max_completion_length=size.new,
            epsilon=OBJECTIVE.settings.clip_low,
            loss_type="dapo",
            beta=0.0,
        ),
        train_dataset=Dataset.from_list([{"prompt": "<end>"}] * size.groups * size.group_size),
        processing_class=PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>"),
    )
    trainer.current_gradient_accumulation_steps = parts  # set by the training loop otherwise
    return partial(trainer.compute_loss, trainer.model)


PLAIN = dict(vars(modeling_qwen2))


def make_model(size: Size, weights: str, device: torch.device) -> PreTrainedModel:
    """The same random weights each time, up to what bfloat16 rounds, in transformers' own layers: Liger puts others in
    their place for the whole process, and so for the side that did not ask."""
    vars(modeling_qwen2).update(PLAIN)
    config = Qwen2Config(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        intermediate_size=size.mlp,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_value_heads,
        max_position_embeddings=size.prompt + size.new,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    return model.float() if weights == "float32" else model
