"""The rules that ask held-out problems: of an evaluation against the one before the first step, problem by problem."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from grpo.alarms.rules import Finding
from grpo.alarms.windows import Row, Window
from grpo.estimates import paired_difference
from grpo.run.summary import is_measure
from grpo.run.wording import percent, plain

LEAST = 5  # steps on either side of the training reward's rise


@dataclass(frozen=True)
class Evaluated:
    """An evaluation: after which step, the share of each problem's samples that are right, and means by measure."""

    step: int
    solved: Mapping[str, float]
    measures: Mapping[str, float]


def evaluated(folder: Path, step: int) -> list[Evaluated]:
    """Those under eval/ that a run has made until step `step`, in their order."""
    found = []
    for path in folder.glob("*/results.json"):
        label = path.parent.name
        number = label.removeprefix("step-")
        at = 0 if label == "before" else int(number) if number.isdecimal() else step if label == "after" else -1
        if 0 <= at <= step:
            results = json.loads(path.read_text(encoding="utf-8"))
            measures = {name: value["mean"] for name, value in results.items() if is_measure(value)}
            found.append(Evaluated(at, results["solved"], measures))
    return sorted(found, key=lambda one: one.step)


EvaluationRule = Callable[[Evaluated, Evaluated, Sequence[Row]], Finding | None]


def held_out_flat(first: Evaluated, last: Evaluated, steps: Sequence[Row]) -> Finding | None:
    """The training reward is higher than at the start, and held-out problems are solved no more often."""
    until = [row for row in steps if row["step"] <= last.step]
    part = min(20, len(until) // 2)
    if part < LEAST or first.solved.keys() != last.solved.keys():
        return None
    a, b = Window(until[:part])["reward/mean"], Window(until[-part:])["reward/mean"]
    if a is None or b is None or not b.low > a.high:
        return None
    change = paired_difference(first.solved, last.solved)
    if change.mean > 0:
        return None
    text = (
        f"the reward rose from {plain(a.mean)} to {plain(b.mean)}, and on {change.problems} held-out problems the "
        f"share solved changed by {100 * change.mean:+.1f} points (95% interval {100 * change.low:+.1f} to "
        f"{100 * change.high:+.1f})"
    )
    numbers = {"reward/mean": b.mean, "start reward/mean": a.mean, "held-out change": change.mean, "p": change.p}
    return Finding(text, numbers)


def fewer_ways(first: Evaluated, last: Evaluated, steps: Sequence[Row]) -> Finding | None:
    """pass@k falls while pass@1 rises, for the largest k that was measured."""
    ks = sorted(int(name.removeprefix("pass@")) for name in last.measures if name.startswith("pass@"))
    if not ks or ks[-1] == 1:
        return None
    key = f"pass@{ks[-1]}"
    if key not in first.measures or not first.measures["pass@1"] < last.measures["pass@1"]:
        return None
    if not last.measures[key] < first.measures[key] - 0.02:
        return None
    text = (
        f"{key} fell from {percent(first.measures[key])} to {percent(last.measures[key])} while pass@1 rose from "
        f"{percent(first.measures['pass@1'])} to {percent(last.measures['pass@1'])}: surer, not abler"
    )
    return Finding(text, {key: last.measures[key], f"start {key}": first.measures[key]})


EVALUATION_RULES: Mapping[str, EvaluationRule] = {
    "held-out flat": held_out_flat,
    "fewer ways": fewer_ways,
}
