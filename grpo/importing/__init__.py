"""Another trainer's configuration as one of ours: `grpo import trl | verl | openrlhf CONFIG`.

    reading.py, shell.py    its YAML, JSON or shell script → {name: value}
    theirs.py               … over that version's defaults (defaults/*.json): what would have run there
    trl.py, verl.py, …      rules: what would have run there → our settings, and what could not be carried over;
                            of TRL's steps in trl_steps.py, of what is maximised in …_objective.py
    writing.py              … as TOML that has been loaded once before anyone sees it

Nothing is dropped silently.  Every name that a file holds is carried over, or is theirs by default and changes nothing,
or is named at the end of the TOML with the reason.  And what a file does not say counts too: where the default there is
not the default here, and the mathematics depends on it, ours is written out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpo.errors import ConfigError
from grpo.importing import openrlhf, shell, trl, verl
from grpo.importing.reading import read
from grpo.importing.theirs import Carried, Rule, Theirs, carry, defaults_of
from grpo.importing.writing import as_toml
from grpo.migration import TRAINERS as TABLES


@dataclass(frozen=True, slots=True)
class Trainer:
    """How a trainer's configurations are read, and the rules for what they say."""

    name: str  # in grpo.migration.TRAINERS
    rules: tuple[Rule, ...]
    kinds: Mapping[str, str]  # whole groups of its names, as patterns, and why they are not here
    renamed: Mapping[str, str]  # what its settings were called before
    extra: Mapping[str, Any]  # settings that its sources give no default
    words: shell.Words  # how its scripts give them
    nested: bool


TRAINERS: Mapping[str, Trainer] = {
    "trl": Trainer("TRL", trl.RULES, trl.KINDS, trl.RENAMED, trl.EXTRA, shell.flags("trl", ".py"), nested=False),
    "verl": Trainer("verl", verl.RULES, verl.KINDS, verl.RENAMED, verl.EXTRA, shell.overrides, nested=True),
    "openrlhf": Trainer(
        "OpenRLHF",
        openrlhf.RULES,
        openrlhf.KINDS,
        openrlhf.RENAMED,
        openrlhf.EXTRA,
        shell.flags("openrlhf.cli.train_ppo_ray", "train_ppo_ray.py"),
        nested=True,
    ),
}


@dataclass(frozen=True, slots=True)
class Imported:
    toml: str
    given: frozenset[str]
    carried: Carried
    missing: tuple[str, ...]  # what a run cannot do without, and the file does not say


def convert(trainer: str, path: Path, *, processes: int | None = None, problems: int | None = None) -> Imported:
    """`path`, of a run on `processes` devices and a data set of `problems`, as our TOML.  Raises `ConfigError`."""
    if trainer not in TRAINERS:
        raise ConfigError(f"grpo import {trainer}: is none that can be read; there are {', '.join(TRAINERS)}")
    about = TRAINERS[trainer]
    source = read(path, nested=about.nested, words=about.words)
    of, defaults = defaults_of(trainer)
    given = {_today(name, about.renamed, source.given): value for name, value in source.given.items()}
    if processes is not None and "num_processes" not in about.extra:
        raise ConfigError(f"--processes {processes}: {about.name}'s batches are of all devices together; leave it out")
    if processes is not None:
        given["num_processes"] = processes
    theirs = Theirs(of, given, {**defaults, **about.extra}, problems)
    try:
        carried = carry(theirs, about.rules, table=TABLES[about.name], kinds=about.kinds, unread=source.unread)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    toml, missing = as_toml(theirs, carried, trainer=about.name, name=path.name)
    return Imported(toml, frozenset(given), carried, missing)


def report(made: Imported, out: Path | None) -> str:
    """What to look at before a run, in a line or two."""
    differs = [left.name for left in made.carried.left if left.matters]
    others = len(made.carried.left) - len(differs)
    said = f"{len(made.carried.used() & made.given)} of {len(made.given)} settings carried over"
    if differs:
        said += f"; {len(differs)} not, which would change the run: {', '.join(dict.fromkeys(differs))}"
    if others:
        said += f"; {others} without a counterpart, which would not"
    missing = f"\nmissing: {', '.join(made.missing)}" if made.missing else ""
    return f"{said}{missing}\nreasons are at the end of {out or 'the TOML'}"


def _today(name: str, renamed: Mapping[str, str], given: Mapping[str, Any]) -> str:
    """What a setting is called now; where both names are given, the old one stays and will be named as left."""
    today = renamed.get(name, name)
    return name if today in given else today
