"""Dashboards that show a run's metrics besides `metrics.jsonl`, each asked for by name in `run.trackers`.

Each is one small class over a package that is imported only when it is asked for.  A tracker sees numbers only, and
nothing reads from it: the run folder stays the only record.  A resumed run goes on in the same place.
"""

from __future__ import annotations

import importlib
import json
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from grpo.errors import ConfigError


class Tracker(Protocol):
    def log(self, row: Mapping[str, Any], step: int) -> None: ...
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
        if self._writer is None:
            # A run that was killed after its last checkpoint has logged steps which it now makes again: hide those.
            self._writer = self._writer_class(log_dir=str(self._folder), purge_step=step)
            self._writer.add_text("config", f"```json\n{json.dumps(self._config, indent=2, default=str)}\n```")
        for name, value in _numbers(row).items():
            self._writer.add_scalar(name, value, global_step=step)
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _Wandb:
    """A run in the project "grpo" of Weights & Biases."""

    def __init__(self, run_name: str, config: dict[str, Any], folder: Path) -> None:
        wandb = _load("wandb", extra="wandb")
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

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    """A run in the local project "grpo" of trackio, named after the run and made unique by its id."""

    def __init__(self, run_name: str, config: dict[str, Any], folder: Path) -> None:
        trackio = _load("trackio", extra="trackio")
        name = f"{run_name}-{_run_id(folder)}"
        self._run = trackio.init(project="grpo", name=name, config=config, resume="allow", embed=False)

    def log(self, row: Mapping[str, Any], step: int) -> None:
        self._run.log(_numbers(row), step=step)

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


_TRACKERS: dict[str, Callable[[str, dict[str, Any], Path], Tracker]] = {
    "tensorboard": _TensorBoard,
    "wandb": _Wandb,
    "trackio": _Trackio,
}
