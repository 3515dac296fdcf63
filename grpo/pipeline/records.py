"""What a stage was made from and what it left: `stage.json`, by which a finished stage is known and trusted.

    OUT/2-rl.begun.json      written before the command starts: settings, and the sum of every input
    OUT/2-rl/stage.json      written last, in one rename: the same, with the sums of the outputs, seconds and figures

Settings stand there as the pipeline's file has them, references unresolved, and inputs that are an earlier stage's go
by its name, so a folder may be moved.  Sums are SHA-256 of a file's bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from grpo.errors import CheckpointError
from grpo.pipeline.kinds import Kind
from grpo.pipeline.plan import Stage, reference, texts
from grpo.run.folder import MAY_DIFFER, MAY_DIFFER_OF_A_REWARD, flatten, replace_file, shown

RECORD = "stage.json"
BUILTIN = "builtin:"
_PLACE = re.compile(
    r"model\.name|(data|eval|sft)\.source|distill\.teacher|select\.tokenizer|select\.(source|decontaminate)\.\d+(\.use)?"
)  # settings that name a file, a folder, or what is on the Hub
_REWARD = re.compile(r"reward\.\d+\.use")
_WEIGHTS = (".safetensors", ".bin")

# A finished stage with more steps asked of it is not finished.
_SAME_RESULT = MAY_DIFFER - {"run.steps"}

Sums = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Record:
    name: str
    kind: str
    command: str
    settings: Mapping[str, Any]
    inputs: Sums
    """By file: what the outputs were made from."""
    measured_by: Sums = field(default_factory=dict)
    """By file: what only its evaluation read."""
    start: Mapping[str, str] = field(default_factory=dict)
    """The model that it started from: its name, and one sum over its weights."""
    outputs: Sums = field(default_factory=dict)
    seconds: float = 0.0
    """In the command, interruptions apart."""
    figures: Mapping[str, float] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        replace_file(path, [json.dumps(asdict(self), indent=1, ensure_ascii=False).encode() + b"\n"])


def read(path: Path) -> Record | None:
    """The record in `path`; None where there is none.  Raises `CheckpointError`."""
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error}); delete it, and the stage is looked at again", exit_code=2
        ) from None


@dataclass(frozen=True, slots=True)
class Output:
    """What "@NAME" stands for, and the files that are its result, by name within the stage's folder."""

    place: Path
    files: Mapping[str, Path]


def output_of(kind: Kind, folder: Path) -> Output | None:
    """What a stage has left in its folder; None: nothing yet."""
    place = kind.output(folder)
    if place is None:
        return None
    files = files_of(place).values()
    return Output(place, {str(path.relative_to(folder)): path for path in files if path.match(kind.kept)})


def of_now(stage: Stage, command: str, outputs: Mapping[str, Output], commits: Sums) -> Record:
    """The record that `stage` would begin with, from the files as they are; `outputs` are those of earlier stages,
    `commits` those of models on the Hub that are known already."""
    inputs = inputs_of(stage, outputs)
    measured = {key for key in inputs if key.partition(".")[0] in stage.kind.measures}
    return Record(
        stage.name,
        stage.command,
        command,
        as_json(stage.settings),
        _summed(files for key, files in inputs.items() if key not in measured) | commit_of_model(stage, commits),
        _summed(inputs[key] for key in measured),
    )


def as_json(tree: Any) -> Any:
    return json.loads(json.dumps(tree, default=str))


def hub_key(stage: Stage) -> str:
    """What the commit of the stage's model goes by, if the model is on the Hub."""
    model = stage.settings.get("model", {})
    return f"hub:{model.get('name')}@{model.get('revision') or 'main'}"


