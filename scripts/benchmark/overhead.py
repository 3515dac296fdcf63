"""The same step in one process and through Ray: `scripts/bench scale overhead`.

Both sides open their engine by the door of `grpo train`; all that differs is [cluster].  In each round they run one
after the other, each in a fresh process, and the side that begins alternates.  A ratio is that of one round; what is
printed is their median with the smallest and the largest.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.benchmark.report import header, spread
from scripts.benchmark.running import SideFailed, cores
from scripts.benchmark.validation import Settings, cluster, run
from scripts.benchmark.workloads import WORKLOADS, Workload, make_model

TO_REACH = 1.1  # of the local engine's step
LOCAL, THROUGH_RAY = cluster(0, 0), cluster(1, 1)
PHASES = ("sample", "score", "update", "sync")


def compare(names: Sequence[str], *, rounds: int, steps: int, local: bool) -> None:
    """Print a table for each workload.  `local`: both sides in one process, which shows what chance alone does."""
    for name in names:
        if name not in WORKLOADS:
            raise SideFailed(f"{name} is not a workload; there are {', '.join(WORKLOADS)}")
    print(header())
    sides = {"local": LOCAL, "Ray": LOCAL if local else THROUGH_RAY}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            make_model(WORKLOADS[name], Path(folder))
            found = []
            for number in range(rounds):
                order = sides if number % 2 == 0 else reversed(sides)
                found.append({side: measure(WORKLOADS[name], folder, sides[side], steps) for side in order})
                local_tokens, ray_tokens = (found[-1][side]["tokens"] for side in sides)
                if abs(local_tokens - ray_tokens) > 0.01 * local_tokens:
                    raise SideFailed(f"{local_tokens} and {ray_tokens} tokens were sampled, so nothing can be compared")
                seconds = ", ".join(f"{side} {one['step']:.2f} s" for side, one in found[-1].items())
                print(f"{name} round {number + 1}: {seconds}", file=sys.stderr, flush=True)
        print(table(name, found), flush=True)


def measure(work: Workload, folder: str, settings: Settings, steps: int) -> dict[str, float]:
    """Medians of the timed steps: seconds by phase, and "step" for all of them; and "tokens" that were sampled."""
    sized = settings | {
        "sampling": {"problems_per_step": work.problems, "group_size": work.group, "max_tokens": work.new}
    }
    asked = [(work.problems, work.group, work.prompt, work.new)] * (steps + 1)
    lines = run(folder, asked, threads=cores(), settings=sized)
    phases = {phase: statistics.median(line["wall"].get(phase, 0.0) for line in lines) for phase in PHASES}
    tokens = sum(sum(map(sum, line["lengths"])) for line in lines)
    return {"step": statistics.median(sum(line["wall"].values()) for line in lines), **phases, "tokens": tokens}


def table(name: str, rounds: Sequence[dict[str, dict[str, float]]]) -> str:
    lines = [f"| {name} | local, s | Ray, s | ratio | min–max | to reach | |", "|---|---:|---:|---:|---:|---:|---|"]
    for what in ("step", *PHASES):
        local, ray = ([one[side][what] for one in rounds] for side in ("local", "Ray"))
        middle, low, high = spread([b / max(a, 1e-9) for a, b in zip(local, ray, strict=True)])
        verdict = " | "
        if what == "step":
            verdict = f"{TO_REACH:g} | {'reached' if middle <= TO_REACH else '**not reached**'}"
        both = f"{statistics.median(local):.2f} | {statistics.median(ray):.2f}"
        lines.append(f"| {what} | {both} | {middle:.2f} | {low:.2f}–{high:.2f} | {verdict} |")
    return "\n".join(lines) + "\n"
