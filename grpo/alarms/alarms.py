"""Which alarms stand, as steps and evaluations come in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from grpo.alarms.evaluations import EVALUATION_RULES, Evaluated
from grpo.alarms.findings import Finding
from grpo.alarms.rules import RULES
from grpo.alarms.windows import Row, windows
from grpo.signs import Sign
from grpo.types import Alarm, Example

T = TypeVar("T")  # what a rule looks at: a window, or an evaluation
EXAMPLES = 3


class Alarms:
    """Of a run that stands where `rows` of metrics.jsonl and `raised` of alarms.jsonl end.

    What it says is a function of these and of what comes, so a resumed run raises what one that never stopped does.
    """

    def __init__(self, rows: Iterable[Row] = (), raised: Iterable[Mapping[str, Any]] = ()) -> None:
        self._steps = [row for row in rows if "groups/useful" in row]
        self._standing = set[str]()
        for row in raised:
            (self._standing.discard if row["cleared"] else self._standing.add)(row["name"])

    def step(self, row: Row, signs: Sequence[Sign]) -> list[Alarm]:
        """What is new after a step with these metrics and completions."""
        self._steps.append(row)
        three = windows(self._steps)
        if three is None:
            return []
        start, before, now = three
        found: list[Alarm] = []
        for name, rule in RULES.items():
            alarm = self._changed(name, int(row["step"]), partial(rule.sees, start), now, before)
            if alarm:
                found.append(alarm if alarm.cleared else replace(alarm, examples=worst_of(signs, rule.worst)))
        return found

    def evaluated(self, step: int, evaluations: Sequence[Evaluated]) -> list[Alarm]:
        """What is new after the last of `evaluations`, which begin with the one before the first step."""
        if len(evaluations) < 3:
            return []
        first, before, now = evaluations[0], evaluations[-2], evaluations[-1]
        sees = {name: partial(rule.sees, self._steps, first) for name, rule in EVALUATION_RULES.items()}
        found = [self._changed(name, step, seen, now, before) for name, seen in sees.items()]
        return [alarm for alarm in found if alarm]

    def _changed(self, name: str, step: int, sees: Callable[[T], Finding | None], now: T, before: T) -> Alarm | None:
        """Raised where both show it, over where neither does; between the two nothing is said."""
        standing = name in self._standing
        last = sees(now)
        if (last is None) != standing or (sees(before) is None) != standing:
            return None
        if last is None:
            self._standing.discard(name)
            return Alarm(name, step, "is over", cleared=True)
        self._standing.add(name)
        return Alarm(name, step, last.text, last.numbers)


def worst_of(signs: Sequence[Sign], rank: Callable[[Sign], float | None] | None) -> tuple[Example, ...]:
    """The three completions of a step that rank highest, of different problems where there are as many."""
    if rank is None:
        return ()
    ranked = [(value, sign) for sign in signs if (value := rank(sign)) is not None]
    ordered = [sign for _, sign in sorted(ranked, key=lambda one: one[0], reverse=True)]
    first = {sign.example.problem: sign for sign in reversed(ordered)}
    chosen = [sign for sign in ordered if first[sign.example.problem] is sign]
    rest = [sign for sign in ordered if first[sign.example.problem] is not sign]
    return tuple(sign.example for sign in (chosen + rest)[:EXAMPLES])
