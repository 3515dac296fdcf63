"""The rules that ask held-out problems: of an evaluation against the one before the first step, problem by problem."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from grpo.alarms.findings import Finding
from grpo.alarms.windows import STEPS, Row, Span, Window
from grpo.estimates import Difference, paired_difference, pass_at_k
from grpo.run.wording import percent, plain

LEAST = 5  # steps on either side of the training reward's rise
WAYS = 8  # samples of a problem, of which one has to be right


@dataclass(frozen=True)
class Evaluated:
    """An evaluation: after which step, of how many samples of each problem, and what share of these is right."""

    step: int
    n: int
    solved: Mapping[str, float]


@dataclass(frozen=True)
class HeldOutRule:
    """As a rule of steps: see `grpo.alarms.rules`."""

    formula: str
    source: str
    harmless: str
    advice: str
    sees: Callable[[Sequence[Row], Evaluated, Evaluated], Finding | None]


def evaluated(folder: Path, step: int) -> list[Evaluated]:
    """Those under eval/ that a run has made until step `step`, in their order."""
    read = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*/results.json")]
    own = [results for results in read if "step" in results["recipe"]]  # a teacher's has none
    found = [
        Evaluated(results["recipe"]["step"], results["recipe"]["config"]["eval"]["n"], results["solved"])
        for results in own
    ]
    return sorted((one for one in found if one.step <= step), key=lambda one: one.step)


def held_out_flat(steps: Sequence[Row], first: Evaluated, last: Evaluated) -> Finding | None:
    until = [row for row in steps if row["step"] <= last.step]
    part = min(STEPS, len(until) // 2)
    if part < LEAST or not first.solved.keys() & last.solved.keys():
        return None
    start, now = Window(until[:part]), Window(until[-part:])
    a, b = start["reward/mean"], now["reward/mean"]
    if a is None or b is None or not b.low > a.high:
        return None
    change, gain = paired_difference(first.solved, last.solved), _gain(start, now)
    if change.mean > 0 or change.high >= gain:  # these problems cannot tell it from the gain in training
        return None
    text = (
        f"the reward rose from {plain(a.mean)} to {plain(b.mean)}, and on {change.problems} held-out problems the "
        f"share solved changed by {_points(change)}, which excludes a gain of {100 * gain:.1f} as in training"
    )
    numbers = {"reward/mean": b.mean, "start reward/mean": a.mean, "held-out change": change.mean, "p": change.p}
    return Finding(text, numbers)


def _gain(start: Window, now: Window) -> float:
    """In the share solved in training, 5 points at the least: the reward may have risen by another part."""
    a, b = start["solved"] or Span(0.0), now["solved"] or Span(0.0)
    return max(0.05, b.mean - a.mean)


def fewer_ways(steps: Sequence[Row], first: Evaluated, last: Evaluated) -> Finding | None:
    k = min(first.n, last.n, WAYS)
    if k < 2 or not first.solved.keys() & last.solved.keys():
        return None
    before, after = (
        {problem: pass_at_k(one.n, round(share * one.n), k) for problem, share in one.solved.items()}
        for one in (first, last)
    )
    one, many = paired_difference(first.solved, last.solved), paired_difference(before, after)
    if not (one.low > 0 > many.high and max(one.p, many.p) < 0.05):
        return None
    was, now = (sum(of.values()) / len(of) for of in (before, after))
    text = (
        f"pass@{k} fell from {percent(was)} to {percent(now)}, by {_points(many)}, while pass@1 rose, by "
        f"{_points(one)}, on {many.problems} held-out problems: surer, not abler"
    )
    return Finding(text, {f"eval/pass@{k}": now, f"start eval/pass@{k}": was, "p": many.p})


def _points(change: Difference) -> str:
    return f"{100 * change.mean:+.1f} points (95% interval {100 * change.low:+.1f} to {100 * change.high:+.1f})"


EVALUATION_RULES: Mapping[str, HeldOutRule] = {
    "held-out flat": HeldOutRule(
        "`reward/mean` up since the start, the paired change of the share solved ≤ 0, and its interval below the gain "
        "in training (5 points at the least)",
        "what over-optimisation means: arXiv 2210.10760 (Gao et al.)",
        "held-out problems that were all solved before the first step, or are of another kind than those in training",
        "read what the rewards like: `grpo rewards probe`; compare with `--control random-reward`",
        held_out_flat,
    ),
    "fewer ways": HeldOutRule(
        "pass@1 up and pass@k down, each by a paired test (p < 0.05); k is eval.n, 8 at the most",
        "arXiv 2504.13837",
        "eval.temperature so low that samples of one problem agree",
        '`objective.advantages = "pass_at_k"`, a larger group, fewer steps',
        fewer_ways,
    ),
}
