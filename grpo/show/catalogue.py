"""Which folders are runs, and how each stands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from grpo.errors import DataError
from grpo.run.charts import Dot
from grpo.run.columns import Row
from grpo.run.folder import flatten
from grpo.run.samples_page import rows_of
from grpo.run.summary import Summary, results_of, settings_of, steps_of
from grpo.show.index import Index

_RUNS_BELOW = ("config.toml", "*/config.toml", "*/*/config.toml")  # a run, a folder of runs, pipelines among them
_PHASES = ("sample", "score", "update", "sync", "books")


class Metrics:
    """The rows of a metrics.jsonl that may grow, or be cut back to a checkpoint by a run that goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[Row] = []
        self._file, self._read = 0, 0  # its inode, and bytes of it

    def rows(self) -> list[Row]:
        try:
            stat = self._path.stat()
        except OSError:
            return []
        if stat.st_ino != self._file or stat.st_size < self._read:  # cut back: a new file has taken its place
            self._rows, self._file, self._read = [], stat.st_ino, 0
        with self._path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # being written
                self._read += len(line)
                row = _parsed(line)
                if row is not None:
                    self._rows.append(row)
        return self._rows


def _parsed(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


@dataclass(frozen=True)
class ShownRun:
    """One run folder, by a name that is its own among all that are shown."""

    id: str
    path: Path
    metrics: Metrics
    index: Index

    @property
    def summary(self) -> Summary:
        rows = self.metrics.rows()
        return Summary(rows, steps_of(rows), results_of(self.path), settings_of(self.path))

    def line(self) -> dict[str, Any]:
        """How it stands, in one line."""
        run = self.summary
        step, steps = (int(run.steps[-1]["step"]) if run.steps else 0), run.settings.get("run", {}).get("steps")
        files = [self.path / "metrics.jsonl", self.path / "config.toml"]
        return {
            "id": self.id,
            "path": str(self.path),
            "command": _command(self.path, run),
            "model": run.settings.get("model", {}).get("name"),
            "data": run.settings.get("sft" if run.is_tuning else "data", {}).get("source"),
            "seed": run.settings.get("run", {}).get("seed", 0),
            "step": step,
            "steps": steps,
            "state": _state(self.path, step, steps),
            "updated": max((file.stat().st_mtime for file in files if file.exists()), default=None),
            "experiment": _experiment(run.settings),
        }

    def overview(self) -> dict[str, Any]:
        run = self.summary
        config = self.path / "config.toml"
        return {
            **self.line(),
            "headline": _headline(run),
            "tiles": [{"value": value, "name": name} for value, name in run.tiles],
            "notes": run.notes,
            "alarms": list(rows_of(self.path / "alarms.jsonl")),
            "cost": _cost(self.path),
            "phases": _phases(run.steps),
            "config": config.read_text(encoding="utf-8", errors="replace") if config.exists() else "",
        }


class Catalogue:
    """The runs under `places`; those that begin later appear."""

    def __init__(self, places: Iterable[Path]) -> None:
        self._places = [place.resolve() for place in places]
        self._runs: dict[str, ShownRun] = {}
        for place in self._places:
            if not any(_runs_in(place)):
                raise DataError(f"{place}: is no run folder and holds none (no config.toml); name one that grpo wrote")

    def runs(self) -> list[ShownRun]:
        known = {run.path for run in self._runs.values()}
        for path in (path for place in self._places for path in _runs_in(place)):
            if path not in known:
                known.add(path)
                name = self._free_name(path)
                self._runs[name] = ShownRun(name, path, Metrics(path / "metrics.jsonl"), Index(path))
        return [run for run in self._runs.values() if run.path.is_dir()]

    def run(self, name: str) -> ShownRun:
        found = {run.id: run for run in self.runs()}
        if name not in found:
            raise KeyError(f"there is no run {name!r}; there are {', '.join(found)}")
        return found[name]

    def _free_name(self, path: Path) -> str:
        short = re.sub(r"[^\w.-]+", "-", path.name)
        longer = re.sub(r"[^\w.-]+", "-", f"{path.parent.name}-{path.name}")
        numbered = (f"{longer}-{number}" for number in range(2, 10**6))
        return next(name for name in (short, longer, *numbered) if name not in self._runs)


def _runs_in(place: Path) -> Iterator[Path]:
    for pattern in _RUNS_BELOW:
        for config in sorted(place.glob(pattern)):
            # A model has a config.json, but a checkpoint keeps the run's settings as well.
            if "checkpoints" not in config.relative_to(place).parts[:-1]:
                yield config.parent


def _command(path: Path, run: Summary) -> str:
    if (path / "collect.json").exists():
        return "collect"
    if run.is_tuning:
        return "sft"
    return "distill" if run.settings.get("distill", {}).get("teacher") else "train"


def _state(path: Path, step: int, steps: Any) -> str:
    if _is_held(path / ".lock"):
        return "running"
    if isinstance(steps, int) and step >= steps:
        return "finished"
    return "stopped" if step else "empty"


def _is_held(lock: Path) -> bool:
    """Whether the process that wrote its id into the lock file still has it open.  To ask the kernel for the lock, for
    a moment only, could refuse a run that starts in that moment."""
    try:
        owner = psutil.Process(int(lock.read_text()))
        return any(Path(file.path) == lock.resolve() for file in owner.open_files())
    except (OSError, ValueError, psutil.Error):
        return False


def _experiment(settings: Mapping[str, Any]) -> str:
    """Equal where runs differ in their seed only, or in where they go."""
    own = {"run.seed", "run.trackers", "run.notify", "run.push_to_hub"}
    return json.dumps(sorted((key, str(value)) for key, value in flatten(dict(settings)).items() if key not in own))


def _headline(run: Summary) -> dict[str, Any] | None:
    change = run.change
    if change is None:
        return None
    return {
        "label": change.label,
        "before": point(change.before),
        "after": point(change.after),
        "change": change.points / 100,
    }


def point(dot: Dot) -> dict[str, Any]:
    return asdict(dot)


def _cost(path: Path) -> dict[str, Any] | None:
    try:
        cost = json.loads((path / "cost.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return cost if isinstance(cost, dict) else None


def _phases(steps: Iterable[Row]) -> dict[str, float]:
    """Seconds of each phase over all steps."""
    sums = dict.fromkeys(_PHASES, 0.0)
    for row in steps:
        for phase in _PHASES:
            sums[phase] += row.get(f"time/{phase}") or 0.0
    return {phase: seconds for phase, seconds in sums.items() if seconds}
