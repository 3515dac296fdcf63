"""What a stage can be: one of the commands that exist, as its command line, what it reads and what it leaves.

A kind knows nothing of other stages.  Each is a row of `KINDS`; a new command becomes a stage by a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from grpo.config import CollectConfig, Config, EvalConfig, Model, SelectConfig
from grpo.run import checkpoints

Tree = Mapping[str, Any]  # settings by group, as in TOML


class ExportConfig(BaseModel):
    """What `grpo export` reads of a stage's settings."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: Model


@dataclass(frozen=True, slots=True)
class Kind:
    settings: type[BaseModel]
    command: Callable[[Tree, str, str], list[str]]
    """From the settings, their .toml and the stage's folder to what follows `grpo`."""
    output: Callable[[Path], Path | None]
    """Of the stage's folder what "@NAME" stands for; None: not there yet."""
    kept: str
    """Which files of the output are the result (a glob pattern); the others are logs."""
    resumes: bool
    """Whether the command goes on with a half-done folder, by --resume."""
    needs: tuple[str, ...] = ()
    """Settings without a default."""
    unread: str = ""
    """A setting whose file it does not open, though it reads the others of its group."""
    measures: tuple[str, ...] = ()
    """Groups that only its evaluation reads, so that another value makes no other model."""

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(self.settings.model_fields)

    @property
    def makes_a_model(self) -> bool:
        return self.output in (_newest_checkpoint, _folder_of_a_model)


def _newest_checkpoint(folder: Path) -> Path | None:
    return checkpoints.latest(folder / "checkpoints")


def _folder_of_a_model(folder: Path) -> Path | None:
    return folder if (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file() else None


def _of_file(name: str, *, itself: bool) -> Callable[[Path], Path | None]:
    """The file `name` of the folder, or the folder where it has one."""

    def output(folder: Path) -> Path | None:
        file = folder / name
        return (file if itself else folder) if file.is_file() else None

    return output


def _with_recipe(command: str) -> Callable[[Tree, str, str], list[str]]:
    return lambda tree, toml, out: [command, toml, "--out", out]


def _collect(tree: Tree, toml: str, out: str) -> list[str]:
    return ["collect", "--recipe", toml, "--out", out]


def _select(tree: Tree, toml: str, out: str) -> list[str]:
    return ["select", "--recipe", toml, "--out", f"{out}/{SELECTED}"]


def _eval(tree: Tree, toml: str, out: str) -> list[str]:
    """`grpo eval` has flags where training has settings."""
    held_out = tree.get("eval", {})
    command = ["eval", str(tree["model"]["name"]), str(held_out.get("source")), "--recipe", toml]
    flags = {
        "--n": held_out.get("n"),
        "--temperature": held_out.get("temperature"),
        "--limit": held_out.get("limit"),
        "--seed": tree.get("run", {}).get("seed"),
    }
    return [*command, *(str(part) for flag in flags.items() if flag[1] is not None for part in flag), "--out", out]


def _export(tree: Tree, toml: str, out: str) -> list[str]:
    return ["export", str(tree["model"]["name"]), out]


SELECTED = "selected.jsonl"
COMPLETIONS = "completions.parquet"

_sft = Kind(
    settings=Config,
    command=_with_recipe("sft"),
    output=_newest_checkpoint,
    kept="*",
    resumes=True,
    needs=("sft.source",),
    unread="data.source",
    measures=("eval", "reward"),
)
_train = Kind(Config, _with_recipe("train"), _newest_checkpoint, kept="*", resumes=True, measures=("eval",))
_collects = Kind(CollectConfig, _collect, _of_file(COMPLETIONS, itself=False), kept=COMPLETIONS, resumes=True)
_selects = Kind(
    SelectConfig, _select, _of_file(SELECTED, itself=True), kept="*", resumes=False, needs=("select.source",)
)
_distill = Kind(Config, _with_recipe("distill"), _newest_checkpoint, kept="*", resumes=True, measures=("eval",))
_evaluates = Kind(
    settings=EvalConfig,
    command=_eval,
    output=_of_file("results.json", itself=False),
    kept="*",
    resumes=False,
    needs=("eval.source",),
    unread="data.source",
)
_exports = Kind(ExportConfig, _export, _folder_of_a_model, kept="*", resumes=False)

KINDS: Mapping[str, Kind] = {
    "sft": _sft,
    "train": _train,
    "collect": _collects,
    "select": _selects,
    "distill": _distill,
    "eval": _evaluates,
    "export": _exports,
}
