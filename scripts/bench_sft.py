"""Fine-tuning, ours beside TRL's SFTTrainer with packing.  `scripts/bench sft [WORKLOAD …] [--rounds N]`

Both sides go once through the same rows of token ids with the same model, learning from the answers alone, in updates
of about as many tokens: ours of so many rows, TRL's of so many packed ones.  In each round both run one after the
other, each in a fresh process; the side that begins alternates.  A ratio is that of one round.
TRL's environment is the one that scripts/parity makes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.benchmark.running import ROOT, TRL_PYTHON, SideFailed, cores, find_trl, positive
from scripts.benchmark.tuning import TUNINGS, Tuning, packed_length, packed_rows, steps_of
from scripts.benchmark.workloads import make_model

SIDES = {"ours": sys.executable, "theirs": str(TRL_PYTHON)}


def main() -> None:
    given = arguments()
    try:
        find_trl()
        for name in given.workload or ["chat", "traces", "vocabulary"]:
            with tempfile.TemporaryDirectory() as folder:
                compare(name, TUNINGS[name], Path(folder), given)
    except SideFailed as error:
        sys.exit(f"scripts/bench sft: {error}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench sft", description=__doc__)
    parser.add_argument("workload", nargs="*", metavar="WORKLOAD", help=f"{', '.join(TUNINGS)}; default: all but tiny")
    parser.add_argument("--rounds", type=positive, default=3, help="of both sides; default 3")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of both; default float32")
    parser.add_argument("--threads", type=positive, default=cores(), help="of both; default: one per core")
    parser.add_argument("--length", type=positive, help="of TRL's packed rows, in tokens; default by workload")
    parser.add_argument("--micro", type=positive, default=1, help="packed rows that TRL computes together; default 1")
    given = parser.parse_args()
    for name in given.workload:
        if name not in TUNINGS:
            parser.error(f"{name} is not a workload; there are {', '.join(TUNINGS)}")
    return given


def compare(name: str, work: Tuning, folder: Path, given: argparse.Namespace) -> None:
    parameters = make_model(work.model, folder)
    length = given.length or packed_length(work)
    common = {"work": asdict(work), "folder": str(folder), "dtype": given.dtype, "threads": given.threads}
    theirs = {"length": length, "packed": packed_rows(work, length), "micro": given.micro}
    print(
        f"{name}: {parameters / 1e6:.1f} M parameters, {work.rows} rows, {work.whole:,} tokens; updates of "
        f"{work.batch} rows, TRL's of {theirs['packed']} packed to {length}; {given.dtype}, {given.threads} threads",
        flush=True,
    )
    ratios = []
    for number in range(given.rounds):
        order = list(SIDES) if number % 2 == 0 else list(reversed(SIDES))
        speeds = {side: speed(run(side, {**common, **theirs})) for side in order}
        ratios.append(speeds["ours"] / speeds["theirs"])
        told = ", ".join(f"{side} {speeds[side]:,.0f} tokens/s" for side in SIDES)
        print(f"  round {number + 1}: {told}, ratio {ratios[-1]:.2f}", flush=True)
    print(
        f"  ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f}), ours over TRL's", flush=True
    )


def run(side: str, spec: dict[str, Any]) -> list[dict[str, float]]:
    """One process; raises `SideFailed`."""
    command = [SIDES[side], "-m", f"scripts.benchmark.tuning_{side}", json.dumps(spec)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise SideFailed(f"{side}: ended with exit code {done.returncode} ({reason})")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"step"')]


def speed(lines: list[dict[str, float]]) -> float:
    """Tokens of rows per second."""
    timed = list(steps_of(lines))
    return sum(line["tokens"] for line in timed) / sum(line["seconds"] for line in timed)


if __name__ == "__main__":
    main()
