"""What each side is told for each workload, and what else was tried.

TRL's are the fastest on two cores with AVX-512 and its bfloat16 instructions; where several micro-batches are within a
tenth of the fastest, the one that takes least memory.  `scripts/bench trl --tune` measures them again.
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
    "bf16": True,  # autocast over float32 weights: TRL's own default
    "attention": "sdpa",
    "generation": "generate",
    "compile": False,
    "onednn": False,  # float32 products through oneDNN: a switch of PyTorch, not a setting of TRL
}

TRL: dict[str, Choices] = {
    "short": {**PLAIN, "micro": 16},
    "prompt-heavy": {**PLAIN, "micro": 2},
    "long": {**PLAIN, "micro": 2},
    "vocabulary": {**PLAIN, "micro": 8},
}

# vLLM spends more on taking 512 requests than the small model on computing them; bfloat16 is a third faster where the
# matrix products are most of the work, and slower under vLLM where they are not.
OURS: dict[str, Choices] = {
    "short": {"sampling": {"backend": "transformers"}, "model": {"dtype": "bfloat16"}},
    "prompt-heavy": {"model": {"dtype": "bfloat16"}},
    "long": {"model": {"dtype": "bfloat16"}},
    "vocabulary": {},
}

DTYPES = ("float32", "bfloat16")


def of_both(name: str, dtype: str | None) -> dict[str, Choices]:
    """What each side is told, where `dtype` is given with that for both."""
    sides = {"ours": OURS[name], "theirs": TRL[name]}
    if dtype is not None:
        sides["ours"] = {**sides["ours"], "model": {"dtype": dtype}}
        sides["theirs"] = {**sides["theirs"], "bf16": dtype == "bfloat16"}
    return sides


def tried(work: Workload, best: Choices) -> Iterator[tuple[str, Choices]]:
    """Every micro-batch, then everything else changed alone."""
    micro = 1
    while micro <= work.completions:
        if work.completions % micro == 0:
            yield f"micro-batch {micro}", {**best, "micro": micro}
        micro *= 2
    yield "1 thread", {**best, "threads": 1}
    yield ("float32" if best["bf16"] else "bf16"), {**best, "bf16": not best["bf16"]}
    yield "float32 through oneDNN", {**best, "bf16": False, "onednn": True}
    yield "eager attention", {**best, "attention": "eager"}
    yield "continuous batching", {**best, "generation": "continuous"}
    yield "vLLM in process", {**best, "generation": "vllm"}
    yield "freed memory kept", {**best, "environment": KEEP_FREED}
    yield "torch.compile", {**best, "compile": True}
