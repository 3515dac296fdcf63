"""Sizes by themselves: tokens at a time, gradient checkpointing, offload, and vLLM's share of the GPU.

All of them trade memory for speed.  What is set by hand stands; for the rest the first is taken that fits, in the order
of what it costs, by the estimate that refuses what cannot fit (`grpo.memory`):

    16,384 tokens at a time, everything on the GPU, nothing computed twice
    fewer tokens, 2,048 at least       the weights' gradients are written and added up for every micro-batch: 16 bytes
                                       of traffic for each parameter beside 6 operations for each parameter and token.
                                       On an H100 (3.35 TB/s, half of 989 TFLOP/s) they take 5 % as long with 8,192
                                       tokens, 19 % with 2,048, and 38 % with 1,024
    gradient checkpointing             a third more arithmetic, 33 %: whence 2,048 above
    the optimizer on the host          12 bytes for each parameter come over PCIe in every update, and 12 go

vLLM gets what all completions of a step can use at once: weights, keys and values of every completion at its longest,
and what its own work takes; more would lie idle.  Where there is less room it gets less, a tenth of those keys and
values at least: few completions are as long as they may be, and the others wait.

Processors have always the same: 2,048 tokens, 0.45 of 8 GiB for vLLM, and checkpointing only where memory is short.
Pure, and a function of what a machine has, not of what is free just now: the same machine settles the same.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from grpo.config import SHARE_ON_CPU, TOKENS_ON_CPU, Config, Sampling
from grpo.config_file import validate
from grpo.memory import GIB, Machine, Memory, Sizes, Work, estimate_memory

# Those of the learner's arithmetic.  vLLM's share is of the device that is there.
KEPT = (("model", "gradient_checkpointing"), ("optim", "tokens_per_microbatch"), ("optim", "offload"))
TOKENS_ON_GPU = (16384, 8192, 4096, 2048)
ROOM = 0.92  # of a GPU: the rest is CUDA's context, workspaces, graphs of a vLLM that sleeps, and lost between blocks
LEAST_CACHE = 0.1  # of the keys and values that vLLM has use for
ALONE = 0.9  # of a GPU that nobody shares with vLLM


@dataclass(frozen=True, slots=True)
class Choice:
    """What was settled and what it comes to; `lines` say it to the user.

    `lack` says what does not fit, "" where all does, and `certain` whether that is beyond doubt: an estimate is of the
    most that may be needed.
    """

    sizes: Sizes
    memory: Memory
    lines: tuple[str, ...]
    lack: str
    certain: bool

    def written_into(self, config: Config) -> Config:
        """`config` with numbers for sizes."""
        return config.with_changes(
            model={"gradient_checkpointing": self.sizes.checkpointing},
            optim={"tokens_per_microbatch": self.sizes.tokens, "offload": self.sizes.offload},
            sampling={"gpu_memory_utilization": self.sizes.share},
        )


def choose(config: Config, work: Work, machine: Machine) -> Choice:
    """The first sizes that fit; where none do, the last."""
    tried: list[tuple[Sizes, Memory]] = []
    for tokens, checkpointing, offload in _ladder(config, work):
        always = estimate_memory(work, Sizes(tokens, checkpointing, offload, 0.0), machine).always
        sizes = Sizes(tokens, checkpointing, offload, _share(config, work, machine, always))
        memory = estimate_memory(work, sizes, machine)
        tried.append((sizes, memory))
        lack, certain = _lack(config, work, sizes, memory)
        if not lack:
            break
    return Choice(sizes, memory, tuple(_lines(config, work, tried)), lack, certain)


def kept(config: Config, stored: Path) -> Config:
    """`config` with the learner's sizes that the run whose settings are `stored` was begun with, where it leaves them
    open."""
    try:
        old = tomllib.loads(stored.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # of which the run folder will say more
        return config
    tree = config.model_dump()
    for group, name in KEPT:
        if tree[group][name] == "auto":
            tree[group][name] = old.get(group, {}).get(name, "auto")
    return validate(tree, place=str(stored))


def sampling_alone(sampling: Sampling, device: str) -> Sampling:
    """The settings with vLLM's share where nobody learns beside it."""
    if sampling.gpu_memory_utilization != "auto":
        return sampling
    return sampling.model_copy(update={"gpu_memory_utilization": ALONE if device == "cuda" else SHARE_ON_CPU})


def _ladder(config: Config, work: Work) -> Iterator[tuple[int, bool, bool]]:
    """(tokens, checkpointing, offload), the cheapest first, with what is set by hand in every one."""
    tokens, checkpointing, offload = (
        config.optim.tokens_per_microbatch,
        config.model.gradient_checkpointing,
        config.optim.offload,
    )
    of_device = TOKENS_ON_GPU if work.on_gpu else (TOKENS_ON_CPU,)
    offloads = (False, True) if work.on_gpu else (False,)
    for offloaded in offloads if offload == "auto" else (offload,):
        for checkpointed in (False, True) if checkpointing == "auto" else (checkpointing,):
            for number in of_device if tokens == "auto" else (tokens,):
                yield number, checkpointed, offloaded


