"""What each side is told for each workload, and what else was tried.

TRL's are the fastest of `TRIED` on two cores; `scripts/bench trl --tune` measures them all again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scripts.benchmark.workloads import Workload

Choices = dict[str, Any]

# glibc gives tensors beyond these sizes back to the system at once, and pages that come anew must be cleared.
KEEP_FREED = {"MALLOC_TRIM_THRESHOLD_": "2000000000", "MALLOC_MMAP_THRESHOLD_": "1000000000"}  # bytes

PLAIN: Choices = {
    "micro": 8,  # completions in one forward and backward pass (per_device_train_batch_size)
    "threads": 2,
    "bf16": False,
    "attention": "sdpa",
    "generation": "generate",
    "compile": False,
}

TRL: dict[str, Choices] = {
    "short": {**PLAIN, "micro": 64},
    "prompt-heavy": {**PLAIN, "micro": 8},
    "long": {**PLAIN, "micro": 8},
    "vocabulary": {**PLAIN, "micro": 8},
}

OURS: dict[str, Choices] = {name: {} for name in TRL}


def tried(work: Workload, best: Choices) -> Iterator[tuple[str, Choices]]:
    """Every micro-batch, then everything else changed alone."""
    micro = 2
    while micro <= work.completions:
        if work.completions % micro == 0:
            yield f"micro-batch {micro}", {**best, "micro": micro}
        micro *= 2
    yield "1 thread", {**best, "threads": 1}
    yield ("float32" if best["bf16"] else "bf16"), {**best, "bf16": not best["bf16"]}
    yield "eager attention", {**best, "attention": "eager"}
    yield "continuous batching", {**best, "generation": "continuous"}
    yield "vLLM in process", {**best, "generation": "vllm"}
    yield "freed memory kept", {**best, "environment": KEEP_FREED}
    yield "torch.compile", {**best, "compile": True}