def commit_of_model(stage: Stage, known: Sums) -> dict[str, str]:
    """{"hub:NAME@BRANCH": commit} where the model is on the Hub.  It is asked once for all stages and restarts: a
    branch that moves on must not give the second half of a pipeline another base."""
    model = stage.settings.get("model", {})
    name, key = model.get("name", BUILTIN), hub_key(stage)
    if name.startswith(BUILTIN) or reference(name) is not None:
        return {}
    if key in known:
        return {key: known[key]}
    from grpo import hub

    return {key: hub.commit_of(name, model.get("revision"))} if hub.is_on_hub(name) else {}


def inputs_of(stage: Stage, outputs: Mapping[str, Output]) -> dict[str, dict[str, Path]]:
    """By setting the files that it stands for: by name, an earlier stage's under "@NAME/…"."""
    found = {}
    for key, text, path in places(stage):
        name = reference(text)
        if name is not None:
            found[key] = {f"@{name}/{part}": file for part, file in outputs[name].files.items()}
        elif path is not None and path.exists():
            found[key] = {str(path / part): file for part, file in files_of(path).items()}
    return found


def places(stage: Stage) -> Iterator[tuple[str, str, Path | None]]:
    """Every setting that stands for files, its text, and where they would lie on this machine; None: an earlier stage's
    output, or made on the spot."""
    for key, text in texts(stage.settings):
        if reference(text) is not None or (_PLACE.fullmatch(key) and key != stage.kind.unread):
            elsewhere = reference(text) is not None or text.startswith(BUILTIN)
            yield key, text, None if elsewhere else Path(text).expanduser()
        elif _REWARD.fullmatch(key) and ":" in text:
            yield key, text, _source_of(text.rpartition(":")[0])


def _source_of(module: str) -> Path:
    """The file of "rewards.py" or of "package.module", which is looked for from the working directory only: what is
    installed changes with its version."""
    return Path(module).expanduser() if module.endswith(".py") else Path(*module.split(".")).with_suffix(".py")


def files_of(place: Path) -> dict[str, Path]:
    """The files of an input or output by their names in it: itself, or what a folder holds, but for what only resuming
    reads, the pipeline's own and hidden ones."""
    if place.is_file():
        return {"": place}
    found = {}
    for folder, inner, names in os.walk(place):
        inner[:] = sorted(name for name in inner if name != "trainer" and not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if name != RECORD and not name.startswith("."):
                found[str(path.relative_to(place))] = path
    return found


def _summed(groups: Iterable[Mapping[str, Path]]) -> dict[str, str]:
    return {name: sum_of(path) for files in groups for name, path in files.items()}


def sum_of(path: Path) -> str:
    facts = path.stat()
    return _sum_of(path, facts.st_size, facts.st_mtime_ns, facts.st_ino)


@cache
def _sum_of(path: Path, *identity: int) -> str:  # weights are gigabytes, and the next stage asks for the same
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def start_of(tree: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The model that a stage with these resolved settings began with, once its command has run."""
    name = tree.get("model", {}).get("name")
    if name is None:
        return {}
    place = folder / "model" if name.startswith(BUILTIN) else Path(name)  # made there, where it is made on the spot
    weights = {part: sum_of(path) for part, path in files_of(place).items() if path.suffix in _WEIGHTS}
    whole = hashlib.sha256(json.dumps(weights, sort_keys=True).encode()).hexdigest() if weights else ""
    return {"model": str(name), "weights": whole}


def sums(output: Output) -> dict[str, str]:
    return {name: sum_of(path) for name, path in output.files.items()}


def changed_settings(old: Record, new: Record) -> list[str]:
    """What of the settings is another now, and would have made another result."""
    before, now = flatten(old.settings), flatten(new.settings)
    return [
        f"{key}: {shown(before, key)} then, {shown(now, key)} now"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and key not in _SAME_RESULT and not MAY_DIFFER_OF_A_REWARD.fullmatch(key)
    ]


def changed_files(old: Sums, new: Sums) -> list[str]:
    return [
        f"{name} {'is gone' if name not in new else 'is new' if name not in old else 'has changed'}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
