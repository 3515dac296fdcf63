"""Sides as processes: each a fresh one of its own interpreter, whose lines of JSON are read."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scripts.benchmark.workloads import Workload, operations

ROOT = Path(__file__).resolve().parents[2]
TRL_PYTHON = ROOT / ".venv-parity" / "bin" / "python"
PHASES = ("seconds", "sample", "score", "update")


class SideFailed(Exception):
    """One sentence for the terminal."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one process of one side did: medians over its timed steps, in seconds and bytes."""

    times: dict[str, float]  # PHASES; "seconds" is the whole step
    growth: int  # of peak memory over what was resident before the first step
    update_growth: int  # of the last update alone
    peak: int
    facts: dict[str, Any]
    lines: list[dict[str, Any]] = field(repr=False)

    def achieved(self, work: Workload) -> float:
        """Operations per second of the update."""
        return operations(work) / self.times["update"]


def run_side(side: str, work: Workload, folder: Path, choices: Mapping[str, Any], steps: int) -> Measured:
    """One process.  Raises `SideFailed` where it fails, or did not sample what it was asked to."""
    python = sys.executable if side == "ours" else str(TRL_PYTHON)
    spec = {"work": asdict(work), "folder": str(folder), "choices": choices, "steps": steps, "cores": cores()}
    command = [python, "-m", f"scripts.benchmark.{side}", json.dumps(spec)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **choices.get("environment", {})}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise SideFailed(f"{side} with {dict(choices)}: ended with exit code {done.returncode} ({reason})")
    return read(side, work, [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')])


def read(side: str, work: Workload, lines: list[dict[str, Any]]) -> Measured:
    """From a side's lines.  The first step warms up and the last measures memory: neither is timed."""
    *steps, facts = lines
    for step in steps:
        if step["tokens"] != work.tokens or step["learned"] != work.tokens:
            raise SideFailed(
                f"{side}: step {step['step']} sampled {step['tokens']} tokens and learned from {step['learned']}, "
                f"where {work.tokens} were asked for, so nothing can be compared"
            )
    times = {phase: statistics.median(step[phase] for step in steps[1:-1]) for phase in PHASES}
    return Measured(times, facts["growth"], facts["update_growth"], facts["peak"], facts, lines)


def find_trl() -> None:
    """Whether TRL's environment, which scripts/parity makes, is there and whole."""
    folder = TRL_PYTHON.parents[1]
    if not (folder / "complete").exists():
        raise SideFailed(f"{folder.name}: TRL's environment is not there; run scripts/parity, which makes it, once")


def cores() -> int:
    return len(os.sched_getaffinity(0))


def positive(text: str) -> int:
    """A number of rounds or steps from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 on")
    return int(text)
