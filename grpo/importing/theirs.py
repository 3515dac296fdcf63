"""What would have run there, the steps from it to ours, and the books: every name that was given is accounted for."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

from grpo.errors import ConfigError
from grpo.migration.notes import Rows


@dataclass(frozen=True, slots=True)
class Setting:
    """`key = value` of ours, made of the settings `of` of theirs.  A `note` says what a reader might not expect.

    Example: `Setting("sampling.problems_per_step", 4, ("gradient_accumulation_steps",), "8 × 4 / 8")`.
    """

    key: str
    value: Any
    of: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Reward:
    """A `[[reward]]` table of ours."""

    use: str
    of: tuple[str, ...]
    weight: float = 1.0
    options: Mapping[str, Any] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Left:
    """A setting of theirs that is not carried over.  `matters`: with it the run there would have differed from ours."""

    name: str
    value: Any
    why: str
    matters: bool = True


Made = Setting | Reward | Left


@dataclass(frozen=True)
class Theirs:
    """Their settings: what the file says, over the defaults of the version `of`."""

    of: str
    given: Mapping[str, Any]
    defaults: Mapping[str, Any]
    problems: int | None = None  # in the data set, where the user has said so

    def __getitem__(self, name: str) -> Any:
        return self.given[name] if name in self.given else self.defaults[name]

    def said(self, *names: str) -> bool:
        return any(name in self.given for name in names)

    def under(self, group: str) -> dict[str, Any]:
        """What is given below a group: {"enable_thinking": False}."""
        return {name.removeprefix(f"{group}."): v for name, v in self.given.items() if name.startswith(f"{group}.")}

    def number(self, name: str) -> float:
        value = self.defaults.get(name) if self[name] is None else self[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ConfigError(f"{name} = {value!r}: must be a number")
        return value

    def whole(self, name: str) -> int:
        value = self.number(name)
        if value != int(value):
            raise ConfigError(f"{name} = {value!r}: must be a whole number")
        return int(value)

    def count(self, name: str) -> int:
        if (value := self.whole(name)) < 1:
            raise ConfigError(f"{name} = {value}: must be 1 or more")
        return value

    def flag(self, name: str) -> bool:
        value = self[name]
        if value is not None and not isinstance(value, bool):
            raise ConfigError(f"{name} = {value!r}: must be true or false")
        return bool(value)

    def text(self, name: str) -> str:
        value = self[name]
        if not isinstance(value, str):
            raise ConfigError(f"{name} = {value!r}: must be text")
        return value

    def texts(self, name: str) -> list[str]:
        """A list, which may be given as its only item; none where nothing is given."""
        value = self[name]
        listed = [value] if isinstance(value, str) else [] if value is None else value
        if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
            raise ConfigError(f"{name} = {value!r}: must be a list of texts")
        return listed

    def word(self, name: str) -> Any:
        """A value to look up in a table: what is no plain value is its text, which no table has."""
        value = self[name]
        return value if isinstance(value, str | bool | int | float) or value is None else repr(value)

    def left(self, name: str, why: str) -> Left:
        return Left(name, self[name], why)


Rule = Callable[[Theirs], Iterator[Made]]


def defaults_of(trainer: str) -> tuple[str, dict[str, Any]]:
    """The version that is meant, and its settings with their defaults, as scripts/foreign_defaults.py read them."""
    file = resources.files("grpo.importing") / "defaults" / f"{trainer}.json"
    tree = json.loads(file.read_text(encoding="utf-8"))
    return tree["of"], tree["settings"]


# --- Rules that many settings share -------------------------------------------------------------------------------


def as_it_is(table: Rows, *names: str) -> Rule:
    """The same value under our name; None is left to our default."""

    def rule(theirs: Theirs) -> Iterator[Made]:
        for name in names:
            if (value := theirs[name]) is not None:
                yield Setting(str(table[name][0]), value, (name,))

    return rule


def if_said(rule: Rule, *names: str) -> Rule:
    """`rule`, where the file names one of `names`: for what changes no number, such as when to save."""

    def said(theirs: Theirs) -> Iterator[Made]:
        if theirs.said(*names):
            yield from (made for made in rule(theirs) if isinstance(made, Left) or theirs.said(*made.of))

    return said


def in_words(table: Rows, name: str, words: Mapping[Any, Any]) -> Rule:
    """Our word for theirs, or a setting that is left."""

    def rule(theirs: Theirs) -> Iterator[Made]:
        if (word := theirs.word(name)) in words:
            yield Setting(str(table[name][0]), words[word], (name,))
        else:
            allowed = ", ".join(dict.fromkeys(str(word) for word in words.values()))
            yield theirs.left(name, f"{table[name][0]} here is one of {allowed}")

    return rule


def not_here(table: Rows, name: str, *same: Any) -> Rule:
    """A setting without a counterpart, left unless it has a value that changes nothing."""

    def rule(theirs: Theirs) -> Iterator[Made]:
        if theirs[name] not in (None, *same):
            yield theirs.left(name, table[name][1])

    return rule


def epochs_as_steps(theirs: Theirs, name: str, problems_per_step: int) -> Setting | Left:
    """Passes over the data as rounds of sampling, where the user has said how many problems there are."""
    passes = theirs.number(name)
    if theirs.problems is None:
        return theirs.left(
            name, f"run.steps = {passes:g} × problems of the data / {problems_per_step}: give --problems N"
        )
    steps = max(1, math.ceil(passes * theirs.problems / problems_per_step))
    return Setting("run.steps", steps, (name,), f"passes over {theirs.problems} problems, {problems_per_step} a step")


def warmup(theirs: Theirs, name: str, length: Setting | Left) -> Setting | Left:
    """A share of the run as steps."""
    share = theirs.number(name)
    if isinstance(length, Left):
        return theirs.left(name, f"optim.warmup_steps = {share:g} × run.steps: give --problems N")
    return Setting("optim.warmup_steps", math.ceil(share * length.value), (name,), f"of {length.value} steps")


# --- The books ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Carried:
    settings: tuple[Setting, ...]
    rewards: tuple[Reward, ...]
    left: tuple[Left, ...]
    same: tuple[str, ...]  # given, with their default, and without a counterpart

    def used(self) -> set[str]:
        """Theirs that a setting of ours was made of."""
        return {name for one in self.settings for name in one.of} | {name for one in self.rewards for name in one.of}


def carry(
    theirs: Theirs, rules: tuple[Rule, ...], *, table: Rows, kinds: Mapping[str, str], unread: tuple[Left, ...] = ()
) -> Carried:
    """What the rules make of `theirs`.  A given name that none of them used is left, with the reason of the table."""
    made = [_without_null(one) for rule in rules for one in rule(theirs)]
    used = {name for one in made for name in ((one.name,) if isinstance(one, Left) else one.of)}
    same, left = [], [one for one in made if isinstance(one, Left)]
    for name, value in theirs.given.items():
        if name in used:
            continue
        if name in theirs.defaults and theirs.defaults[name] == value:
            same.append(name)
        else:
            left.append(Left(name, value, *_reason(name, theirs, table, kinds)))
    for one in unread:  # of what is settled by the program, it does not matter what it was
        matters = _is_ours(one.name, table) or _reason(one.name, theirs, table, kinds)[1]
        left.append(replace(one, matters=matters))
    settings = tuple(one for one in made if isinstance(one, Setting))
    return Carried(settings, tuple(one for one in made if isinstance(one, Reward)), tuple(left), tuple(same))


def _without_null(made: Made) -> Made:
    """TOML has no null: a setting that would hold one is left."""
    if isinstance(made, Left):
        return made
    value = made.value if isinstance(made, Setting) else made.options or {}
    if not _has_null(value) or not made.of:
        return made
    return Left(made.of[0], value, "TOML has no null: ours stays as it is by default")


def _has_null(value: Any) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return value is None or any(_has_null(one) for one in inner)


def _is_ours(name: str, table: Rows) -> bool:
    return name in table and table[name][0] is not None


def _reason(name: str, theirs: Theirs, table: Rows, kinds: Mapping[str, str]) -> tuple[str, bool]:
    """Why no rule used it, and whether a run differs for it."""
    if name in table:
        ours, note = table[name]
        return (f"{ours} is nearest to it here" + (f": {note}" if note else "") if ours else note), False
    for pattern, why in kinds.items():
        if re.match(pattern, name):
            return why, False
    if name in theirs.defaults:
        return "has no counterpart here", True
    close = difflib.get_close_matches(name, theirs.defaults, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else "look it up in your version's documentation"
    return f"{theirs.of} has no such setting; {hint}", True
