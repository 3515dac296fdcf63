"""What a run comes to so far, from the files of its folder: headline and figures, in no page's form."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeGuard

from grpo.run import tuning_page
from grpo.run.charts import Dot
from grpo.run.columns import Row, known, mean
from grpo.run.samples_page import rows_of
from grpo.run.wording import count, duration, percent, plural

_RECENT = 10  # steps that "lately" means


@dataclass(frozen=True)
class Summary:
    """`rows` are those of metrics.jsonl, `steps` those of them that are no evaluation's; `results` the results.json
    files under eval/ by label: before, then by step, then after."""

    rows: Sequence[Row]
    steps: Sequence[Row]
    results: Mapping[str, Row]
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path) -> Summary:
        """Half a run, or no step at all, is no obstacle."""
        rows = list(rows_of(folder / "metrics.jsonl"))
        return cls(rows, steps_of(rows), results_of(folder), settings_of(folder))

    @property
    def evaluations(self) -> list[Dot]:
        return _evaluations(self.results, self.rows, self.steps)

    @property
    def is_tuning(self) -> bool:
        return tuning_page.is_one(self.steps)

    @property
    def held_out(self) -> str:
        """What pass@1 is a share of."""
        counts = {result["problems"] for result in self.results.values() if isinstance(result.get("problems"), int)}
        return f"{plural(counts.pop(), 'held-out problem')} solved (pass@1)" if len(counts) == 1 else "Held-out pass@1"

    @property
    def tiles(self) -> list[tuple[str, str]]:
        """(value, what it is) of the figures that a reader asks for first."""
        return list((tuning_page.tiles if self.is_tuning else _tiles)(self.steps)) if self.steps else []

    @property
    def notes(self) -> list[str]:
        """What a reader with experience would point at first."""
        return [] if self.is_tuning else _notes(self.steps, self.evaluations)

    @property
    def change(self) -> Change | None:
        """By held-out evaluation where there are two, else by the share solved while training."""
        steps, evaluations = self.steps, self.evaluations
        if len(evaluations) >= 2:
            return Change(self.held_out, evaluations[0], evaluations[-1])
        if len(steps) < 2 or self.is_tuning:
            return None
        part = min(_RECENT, len(steps) // 2)
        before, after = (Dot(0, mean(chosen, "solved") or 0.0) for chosen in (steps[:part], steps[-part:]))
        about = f"from the first {part} to the last {part} of the steps"
        return Change("Solved while training, not held out", before, after, about)


@dataclass(frozen=True, slots=True)
class Change:
    """Of the share solved, from the model before to the model after."""

    label: str
    before: Dot
    after: Dot
    about: str = ""

    @property
    def points(self) -> float:
        return 100 * (self.after.value - self.before.value)


def steps_of(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if not any(key.startswith("eval/") for key in row)]


def _tiles(steps: Sequence[Row]) -> Iterator[tuple[str, str]]:
    last = int(steps[-1]["step"])
    yield f"{last:,}", "step" if last == 1 else "steps"
    times, tokens = known(steps, "time/step"), known(steps, "tokens/sample")
    if times:
        yield duration(sum(times)), f"in steps, {sum(times) / len(times):.1f} s each"
    if tokens:
        yield count(sum(tokens)), "tokens sampled"
    if times and tokens:
        yield count(sum(tokens) / sum(times)), "tokens per second"
    if lengths := known(steps, "completions/length_mean"):
        yield f"{lengths[0]:.0f} → {lengths[-1]:.0f}", "tokens per completion"
    if memory := known(steps, "memory/peak_gib"):
        yield f"{max(memory):.1f} GiB", "memory at the peak"


def _notes(steps: Sequence[Row], evaluations: Sequence[Dot]) -> list[str]:
    late, early = steps[-_RECENT:], steps[:_RECENT]
    found = []
    if (share := mean(late, "completions/truncated") or 0.0) > 0.2:
        found.append(f"{percent(share)} of the last completions ran out of room: raise sampling.max_tokens.")
    if (share := mean(late, "completions/unparseable") or 0.0) > 0.2:
        found.append(f"{percent(share)} of the last completions held no answer that the reward could read.")
    if (share := mean(late, "completions/unscored") or 0.0) > 0.02:
        found.append(f"{percent(share)} of the last completions could not be judged; rollouts/ says why.")
    useful, solved = mean(late, "groups/useful"), mean(late, "solved")
    if useful is not None and useful < 0.1:
        reason = "nearly all problems are solved every time" if (solved or 0.0) > 0.5 else "nearly none is ever solved"
        found.append(
            f"{f'Only {percent(useful)}' if useful else 'None'} of the last groups carried a signal: {reason}."
        )
    if skipped := sum(known(steps, "policy/skipped_updates")):
        found.append(f"{plural(int(skipped), 'update')} skipped, because loss or gradient was not finite.")
    rise = (mean(late, "reward/mean") or 0.0) - (mean(early, "reward/mean") or 0.0)
    if rise > 0.05 and len(evaluations) >= 2 and evaluations[-1].value < evaluations[0].value:
        found.append("The reward rose, held-out results fell: look below for answers that please the reward only.")
    return found


def _evaluations(results: Mapping[str, Row], rows: Sequence[Row], steps: Sequence[Row]) -> list[Dot]:
    """Held-out pass@1 by step.  Files under eval/ know the interval; rows of metrics.jsonl are there for every step."""
    last = int(steps[-1]["step"]) if steps else 0
    found = {
        int(row["step"]): Dot(int(row["step"]), row["eval/pass@1"])
        for row in rows
        if row.get("eval/pass@1") is not None
    }
    for label, result in results.items():
        number = re.search(r"\d+$", label)
        step = 0 if label == "before" else last if label == "after" else int(number[0]) if number else None
        measure = result.get("pass@1")
        if step is not None and is_measure(measure):
            found[step] = Dot(step, measure["mean"], measure.get("low"), measure.get("high"))
    return [found[step] for step in sorted(found)]


def is_measure(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and isinstance(value.get("mean"), int | float)


def results_of(folder: Path) -> dict[str, Row]:
    found = {}
    for path in (folder / "eval").glob("*/results.json"):
        try:
            results = _read_results(path, path.stat().st_mtime_ns)
        except (OSError, ValueError):
            continue  # being written, or cut off by a kill: the report shows the rest
        if isinstance(results, dict):
            found[path.parent.name] = results

    def order(label: str) -> tuple[int, int, str]:
        number = re.search(r"\d+$", label)
        return ({"before": 0, "after": 2}.get(label, 1), int(number[0]) if number else 0, label)

    return {label: found[label] for label in sorted(found, key=order)}


@lru_cache(512)  # they name every problem, and who watches a run asks for them every other second
def _read_results(path: Path, changed: int) -> Any:
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: None)


def settings_of(folder: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # ValueError: not TOML, not UTF-8
        return {}
