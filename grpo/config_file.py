"""From a recipe, a TOML file and `--set` to a `Config`, or one sentence that says why not."""

from __future__ import annotations

import difflib
import json
import os
import re
import reprlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from grpo import migration
from grpo.config import GROUPS, Config, JudgeConfig, SelectConfig
from grpo.errors import ConfigError

Settings = TypeVar("Settings", bound=BaseModel)


def recipes() -> dict[str, Path]:
    """The shipped configurations by name."""
    return {name: path for name, path in _shipped().items() if not _has_stages(path)}


def pipelines() -> dict[str, Path]:
    """The shipped lists of stages by name: what `grpo pipeline` runs."""
    return {name: path for name, path in _shipped().items() if _has_stages(path)}


def _shipped() -> dict[str, Path]:
    folder = Path(str(resources.files("grpo") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def _has_stages(path: Path) -> bool:
    return "\n[[stage]]" in path.read_text(encoding="utf-8")


def load_config(
    source: str,
    changes: Sequence[str] = (),
    *,
    data: str | None = None,
    examples: str | None = None,
    rewards: Sequence[str] = (),
) -> Config:
    """The configuration in `source`, a TOML file or the name of a recipe, with `group.key=value` changes.

    `data`, where given, replaces data.source, and with it what was said of that source: subset, split and columns;
    `examples` likewise replaces sft.source, and is data.source where none is named.
    `rewards`, where given, replace the file's `[[reward]]` tables.  Raises `ConfigError`.
    """
    return load_settings(source, changes, kind=Config, data=data, examples=examples, rewards=rewards)


def load_settings(
    source: str,
    changes: Sequence[str],
    *,
    kind: type[Settings],
    data: str | None = None,
    examples: str | None = None,
    rewards: Sequence[str] = (),
) -> Settings:
    """`load_config`, for a command that reads fewer groups: the file's others are not for it."""
    path, everything = read_tree(source)
    if "stage" in everything:
        raise ConfigError(f"{source}: is a list of stages; run it with grpo pipeline {source}")
    tree = {name: group for name, group in everything.items() if name in kind.model_fields or name not in GROUPS}
    with_flags(tree, data=data, examples=examples, rewards=rewards)
    _forget_parts(tree, changes)
    return validate(apply_changes(tree, changes), place=path.name, kind=kind, changes=changes)


def with_flags(
    tree: dict[str, Any], *, data: str | None = None, examples: str | None = None, rewards: Sequence[str] = ()
) -> dict[str, Any]:
    """`tree` with what flags stand for put in, as `load_config` describes it."""
    for given in (data or "", examples or "", *rewards):
        _refuse_bytes(given, given)
    for group, other in (("data", data), ("sft", examples)):
        if other is not None and isinstance(tree.setdefault(group, {}), dict):
            of_the_old = ("subset", "split", "problem", "answer", "limit")
            kept = {key: value for key, value in tree[group].items() if key not in of_the_old}
            tree[group] = kept | {"source": other}
    if examples is not None and isinstance(tree.setdefault("data", {}), dict):
        tree["data"].setdefault("source", examples)
    if rewards:
        tree["reward"] = [{"use": use} for use in rewards]
    return tree


def load_select(recipe: str | None, sources: Sequence[str], changes: Sequence[str]) -> SelectConfig:
    """The settings of `grpo select`: a file's, with the sources of the command line before its own."""
    read = _read(_find(recipe)) if recipe else {}
    tree = {name: group for name, group in read.items() if name in SelectConfig.model_fields or name not in GROUPS}
    for given in sources:
        _refuse_bytes(given, given)
    table = apply_changes(tree, changes).setdefault("select", {})
    if sources and isinstance(table, dict) and isinstance(table.setdefault("source", []), list):
        table["source"] = [*sources, *table["source"]]
    place = Path(recipe).name if recipe else "grpo select"
    return validate(tree, place=place, kind=SelectConfig, changes=changes)


def read_tree(source: str) -> tuple[Path, dict[str, Any]]:
    """The settings in `source`, a TOML file or one that is shipped by its name, as they stand there."""
    path = _find(source)
    return path, _read(path)


# A run's own config.toml has every part of its objective written out.  Whoever names another objective, or another
# correction, means that one's parts and bounds.
_BOUNDS = ("correction_min", "correction_max")
PARTS_OF = {
    "objective.name": ("advantages", "weights", "surrogate", "ratio", "clip_low", "clip_high", "correction", *_BOUNDS),
    "objective.correction": _BOUNDS,
}


def _forget_parts(tree: dict[str, Any], changes: Sequence[str]) -> None:
    objective = tree.get("objective")
    for key in {change.partition("=")[0].strip() for change in changes} & PARTS_OF.keys():
        if isinstance(objective, dict):
            tree["objective"] = objective = {k: v for k, v in objective.items() if k not in PARTS_OF[key]}


def change(key: str, value: Any) -> str:
    """What `--set` takes to give `key` this value, whatever characters are in it."""
    # JSON's text is TOML's, but for \ud83d\ude00, which is two halves of a character, and a bare DEL.
    return f"{key}={json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")


def apply_changes(tree: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """`tree` with each `group.key=value` put in.  Raises `ConfigError`."""
    for change in changes:
        _apply(tree, change)
    return tree


def validate(
    tree: Mapping[str, Any],
    *,
    place: str,
    kind: type[Settings] = Config,  # type: ignore[assignment]
    changes: Sequence[str] = (),
) -> Settings:
    """`tree` as settings; the first thing wrong with it becomes a `ConfigError` that starts with the change among
    `changes` that brought it in, or else with `place`."""
    try:
        settings = kind.model_validate(tree)
    except ValidationError as error:
        sentence = _in_words(error, kind)
        raise ConfigError(f"{_blamed(sentence, changes, place)}: {sentence}") from None
    for sentence in _nonsense(settings) if isinstance(settings, JudgeConfig) else ():
        raise ConfigError(f"{_blamed(sentence, changes, place)}: {sentence}")
    return settings


def _blamed(sentence: str, changes: Sequence[str], place: str) -> str:
    """The last change whose setting the first clause speaks of: it won over the file.  Otherwise the file."""
    clause = re.sub(r"\.\d+\b", "", sentence.partition(";")[0])  # of a list's item, the list
    for change in reversed(changes):
        key = re.sub(r"\.\d+\b", "", change.partition("=")[0].strip())
        named = (key, key.partition(".")[0])  # an unknown group is complained of as a whole
        if any(re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", clause) for name in named):
            return f"--set {change if len(change) <= 80 else change[:79] + '…'}"
    return place


def _find(source: str) -> Path:
    path = Path(source)
    if os.path.isfile(path):  # unlike Path.is_file it is not surprised by any name
        return path
    shipped = _shipped()
    if source in shipped:
        return shipped[source]
    if path.suffix == ".toml" or "/" in source:
        raise ConfigError(f"{source}: no such file; {_shipped_in_words()}")
    close = difflib.get_close_matches(source, shipped, n=1, cutoff=0.5)
    advice = f"did you mean {close[0]}?" if close else _shipped_in_words()
    raise ConfigError(f"{source} is neither a file nor a recipe; {advice}")


def _shipped_in_words() -> str:
    return f"the shipped recipes are {', '.join(recipes())}, and for grpo pipeline {', '.join(pipelines())}"


_FOREIGN = (".yaml", ".yml", ".json")  # what other trainers keep their settings in


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        hint = "; grpo import trl, verl or openrlhf makes a TOML of another trainer's file"
        raise ConfigError(f"{path}: not TOML ({error}){hint if path.suffix in _FOREIGN else ''}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None


def _apply(tree: dict[str, Any], change: str) -> None:
    """Put `group.key=value` into the tree; the value is TOML, or text where it is not."""
    _refuse_bytes(change, f"--set {change}")
    key, equals, text = change.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(f'--set {change}: must have the form group.key=value, such as "optim.lr=2e-6"')
    value = _value(text)
    if names[0] == "reward" and len(names) == 2:
        # With one reward, which is the usual case, there is no need to write its index.
        if len(tree.get("reward", ())) > 1:
            raise ConfigError(
                f"--set {change}: there are {len(tree['reward'])} rewards; say which: reward.0.{names[1]}"
            )
        names = ["reward", "0", names[1]]
    *parents, last = names
    node: Any = tree
    for depth, name in enumerate(parents):
        if isinstance(node, list):
            node = _item(node, name, change)
        elif isinstance(node, dict):
            node = node.setdefault(name, [] if depth == 0 and name == "reward" else {})
        if not isinstance(node, dict | list):
            raise ConfigError(f"--set {change}: {'.'.join(names[: depth + 1])} is a setting, not a group of settings")
    node[last] = value


def _refuse_bytes(given: str, place: str) -> None:
    """Python hides bytes of the command line that are no UTF-8 in halves of surrogate pairs, which no file can hold."""
    if any("\ud800" <= character <= "\udfff" for character in given):
        raise ConfigError(f"{place}: is not UTF-8 text; write it as UTF-8, or give the file another name")


def _value(text: str) -> Any:
    try:
        tree = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text.strip()
    return tree["value"] if len(tree) == 1 else text.strip()


def _item(rewards: list[Any], name: str, change: str) -> Any:
    if not name.isdigit() or int(name) >= len(rewards):
        raise ConfigError(
            f"--set {change}: there is no reward {name}; the recipe lists {len(rewards)}, counted from 0"
            if rewards
            else f"--set {change}: the recipe has no [[reward]] table to change; choose one with --reward"
        )
    return rewards[int(name)]


def _in_words(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first of pydantic's complaints as one sentence in our form."""
    # Whoever brings another trainer's file hears of its names first, and then of what it lacks.
    first = min(error.errors(), key=lambda complaint: complaint["type"] == "missing")
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden" and where in GROUPS:
        return f"{where} is not read here; the groups that are: {', '.join(_groups(kind))}"
    if first["type"] == "extra_forbidden":
        path = [*(str(part) for part in first["loc"] if not isinstance(part, int)), *_first_inside(first["input"])]
        known = _REFUSED.get(".".join(path)) or migration.advice(path)
        unknown = ".".join([where, *path[len(first["loc"]) :]])
        return f"{unknown} is not a setting{known or _nearest_setting(first['loc'], path[-1], kind)}"
    if first["type"] == "missing":
        return f"{where} is missing; it has no default"
    if where == "reward":
        return "reward: must be one [[reward]] table, in double brackets, for each reward"
    what = first["msg"]
    for theirs, ours in _WORDS.items():
        what = what.replace(theirs, ours)
    return f"{where} = {reprlib.repr(first['input'])}: {what}"


def _first_inside(value: Any) -> Iterator[str]:
    """The names of the first setting in a table that is none of ours: pydantic complains of the table as a whole."""
    while isinstance(value, dict) and value:
        name = next(iter(value))
        yield str(name)
        value = value[name]


_SUPPORT = (
    " while training: the sampler renormalises its log-probabilities on the kept tokens, the policy cannot, and the "
    "ratios would be wrong at every token (TRL issue 6789); sharpen with sampling.temperature"
)
_RENAMED = {
    "sampling.n": "sampling.group_size",  # vLLM's word; the nearest of ours would be eval.n
    "sampling.memory": "sampling.gpu_memory_utilization",
    "sampling.canary": "sampling.sync_tolerance",
    "reward.deadline": "reward.timeout",
    "objective.normalize": "objective.weights",
    "objective.kl": "objective.kl_coef",
    "objective.importance_cap": "objective.correction_max",
    "objective.drop_agreeing": "objective.filter_groups",
    "objective.drop_truncated": "objective.mask_truncated_completions",
    "optim.schedule": "optim.lr_scheduler_type",
    "optim.grad_clip": "optim.max_grad_norm",
}
_REFUSED = {
    "sampling.top_p": _SUPPORT,
    "sampling.top_k": _SUPPORT,
    "sampling.min_p": _SUPPORT,
    "data.shuffle": "; problems always come in an order that run.seed fixes, a new one each epoch: leave it out",
    "objective.scale_by_std": '; choose with objective.advantages: "group_std", or "group_mean" for none',
    "optim.weight_decay": "; there is none: at these learning rates it would do nothing; leave it out",
    "sft.target": '; the text to write is the column "solution": rename yours',
    **{old: f"; it is called {new}" for old, new in _RENAMED.items()},
}

_WORDS = {
    "Input should be": "must be",
    "a valid dictionary or instance of": "a table of settings for",
    "a valid tuple": "a list",
    "String should have at least 1 character": "must not be empty",
}


def _nearest_setting(loc: tuple[int | str, ...], last: str, kind: type[BaseModel]) -> str:
    """The setting closest to an unknown one at `loc`: a name in its own group first, then in any other.

    Where a whole group is unknown, `loc` ends with the group and `last` is the first setting in it.
    """
    group: Any = kind
    path = [str(part) for part in loc if not isinstance(part, int)]
    for name in path[:-1]:
        group = _settings_class(group, name)
    siblings = _groups(kind) if group is kind else list(group.model_fields)
    prefix = ".".join([*path[:-1], ""])
    everywhere = {
        key: f"{name}.{key}" for name in reversed(kind.model_fields) for key in _settings_class(kind, name).model_fields
    }
    if last != path[-1] and last in everywhere:
        return f"; did you mean {everywhere[last]}?"
    close = difflib.get_close_matches(path[-1], siblings, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {prefix}{close[0]}?"
    close = difflib.get_close_matches(last, list(everywhere), n=1, cutoff=0.6)
    if close:
        return f"; did you mean {everywhere[close[0]]}?"
    return f"; there are {', '.join(prefix + name for name in siblings)}"


def _groups(kind: type[BaseModel]) -> list[str]:
    """Its groups, in the order of a run's config.toml, after those that are in none."""
    return sorted(kind.model_fields, key=lambda name: GROUPS.index(name) if name in GROUPS else -1)


def _settings_class(group: type[BaseModel], name: str) -> type[BaseModel]:
    annotation: Any = group.model_fields[name].annotation
    candidates = [annotation, *get_args(annotation)]
    return next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))


def _nonsense(settings: JudgeConfig) -> Iterator[str]:
    """What each setting alone does not show to be wrong."""
    data = settings.data
    if not data.chat and data.system is not None:
        yield "data.system needs data.chat = true; put the text into data.template instead"
    if not data.chat and data.chat_template_kwargs:
        yield "data.chat_template_kwargs needs data.chat = true; without a chat template nobody reads it"
    if data.template is not None and "{problem}" not in data.template:
        yield "data.template has no {problem} in it; write {problem} where the problem goes"
    if not isinstance(settings, Config):
        return
    sampling, optim, curriculum = settings.sampling, settings.optim, settings.curriculum
    if optim.updates_per_step > sampling.problems_per_step:
        yield (
            f"optim.updates_per_step = {optim.updates_per_step} is more than sampling.problems_per_step = "
            f"{sampling.problems_per_step}; each update needs a whole group"
        )
    if settings.eval.every and settings.eval.source is None:
        yield f"eval.every = {settings.eval.every} but eval.source is not set; name a held-out set"
    if settings.eval.n > 1 and settings.eval.temperature == 0:
        n = settings.eval.n
        yield f"eval.n = {n} with eval.temperature = 0 is {n} times the same; set one of them"
    if settings.sft.steps and settings.sft.epochs:
        given = f"sft.steps = {settings.sft.steps} and sft.epochs = {settings.sft.epochs}"
        yield f"{given} say the same thing twice; leave sft.epochs out, or set sft.steps = 0"
    if settings.sft.is_on and settings.sft.source is None:
        given = f"sft.steps = {settings.sft.steps}" if settings.sft.steps else f"sft.epochs = {settings.sft.epochs}"
        yield f"{given} but sft.source is not set; name the worked examples"
    if (curriculum.easy is None) != (curriculum.hard is None):
        yield "curriculum.easy and curriculum.hard belong together; set both or none of them"
    if (curriculum.easy or 0.0) + (curriculum.hard or 0.0) > 1:
        yield (
            f"curriculum.easy = {curriculum.easy} and curriculum.hard = {curriculum.hard} are more than 1 together; "
            "what they leave is for problems between"
        )
