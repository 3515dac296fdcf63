"""The report's part about the control: the same run with its rewards shuffled (`grpo.objectives.control`), beside it.

A control is a run in a folder beside this one whose settings are the same but for `run.control`.  Both start from the
same model, so what they solve after training is compared problem by problem, with the test of `grpo compare`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from grpo.estimates import Difference, paired_difference
from grpo.run.charts import Line, line_chart
from grpo.run.columns import Row
from grpo.run.folder import flatten, other_mathematics
from grpo.run.samples_page import REASON, as_html, rows_of
from grpo.run.wording import percent, plain, plural, whole_percent

CONTROL = "run.control"
CLEAR = 0.05  # p-value below which the run counts as better than its control


def control_html(folder: Path) -> str:
    """Of a run with a control, or of a control with its run; nothing where there is no other."""
    is_one = bool(_settings(folder).get(CONTROL))
    other = partner(folder)
    if other is None:
        return f'<ul class="notes"><li>{_IS_ONE}</li></ul>' if is_one else ""
    run, control = (other, folder) if is_one else (folder, other)
    name = as_html(other.name, REASON)
    about = f"{name}: the same run, its rewards {'as they were earned' if is_one else 'shuffled within each step'}"
    title = f"<h2>{'Beside its run' if is_one else 'Beside its control'} <small>{about}</small></h2>"
    sentences = [*([_IS_ONE] if is_one else []), *said(outcomes(run, control))]
    notes = "".join(f"<li>{sentence}</li>" for sentence in sentences)
    notes = f'<ul class="notes">{notes}</ul>' if notes else ""
    return f'{title}{notes}<div class="grid">{"".join(_charts(run, control))}</div>'


_IS_ONE = (
    "This run is a control: its rewards were shuffled within each step, so what it has gained does not come from them."
)


def partner(folder: Path) -> Path | None:
    """The control of a run, or the run of a control, beside it: of several the one that is named alike."""
    folder, settings = folder.resolve(), _settings(folder)
    beside = sorted(path.parent for path in folder.parent.glob("*/config.toml") if path.parent != folder)
    beside.sort(key=lambda path: not (path.name.startswith(folder.name) or folder.name.startswith(path.name)))
    return next((path for path in beside if settings and _are_a_pair(_settings(path), settings)), None)


def _are_a_pair(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return (
        bool(one)
        and (bool(one.get(CONTROL)) != bool(other.get(CONTROL)))
        and other_mathematics(one, other) == [CONTROL]
    )


def _settings(folder: Path) -> dict[str, Any]:
    try:
        return flatten(tomllib.loads((folder / "config.toml").read_text(encoding="utf-8")))
    except (OSError, ValueError):  # none, or being written
        return {}


# --- Before and after ---------------------------------------------------------------------------------------------


class Outcomes(NamedTuple):
    """Shares of held-out problems solved, by run and control; `apart`: run less control, by problem, in the last."""

    problems: int
    before: tuple[float, float]
    after: tuple[float, float]
    apart: Difference


def outcomes(run: Path, control: Path) -> Outcomes | None:
    """At the first and at the last evaluation that both have; None where there are no two."""
    ours, theirs = _solved(run), _solved(control)
    shared = sorted(ours.keys() & theirs.keys(), key=_order)
    if len(shared) < 2 or not ours[shared[-1]].keys() & theirs[shared[-1]].keys():
        return None
    first, last = shared[0], shared[-1]
    apart = paired_difference(theirs[last], ours[last])
    before, after = ((_mean(ours[label]), _mean(theirs[label])) for label in (first, last))
    return Outcomes(apart.problems, before, after, apart)


def said(found: Outcomes | None) -> Iterator[str]:
    if found is None:
        return
    (ours, theirs), (ours_after, theirs_after), d = found.before, found.after, found.apart
    yield (
        f"Held-out, {plural(found.problems, 'problem')}: random rewards {percent(theirs)} → {percent(theirs_after)}, "
        f"real ones {percent(ours)} → {percent(ours_after)}."
    )
    points = f"{100 * d.mean:+.1f} points [{100 * d.low:+.1f}, {100 * d.high:+.1f}], p = {d.p:.2g}"
    if d.mean > 0 and d.p < CLEAR:
        yield f"The run ends above its control by {points} (paired permutation test)."
    else:
        yield (
            f"The run does not end clearly above its control ({points}, paired permutation test): what it gained "
            "cannot be told from what random rewards give, so it is no evidence that its rewards are right."
        )


def _order(label: str) -> tuple[int, int]:
    number = re.search(r"\d+$", label)
    return {"before": 0, "after": 2}.get(label, 1), int(number[0]) if number else 0


def _solved(folder: Path) -> dict[str, dict[str, float]]:
    """Of each evaluation of the run, by label: problem id → share solved."""
    found = {}
    for path in (folder / "eval").glob("*/results.json"):
        label = path.parent.name
        if label not in ("before", "after") and not re.fullmatch(r"step-\d+", label):
            continue  # the teacher's
        try:
            solved = json.loads(path.read_text(encoding="utf-8"))["solved"]
            found[label] = {str(problem): float(share) for problem, share in solved.items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue  # being written, or cut off by a kill
    return {label: solved for label, solved in found.items() if solved}


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)


# --- Curves -------------------------------------------------------------------------------------------------------


def _charts(run: Path, control: Path) -> Iterator[str]:
    for title, key, show, top in (
        ("Solved while training", "solved", whole_percent, 1.0),
        ("Held-out pass@1", "eval/pass@1", whole_percent, 1.0),
        ("Reward", "reward/mean", plain, None),
    ):
        ours, theirs = (_by_step(place, key) for place in (run, control))
        if ours and theirs:
            steps = sorted(ours.keys() | theirs.keys())
            lines = [
                Line("real rewards", [ours.get(step) for step in steps], 1),
                Line("random rewards", [theirs.get(step) for step in steps], 5),
            ]
            yield line_chart(title, steps, lines, show, top=top)


def _by_step(folder: Path, key: str) -> dict[int, float]:
    rows: Iterator[Row] = rows_of(folder / "metrics.jsonl")
    return {int(row["step"]): row[key] for row in rows if isinstance(row.get(key), int | float)}
