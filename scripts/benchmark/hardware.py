"""What the parts of a run cost on H100s, for `scripts/bench scale model`.  No figure here was measured by us on a GPU.

Each constant says whether it is a data sheet's, published by others (with the place), measured by us on a CPU, or an
assumption.  Rates of arithmetic and memory are the data sheet's times the share that is usually reached.
"""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass
from functools import partial

from scripts.benchmark.pipeline import Costs, Decode, Plan, Step

# --- One H100 SXM and its network ---------------------------------------------------------------------------------

FLOPS = 989e12  # bfloat16, dense; NVIDIA's data sheet
HBM = 3.35e12  # bytes/s; the data sheet
MEMORY = 80e9  # bytes
# Of FLOPS in forward and backward.  torchtitan's benchmarks/llama3_h100_202412_torchtitan.md: 33 to 39 % (Llama 3.1 8B,
# FSDP2, 8 and 128 H100 of 500 W).
TRAIN_SHARE = 0.38
PREFILL_SHARE = 0.5  # of FLOPS when a sampler reads prompts or makes its cache anew: assumption
DECODE_FLOPS_SHARE = 0.5  # of FLOPS in a decoding step's matrix products: assumption
DECODE_HBM_SHARE = 0.7  # of HBM in a decoding step: assumption
STEP_OVERHEAD = 4e-3  # seconds of a decoding step that do not depend on its work: assumption
SEQUENCE_OVERHEAD = 1e-5  # seconds of Python per drawn token (scheduling, log-probabilities): assumption
SLOTS = 1024  # completions side by side at most: vLLM 0.32's default on an H100; memory may set less
REDUCTION = 1.5e-5  # seconds of an all-reduce between the GPUs of one sampler, two per layer and step: assumption
ACTIVATIONS = 20e9  # bytes of MEMORY that a learner keeps free for them: assumption
SAMPLER_MEMORY = 0.85  # share of MEMORY for weights and keys and values of a sampler: assumption
GATHER = 300e9  # bytes/s at which every rank gets a whole layer of all ranks, in a node or across: assumption
HOP = 3e-6  # seconds per rank in a ring, of each collective: assumption
TOKENS = 16_384  # of a micro-batch on CUDA: the most that optim.tokens_per_microbatch takes by itself
UPDATE_OVERHEAD = 0.3  # seconds per update for the norm, the optimizer and the metrics of all ranks: assumption
# bytes/s to any number of samplers.  verl's verl/checkpoint_engine/README.md: Qwen3-30B-A3B in 7 s from 2 trainers to
# 30 receivers by NCCL on four nodes of 8 H100 with 400 Gb/s each.
BROADCAST = 8.25e9
CANARY = 0.3  # seconds: both sides score four completions of 128 tokens: assumption
# Sleeping and waking at level 2: assumption.  vLLM's blog of 2025-10-26 has 0.85 and 2.58 s to wake models of 0.6B and
# 4B on an A100, their reading from a disk included.
TURNS = 2.0
SHARED = 100e9  # bytes/s of weights to the sampler on the same GPU, gathered and copied there: assumption
ASK = 0.01  # seconds from asking for a share to its first prefill; 0.9 ms of it a call through Ray, measured on a CPU

# --- The driver, one process on a CPU -----------------------------------------------------------------------------

# Measured by `scripts/bench scale driver` on a Xeon of 2.5 GHz, in the time of its processor; see docs/cluster.md.
TOKEN = 0.64e-6  # seconds per sampled token: into a batch 0.4, metrics and books 0.24
CELL = 54e-9  # seconds per cell (completion × position of the longest completion) to fill a batch and to pack it
CELL_BYTES = 21  # of a packed batch
OBJECTS = 1e9  # bytes/s at which it reaches all ranks through Ray's object store: assumption

# What math rewards take: the slowest of docs/verifier.md's corpora but one, and scorers as many as the default.
REWARD, REWARD_WORKERS = 0.01, 8


@dataclass(frozen=True, slots=True)
class Model:
    """A dense decoder.  `tensor_parallel` are the GPUs of one sampler."""

    name: str
    parameters: float
    layers: int
    width: int
    key_value_width: int  # numbers of the keys of one token in one layer
    tensor_parallel: int

    @property
    def weights(self) -> float:
        """bytes in bfloat16"""
        return 2 * self.parameters

    @property
    def cache(self) -> float:
        """bytes of keys and values per token"""
        return 2 * 2 * self.layers * self.key_value_width


# Shapes of Qwen2.5's and Llama 3.1's config.json.
MODELS = {
    "1.5B": Model("1.5B", 1.54e9, 28, 1536, 256, 1),
    "7B": Model("7B", 7.6e9, 28, 3584, 512, 1),
    "32B": Model("32B", 32.8e9, 64, 5120, 1024, 4),
    "8B": Model("8B", 8.0e9, 32, 4096, 1024, 1),
}