def _lack(config: Config, work: Work, sizes: Sizes, memory: Memory) -> tuple[str, bool]:
    """What does not fit, and whether that is certain."""
    leanest = work.on_gpu and sizes.offload and sizes.checkpointing and sizes.tokens <= min(TOKENS_ON_GPU)
    if _shares_a_gpu(config, work) and memory.sampling < (least := vllm_needs(work, memory.available).least):
        beside = f"the learner keeps {memory.always:.1f} GiB of the GPU's {memory.available:.1f}"
        return f"{beside} and leaves {memory.sampling:.1f} to vLLM, which needs {least:.1f} at least", leanest
    if memory.total > (ROOM if work.on_gpu else 1.0) * memory.available:
        surely = memory.always > memory.available or (leanest and memory.total > memory.available)
        return f"the run may need {memory}", surely
    if memory.host > memory.host_available:
        on_host = f"the offloaded optimizer may need {memory.host:.1f} GiB on the host"
        return f"{on_host}, which has {memory.host_available:.1f}", True
    return "", False


# --- vLLM ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Need:
    """GiB of a GPU that vLLM has use for while it samples."""

    weights: float
    cache: float  # keys and values of all completions that run at once, each at its longest
    work: float  # a pass over prompts, logits, CUDA graphs

    @property
    def all(self) -> float:
        return self.weights + self.cache + self.work

    @property
    def least(self) -> float:
        return self.weights + LEAST_CACHE * self.cache + self.work


LARGE = 70.0  # GiB of a GPU from which on vLLM takes more at a time: `EngineArgs.get_batch_defaults` in 0.32
AT_A_TIME = {True: (16384, 1024), False: (8192, 256)}  # tokens of a pass, and sequences, by whether the GPU is so large
GRAPHS = 1.5  # GiB of CUDA graphs and workspaces; not measured


def vllm_needs(work: Work, device: float) -> Need:
    """On a GPU of so many GiB."""
    shape = work.shape
    tokens, sequences = AT_A_TIME[device >= LARGE]
    a_pass = tokens * shape.width * (4 * shape.hidden + 3 * shape.mlp)  # states before and after a norm, the gated MLP
    logits = 12 * sequences * shape.vocabulary  # and what is made of them to draw from, in float32
    at_once = min(sequences, -(-work.completions // max(1, int(work.cluster.samplers))))
    return Need(
        weights=shape.weights / GIB,
        cache=at_once * work.context * shape.keys_and_values / GIB,
        work=(a_pass + logits) / GIB + GRAPHS,
    )


def _share(config: Config, work: Work, machine: Machine, always: float) -> float:
    """`always`: GiB that the learner keeps on the GPU."""
    if config.sampling.gpu_memory_utilization != "auto":
        return config.sampling.gpu_memory_utilization
    if not work.on_gpu:
        return SHARE_ON_CPU
    if not _shares_a_gpu(config, work):
        return ALONE
    wanted = math.ceil(100 * vllm_needs(work, machine.device).all / machine.device)
    room = math.floor(100 * (ROOM - always / machine.device))
    return max(1, min(wanted, room)) / 100


def _shares_a_gpu(config: Config, work: Work) -> bool:
    """Whether vLLM, with a share that is to be found, takes turns with a learner."""
    by_itself = work.cluster.learners and not work.cluster.colocate
    auto = config.sampling.gpu_memory_utilization == "auto"
    return auto and work.on_gpu and work.backend == "vllm" and not by_itself


# --- In words -----------------------------------------------------------------------------------------------------


def _lines(config: Config, work: Work, tried: Sequence[tuple[Sizes, Memory]]) -> Iterator[str]:
    sizes, memory = tried[-1]
    how = f"{sizes.tokens:,} tokens at a time, {'with' if sizes.checkpointing else 'no'} gradient checkpointing"
    where = f", optimizer on the {'host' if sizes.offload else 'GPU'}" if work.on_gpu else ""
    taken = f"{memory.to_learn:.1f} GiB of {memory.available:.1f} to learn"
    yield f"sizes: {how}{where}: {taken}{_instead(tried)}"
    if not work.on_gpu or work.backend != "vllm":
        return
    if not _shares_a_gpu(config, work):
        yield f"sizes: vLLM may take {sizes.share:g} of its GPU"
        return
    need = vllm_needs(work, memory.available)
    cache = max(0.0, memory.sampling - need.weights - need.work)
    share = "" if cache >= need.cache else f", {cache / need.cache:.0%} of what would be of use"
    yield (
        f"sizes: vLLM may take {sizes.share:g} of the GPU: {need.weights:.1f} GiB of weights, {need.work:.1f} to work "
        f"in, {cache:.1f} for keys and values of completions{share}"
    )


def _instead(tried: Sequence[tuple[Sizes, Memory]]) -> str:
    """What would have been taken where there is more memory."""
    if len(tried) == 1:
        return ""
    (before, memory), (after, _) = tried[-2:]
    if after.offload != before.offload:
        what = "with the optimizer on the GPU"
    elif after.checkpointing != before.checkpointing:
        what = "without checkpointing"
    else:
        what = f"with {before.tokens:,} tokens"
    return f"; {what} it would be {memory.to_learn:.1f}"
