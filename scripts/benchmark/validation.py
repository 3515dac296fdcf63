"""Predicted and measured step times on this machine: `scripts/bench scale validate`.

1. Steps of many shapes give the costs of the parts (least squares, no negative cost): a decoding step by what runs and
   by the cache, a prompt token, an update by tokens and pairs of tokens that attend, a hand-over with its check.
2. Steps of other shapes are between them.  In all of them completions end by themselves: with a vocabulary of 256 and a
   model that knows nothing every 256th token is the end, so lengths are geometric, from 1 to the limit.
3. The model of `scripts/benchmark/pipeline.py` is told those costs and the lengths of 2., and its step time stands
   beside the measured one.

With learners and samplers given, 2. goes through Ray; 1. stays in one process with as many threads as an actor has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch

from scripts.benchmark.pipeline import Costs, Decode, Plan, Step, simulate
from scripts.benchmark.running import ROOT, SideFailed, cores
from scripts.benchmark.workloads import Workload, make_model

Line = dict[str, Any]
Settings = dict[str, dict[str, Any]]
Asked = tuple[int, int, int, int]  # problems, completions per problem, prompt tokens, longest completion

MODEL = Workload(4, 256, 576, 8, 256, problems=1, group=8, prompt=256, new=512)  # 2.9 M parameters
WARM_UP: Asked = (4, 8, 16, 16)
SHAPES: tuple[Asked, ...] = (
    (1, 8, 16, 256),
    (4, 8, 16, 128),
    (8, 8, 64, 64),
    (8, 8, 64, 256),
    (16, 8, 256, 32),
    (2, 8, 256, 256),
    (16, 8, 16, 128),
    (32, 8, 16, 16),
    (4, 8, 64, 400),
)
TRIED: tuple[Asked, ...] = ((8, 8, 64, 384), (16, 8, 32, 256), (4, 8, 200, 512), (24, 8, 16, 128))


def report(learners: int, samplers: int, steps: int) -> None:
    """Print the costs and the table of predictions."""
    threads = max(1, cores() // max(1, learners, samplers))
    with tempfile.TemporaryDirectory() as folder:
        make_model(MODEL, Path(folder))
        # Side by side, so that what else goes on here changes both alike.
        mixed = [shape for _ in range(steps) for both in zip_longest(SHAPES, TRIED) for shape in both if shape]
        lines = run(folder, (WARM_UP, *mixed), threads=threads, settings=cluster(0, 0))
        known, tried = ([line for line in lines if tuple(line["asked"]) in some] for some in (SHAPES, TRIED))
        if learners:
            tried = run(folder, (WARM_UP, *TRIED * steps), threads=threads, settings=cluster(learners, samplers))
    # One thread of one process is as busy as its processor, whoever else wants it; more are not.
    clock = "cpu" if threads == 1 and not learners else "wall"
    print(table(known, tried, Plan(max(1, samplers)), clock=clock, learners=max(1, learners)))


def cluster(learners: int, samplers: int) -> Settings:
    return {"cluster": {"learners": learners, "samplers": samplers}}


def run(folder: str, asked: Sequence[Asked], *, threads: int, settings: Settings) -> list[Line]:
    """The lines of one process, without the first, which warms up."""
    spec = {"folder": folder, "settings": settings, "asked": asked}
    Path(folder, "spec.json").write_text(json.dumps(spec))
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    if not settings["cluster"]["learners"]:  # else every actor is told its own
        bound = ",".join(map(str, sorted(os.sched_getaffinity(0))[:threads]))
        environment |= {"OMP_NUM_THREADS": str(threads), "VLLM_CPU_OMP_THREADS_BIND": bound}
    command = [sys.executable, "-m", "scripts.benchmark.parts", f"{folder}/spec.json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SideFailed(f"ended with exit code {done.returncode} ({(done.stderr.strip().splitlines() or ['?'])[-1]})")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')][1:]


# --- From steps to costs ------------------------------------------------------------------------------------------


def decode_features(line: Line) -> list[float]:
    """Of a step whose completions all run side by side: a share, prompt tokens, decoding steps, tokens, cache read."""
    problems, _, prompt, _ = line["asked"]
    lengths = [n for group in line["lengths"] for n in group]
    return [1, problems * prompt, max(lengths), sum(lengths), sum(prompt * n + n * n / 2 for n in lengths)]


def update_features(step: Step, prompt: int) -> list[float]:
    """An update; distinct tokens; pairs of tokens that attend."""
    tokens = sum(prompt + sum(group) for group in step)
    pairs = sum(prompt**2 / 2 + sum(prompt * n + n * n / 2 for n in group) for group in step)
    return [1, tokens, pairs]


def fitted(rows: Sequence[Sequence[float]], seconds: Sequence[float]) -> list[float]:
    """Costs ≥ 0 whose products with `rows` come closest to `seconds`, by relative error."""
    features = torch.tensor(rows, dtype=torch.float64) / torch.tensor(seconds, dtype=torch.float64)[:, None]
    kept = list(range(features.shape[1]))
    while True:
        scale = features[:, kept].norm(dim=0)
        solved = torch.linalg.lstsq(features[:, kept] / scale, torch.ones(len(rows), 1, dtype=torch.float64)).solution
        found = (solved[:, 0] / scale).tolist()
        if min(found) >= 0:
            break
        kept.remove(kept[found.index(min(found))])
    return [found[kept.index(i)] if i in kept else 0.0 for i in range(features.shape[1])]


def costs_of(lines: Sequence[Line], clock: str, learners: int) -> tuple[Costs, Callable[[Step, int], float]]:
    """The costs of the parts, and the update's as a function of a step and its prompts' length."""
    share, prefill, fixed, per_sequence, per_context = fitted(
        [decode_features(line) for line in lines], [line[clock]["sample"] for line in lines]
    )
    per_update = fitted(
        [update_features(line["lengths"], line["asked"][2]) for line in lines],
        [line[clock]["update"] for line in lines],
    )
    sync = sorted(line[clock]["sync"] for line in lines)[len(lines) // 2]
    decode = Decode(fixed, per_sequence, per_context, prefill, slots=512)  # as many as the sampler takes on a CPU

    def update(step: Step, prompt: int) -> float:
        shares = [step[rank::learners] for rank in range(learners)]
        return max(sum(a * b for a, b in zip(per_update, update_features(s, prompt), strict=True)) for s in shares)

    return Costs(decode, update=lambda step: 0.0, publish=sync, ask=share), update


def table(known: Sequence[Line], tried: Sequence[Line], plan: Plan, *, clock: str, learners: int) -> str:
    costs, update = costs_of(known, clock, learners)
    lines = [
        costs_in_words(costs, update),
        "",
        "| step | " + " | ".join(COLUMNS) + " |",
        "|---|" + "---:|" * len(COLUMNS),
    ]
    errors = []
    for line in tried:
        problems, group, prompt, new = line["asked"]
        of_step = Costs(costs.decode, partial(update, prompt=prompt), publish=costs.publish, ask=costs.ask)
        predicted = simulate(plan, of_step, prompt, [line["lengths"]]).step
        measured = sum(line[clock].values())
        errors.append(predicted / measured)
        sample = predicted - costs.publish - update(line["lengths"], prompt)
        cells = [f"{sample:.2f} / {line[clock]['sample']:.2f}"]
        cells += [f"{update(line['lengths'], prompt):.2f} / {line[clock]['update']:.2f}"]
        cells += [f"{predicted:.2f} / {measured:.2f}", f"{predicted / measured:.2f}"]
        lines.append(f"| {problems} × {group}, {prompt} + at most {new} tokens | {' | '.join(cells)} |")
    within = sum(abs(ratio - 1) <= 0.2 for ratio in errors)
    lines += [
        "",
        f"{within} of {len(errors)} within 20 %; ratios {min(errors):.2f} to {max(errors):.2f} ({clock} time)",
    ]
    return "\n".join(lines)


COLUMNS = ("sampling, s", "update, s", "step, s", "predicted / measured")


def costs_in_words(costs: Costs, update: Callable[[Step, int], float]) -> str:
    decode = costs.decode
    return (
        f"decoding step {decode.fixed * 1e3:.2f} ms, {decode.per_sequence * 1e6:.0f} µs per completion, "
        f"{decode.per_context * 1e9:.0f} ns per token of the cache; prompt token {decode.prefill * 1e6:.0f} µs; "
        f"share {costs.ask * 1e3:.0f} ms; hand-over {costs.publish:.2f} s; "
        f"update of 8 × 8 completions of 128 tokens {update([[128] * 8] * 8, 64):.2f} s"
    )
