"""How much memory a run will need at its worst, from shapes alone, before anything is loaded."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import nn

from grpo.assemble import Place
from grpo.config import Config
from grpo.sampling import choose_backend

GIB = 2**30
PROCESS = 2.0  # GiB that Python, PyTorch and vLLM take on the host before they do anything
CPU_CACHE = 8.0  # GiB that sampling.memory is a share of on CPUs


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


def estimate_memory(config: Config, outline: nn.Module, place: Place, longest_row: int) -> Memory:
    """For a model of this outline, weights on the "meta" device or any, and rows of at most `longest_row` tokens."""
    weights = list(outline.parameters())
    numbers, width = sum(weight.numel() for weight in weights), weights[0].element_size()
    on_gpu = place.device == "cuda"
    models = 2 if config.objective.kl else 1
    masters = 4 if width < 4 else 0
    kept = 0 if on_gpu and config.optim.offload else numbers * (8 + masters)  # two moments, and masters
    learning = 4 * numbers + activations(config, outline, place, longest_row)  # gradients are float32 in any case
    vllm = choose_backend(config.sampling.backend) == "vllm"
    if on_gpu and vllm:
        sampling = config.sampling.memory * gpu_memory()
    else:
        sampling = numbers * width / GIB + (config.sampling.memory * CPU_CACHE if vllm else 0.0)
    return Memory(
        always=(0.0 if on_gpu else PROCESS) + (models * numbers * width + kept) / GIB,
        learning=learning / GIB,
        sampling=sampling,
        available=gpu_memory() if on_gpu else host_memory(),
        by_turns=on_gpu and vllm,
    )


def activations(config: Config, outline: nn.Module, place: Place, longest_row: int) -> float:
    """Bytes kept for the backward pass of one micro-batch.

    A layer keeps about 12 values per token and unit of width (two norms, attention, residuals) and 4 per unit of the
    gated MLP: what autograd saves of a Qwen2 layer, counted.  With checkpointing one value per layer, and one layer in
    full.  The logits of a chunk of 1,024 positions exist three times over in float32.
    """
    shape = outline.config.get_text_config()  # type: ignore[operator, union-attr]
    width = next(outline.parameters()).element_size()
    layers, hidden = shape.num_hidden_layers, shape.hidden_size
    layer = width * (12 * hidden + 4 * (getattr(shape, "intermediate_size", None) or 4 * hidden))
    per_token = layers * hidden * width + layer if config.model.gradient_checkpointing else layers * layer
    outside = 4 * hidden * width  # the embedding, the last norm
    tokens = max(config.optim.tokens_at_a_time(place.device), longest_row)
    return float(tokens * (per_token + outside) + 3 * 4 * 1024 * shape.vocab_size)


def gpu_memory() -> float:
    return torch.cuda.mem_get_info()[1] / GIB


def host_memory() -> float:
    """Of the machine, or of the container where that has less."""
    limits = [psutil.virtual_memory().total]
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or "max"
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits) / GIB
