"""Dashboards that show a run's metrics besides `metrics.jsonl`, each asked for by name in `run.trackers`.

Each is one small class over a package that is imported only when it is asked for.  A tracker sees the numbers of each
step, alarms, now and then what was written, and at the end what came of it.  Nothing reads from it: the run folder
stays the only record.  A resumed run goes on in the same place.
"""

from __future__ import annotations

import importlib
import json
import math
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from grpo.errors import ConfigError
from grpo.run.wording import cut
from grpo.types import Alarm

# Of a table of samples.
COLUMNS = ("problem", "prompt", "gold", "completion", "reward", "advantage", "finish", "tokens")
MOST = 32  # rows of one
TEXT = 2_000  # characters of a cell


class Tracker(Protocol):
    def log(self, row: Mapping[str, Any], step: int) -> None: ...

    def samples(self, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Completions of the step, as samples.jsonl has them."""

    def alarm(self, alarm: Alarm) -> None: ...

    def summary(self, values: Mapping[str, Any]) -> None:
        """What the run has come to, resumed or not, by name."""

    def close(self) -> None: ...


def open_trackers(names: Sequence[str], run_name: str, config: dict[str, Any], folder: Path) -> list[Tracker]:
    """One tracker per name, in that order.  If one fails to open, those before it are closed again."""
    opened: list[Tracker] = []
    try:
        for name in names:
            opened.append(_TRACKERS[name](run_name, config, folder))
    except BaseException:
        for tracker in opened:
            tracker.close()
        raise
    return opened


class _TensorBoard:
    """Event files under `tensorboard/`."""

    def __init__(self, run_name: str, config: dict[str, Any], folder: Path) -> None:
        self._writer_class = _load("torch.utils.tensorboard", extra="tensorboard").SummaryWriter
        self._folder = folder / "tensorboard"
        self._config = config
        self._writer: Any = None

    def log(self, row: Mapping[str, Any], step: int) -> None:
        writer = self._open(step)
        for name, value in _numbers(row).items():
            writer.add_scalar(name, value, global_step=step)
        writer.flush()

    def samples(self, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        self._open(step).add_text("samples", _markdown(_table(rows)), global_step=step)

    def alarm(self, alarm: Alarm) -> None:
        over = " is over" if alarm.cleared else f": {alarm.text}"
        self._open(alarm.step).add_text("alarms", _plain(f"{alarm.name}{over}"), global_step=alarm.step)

    def summary(self, values: Mapping[str, Any]) -> None:
        self._open(None).add_text("summary", _code(values))

    def _open(self, step: int | None) -> Any:
        """The writer, from the first step on that is logged."""
        if self._writer is None:
            # A run that was killed after its last checkpoint has logged steps which it now makes again: hide those.
            self._writer = self._writer_class(log_dir=str(self._folder), purge_step=step)
            self._writer.add_text("config", _code(self._config))
        return self._writer

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _Wandb:
    """A run in the project "grpo" of Weights & Biases."""

    def __init__(self, run_name: str, config: dict[str, Any], folder: Path) -> None:
        self._wandb = wandb = _load("wandb", extra="wandb")
        try:
            self._run = wandb.init(
                project="grpo", name=run_name, id=_run_id(folder), resume="allow", config=config, dir=str(folder)
            )
        except wandb.Error as error:
            raise ConfigError(
                f"run.trackers: wandb does not start ({error}); run `wandb login`, or set WANDB_MODE=offline"
            ) from error
        # W&B's own step may never go back, which a resumed run does; so ours is a metric, and the x axis of the rest.
        self._run.define_metric("*", step_metric="step")

    def log(self, row: Mapping[str, Any], step: int) -> None:
        self._run.log({**_numbers(row), "step": step})

    def samples(self, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        table = self._wandb.Table(columns=list(COLUMNS), data=[list(row.values()) for row in _table(rows)])
        self._run.log({"samples": table, "step": step})

    def alarm(self, alarm: Alarm) -> None:
        if not alarm.cleared:
            self._run.alert(title=f"{alarm.name}, step {alarm.step}", text=alarm.text)

    def summary(self, values: Mapping[str, Any]) -> None:
        self._run.summary.update({f"run/{name}": value for name, value in values.items()})

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    """A run in the local project "grpo" of trackio, named after the run and made unique by its id."""

    def __init__(self, run_name: str, config: dict[str, Any], folder: Path) -> None:
        self._trackio = trackio = _load("trackio", extra="trackio")
        name, self._step = f"{run_name}-{_run_id(folder)}", 0
        self._run = trackio.init(project="grpo", name=name, config=config, resume="allow", embed=False)

    def log(self, row: Mapping[str, Any], step: int) -> None:
        self._run.log(_numbers(row), step=step)
        self._step = step

    def samples(self, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        pandas = _load("pandas", extra="trackio")  # which needs it, too
        self._run.log({"samples": self._trackio.Table(dataframe=pandas.DataFrame(_table(rows)))}, step=step)

    def alarm(self, alarm: Alarm) -> None:
        if not alarm.cleared and hasattr(self._trackio, "alert"):  # older ones have none
            self._trackio.alert(title=f"{alarm.name}, step {alarm.step}", text=alarm.text)

    def summary(self, values: Mapping[str, Any]) -> None:
        """trackio has none: its numbers go to the last step."""
        self._run.log({f"run/{name}": value for name, value in _numbers(values).items()}, step=self._step)

    def close(self) -> None:
        self._run.finish()


def _load(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"run.trackers: {extra} is not installed ({error}); run `pip install {extra}`, "
            f'or leave "{extra}" out of run.trackers'
        ) from error


def _run_id(folder: Path) -> str:
    """What tells this run from another of the same name, kept in its folder so that a resumed run finds itself."""
    file = folder / ".run-id"
    if not file.exists():
        file.write_text(uuid.uuid4().hex[:8], encoding="utf-8")
    return file.read_text(encoding="utf-8").strip()


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The row's finite numbers, without `step`, which travels on its own."""
    return {
        name: value
        for name, value in row.items()
        if name != "step" and isinstance(value, int | float) and math.isfinite(value)
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """As much of the rows as a dashboard is sent."""
    return [{name: _cell(row.get(name)) for name in COLUMNS} for row in rows[:MOST]]


def _cell(value: Any) -> Any:
    return cut(value, TEXT) if isinstance(value, str) else value


def _markdown(table: Sequence[Mapping[str, Any]]) -> str:
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(row.values() for row in table)]
    return "\n".join(f"| {' | '.join(_plain(str(cell)) for cell in cells)} |" for cells in lines)


def _plain(text: str) -> str:
    """One line of Markdown that shows the text as it is: a model's own mark-up must not become the page's."""
    return re.sub(r"([\\`*_\[\]<>|#&])", r"\\\1", " ".join(text.split()))


def _code(values: Mapping[str, Any]) -> str:
    return f"```json\n{json.dumps(values, indent=2, default=str)}\n```"


_TRACKERS: dict[str, Callable[[str, dict[str, Any], Path], Tracker]] = {
    "tensorboard": _TensorBoard,
    "wandb": _Wandb,
    "trackio": _Trackio,
}
