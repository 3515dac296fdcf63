"""How time and memory of our update grow with the work.  `scripts/bench growth [--rounds N]`

Problems, group size, completion length and vocabulary are doubled one at a time from the workload *prompt-heavy*
(scripts/benchmark/workloads.py).  In each round every case runs once, in a fresh process, and is compared with the base
of the same round.  Neither time nor memory should grow faster than the operations that the update cannot avoid.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.benchmark import report
from scripts.benchmark.memory import MIB
from scripts.benchmark.running import Measured, SideFailed, positive, run_side
from scripts.benchmark.workloads import PROMPT_HEAVY, Workload, make_model, operations

CASES = {
    "prompt-heavy": PROMPT_HEAVY,
    "problems × 2": replace(PROMPT_HEAVY, problems=2 * PROMPT_HEAVY.problems),
    "group × 2": replace(PROMPT_HEAVY, group=2 * PROMPT_HEAVY.group),
    "completions × 2": replace(PROMPT_HEAVY, new=2 * PROMPT_HEAVY.new),
    "vocabulary × 2": replace(PROMPT_HEAVY, vocabulary=2 * PROMPT_HEAVY.vocabulary),
}
Round = dict[str, Measured]


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench growth", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=3, help="default 3")
    parser.add_argument("--steps", type=positive, default=2, help="timed steps of each process; default 2")
    given = parser.parse_args()
    try:
        print(report.header(), flush=True)
        print(table(CASES, [measure(CASES, given.steps) for _ in range(given.rounds)]))
    except SideFailed as error:
        sys.exit(f"scripts/bench growth: {error}")


def measure(cases: dict[str, Workload], steps: int) -> Round:
    results = {}
    for name, work in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            make_model(work, Path(folder))
            results[name] = run_side("ours", work, Path(folder), {}, steps)
        print(f"{name}: update {results[name].times['update']:.2f} s", file=sys.stderr, flush=True)
    return results


def table(cases: dict[str, Workload], rounds: Sequence[Round]) -> str:
    """A row per case.  The ratios are medians over rounds; those of memory count what the update itself takes."""
    base, *_ = cases
    lines = ["| | work | update, s | ratio | growth of the update, MiB | ratio |", "|---|---:|---:|---:|---:|---:|"]
    for name, work in cases.items():
        seconds = statistics.median(one[name].times["update"] for one in rounds)
        time = statistics.median(one[name].times["update"] / one[base].times["update"] for one in rounds)
        memory = statistics.median(one[name].update_growth / one[base].update_growth for one in rounds)
        grown = statistics.median(one[name].update_growth for one in rounds) / MIB
        ratio = operations(work) / operations(cases[base])
        lines.append(f"| {name} | {ratio:.2f} | {seconds:.2f} | {time:.2f} | {grown:.0f} | {memory:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