@dataclass(frozen=True, slots=True)
class Work:
    """A step: problems × group completions of log-normal lengths, cut at `longest`."""

    problems: int
    group: int
    prompt: int  # tokens
    mean: float  # tokens, before the cut
    sigma: float  # standard deviation of the logarithm of a length
    shared: float  # share of its variance that the completions of one problem have in common
    longest: int  # tokens

    def steps(self, count: int, seed: int = 0) -> list[Step]:
        """Lengths of `count` steps, a function of the seed alone."""
        draw = random.Random(seed)
        middle = math.log(self.mean) - self.sigma**2 / 2
        of_problem, of_completion = (self.sigma * math.sqrt(share) for share in (self.shared, 1 - self.shared))

        def group() -> list[int]:
            centre = draw.gauss(middle, of_problem)
            drawn = (round(math.exp(draw.gauss(centre, of_completion))) for _ in range(self.group))
            return [min(self.longest, max(1, tokens)) for tokens in drawn]

        return [[group() for _ in range(self.problems)] for _ in range(count)]


@dataclass(frozen=True, slots=True)
class Split:
    """So many GPUs for learning and so many samplers, each on `tensor_parallel` GPUs; colocated ones take turns."""

    learners: int
    samplers: int
    max_staleness: int
    colocated: bool = False


def decode(model: Model, work: Work) -> Decode:
    """One sampler on model.tensor_parallel GPUs."""
    gpus = model.tensor_parallel
    per_flop = 1 / (gpus * FLOPS)
    reductions = 2 * model.layers * REDUCTION if gpus > 1 else 0.0
    room = (gpus * MEMORY * SAMPLER_MEMORY - model.weights) / (model.cache * (work.prompt + work.mean))
    return Decode(
        fixed=STEP_OVERHEAD + reductions + model.weights / (gpus * HBM * DECODE_HBM_SHARE),
        per_sequence=SEQUENCE_OVERHEAD + 2 * model.parameters * per_flop / DECODE_FLOPS_SHARE,
        per_context=model.cache / (gpus * HBM * DECODE_HBM_SHARE),
        prefill=2 * model.parameters * per_flop / PREFILL_SHARE,
        slots=max(1, min(SLOTS, int(room))),
    )


def operations(model: Model, prompt: int, lengths: list[int]) -> float:
    """Of forward and backward of one group whose prompt is computed once: 6 per parameter and token, 12 · width per
    layer and pair of tokens that attend."""
    tokens = prompt + sum(lengths)
    pairs = prompt**2 / 2 + sum(prompt * n + n * n / 2 for n in lengths)
    return 6 * model.parameters * tokens + 12 * model.width * model.layers * pairs


def update(step: Step, *, model: Model, prompt: int, learners: int) -> float:
    """Seconds of the driver and of the learners, each of which gets whole groups, the largest first to the freest."""
    loads = sorted(((operations(model, prompt, list(group)), prompt + sum(group)) for group in step), reverse=True)
    ranks = [(0.0, 0)] * learners
    for flops, tokens in loads:
        least = ranks[0]
        heapq.heapreplace(ranks, (least[0] + flops, least[1] + tokens))
    flops, tokens = max(ranks)
    passes = math.ceil(tokens / TOKENS)
    # Weights for the forward and for the backward pass in bfloat16, gradients in float32: 2 + 2 + 4 bytes.
    exchange = 4 * model.weights / GATHER + 3 * (model.layers + 1) * learners * HOP if learners > 1 else 0.0
    compute = flops / (FLOPS * TRAIN_SHARE)
    moments = 30 * model.parameters / learners / (HBM * 0.7)  # masters, moments and gradients, read and written
    return driver(step) + max(compute, passes * exchange) + moments + UPDATE_OVERHEAD


def driver(step: Step) -> float:
    """Seconds in which one process fills a batch, sends it to all ranks, and keeps the books.  That it also takes every
    completion out of a message is not in it: that it does while others still sample."""
    lengths = [n for group in step for n in group]
    cells = len(lengths) * max(lengths)
    return TOKEN * sum(lengths) + (CELL + CELL_BYTES / OBJECTS) * cells


def costs(model: Model, work: Work, split: Split) -> Costs:
    gathered = model.weights / GATHER
    apart = model.weights / BROADCAST + gathered + CANARY
    together = model.weights / SHARED + CANARY
    publish = together if split.colocated else apart
    return Costs(
        decode=decode(model, work),
        update=partial(update, model=model, prompt=work.prompt, learners=split.learners),
        reward=REWARD,
        reward_workers=REWARD_WORKERS,
        publish=publish,
        pause=publish,
        turns=TURNS if split.colocated else 0.0,
        ask=ASK,
    )


def plan(split: Split) -> Plan:
    return Plan(split.samplers, split.max_staleness)


def fits(model: Model, split: Split) -> bool:
    """A learner's masters, moments, gradients and a bfloat16 copy take 18 bytes per parameter, sharded; a sampler has
    room for the weights and 32 completions.  Where they take turns the other's memory is free."""
    learner = 18 * model.parameters / split.learners <= MEMORY - ACTIVATIONS
    sampler = model.tensor_parallel * MEMORY * SAMPLER_MEMORY - model.weights >= 32 * 2048 * model.cache
    return learner and sampler
