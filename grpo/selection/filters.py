"""What is left out, and why: a chain of filters, each with the count of what it dropped.

A filter gets the completions of one problem that all before it have kept, and returns those that may stay.  Rows that
are trusted pass only those that ask nothing of a judge.  Counts add up: dropped by all filters + kept = all there were.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import takewhile

from grpo.config import Select
from grpo.selection.candidates import Candidate, Group
from grpo.selection.similar import CHOICES, without_near_duplicates
from rewards import language, repetition
from rewards.layout import layout

Keep = Callable[[Group], list[Candidate]]

CAP = "over the cap"
REMEMBERS = "duplicate"  # the first filter that looks at what was kept before; those behind it get what it leaves


@dataclass(frozen=True, slots=True)
class Context:
    """What filters are made of: the settings, the run's seed, and who says that a row holds an evaluation set's item,
    where there is one."""

    settings: Select
    seed: int
    contaminated: Callable[[Candidate], bool] | None = None
    written: set[bytes] = field(default_factory=set)  # digests of the conversations kept so far, of all sources


@dataclass(slots=True)
class Funnel:
    """What became of the rows of one source."""

    seen: int = 0
    problems: int = 0
    kept: int = 0
    kept_problems: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    def through(self, filters: dict[str, Keep], groups: Iterable[Group]) -> Iterator[Group]:
        """Those of each group that every filter keeps; groups of which nothing is left are not there any more."""
        self.dropped = dict.fromkeys(filters, 0)
        for group in groups:
            self.seen += len(group)
            self.problems += 1
            for name, keep in filters.items():
                before = len(group)
                group = keep(group) if group else group
                self.dropped[name] += before - len(group)
            self.kept += len(group)
            self.kept_problems += bool(group)
            if group:
                yield group
        if sum(self.dropped.values()) + self.kept != self.seen:
            raise AssertionError(f"counts do not add up: {self}")

    def add(self, other: Funnel) -> None:
        """The counts of other groups, which went through the same filters."""
        self.seen, self.problems = self.seen + other.seen, self.problems + other.problems
        self.kept, self.kept_problems = self.kept + other.kept, self.kept_problems + other.kept_problems
        self.dropped = {name: self.dropped.get(name, 0) + count for name, count in other.dropped.items()}

    def then(self, later: Funnel) -> Funnel:
        """Both as one, where what this one kept went through `later`."""
        dropped = {**self.dropped, **later.dropped}
        return Funnel(self.seen, self.problems, later.kept, later.kept_problems, dropped)

    @property
    def passed(self) -> int:
        """What the cap drops is good enough."""
        return self.kept + self.dropped.get(CAP, 0)

    @property
    def biggest_loss(self) -> str:
        return max((name for name in self.dropped if name != CAP), key=self.dropped.__getitem__)


def chain(context: Context, *, judged: bool) -> dict[str, Keep]:
    """The filters that the settings ask for, in their order, by the name of what they drop."""
    made = {name: make(context) for name, make in FILTERS.items() if judged or name in OF_TRUSTED}
    return {name: keep for name, keep in made.items() if keep is not None}


def alone(filters: dict[str, Keep]) -> dict[str, Keep]:
    """Those of them that look at one problem and at nothing before it."""
    return dict(takewhile(lambda one: one[0] != REMEMBERS, filters.items()))


def together(filters: dict[str, Keep]) -> dict[str, Keep]:
    """The others, which come after."""
    return {name: keep for name, keep in filters.items() if name not in alone(filters)}


def each(stays: Callable[[Candidate], bool]) -> Keep:
    return lambda rows: [row for row in rows if stays(row)]


# --- Of a judge -----------------------------------------------------------------------------------------------------


def judged(context: Context) -> Keep:
    return each(lambda row: row.right is not None)


def right(context: Context) -> Keep:
    least = context.settings.min_reward
    if least is None:
        return each(lambda row: row.right is True)
    return each(lambda row: row.reward is not None and row.reward >= least)


def between(context: Context) -> Keep | None:
    if context.settings.solved is None:
        return None
    low, high = context.settings.solved
    return each(lambda row: row.solved is not None and low < row.solved < high)


# --- Of the text ----------------------------------------------------------------------------------------------------

_THOUGHT = re.compile(r"\s*<think>(.*?)</think>(.*)", re.DOTALL)


def finished(context: Context) -> Keep:
    return each(lambda row: row.finish != "length")


def well_formed(context: Context) -> Keep | None:
    if context.settings.layout == "any":
        return None
    fits = thinks if context.settings.layout == "think" else thinks_and_answers
    return each(lambda row: fits(row.text))


def thinks(text: str) -> bool:
    """One `<think>…</think>`, with nothing before it and an answer after it."""
    parts = _THOUGHT.fullmatch(text)
    return parts is not None and bool(parts[2].strip()) and text.count("<think>") == text.count("</think>") == 1


def thinks_and_answers(text: str) -> bool:
    return layout(text, {}).value == 1


def not_looping(context: Context) -> Keep | None:
    return each(lambda row: not repetition.looped(row.text)) if context.settings.drop_looping else None


def in_language(context: Context) -> Keep | None:
    wanted, least = context.settings.language, context.settings.min_language_share
    if wanted is None:
        return None

    def stays(row: Candidate) -> bool:
        share = language.share(row.text, wanted)
        return share is None or share >= least  # None: nothing but formulas and code

    return each(stays)


def short_enough(context: Context) -> Keep | None:
    most = context.settings.max_tokens
    return None if most is None else each(lambda row: row.tokens is None or row.tokens <= most)


# --- Of other texts -------------------------------------------------------------------------------------------------


def clean(context: Context) -> Keep | None:
    contaminated = context.contaminated
    return None if contaminated is None else each(lambda row: not contaminated(row))


def new(context: Context) -> Keep:
    return each(lambda row: _is_new(row, context.written))


def _is_new(row: Candidate, written: set[bytes]) -> bool:
    """Eight bytes a row: of 10 million, two are taken for equal once in 400,000 selections."""
    said = "\0".join(f"{one['role']}\0{one['content'].strip()}" for one in row.messages)
    digest = blake2b(said.encode(), digest_size=8).digest()
    if digest in written:
        return False
    written.add(digest)
    return True


def dissimilar(context: Context) -> Keep | None:
    most = context.settings.max_similarity
    return None if most == 1 else lambda rows: without_near_duplicates(rows, most)


def few(context: Context) -> Keep | None:
    k, choose = context.settings.max_per_problem, CHOICES[context.settings.choose]
    return None if not k else lambda rows: list(rows) if len(rows) <= k else choose(rows, k, context.seed)


FILTERS: dict[str, Callable[[Context], Keep | None]] = {
    "not judged": judged,
    "wrong": right,
    "solved too often or too rarely": between,
    "truncated": finished,
    "no layout": well_formed,
    "looping": not_looping,
    "mixed language": in_language,
    "too long": short_enough,
    "contaminated": clean,
    REMEMBERS: new,
    "near duplicate": dissimilar,
    CAP: few,
}
OF_TRUSTED = ("too long", "contaminated", "duplicate")
