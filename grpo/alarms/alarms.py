"""Which alarms stand, as steps and evaluations come in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from grpo.alarms.evaluations import EVALUATION_RULES, Evaluated
from grpo.alarms.rules import RULES, Finding
from grpo.alarms.windows import Row, windows
from grpo.signs import Sign
from grpo.types import Alarm, Example

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
        for rule in RULES:
            # In both, or in neither: between the two nothing is said.
            last, previous = rule.sees(start, now), rule.sees(start, before)
            worst = worst_of(signs, rule.worst)
            found += self._changed(rule.name, int(row["step"]), last, previous, worst)
        return found

    def evaluated(self, step: int, evaluations: Sequence[Evaluated]) -> list[Alarm]:
        """What is new after the last of `evaluations`, which begin with the one before the first step."""
        if len(evaluations) < 3:
            return []
        found: list[Alarm] = []
        for name, rule in EVALUATION_RULES.items():
            last, previous = (rule(evaluations[0], one, self._steps) for one in (evaluations[-1], evaluations[-2]))
            found += self._changed(name, step, last, previous, ())
        return found

    def _changed(
        self, name: str, step: int, last: Finding | None, previous: Finding | None, worst: tuple[Example, ...]
    ) -> Iterator[Alarm]:
        if name not in self._standing and last and previous:
            self._standing.add(name)
            yield Alarm(name, step, last.text, last.numbers, worst)
        elif name in self._standing and not last and not previous:
            self._standing.discard(name)
            yield Alarm(name, step, "is over", cleared=True)


def worst_of(signs: Sequence[Sign], rank: Callable[[Sign], float] | None) -> tuple[Example, ...]:
    """The three completions of a step that rank highest, of different problems where there are as many."""
    if rank is None:
        return ()
    ordered = sorted((sign for sign in signs if rank(sign) > -math.inf), key=rank, reverse=True)
    first = {sign.example.problem: sign for sign in reversed(ordered)}
    chosen = [sign for sign in ordered if first[sign.example.problem] is sign]
    rest = [sign for sign in ordered if first[sign.example.problem] is not sign]
    return tuple(sign.example for sign in (chosen + rest)[:EXAMPLES])
