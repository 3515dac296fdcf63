"""Checkpoints that are whole or not there.

    checkpoints/step-50/          model and tokenizer in Hugging Face format: `from_pretrained` and vLLM open it; where
                                  an adapter is learned, that alone in PEFT's format, which PEFT and vLLM open
    checkpoints/step-50/trainer/  state.json, what the engine needs (optimizer/) to go on bit for bit, and
                                  manifest.json with every file's sum
    checkpoints/best/             the model that did best on held-out problems, kept apart

A checkpoint is written under another name, flushed to the disk and then renamed, so a kill at any moment leaves the
one before untouched.  Opening one compares every file with the manifest.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from grpo.errors import CheckpointError
from grpo.whole import flush

Writer = Callable[[Path], None]  # writes the model and the tokenizer into an empty folder


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands.  All that is random in the next step is a function of this and the seed."""

    step: int  # finished steps
    drawn: int  # problems, or examples, drawn so far
    bad_steps: int = 0  # steps in a row in which an update was skipped because gradients were not finite
    evaluated_step: int = -1  # of the last evaluation; -1: none yet
    best_step: int = 0
    best_score: float = -1.0  # pass@1 on held-out problems; -1: not evaluated yet
    tokens: int = 0  # sampled, or shown, so far
    solve_rates: Mapping[str, Any] = field(default_factory=dict)  # of a curriculum, by problem
    examples: str = ""  # sum of all that fine-tuning shows


def save(folder: Path, progress: Progress, write_model: Writer, *, keep: int) -> Path:
    """Write `folder/step-N` and delete the oldest beyond `keep`: after it is whole, or where the disk has no room for
    another one before, the last one never.  Raises `CheckpointError`; then those that are left are untouched.

    `write_model` writes all that is to be resumed: the engine's own part of trainer/ as well.
    """

    def write(target: Path) -> None:
        write_model(target)
        (target / "trainer" / "state.json").write_text(json.dumps(asdict(progress), indent=1))
        manifest = {str(path.relative_to(target)): _sum(path) for path in sorted(target.rglob("*")) if path.is_file()}
        (target / "trainer" / "manifest.json").write_text(json.dumps(manifest, indent=1))

    path = folder / f"step-{progress.step}"
    older = [old for old in _steps(folder) if old != path]
    while len(older) >= max(2, keep) and _free(folder) < 1.1 * _size(older[-1]):
        shutil.rmtree(older.pop(0))
    write_whole(path, write)
    for old in _steps(folder)[:-keep]:
        shutil.rmtree(old)
    return path


def save_best(folder: Path, write_model: Writer) -> None:
    """Write `folder/best` in place of the one before."""
    write_whole(folder / "best", write_model)


def latest(folder: Path) -> Path | None:
    """The newest complete checkpoint, or None where there is none yet."""
    steps = _steps(folder)
    return steps[-1] if steps else None


def load(path: Path) -> Progress:
    """Where the run stood, after every file has been checked.  Raises `CheckpointError`."""
    _check(path)
    try:
        return Progress(**json.loads((path / "trainer" / "state.json").read_text()))
    except (OSError, ValueError) as error:
        raise _damaged(path, f"trainer/state.json cannot be read ({error})") from None
    except TypeError as error:
        raise CheckpointError(
            f"{path}: was written by another version of grpo ({error}); go on with that one, or start another run from "
            "this folder as the model",
            exit_code=2,
        ) from None


def before(folder: Path, step: int) -> Path | None:
    """The newest checkpoint of an earlier step, or None where the run's start is all there is."""
    earlier = [path for path in _steps(folder) if int(path.name[5:]) < step]
    return earlier[-1] if earlier else None


def _steps(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("step-*") if path.name[5:].isdigit()]
    return sorted(found, key=lambda path: int(path.name[5:]))


def _check(path: Path) -> None:
    try:
        manifest = json.loads((path / "trainer" / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        raise _damaged(path, f"trainer/manifest.json cannot be read ({error})") from None
    for name, expected in manifest.items():
        if not (path / name).is_file():
            raise _damaged(path, f"{name} is missing")
        if _sum(path / name) != expected:
            raise _damaged(path, f"{name} is not the file that was written")


def _damaged(path: Path, what: str) -> CheckpointError:
    others = [other.name for other in _steps(path.parent) if other != path]
    advice = f"delete this folder to go on from {others[-1]}" if others else "there is no older one; start a new run"
    return CheckpointError(f"{path}: the checkpoint is damaged: {what}; {advice}", exit_code=2)


def write_whole(path: Path, write: Writer) -> None:
    """`write` into a folder beside `path`, then put it in `path`'s place in one rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished, previous = path.parent / f".{path.name}.writing", path.parent / f".{path.name}.previous"
    if previous.exists() and not path.exists():  # killed between the two renames below
        previous.rename(path)
    for leftover in (unfinished, previous):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        unfinished.mkdir()
        write(unfinished)
        for file in unfinished.rglob("*"):
            flush(file)
            if file.is_file():  # safetensors writes for its owner alone; the folder has what the umask allows
                file.chmod(unfinished.stat().st_mode & 0o666)
        flush(unfinished)
        if path.exists():
            path.rename(previous)
        unfinished.rename(path)
        flush(path.parent)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors wrap "no space left" in their own
        shutil.rmtree(unfinished, ignore_errors=True)
        free = shutil.disk_usage(path.parent).free / 2**30
        raise CheckpointError(
            f"{path}: the checkpoint cannot be written ({error}); {free:.1f} GiB are free there. "
            f"Earlier checkpoints are untouched: make room and go on with --resume"
        ) from None
    shutil.rmtree(previous, ignore_errors=True)


def free_space(folder: Path) -> float:
    """GiB that checkpoints in `folder`, which may not be there yet, can take: free, or taken by them already."""
    return (_free(folder) + _size(folder)) / 2**30


def _free(folder: Path) -> int:
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
