"""Every objective on one task.  `scripts/bench objectives [--seeds N] [--out FOLDER]`

The generated arithmetic of the quickstart, made harder: a shorter cold start, so that the model must learn to go step
by step *and* to get the steps right; and sixteen updates from each step's completions (four mini-batches, four times)
at a high learning rate, so that surrogates differ, which on-policy they do not.  Per seed all objectives start from the
same fine-tuned model and sample with the same seeds.  Nothing here depends on the machine's speed, so the cores may be
busy.

Runs are ordinary run folders under FOLDER; one that is finished is not made again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tomli_w

from grpo.objectives import OBJECTIVES
from scripts.benchmark.running import positive

BASELINE = "dapo"  # the default
LEVEL = 0.8  # of held-out problems, whose reaching is timed in steps and tokens
T_QUANTILES = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}  # 97.5 %
SETTINGS = {
    "model": {"name": "builtin:tiny"},
    "data": {"source": "builtin:arithmetic"},
    "sft": {"source": "builtin:arithmetic", "split": "worked", "steps": 400, "batch_size": 64, "lr": 3e-3},
    "sampling": {"backend": "transformers", "problems_per_step": 32, "group_size": 8, "max_tokens": 48},
    "reward": [{"use": "math"}],
    "optim": {"lr": 1e-4, "updates_per_step": 4, "num_iterations": 4},
    "eval": {"source": "builtin:arithmetic", "max_tokens": 48, "every": 1},
    "run": {"steps": 6, "save_every": 1000, "reward_workers": 1},
}


@dataclass(frozen=True)
class Curve:
    """Held-out share by step, and the tokens sampled up to it."""

    held_out: Mapping[int, float]
    tokens: Mapping[int, int]
    clipped: float  # mean share of tokens that the trust region held back

    @property
    def final(self) -> float:
        return self.held_out[max(self.held_out)]

    @property
    def best(self) -> float:
        return max(self.held_out.values())

    def steps_to(self, level: float) -> float:
        """By a straight line between evaluations; infinity where it was not reached."""
        points = sorted(self.held_out.items())
        for (step, share), (next_step, next_share) in pairwise(points):
            if next_share >= level > share:
                return step + (level - share) / (next_share - share) * (next_step - step)
        return math.inf

    def tokens_to(self, level: float) -> float:
        steps = self.steps_to(level)
        if not math.isfinite(steps):
            return math.inf
        whole = math.floor(steps)
        before = self.tokens[whole] if whole else 0
        return before + (steps - whole) * (self.tokens.get(whole + 1, before) - before)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench objectives", description=__doc__)
    parser.add_argument("--seeds", type=positive, default=5, help="default 5")
    parser.add_argument("--jobs", type=positive, default=2, help="runs at a time; default 2")
    parser.add_argument("--out", type=Path, default=Path("runs/objectives"), help="default runs/objectives")
    parser.add_argument("names", nargs="*", default=list(OBJECTIVES), help="default: all")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    settings = given.out / "settings.toml"
    if settings.exists() and tomllib.loads(settings.read_text()) != SETTINGS:
        sys.exit(f"{settings}: holds runs with other settings; choose another --out")
    settings.write_text(tomli_w.dumps(SETTINGS))
    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(lambda seed: cold_start(given.out, seed), range(given.seeds)))
        pairs = [(name, seed) for seed in range(given.seeds) for name in given.names]
        curves = dict(zip(pairs, pool.map(lambda pair: train(given.out, *pair), pairs), strict=True))
    print(table({name: [curves[name, seed] for seed in range(given.seeds)] for name in given.names}))


def cold_start(out: Path, seed: int) -> None:
    folder = out / f"cold-{seed}"
    if not cold(out, seed).exists():
        resume = ["--resume"] if (folder / "config.toml").exists() else []
        grpo(
            "sft", out / "settings.toml", "--set", f"run.seed={seed}", "--set", "eval.every=0", "--out", folder, *resume
        )


def cold(out: Path, seed: int) -> Path:
    """The model that GRPO starts from."""
    return out / f"cold-{seed}" / "checkpoints" / f"step-{SETTINGS['sft']['steps']}"


def train(out: Path, name: str, seed: int) -> Curve:
    folder = out / f"{name}-{seed}"
    if not (folder / "eval" / "after").exists():
        changes = ["sft.steps=0", f"objective.name={name}", f"run.seed={seed}"]
        resume = ["--resume"] if (folder / "config.toml").exists() else []
        start = ["train", out / "settings.toml", "--model", cold(out, seed), "--out", folder, *resume]
        grpo(*start, *(part for change in changes for part in ("--set", change)))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    held_out = {row["step"]: row["eval/pass@1"] for row in rows if "eval/pass@1" in row}
    steps = [row for row in rows if "groups/useful" in row]
    tokens, total = {}, 0
    for row in steps:
        total += row["tokens/sample"]
        tokens[row["step"]] = total
    return Curve(held_out, tokens, statistics.fmean(row.get("policy/clipped", 0.0) for row in steps))


def grpo(*arguments: object) -> None:
    command = [sys.executable, "-c", "from grpo.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"grpo {' '.join(map(str, arguments))}: {done.stderr.strip()[-500:]}")


# --- The table ----------------------------------------------------------------------------------------------------


def table(curves: Mapping[str, Sequence[Curve]]) -> str:
    """Markdown: a line per objective, the best first, with 95 % intervals over seeds."""
    base = curves.get(BASELINE)
    steps = len(next(iter(curves.values()))[0].tokens)
    lines = [
        f"| objective | held-out after {steps} steps, % | minus {BASELINE} of the same seed | best on the way, % | "
        f"steps to {LEVEL:.0%} | thousand tokens to {LEVEL:.0%} | clipped |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in sorted(curves, key=lambda name: -statistics.fmean(curve.final for curve in curves[name])):
        own = curves[name]
        pairs = [] if base is None or name == BASELINE else list(zip(own, base, strict=True))
        cells = [
            interval([100 * curve.final for curve in own]),
            interval([100 * (a.final - b.final) for a, b in pairs], sign="+") if pairs else "–",
            interval([100 * curve.best for curve in own]),
            interval([curve.steps_to(LEVEL) for curve in own]),
            interval([curve.tokens_to(LEVEL) / 1000 for curve in own]),
            f"{statistics.fmean(curve.clipped for curve in own):.1%}",
        ]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def interval(values: Sequence[float], *, sign: str = "") -> str:
    """Mean and 95 % interval, by Student's t over seeds; where some did not get there, of those that did."""
    there = [value for value in values if math.isfinite(value)]
    if not there:
        return "not reached"
    few = f" ({len(there)} of {len(values)} seeds)" if len(there) < len(values) else ""
    mean = f"{statistics.fmean(there):{sign}.1f}"
    if len(there) < 2:
        return mean + few
    half = T_QUANTILES.get(len(there), 1.96) * statistics.stdev(there) / math.sqrt(len(there))
    return f"{mean} ± {half:.1f}{few}"


if __name__ == "__main__":
    main()
