"""What was carried over as TOML: each line with where it comes from, and at the end what could not come along.

The text is loaded once, as `grpo train` would, before anyone sees it.
"""

from __future__ import annotations

import json
import re
import textwrap
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

import tomli_w

from grpo import objectives
from grpo.config import GROUPS, Config, Objective
from grpo.config_file import validate
from grpo.errors import ConfigError
from grpo.importing.theirs import Carried, Left, Reward, Setting, Theirs

WIDTH = 118  # characters
MOST_NAMES = 20  # of a dump, which has all, nobody wants those that say nothing
# What a run cannot do without, and what is to be done where the file does not say it.
MUST_HAVES = {
    "model.name": "put your model here, or give --model ID_OR_DIR",
    "data.source": "put your data set here, or give --data ID_OR_FILE",
}
NO_REWARD = "no reward is named there: [[reward]] is ours for a math answer; put yours in, or give --reward SPEC"
_SECRET = re.compile(r"(^|[._])(token|hub_token|api_key|secret|password)$|wandb\.key$|^use_wandb$")


def as_toml(theirs: Theirs, carried: Carried, *, trainer: str, name: str) -> tuple[str, tuple[str, ...]]:
    """The text, and what is missing in it.  Raises `ConfigError` where it would not be a configuration."""
    keys = [setting.key for setting in carried.settings]
    missing = tuple(key for key in MUST_HAVES if key not in keys)
    rewards = carried.rewards or (Reward("math", (), note=NO_REWARD),)
    missing += () if carried.rewards else ("reward",)
    written = _worth_writing(theirs, carried.settings)
    blocks = [_head(theirs, carried, trainer, name)]
    for group in GROUPS:
        if group == "reward":
            blocks += ["\n".join(_reward(theirs, reward)) for reward in rewards]
            continue
        lines = [line for key in missing if key.startswith(f"{group}.") for line in _missing(key)]
        lines += [line for one in written if one.key.startswith(f"{group}.") for line in _line(theirs, one)]
        blocks += ["\n".join([f"[{group}]", *lines])] if lines else []
    text = "\n\n".join([*blocks, *_end(theirs, carried)]) + "\n"
    _check(text, missing, name)
    return text, missing


def _worth_writing(theirs: Theirs, settings: Sequence[Setting]) -> list[Setting]:
    """Without what nobody said there and is the same here, but for the name of what is maximised; in the order that
    `grpo.config` has."""
    given = {setting.key: setting for setting in settings}
    names = {"name": given["objective.name"].value} if "objective.name" in given else {}
    ours = objectives.resolved(Objective.model_validate(names))
    kept = []
    for group, field in Config.model_fields.items():
        kind: Any = field.annotation
        for name, setting in getattr(kind, "model_fields", {}).items():
            one = given.get(f"{group}.{name}")
            default = getattr(ours, name) if group == "objective" and name != "name" else setting.default
            if one is not None and (theirs.said(*one.of) or one.value != default or one.key == "objective.name"):
                kept.append(one)
    return kept


def _check(text: str, missing: Sequence[str], name: str) -> None:
    tree = tomllib.loads(text)
    for key in set(missing) & MUST_HAVES.keys():
        group, _, last = key.partition(".")
        tree.setdefault(group, {})[last] = "…"
    config: Config = validate(tree, place=f"{name}, as ours")
    try:
        objectives.check(objectives.resolved(config.objective), config.sampling.group_size)
    except ConfigError as error:
        raise ConfigError(f"{name}, as ours: {error}") from None


# --- Lines --------------------------------------------------------------------------------------------------------


def _head(theirs: Theirs, carried: Carried, trainer: str, name: str) -> str:
    said = f"From {trainer}'s {name}, by `grpo import`.  What it does not say is as {theirs.of} has it."
    differs = sum(left.matters for left in carried.left)
    rest = (
        f"  {_settings(differs)} that would change the run could not be carried over: see the end." if differs else ""
    )
    return "\n".join(_comment(said + rest))


def _settings(count: int) -> str:
    return "1 setting" if count == 1 else f"{count} settings"


def _missing(key: str) -> list[str]:
    return [f'# {key.partition(".")[2]} = "…"  # missing there; {MUST_HAVES[key]}']


def _line(theirs: Theirs, setting: Setting) -> list[str]:
    return _with_comment(_assignment(setting.key.partition(".")[2], setting.value), _origin(theirs, setting))


def _reward(theirs: Theirs, reward: Reward) -> Iterator[str]:
    yield "[[reward]]"
    yield from _with_comment(_assignment("use", reward.use), _origin(theirs, reward))
    if reward.weight != 1:
        yield _assignment("weight", reward.weight)
    if reward.options:
        yield f"options = {_inline(reward.options)}"


def _assignment(name: str, value: Any) -> str:
    return f"{name} = {_inline(value)}"


def _inline(value: Any) -> str:
    """A value in one line: tomli_w would break lists and give tables their own."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_inline(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_inline(one) for one in value) + "]"
    return tomli_w.dumps({"v": value}, multiline_strings=False).removeprefix("v = ").rstrip("\n")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _origin(theirs: Theirs, made: Setting | Reward) -> str:
    """Their names, with their values where ours is another."""
    names = []
    for name in made.of:
        shown = _shown(name, theirs[name])
        same = isinstance(made, Reward) or (theirs[name] == made.value and len(made.of) == 1)
        value = "" if same else f" = {shown}"
        names.append(f"{name}{value}" + ("" if theirs.said(name) else " by default"))
    return "; ".join(part for part in (", ".join(names), made.note) if part)


def _with_comment(line: str, comment: str) -> list[str]:
    whole = f"{line}  # {comment}"
    return [whole] if comment and len(whole) <= WIDTH else [*_comment(comment), line]


def _end(theirs: Theirs, carried: Carried) -> Iterator[str]:
    differing = [left for left in carried.left if left.matters]
    others = [left for left in carried.left if not left.matters]
    if differing:
        yield "\n".join(["# Not carried over, and it would change the run:", *_list(theirs, differing)])
    if others:
        yield "\n".join(["# Without a counterpart, and without it the numbers are the same:", *_list(theirs, others)])
    if carried.same:
        few = len(carried.same) <= MOST_NAMES
        said = ", ".join(carried.same) if few else f"{len(carried.same)} settings"
        yield "\n".join(_comment(f"Said there, but as it is by default, and without a counterpart: {said}"))


def _list(theirs: Theirs, left: Sequence[Left]) -> Iterator[str]:
    for one in left:
        silent = not theirs.said(one.name) and one.name in theirs.defaults and theirs.defaults[one.name] == one.value
        said = " by default" if silent else ""
        yield from _comment(f"{one.name} = {_shown(one.name, one.value)}{said}: {one.why}", "#   ")


def _comment(text: str, before: str = "# ") -> list[str]:
    """`text` as comments.  Whatever stands in a name or a value stays in its line."""
    safe = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", lambda found: repr(found[0])[1:-1], text)
    return textwrap.wrap(
        safe, WIDTH, initial_indent=before, subsequent_indent=before + "  " * (before != "# "), break_on_hyphens=False
    )


def _shown(name: str, value: Any) -> str:
    if _SECRET.search(name):
        return "***"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 200 else f"{text[:199]}…"
