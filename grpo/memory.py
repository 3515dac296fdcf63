"""How much memory a run will need at its worst, from shapes alone, before anything is loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Literal

import psutil
import torch
from torch import nn

from grpo.assemble import ModelFiles, Place, choose_place
from grpo.config import Cluster, Model
from grpo.learning import lora
from grpo.learning.head import TILE
from grpo.learning.loading import outline
from grpo.learning.lora import NF4, packed_numbers
from grpo.sampling.hf import BATCH_TOKENS

GIB = 2**30
PROCESS = 2.0  # GiB that Python, PyTorch and vLLM take on the host before they do anything
ACTOR = 1.0  # GiB likewise of a learner or sampler on a cluster: 0.35 and 0.75 were measured
CPU_CACHE = 8.0  # GiB that gpu_memory_utilization is a share of on CPUs
OPTIMIZER = 12  # bytes for each number that is learned and offloaded: master and two moments
GRADIENT = 4  # likewise of the gradients, which go along with shards


@dataclass(frozen=True, slots=True)
class Sizes:
    """What decides about memory and speed and nothing else: `grpo.config` says what each is."""

    tokens: int  # optim.tokens_per_microbatch
    checkpointing: bool  # model.gradient_checkpointing
    offload: bool  # optim.offload
    share: float  # sampling.gpu_memory_utilization


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a model what decides about memory.  What does not require gradients is not learned: it has none, nor moments,
    nor masters."""

    numbers: int  # of weights
    learned: int  # of which these are
    width: int  # bytes of a number
    packed: int  # numbers that are kept in 4 bits, if any are
    gathered: float  # bytes that a rank has whole besides its shards
    layers: int
    hidden: int
    heads: int
    key_heads: int  # that queries share
    head: int  # width of one
    mlp: int
    vocabulary: int
    normed: float  # width of all norms of a layer together
    output: int  # numbers in gradients of the output layer, and of the embedding where it is the same matrix

    @classmethod
    def of(cls, model: nn.Module) -> Shape:
        """Of a model whose weights may be on the "meta" device."""
        shape = model.config.get_text_config()  # type: ignore[operator, union-attr]
        hidden, heads, vocabulary = shape.hidden_size, shape.num_attention_heads, shape.vocab_size
        key_heads = getattr(shape, "num_key_value_heads", None) or heads
        head = getattr(shape, "head_dim", None) or hidden // heads
        # A layer has two norms or four, and some norm queries and keys, too.
        wide = {"q_norm": heads * head, "k_norm": key_heads * head}
        norms = [name.split(".") for name, _ in model.named_parameters() if name.endswith("norm.weight")]
        normed = sum(wide.get(parents[-2], hidden) for parents in norms if "layers" in parents)
        output = model.get_output_embeddings().weight.requires_grad  # type: ignore[operator]
        return cls(
            numbers=_numbers(model.parameters()),
            learned=_numbers(weight for weight in model.parameters() if weight.requires_grad),
            width=next(model.parameters()).element_size(),
            packed=packed_numbers(model),
            gathered=_gathered(model),
            layers=shape.num_hidden_layers,
            hidden=hidden,
            heads=heads,
            key_heads=key_heads,
            head=head,
            mlp=getattr(shape, "intermediate_size", None) or 4 * hidden,
            vocabulary=vocabulary,
            normed=normed / shape.num_hidden_layers,
            output=(2 if shape.tie_word_embeddings else 1) * vocabulary * hidden if output else 0,
        )

    @property
    def weights(self) -> int:
        """Bytes."""
        return self.width * self.numbers

    @property
    def keys_and_values(self) -> int:
        """Bytes of a token's."""
        return 2 * self.layers * self.key_heads * self.head * self.width


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done with a model."""

    shape: Shape
    place: Place
    longest_row: int  # tokens of prompt and completion that are learned from
    context: int  # tokens of prompt and completion that are sampled
    completions: int  # of a step
    backend: Literal["auto", "vllm", "transformers"] | None  # resolved; None: nobody samples
    cluster: Cluster  # resolved, 0 learners where there is none
    models: int = 1  # the policy, and a reference where there is one beside it
    load_in_4bit: bool = False
    teacher: Shape | None = None  # of a model that does not learn either and has a shape of its own
    divergence: bool = False  # whether logits of both are compared

    @property
    def on_gpu(self) -> bool:
        return self.place.device == "cuda"

    @property
    def beside(self) -> int:
        """Bytes of what does not learn."""
        return (self.models - 1) * self.shape.weights + (self.teacher.weights if self.teacher else 0)

    @property
    def shards(self) -> int:
        """Into how many the model is cut.  A lone learner of a cluster has it whole, as one without a cluster."""
        return max(1, int(self.cluster.learners))


@dataclass(frozen=True, slots=True)
class Machine:
    """GiB of the GPU, or of the machine where there is none; of the host; and how many of the learners are on it."""

    device: float
    host: float = inf
    learners: int = 1


@dataclass(frozen=True, slots=True)
class Memory:
    """Estimated need at the two peaks of a step, and what the machine has, in GiB.

    `always` is there all the time; `learning` and `sampling` come on top of it, by turns on a GPU that sampler and
    learner share, together where the sampler does not sleep.  `host` is beside a GPU, for what is offloaded.
    """

    always: float
    learning: float
    sampling: float
    available: float
    by_turns: bool
    host: float = 0.0
    host_available: float = inf

    @property
    def to_learn(self) -> float:
        """What the learner takes of it when it learns."""
        return self.always + self.learning

    @property
    def total(self) -> float:
        extra = max(self.learning, self.sampling) if self.by_turns else self.learning + self.sampling
        return self.always + extra

    def __str__(self) -> str:
        where, joined = ("GPU", "or") if self.by_turns else ("machine", "and")
        beside = f"; {self.host:.1f} of {self.host_available:.1f} on the host" if self.host else ""
        return (
            f"at most about {self.total:.1f} GiB of {self.available:.1f} on the {where}: {self.always:.1f} always, "
            f"{self.learning:.1f} for the longest batch {joined} {self.sampling:.1f} to sample{beside}"
        )


def estimate_memory(work: Work, sizes: Sizes, machine: Machine) -> Memory:
    """On GPUs the estimate is of one learner's; processors are taken to be those of one machine, which holds
    everybody."""
    ranks = work.shards
    devices, at_once = (ranks, 1) if work.on_gpu else (1, ranks)
    stored, kept, gradients = _held(work)
    offloaded = work.on_gpu and sizes.offload
    if offloaded:
        kept = 0
        if ranks > 1:  # FSDP keeps shards and their gradients on the host, too
            stored = gradients = 0
    tokens = max(sizes.tokens, work.longest_row)  # a row that is longer than the budget goes alone
    update = activations(work.shape, tokens, checkpointing=sizes.checkpointing)
    update += output_layer(work.shape, tokens, work.place) + (work.shape.gathered if ranks > 1 else 0)
    if work.teacher is not None and work.divergence:
        update += teacher_beside(work.teacher, tokens, work.place)
    actors = int(work.cluster.learners) + int(work.cluster.samplers) if work.cluster.learners else 0
    return Memory(
        always=(0.0 if work.on_gpu else PROCESS + ACTOR * actors) + (stored + kept) / devices / GIB,
        learning=(gradients / devices + at_once * update) / GIB,
        sampling=_to_sample(work, sizes.share, machine.device),
        available=machine.device,
        by_turns=work.on_gpu and work.backend == "vllm",
        host=_on_host(work, machine.learners) if offloaded else 0.0,
        host_available=machine.host,
    )


def _held(work: Work) -> tuple[float, float, float]:
    """Bytes of weights, of what the optimizer keeps beside them, and of gradients, which are added up in float32 in any
    case: of all ranks together.  Shards of what learns are float32 and need no masters."""
    shape, in_4_bits = work.shape, work.shape.packed if work.load_in_4bit else 0
    own = 4 if work.shards > 1 else shape.width
    policy = own * shape.learned + shape.width * (shape.numbers - shape.learned - in_4_bits) + NF4 * in_4_bits
    masters = 4 if own < 4 else 0
    return policy + work.beside, shape.learned * (8 + masters), 4 * shape.learned


def _on_host(work: Work, learners: int) -> float:
    """GiB: the offloaded optimizers of so many learners, with shards those of a reference, too, and once the whole
    model, when it is saved."""
    offloaded, actors = OPTIMIZER * work.shape.learned, 0.0
    if work.shards > 1:
        offloaded += GRADIENT * work.shape.learned + work.beside
        actors = ACTOR * learners
    return PROCESS + actors + (offloaded * learners / work.shards + work.shape.weights) / GIB


def _to_sample(work: Work, share: float, available: float) -> float:
    """GiB, where learners are.  For a float32 head, samplers on CPUs copy it in every pass."""
    apart = work.on_gpu and work.cluster.learners and not work.cluster.colocate  # samplers have devices of their own
    if apart or work.backend is None:
        return 0.0
    with_vllm = work.backend == "vllm"
    if work.on_gpu and with_vllm:
        return share * available
    at_a_time = min(BATCH_TOKENS, work.completions * work.context)
    cache = share * CPU_CACHE if with_vllm else at_a_time * work.shape.keys_and_values / GIB
    head = 4 * work.shape.vocabulary * work.shape.hidden if work.place.float32_head and not work.on_gpu else 0
    samplers = 1 if work.on_gpu else max(1, int(work.cluster.samplers))
    return samplers * ((work.shape.weights + head) / GIB + cache)


def shape_of(files: ModelFiles, settings: Model) -> Shape:
    """Of the model in these files, with the adapter that the settings ask for."""
    model = outline(files.name, files.revision, dtype=choose_place(settings).dtype)
    if settings.lora_rank:
        lora.inject(model, settings, files.name)
    return Shape.of(model)


def frozen_shape_of(files: ModelFiles, settings: Model) -> Shape:
    """Of a model that does not learn, beside one with these settings."""
    return Shape.of(outline(files.name, files.revision, dtype=choose_place(settings).dtype).requires_grad_(False))


def _gathered(model: nn.Module) -> float:
    """Bytes of weights that a rank has whole besides its shards: outside the blocks for as long as a pass takes, and of
    two blocks, one that computes and one that is on its way; and of their gradients before ranks add them up, in
    float32."""
    kinds = set(model._no_split_modules or ())  # type: ignore[arg-type]
    blocks = [list(module.parameters()) for module in model.modules() if type(module).__name__ in kinds]
    inside = {id(weight) for block in blocks for weight in block}
    outside = [weight for weight in model.parameters() if id(weight) not in inside]
    whole = [*outside, *2 * max(blocks, key=_numbers, default=[])]
    return float(sum(weight.nbytes for weight in whole) + 4 * _numbers(w for w in whole if w.requires_grad))


def _numbers(weights: Iterable[nn.Parameter]) -> int:
    return sum(weight.numel() for weight in weights)


def activations(shape: Shape, tokens: int, *, checkpointing: bool) -> float:
    """Bytes kept for the backward pass of `tokens` tokens: what autograd saves of Qwen2 and Llama layers, counted.

    A norm keeps its input in float32 and twice its output, attention its queries, keys, values (repeated for every
    head of queries) and output, and their log-sum in float32, the gated MLP four times its width.  With checkpointing
    it is one value per layer and unit of width, and one layer in full.
    """
    layers, hidden, width = shape.layers, shape.hidden, shape.width
    layer = (4 + 2 * width) * shape.normed + width * 4 * (shape.heads * shape.head + shape.mlp) + 4 * shape.heads
    per_token = layers * hidden * width + layer if checkpointing else layers * layer
    outside = (4 + 2 * width) * hidden + 2 * width * shape.head + 64  # the last norm, positions, ids, the loss's own
    rounding = 64 * hidden * width  # the rows of the output layer are a multiple of 64
    return float(tokens * (per_token + outside) + rounding)


def output_layer(shape: Shape, tokens: int, place: Place) -> float:
    """Bytes that `grpo.learning.head` takes besides, and gives back: a tile of logits and its exponentials, where
    weights are narrower than float32 their product, too; gradients of the states; and those of the output layer, and
    of the embedding where it is the same matrix, before they are added up."""
    width = shape.width
    tile = min(TILE[place.device] // 4, tokens * shape.vocabulary) * (4 + 4 + (width if width < 4 else 0))
    return float(tile + tokens * (4 + 2 * width) * shape.hidden + width * shape.output)


def teacher_beside(shape: Shape, tokens: int, place: Place) -> float:
    """Bytes that `grpo.learning.divergence` takes besides: the teacher's tile, and what two tiles are compared in."""
    tile = min(TILE[place.device] // 4, tokens * shape.vocabulary) * (
        4 + 4 * 4 + (shape.width if shape.width < 4 else 0)
    )
    return float(tile + tokens * shape.width * shape.hidden)


def model_size(shape: Shape) -> float:
    """GiB on the disk: of the model, or of the adapter where that alone is learned."""
    return shape.width * (shape.learned if shape.learned < shape.numbers else shape.numbers) / GIB


def checkpoint_size(shape: Shape) -> float:
    """GiB: with the moments, and the masters of what is saved in less than float32."""
    return model_size(shape) + shape.learned * (8 + (4 if shape.width < 4 else 0)) / GIB


def this_machine(place: Place, learners: int) -> Machine:
    """What there is here, for one of so many learners."""
    host = host_memory()
    if place.device == "cpu":
        return Machine(host, host)
    return Machine(torch.cuda.mem_get_info()[1] / GIB, host, min(max(1, learners), torch.cuda.device_count()))


def host_memory() -> float:
    """GiB of the machine, or of the container where that has less."""
    limits = [psutil.virtual_memory().total]
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or "max"
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits) / GIB
