"""Which folders are runs, and how each stands."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from grpo.errors import DataError, GrpoError
from grpo.run.charts import Dot
from grpo.run.columns import Row, known
from grpo.run.folder import MAY_DIFFER, flatten
from grpo.run.samples_page import rows_of
from grpo.run.summary import Summary, results_of, settings_of, steps_of
from grpo.show.index import Index

_DEPTH = 2  # folders below a place: a folder of runs, and in it pipelines, whose stages are runs
_PHASES = ("sample", "score", "update", "sync", "books")


class NotThere(GrpoError):
    """What was asked for by its name."""


class Metrics:
    """The rows of a metrics.jsonl that may grow, or be cut back to a checkpoint by a run that goes on.  What has been
    read is not read again: the pages ask every other second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._rows: list[Row] = []
        self._steps: list[Row] = []
        self._read, self._last = 0, b""  # bytes of it, and the line that they end with

    def rows(self) -> tuple[list[Row], list[Row]]:
        """All of them, and those of steps."""
        try:
            with self._lock, self._path.open("rb") as file:
                file.seek(self._read - len(self._last))
                if file.read(len(self._last)) != self._last:  # cut back: another file has taken its place
                    self._rows, self._steps, self._read, self._last = [], [], file.seek(0), b""
                fresh = list(self._fresh(file))
                self._rows, self._steps = [*self._rows, *fresh], [*self._steps, *steps_of(fresh)]
                return self._rows, self._steps
        except OSError:
            return [], []

    def _fresh(self, lines: Iterable[bytes]) -> Iterator[Row]:
        for line in lines:
            if not line.endswith(b"\n"):
                return  # being written
            self._read, self._last = self._read + len(line), line
            row = _parsed(line)
            if row is not None:
                yield row


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
        return Summary(*self.metrics.rows(), results_of(self.path), settings_of(self.path))

    def line(self) -> dict[str, Any]:
        """How it stands, in one line."""
        run = self.summary
        step, steps = (int(run.steps[-1]["step"]) if run.steps else 0), _planned(run)
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
            "state": "running" if _is_held(self.path / ".lock") else _state(self.path, run, step),
            "updated": max((file.stat().st_mtime for file in files if file.exists()), default=None),
            "experiment": experiment(run.settings),
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
            raise NotThere(f"there is no run {name!r}; there are {', '.join(found)}")
        return found[name]

    def _free_name(self, path: Path) -> str:
        short = re.sub(r"[^\w.-]+", "-", path.name)
        longer = re.sub(r"[^\w.-]+", "-", f"{path.parent.name}-{path.name}")
        numbered = (f"{longer}-{number}" for number in range(2, 10**6))
        return next(name for name in (short, longer, *numbered) if name not in self._runs)


def _runs_in(place: Path, depth: int = _DEPTH) -> Iterator[Path]:
    """What lies in a run is its own: a checkpoint keeps the settings as well."""
    if (place / "config.toml").is_file():
        yield place
    elif depth and place.is_dir():
        for inner in sorted(place.iterdir()):
            if inner.is_dir():
                yield from _runs_in(inner, depth - 1)


def _command(path: Path, run: Summary) -> str:
    if _collects(path):
        return "collect"
    if run.is_tuning:
        return "sft"
    return "distill" if run.settings.get("distill", {}).get("teacher") else "train"


def _collects(path: Path) -> bool:
    return (path / "collect.json").exists()


def _planned(run: Summary) -> int | None:
    """How many steps it is to have.  Fine-tuning by epochs says so of these only."""
    steps = run.settings.get("sft" if run.is_tuning else "run", {}).get("steps")
    return steps if isinstance(steps, int) and steps > 0 else None


def _state(path: Path, run: Summary, step: int) -> str:
    """Of a run that no process holds."""
    if _collects(path):
        return "finished" if (path / "completions.parquet").exists() else "stopped"
    planned, epochs = _planned(run), run.settings.get("sft", {}).get("epochs")
    through = planned is None and isinstance(epochs, int) and (known(run.steps[-1:], "sft/epoch") or [0])[0] >= epochs
    if through or (planned is not None and step >= planned):
        return "finished"
    return "stopped" if step else "empty"


def _is_held(lock: Path) -> bool:
    """Whether the process that wrote its id into the lock file still has it open.  To ask the kernel for the lock, for
    a moment only, could refuse a run that starts in that moment."""
    try:
        owner = psutil.Process(int(lock.read_text()))
        return any(Path(file.path) == lock.resolve() for file in owner.open_files())
    except (OSError, ValueError, psutil.Error):  # none, or a process of another user or machine, which cannot be seen
        return False


def experiment(settings: Mapping[str, Any]) -> str:
    """Equal where runs differ in their seed only, or in what changes no result."""
    own = MAY_DIFFER - {"run.steps"} | {"run.seed"}
    told = sorted((key, str(value)) for key, value in flatten(dict(settings)).items() if key not in own)
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


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
