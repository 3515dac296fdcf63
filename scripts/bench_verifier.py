"""How right and how fast the math checker is on labelled pairs, beside Math-Verify where that is installed.

    scripts/bench verifier [--data FOLDER] [--policy eval] [--sample N] [--no-second]

One process.  Accuracy is over rows of the scored tiers; speed and the stress rows over all.
Set BENCH_PYTHON to a Python that has Math-Verify to measure both in one run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["SYMPY_GROUND_TYPES"] = "python"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rewards.math_answer import audit

SCORED = ("core", "rule", "hard")
SETS = {
    "adversarial": ["adversarial"],
    "hardverify": ["hardverify"],
    "MATH-500 outputs": ["math500_preds"],
    "rewritten golds": ["metamorphic"],
    "Math-Verify's tests": ["unit_math_verify"],
    "other tests": ["unit_misc", "unit_lighteval"],
    "GSM8K solutions": ["gsm8k_solutions"],
    "stress": ["stress"],
}

Judge = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True)
class Figures:
    scored: int
    false_positives: int
    false_negatives: int
    per_second: float
    p99: float  # milliseconds
    slowest: float  # milliseconds
    over: int  # rows that took more than 0.6 s
    crashes: int

    def line(self, name: str) -> str:
        accuracy = 100 * (1 - (self.false_positives + self.false_negatives) / self.scored)
        return (
            f"{name:<14} {accuracy:7.2f} %  {self.false_positives:3} fp {self.false_negatives:4} fn of {self.scored:5}"
            f"   {self.per_second:9,.0f}/s   p99 {self.p99:8.2f} ms   slowest {self.slowest:8.1f} ms"
            f"   over 0.6 s: {self.over}   crashes: {self.crashes}"
        )


def measure(rows: list[dict[str, Any]], judge: Judge) -> Figures:
    scored = positives = negatives = crashes = 0
    times = []
    for row in rows:
        start = time.perf_counter()
        try:
            ok = judge(row)
        except Exception:  # noqa: BLE001 - the other checker's crashes are counted, ours too
            ok, crashes = False, crashes + 1
        times.append((time.perf_counter() - start) * 1000)
        if isinstance(row["label"], bool) and row.get("tier", "rule") in SCORED:
            scored += 1
            positives += ok and not row["label"]
            negatives += not ok and row["label"]
    times.sort()
    p99 = times[min(int(0.99 * len(times)), len(times) - 1)]
    over = sum(value > 600 for value in times)
    return Figures(scored, positives, negatives, 1000 * len(times) / sum(times), p99, times[-1], over, crashes)


def ours(policy: str) -> Judge:
    return lambda row: audit.judge_row(row, policy).ok


def second() -> Judge:
    judge = audit.math_verify()
    return lambda row: judge(str(row["gold"]), row["prediction"], row["form"])


def read(folder: Path, names: list[str], sample: int | None) -> list[dict[str, Any]]:
    rows = []
    for name in names:
        with open(folder / f"{name}.jsonl", encoding="utf-8") as handle:
            rows += [json.loads(line) for line in handle]
    return random.Random(0).sample(rows, min(sample, len(rows))) if sample else rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("GRPO_DATA", str(Path(__file__).resolve().parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(data) / "verifier")
    parser.add_argument("--policy", default="eval", choices=("train", "eval"))
    parser.add_argument("--sample", type=int, help="rows of each set; default: all")
    parser.add_argument("--no-second", action="store_true", help="leave Math-Verify out")
    arguments = parser.parse_args()
    judges = {"ours": ours(arguments.policy)}
    if not arguments.no_second and importlib.util.find_spec("math_verify"):
        judges["Math-Verify"] = second()
    for title, names in SETS.items():
        rows = read(arguments.data, names, arguments.sample)
        print(f"\n{title}: {len(rows)} rows, policy {arguments.policy}")
        for name, judge in judges.items():
            print("  " + measure(rows, judge).line(name), flush=True)
    print(f"\npeak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
