"""One GRPO step, ours beside TRL's, on the same work.  `scripts/bench trl [WORKLOAD …] [--rounds N]`

In each round both sides run one after the other, each in a fresh process, so that neighbours on the machine disturb
both alike; a ratio is that of one round, and what is printed is their median with the smallest and the largest.
How it is measured, and what was found: docs/benchmarks.md, "Beside TRL".
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.benchmark import choices, report
from scripts.benchmark.running import Measured, SideFailed, find_trl, positive, run_side
from scripts.benchmark.workloads import WORKLOADS, Workload, make_model


def main() -> None:
    given = arguments()
    try:
        find_trl()
        print(report.header(), flush=True)
        kept = []
        for name in given.workload or WORKLOADS:
            with tempfile.TemporaryDirectory() as folder:
                work = WORKLOADS[name]
                print(report.title(name, work, make_model(work, Path(folder))), flush=True)
                kept += (tune if given.tune else compare)(name, work, Path(folder), given)
    except SideFailed as error:
        sys.exit(f"scripts/bench trl: {error}")
    if given.json:
        given.json.write_text("".join(json.dumps(line) + "\n" for line in kept))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench trl", description=__doc__)
    parser.add_argument("workload", nargs="*", metavar="WORKLOAD", help=f"{', '.join(WORKLOADS)}; default: all of them")
    parser.add_argument("--rounds", type=positive, default=5, help="of both sides; default 5")
    parser.add_argument("--steps", type=positive, default=2, help="timed steps of each process; default 2")
    parser.add_argument("--dtype", choices=choices.DTYPES, help="of both sides; default: for each what is best for it")
    parser.add_argument("--tune", action="store_true", help="try TRL's settings, one run of each, instead of comparing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every step of every process, a line each")
    given = parser.parse_args()
    for name in given.workload:
        if name not in WORKLOADS:
            parser.error(f"{name} is not a workload; there are {', '.join(WORKLOADS)}")
    return given


def compare(name: str, work: Workload, folder: Path, given: argparse.Namespace) -> list[dict[str, object]]:
    """Rounds of both sides; the side that begins alternates."""
    rounds: list[dict[str, Measured]] = []
    for number in range(given.rounds):
        sides = choices.of_both(name, given.dtype)
        order = sides if number % 2 == 0 else reversed(sides)
        rounds.append({side: run_side(side, work, folder, sides[side], given.steps) for side in order})
        print(report.progress(number, rounds[-1]), file=sys.stderr, flush=True)
    print(report.comparison(name, work, rounds), flush=True)
    return [
        {"workload": name, "round": number, "side": side, **line}
        for number, both in enumerate(rounds)
        for side, measured in both.items()
        for line in measured.lines
    ]


def tune(name: str, work: Workload, folder: Path, given: argparse.Namespace) -> list[dict[str, object]]:
    """TRL's settings, one process each.  What cannot run on this machine is part of the answer."""
    done: dict[str, Measured] = {}
    print(report.TUNE_HEAD, flush=True)
    for label, chosen in choices.tried(work, choices.TRL[name]):
        try:
            done[label] = run_side("theirs", work, folder, chosen, given.steps)
        except SideFailed as error:
            print(report.tune_failed(label, error), flush=True)
            continue
        print(report.tune_row(label, done[label]), flush=True)
    print(report.tune_verdict(done))
    return [{"workload": name, "tried": label, **line} for label, one in done.items() for line in one.lines]


if __name__ == "__main__":
    main()
