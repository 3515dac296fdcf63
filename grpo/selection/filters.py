"""What is left out, and why: a chain of filters, each with the count of what it dropped.

A filter gets the completions of one problem that all before it have kept, and returns those that may stay.  Trusted
rows pass the few that ask nothing of a judge.  Counts add up: dropped by all filters + kept = all there were.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

from grpo.config import Select
from grpo.selection.candidates import Candidate, Group
from grpo.selection.similar import CHOICES, without_near_duplicates
from rewards import language, repetition
from rewards.layout import layout

Keep = Callable[[Group], list[Candidate]]
_THOUGHT = re.compile(r"\s*<think>(?:(?!</?think>).)*</think>(?:(?!</?think>).)*\S\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Filter:
    name: str  # of what it drops
    keep: Keep
    judged_only: bool = True


@dataclass(slots=True)
class Funnel:
    """What became of the rows of one source."""

    seen: int = 0
    problems: int = 0
    kept: int = 0
    kept_problems: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    def through(self, filters: Iterable[Filter], groups: Iterable[Group]) -> Iterator[Group]:
        """Those of each group that every filter keeps; groups of which nothing is left are not there any more."""
        filters = list(filters)
        self.dropped = {one.name: 0 for one in filters}
        for group in groups:
            self.seen += len(group)
            self.problems += 1
            for one in filters:
                before = len(group)
                group = one.keep(group) if group else group
                self.dropped[one.name] += before - len(group)
            self.kept += len(group)
            if group:
                self.kept_problems += 1
                yield group
        assert sum(self.dropped.values()) + self.kept == self.seen, self

    @property
    def biggest_loss(self) -> str:
        return max(self.dropped, key=lambda name: self.dropped[name])


def chain(settings: Select, seed: int, contaminated: Callable[[Candidate], bool] | None) -> list[Filter]:
    """The filters that `settings` ask for, in their order.  `contaminated` says so of a row, and lists it."""
    low, high = settings.solved or (-1.0, 2.0)
    least, longest = settings.min_reward, settings.max_tokens
    seen: set[bytes] = set()
    table: list[tuple[bool, Filter]] = [
        (True, Filter("not judged", each(lambda row: row.right is not None))),
        (least is None, Filter("wrong", each(lambda row: row.right is True))),
        (least is not None, Filter(f"reward below {least}", each(lambda row: (row.reward or 0.0) >= (least or 0.0)))),
        (
            settings.solved is not None,
            Filter(f"problem not solved in ({low:g}, {high:g})", each(lambda row: low < (row.solved or 0.0) < high)),
        ),
        (True, Filter("truncated", each(lambda row: row.finish != "length"))),
        (settings.layout == "think", Filter("no layout", each(lambda row: _THOUGHT.fullmatch(row.text) is not None))),
        (settings.layout == "think_answer", Filter("no layout", each(lambda row: layout(row.text, {}).value == 1))),
        (settings.drop_looping, Filter("looping", each(lambda row: not repetition.looped(row.text)))),
        (
            settings.language is not None,
            Filter("mixed language", each(lambda row: in_language(row, settings.language or "", settings.min_language_share))),
        ),
        (longest is not None, Filter("too long", each(lambda row: (row.tokens or 0) <= (longest or 0)), False)),
        (contaminated is not None, Filter("contaminated", each(lambda row: not (contaminated and contaminated(row))), False)),
        (True, Filter("duplicate", each(lambda row: is_new(row, seen)), False)),
        (settings.max_similarity < 1, Filter("near duplicate", lambda rows: without_near_duplicates(rows, settings.max_similarity))),
        (settings.max_per_problem > 0, Filter("over the cap", lambda rows: capped(rows, settings, seed))),
    ]
    return [one for wanted, one in table if wanted]
