"""How much memory a run will need at its worst, from shapes alone, before anything is loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import nn

from grpo.assemble import Place
from grpo.config import Cluster, Optim, Sampling
from grpo.learning.head import TILE
from grpo.learning.lora import NF4, packed_numbers

GIB = 2**30
PROCESS = 2.0  # GiB that Python, PyTorch and vLLM take on the host before they do anything
ACTOR = 1.0  # GiB likewise of a learner or sampler on a cluster: 0.35 and 0.75 were measured
CPU_CACHE = 8.0  # GiB that gpu_memory_utilization is a share of on CPUs


@dataclass(frozen=True, slots=True)
class Memory:
    """Estimated need at the two peaks of a step, and what the machine has, in GiB.

    `always` is there all the time; `learning` and `sampling` come on top of it, by turns on a GPU that sampler and
    learner share, together where the sampler does not sleep.
    """

    always: float
    learning: float
    sampling: float
    available: float
    by_turns: bool

    @property
    def total(self) -> float:
        extra = max(self.learning, self.sampling) if self.by_turns else self.learning + self.sampling
        return self.always + extra

    def __str__(self) -> str:
        where, joined = ("GPU", "or") if self.by_turns else ("machine", "and")
        return (
            f"at most about {self.total:.1f} GiB of {self.available:.1f} on the {where}: {self.always:.1f} always, "
            f"{self.learning:.1f} for the longest batch {joined} {self.sampling:.1f} to sample"
        )


def estimate_memory(
    outline: nn.Module,
    place: Place,
    longest_row: int,
    *,
    sampling: Sampling,
    optim: Optim,
    cluster: Cluster,
    gradient_checkpointing: bool,
    models: int,
    available: float,
    load_in_4bit: bool = False,
) -> Memory:
    """For a model of this outline, weights on the "meta" device or any, and rows of at most `longest_row` tokens.

    What does not require gradients is not learned: it has none, nor moments, nor masters.
    `models`: the policy, and a reference where there is one beside it.  `available`: GiB, see `device_memory`.
    `cluster` is resolved, 0 learners where there is none.  On GPUs the estimate is of one learner's; processors are
    taken to be those of one machine, which holds everybody.
    """
    on_gpu, ranks = place.device == "cuda", int(cluster.learners)
    devices, at_once = (max(1, ranks), 1) if on_gpu else (1, max(1, ranks))
    stored, kept, gradients = _held(outline, models, sharded=ranks > 0, packed=load_in_4bit)
    if on_gpu and optim.offload:
        kept = 0
        if ranks:  # FSDP keeps shards and their gradients on the host, too
            stored = gradients = 0
    tokens = max(optim.tokens_at_a_time(place.device), longest_row)  # a row that is longer than the budget goes alone
    update = activations(outline, tokens, checkpointing=gradient_checkpointing) + output_layer(outline, tokens, place)
    if ranks:
        update += gathered(outline)
    processes = PROCESS + ACTOR * (ranks + int(cluster.samplers) if ranks else 0)
    return Memory(
        always=(0.0 if on_gpu else processes) + (stored + kept) / devices / GIB,
        learning=(gradients / devices + at_once * update) / GIB,
        sampling=_to_sample(outline, sampling, cluster, on_gpu=on_gpu, available=available),
        available=available,
        by_turns=on_gpu and sampling.backend == "vllm",
    )


def _held(outline: nn.Module, models: int, *, sharded: bool, packed: bool) -> tuple[float, float, float]:
    """Bytes of weights, of what the optimizer keeps beside them, and of gradients, which are added up in float32 in any
    case: of all ranks together.  Shards of what learns are float32 and need no masters."""
    width = next(outline.parameters()).element_size()
    numbers, learned = _numbers(outline.parameters()), _numbers(w for w in outline.parameters() if w.requires_grad)
    in_4_bits = packed_numbers(outline) if packed else 0
    own = 4 if sharded else width
    policy = own * learned + width * (numbers - learned - in_4_bits) + NF4 * in_4_bits
    masters = 4 if own < 4 else 0
    return policy + (models - 1) * width * numbers, learned * (8 + masters), 4 * learned


def _to_sample(outline: nn.Module, sampling: Sampling, cluster: Cluster, *, on_gpu: bool, available: float) -> float:
    """GiB, where learners are."""
    if on_gpu and cluster.learners and not cluster.colocate:  # the samplers have devices of their own
        return 0.0
    with_vllm = sampling.backend == "vllm"
    if on_gpu and with_vllm:
        return sampling.gpu_memory_utilization * available
    copy = sum(weight.nbytes for weight in outline.parameters()) / GIB
    cache = sampling.gpu_memory_utilization * CPU_CACHE if with_vllm else 0.0
    return (1 if on_gpu else max(1, int(cluster.samplers))) * (copy + cache)


def gathered(outline: nn.Module) -> float:
    """Bytes of weights that a rank has whole besides its shards: outside the blocks for as long as a pass takes, and of
    two blocks, one that computes and one that is on its way; and of their gradients before ranks add them up, in
    float32."""
    kinds = set(outline._no_split_modules or ())  # type: ignore[arg-type]
    blocks = [list(module.parameters()) for module in outline.modules() if type(module).__name__ in kinds]
    inside = {id(weight) for block in blocks for weight in block}
    outside = [weight for weight in outline.parameters() if id(weight) not in inside]
    whole = [*outside, *2 * max(blocks, key=_numbers, default=[])]
    return float(sum(weight.nbytes for weight in whole) + 4 * _numbers(w for w in whole if w.requires_grad))


def _numbers(weights: Iterable[nn.Parameter]) -> int:
    return sum(weight.numel() for weight in weights)


def activations(outline: nn.Module, tokens: int, *, checkpointing: bool) -> float:
    """Bytes kept for the backward pass of `tokens` tokens: what autograd saves of Qwen2 and Llama layers, counted.

    A norm keeps its input in float32 and twice its output, attention its queries, keys, values (repeated for every
    head of queries) and output, and their log-sum in float32, the gated MLP four times its width.  With checkpointing
    it is one value per layer and unit of width, and one layer in full.
    """
    shape = outline.config.get_text_config()  # type: ignore[operator, union-attr]
    width = next(outline.parameters()).element_size()
    layers, hidden, heads = shape.num_hidden_layers, shape.hidden_size, shape.num_attention_heads
    head = getattr(shape, "head_dim", None) or hidden // heads
    mlp = getattr(shape, "intermediate_size", None) or 4 * hidden
    # A layer has two norms or four, and some norm queries and keys, too.
    wide = {"q_norm": heads * head, "k_norm": (getattr(shape, "num_key_value_heads", None) or heads) * head}
    norms = [name.split(".") for name, _ in outline.named_parameters() if name.endswith("norm.weight")]
    normed = sum(wide.get(parents[-2], hidden) for parents in norms if "layers" in parents) / layers
    layer = (4 + 2 * width) * normed + width * 4 * (heads * head + mlp) + 4 * heads
    per_token = layers * hidden * width + layer if checkpointing else layers * layer
    outside = (4 + 2 * width) * hidden + 2 * width * head + 64  # the last norm, positions, ids, what the loss keeps
    rounding = 64 * hidden * width  # the rows of the output layer are a multiple of 64
    return float(tokens * (per_token + outside) + rounding)


def output_layer(outline: nn.Module, tokens: int, place: Place) -> float:
    """Bytes that `grpo.learning.head` takes besides, and gives back: a tile of logits and its exponentials, where
    weights are narrower than float32 their product, too; gradients of the states; and those of the output layer, and
    of the embedding where it is the same matrix, before they are added up."""
    shape = outline.config.get_text_config()  # type: ignore[operator, union-attr]
    width = next(outline.parameters()).element_size()
    hidden, vocabulary = shape.hidden_size, shape.vocab_size
    tile = min(TILE[place.device] // 4, tokens * vocabulary) * (4 + 4 + (width if width < 4 else 0))
    learned = outline.get_output_embeddings().weight.requires_grad  # type: ignore[operator]
    gradients = (2 if shape.tie_word_embeddings else 1) * width * vocabulary * hidden if learned else 0
    return float(tile + tokens * (4 + 2 * width) * hidden + gradients)


def device_memory(place: Place) -> float:
    """GiB: of the GPU, or of the machine, or of the container where that has less."""
    if place.device == "cuda":
        return torch.cuda.mem_get_info()[1] / GIB
    limits = [psutil.virtual_memory().total]
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or "max"
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits) / GIB
