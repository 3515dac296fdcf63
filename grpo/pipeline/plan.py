"""From a TOML file to a list of stages, or one sentence that says why not.

    [model]                     settings that all stages have in common, each as far as its command reads them
    name = "Qwen/Qwen2.5-1.5B"

    [[stage]]
    name = "cold-start"
    command = "sft"             one of `grpo.pipeline.kinds.KINDS`
    [stage.sft]                 this stage's own settings, over the common ones
    source = "traces.jsonl"

    [[stage]]
    name = "rl"
    command = "train"
    [stage.model]
    name = "@cold-start"        the output of an earlier stage; "@base" is the common [model]'s

`--set group.key=value` changes a common setting, `--set stage.NAME.group.key=value` one of a stage.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grpo.config_file import PARTS_OF, apply_changes, read_tree, validate
from grpo.errors import ConfigError
from grpo.pipeline.kinds import KINDS, Kind

BASE = "base"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_REFERENCE = re.compile(r"@([\w.-]+)")

# What is said of a source goes with the source, of a model with the model: a stage that names another means that one's.
_GOES_WITH = {
    "model.name": ("revision",),
    "distill.teacher": ("revision",),
    **dict.fromkeys(("data.source",), ("subset", "split", "problem", "answer", "limit")),
    **dict.fromkeys(("eval.source", "sft.source"), ("subset", "split", "limit")),
    "objective.name": PARTS_OF["objective.name"],
    "objective.correction": PARTS_OF["objective.correction"],
}


@dataclass(frozen=True, slots=True)
class Stage:
    number: int  # from 1
    name: str
    command: str
    settings: Mapping[str, Any]
    """By group, with references as they are written."""

    @property
    def kind(self) -> Kind:
        return KINDS[self.command]

    @property
    def folder(self) -> str:
        return f"{self.number}-{self.name}"

    @property
    def references(self) -> dict[str, str]:
        """Names of stages by the settings that refer to them: {"model.name": "cold-start"}."""
        found = ((key, reference(text)) for key, text in texts(self.settings))
        return {key: name for key, name in found if name is not None}


def load_plan(source: str, changes: Sequence[str] = ()) -> tuple[Stage, ...]:
    """The stages in `source`, a TOML file or the name of a shipped pipeline.  Raises `ConfigError`."""
    path, tree = read_tree(source)
    if "stage" not in tree:
        raise ConfigError(f"{source}: has no [[stage]] table, so it is no pipeline; run it with grpo train {source}")
    return make_plan(tree, place=path.name, changes=changes)


def make_plan(tree: Mapping[str, Any], *, place: str, changes: Sequence[str] = ()) -> tuple[Stage, ...]:
    """The same from a tree of settings."""
    common = {group: value for group, value in tree.items() if group != "stage"}
    own = _by_name(tree["stage"], place)
    changed = apply_changes({**common, "stage": own}, changes)
    own = changed.pop("stage")
    for name in own.keys() - {table["name"] for table in tree["stage"]}:
        raise ConfigError(f"--set stage.{name}: there is no such stage; {_nearest(name, own.keys() - {name})}")
    _check_common(changed, own, place)
    tables = enumerate(own.values(), start=1)
    stages = tuple(_with_base(_stage(number, table, changed, place), changed, place) for number, table in tables)
    for stage in stages:
        _check(stage, stages, place, changes)
    return stages


def _by_name(tables: Any, place: str) -> dict[str, dict[str, Any]]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{place}: stage: must be one [[stage]] table, in double brackets, for each stage")
    own: dict[str, dict[str, Any]] = {}
    for number, table in enumerate(tables, start=1):
        name, command = table.get("name"), table.get("command")
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name == BASE:
            raise ConfigError(
                f"{place}: stage {number}: name = {name!r}: must be small letters, digits, - and _, 40 at most, "
                f"and not {BASE!r}, which is the common model"
            )
        if name in own:
            raise ConfigError(f"{place}: stage {name}: there are two of this name; give one another")
        if command not in KINDS:
            raise ConfigError(f"{place}: stage {name}: command = {command!r} is none; {_nearest(str(command), KINDS)}")
        own[name] = dict(table)
    return own


def _check_common(common: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]], place: str) -> None:
    read = {group for table in own.values() for group in KINDS[table["command"]].groups}
    for group in common:
        if group not in read:
            raise ConfigError(f"{place}: {group} is read by none of the stages; {_nearest(group, sorted(read))}")
    for key, text in texts(common):
        if reference(text) is not None:
            raise ConfigError(
                f"{place}: {key} = {text!r}: is common to all stages, the first too; move it into a stage"
            )


def _stage(number: int, table: Mapping[str, Any], common: Mapping[str, Any], place: str) -> Stage:
    name, command = table["name"], table["command"]
    kind = KINDS[command]
    for group in table:
        if group not in ("name", "command", *kind.groups):
            raise ConfigError(
                f"{place}: stage {name}: {group} is not read by {command}; {_nearest(group, list(kind.groups))}"
            )
    settings = {
        group: _over(common.get(group), table.get(group), group)
        for group in kind.groups
        if group in common or group in table
    }
    return Stage(number, name, command, _without_secret(settings, number))


def _without_secret(settings: dict[str, Any], number: int) -> dict[str, Any]:
    """A webhook's URL goes to the stage in its environment: its settings are written into files."""
    url = settings.get("run", {}).get("notify")
    if not isinstance(url, str) or url.startswith("env:"):
        return settings
    variable = f"GRPO_NOTIFY_{number}"
    os.environ[variable] = url
    return {**settings, "run": {**settings["run"], "notify": f"env:{variable}"}}


