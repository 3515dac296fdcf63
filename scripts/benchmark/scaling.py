"""The model of a run, asked for clusters: `scripts/bench scale model` and `published`.

For each size the best of three divisions is taken: how many GPUs learn and how many sample.  What is compared is
tokens per second and GPU.  A step is that of DAPO (arXiv 2503.14476, section 4.1: 512 prompts × 16, no punishment of
length below 16,384 tokens), its lengths those of a model on the way that R1-Zero went (arXiv 2501.12948, figure 3):
2,000 tokens on average, with a long tail.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from scripts.benchmark.hardware import (
    ACTIVATIONS,
    FLOPS,
    MEMORY,
    MODELS,
    TRAIN_SHARE,
    Model,
    Split,
    Work,
    costs,
    decode,
    fits,
    plan,
)
from scripts.benchmark.pipeline import Outcome, simulate

STEP = Work(problems=512, group=16, prompt=300, mean=2000, sigma=1.0, shared=0.5, longest=16_384)
STALENESS = (1, 2, 4, 8)
FACTORS = (2 / 3, 1, 3 / 2)  # of the learners that the sums call for


@dataclass(frozen=True, slots=True)
class Found:
    split: Split
    gpus: int
    outcome: Outcome

    @property
    def rate(self) -> float:
        """Tokens per second and GPU."""
        return self.outcome.tokens_per_second / self.gpus


def ask(model: Model, work: Work, split: Split, gpus: int, steps: int = 0) -> Found:
    """Enough steps for the pipeline to fill and then to show what it does."""
    count = steps or (3 if split.max_staleness == 0 else 3 * split.max_staleness + 2)
    return Found(split, gpus, simulate(plan(split), costs(model, work, split), work.prompt, work.steps(count)))


def best(model: Model, work: Work, gpus: int, max_staleness: int) -> Found | None:
    """Of the divisions that fit into memory; None where none does."""
    found = [ask(model, work, split, gpus) for split in divisions(model, work, gpus, max_staleness)]
    return max(found, key=lambda one: one.rate, default=None)


def divisions(model: Model, work: Work, gpus: int, max_staleness: int) -> list[Split]:
    """About the one with which an update takes as long as the sampling of a step at its best.

    No more learners than groups, nor samplers: GPUs beyond have nothing to do, and stay in the count.
    """
    tokens = work.problems * work.group * work.mean
    engine = decode(model, work)
    sampling = tokens * engine.seconds(1, engine.slots, engine.slots * (work.prompt + work.mean)) / engine.slots
    learning = 6 * model.parameters * tokens / (FLOPS * TRAIN_SHARE)
    balanced = gpus * learning / (learning + sampling * model.tensor_parallel)
    least = math.ceil(18 * model.parameters / (MEMORY - ACTIVATIONS))
    splits = []
    for factor in FACTORS:
        taken = min(max(1, least, round(balanced * factor)), gpus - model.tensor_parallel)
        samplers = min(work.problems, (gpus - taken) // model.tensor_parallel)
        split = Split(min(taken, work.problems), samplers, max_staleness)
        if samplers > 0 and split not in splits and fits(model, split):
            splits.append(split)
    return splits


def colocated(model: Model, work: Work, gpus: int) -> Found | None:
    """As many learners as samplers, each on one GPU: larger samplers are not offered."""
    number = min(gpus, work.problems)
    split = Split(number, number, 0, colocated=True)
    return ask(model, work, split, gpus) if model.tensor_parallel == 1 and fits(model, split) else None


def designs(model: Model, work: Work, gpus: int) -> dict[str, Found | None]:
    found: dict[str, Found | None] = {"by turns, colocated": colocated(model, work, gpus)}
    found["by turns, apart"] = best(model, work, gpus, 0)
    return found | {f"max_staleness {k}": best(model, work, gpus, k) for k in STALENESS}


HEAD = """| design | GPUs | learners + samplers | step, s | tokens/s/GPU | of 8 GPUs' | learner idle | samplers idle | \
mean staleness |
|---|---:|---:|---:|---:|---:|---:|---:|---:|"""


def report(models: Iterable[str], sizes: Sequence[int], *, longest: int, problems: int, grow: bool) -> None:
    for name in models:
        model, work = MODELS[name], replace(STEP, longest=longest, problems=problems)
        wide = f", samplers of {model.tensor_parallel} GPUs" if model.tensor_parallel > 1 else ""
        size = f"{problems} problems on 64 GPUs, and as many more on more" if grow else f"{problems} problems"
        print(f"\n### {name}{wide}; {size} × {work.group}, at most {longest:,} tokens\n\n{HEAD}", flush=True)
        first: dict[str, float] = {}
        for gpus in sizes:
            sized = replace(work, problems=max(1, problems * gpus // 64)) if grow else work
            for design, found in designs(model, sized, gpus).items():
                print(row(design, gpus, model, found, first), flush=True)
                print(f"{name} {gpus} {design}", file=sys.stderr, flush=True)


def row(design: str, gpus: int, model: Model, found: Found | None, first: dict[str, float]) -> str:
    """`first`: the rate of each design on the fewest GPUs that it fits on."""
    if found is None:
        return f"| {design} | {gpus:,} | does not fit | | | | | | |"
    outcome, split = found.outcome, found.split
    share = found.rate / first.setdefault(design, found.rate)
    lag = sum(k * part for k, part in outcome.staleness.items())
    width = f" × {model.tensor_parallel}" if model.tensor_parallel > 1 else ""
    return (
        f"| {design} | {gpus:,} | {split.learners} + {split.samplers}{width} | {outcome.step:.0f} | {found.rate:.0f} | "
        f"{share:.2f} | {outcome.learner_idle:.0%} | {outcome.samplers_idle:.0%} | {lag:.1f} |"
    )


# --- Beside what others have measured -----------------------------------------------------------------------------

# NVIDIA-NeMo/RL, docs/about/performance-summary.md, v0.4: DGX H100, GRPO, bfloat16, 2,048 completions, 4,096 tokens.
# The division of the runs that are one step off policy is not in that table: half and half is assumed.
PUBLISHED = (
    ("8B, 16 GPUs, on policy", "8B", 1060, Split(16, 16, 0, colocated=True), 16, 97.7),
    ("8B, 16 GPUs, one step off", "8B", 1129, Split(8, 8, 1), 16, 74.6),
    ("32B, 32 GPUs, on policy", "32B", 3206, Split(32, 8, 0, colocated=True), 32, 393.0),
    ("32B, 64 GPUs, one step off", "32B", 3207, Split(32, 8, 1), 64, 215.0),
)


def published() -> str:
    lines = ["| NeMo-RL v0.4, 2,048 completions | published, s | predicted, s | ratio |", "|---|---:|---:|---:|"]
    for title, name, mean, split, gpus, seconds in PUBLISHED:
        work = Work(64, 32, 130, mean, sigma=0.8 if mean < 2000 else 0.4, shared=0.5, longest=4096)
        predicted = ask(MODELS[name], work, split, gpus).outcome.step
        lines.append(f"| {title} | {seconds:.0f} | {predicted:.0f} | {predicted / seconds:.2f} |")
    return "\n".join(lines)