def _over(common: Any, own: Any, group: str) -> Any:
    """A stage's own settings of a group over the common ones; `[[stage.reward]]` tables stand for all of them."""
    if own is None or not isinstance(common, dict) or not isinstance(own, dict):
        return common if own is None else own
    gone = {part for key in own for part in _GOES_WITH.get(f"{group}.{key}", ()) if own[key] != common.get(key)}
    return {**{key: value for key, value in common.items() if key not in gone}, **own}


def _check(stage: Stage, stages: Sequence[Stage], place: str, changes: Sequence[str]) -> None:
    where = f"{place}: stage {stage.name}"
    earlier = {other.name: other for other in stages[: stage.number - 1]}
    for key, name in stage.references.items():
        if name not in earlier:
            later = "comes later" if any(other.name == name for other in stages) else "is no earlier stage"
            raise ConfigError(f"{where}: {key} = '@{name}': {later}; {_nearest(name, [BASE, *earlier], '@')}")
        made_by = earlier[name]
        if key in ("model.name", "distill.teacher") and not made_by.kind.makes_a_model:
            raise ConfigError(f"{where}: {key} = '@{name}': {made_by.command} makes no model; name a stage that does")
        if key == "sft.source" and made_by.command != "select":
            raise ConfigError(
                f"{where}: {key} = '@{name}': {made_by.command} makes no rows to learn from; name a stage of select"
            )
    if stage.settings.get("distill", {}).get("mode") == "traces":
        raise ConfigError(
            f'{where}: distill.mode = "traces": is three stages itself; write them: collect from the teacher, select, '
            "and sft of the student"
        )
    validate(stage.settings, place=where, kind=stage.kind.settings, changes=changes)
    for key in stage.kind.needs:
        group, _, name = key.partition(".")
        if not stage.settings.get(group, {}).get(name):
            raise ConfigError(f"{where}: {key} is missing; {stage.command} needs it")


def _with_base(stage: Stage, common: Mapping[str, Any], place: str) -> Stage:
    """ "@base" is nobody's output: the common model takes its place at once, and with it its revision."""
    if BASE not in stage.references.values():
        return stage
    model = common.get("model", {})
    if "name" not in model:
        raise ConfigError(f"{place}: stage {stage.name}: '@{BASE}' needs a common [model] with a name; there is none")
    named = replaced(stage.settings, lambda name: str(model["name"]) if name == BASE else None)
    if stage.references.get("model.name") == BASE:
        named["model"] = {**model, **named["model"]}
    return Stage(stage.number, stage.name, stage.command, named)


def texts(tree: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text among the settings with its place: ("reward.0.use", "math")."""
    if isinstance(tree, str):
        yield key, tree
    items = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    for name, value in items:
        yield from texts(value, f"{key}.{name}" if key else str(name))


def reference(text: str) -> str | None:
    """The name that "@NAME" refers to; None: any other text."""
    found = _REFERENCE.fullmatch(text)
    return found[1] if found else None


def replaced(tree: Any, stands_for: Callable[[str], str | None]) -> Any:
    """A copy of the settings in which "@NAME" is what it stands for; None: it stays."""
    if isinstance(tree, str):
        name = reference(tree)
        return tree if name is None else stands_for(name) or tree
    if isinstance(tree, Mapping):
        return {key: replaced(value, stands_for) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [replaced(value, stands_for) for value in tree]
    return tree


def find(stages: Sequence[Stage], name: str, flag: str) -> Stage:
    """The stage that a flag names."""
    for stage in stages:
        if name in (stage.name, stage.folder):
            return stage
    raise ConfigError(f"{flag} {name}: there is no such stage; {_nearest(name, [stage.name for stage in stages])}")


def _nearest(name: str, known: Any, prefix: str = "") -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {prefix}{close[0]}?" if close else f"there are {', '.join(prefix + one for one in known)}"
