"""`run.deadline`: end in time, with everything saved.

Time counts from the start of the command.  Before anything that takes long and cannot be cut short, a step, an
evaluation or a save, a run asks whether it still ends in time, with the save that must follow.  What each takes is
learned: as long as the longest of its kind so far, and a save half as long again, because disks are shared.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

from grpo.errors import EXIT_AGAIN, Interrupted

# Both at most, and less where the whole time is short: a fifth, and a twentieth of it.
FIRST_SAVE = 300.0  # seconds allowed to a save while none has been timed
SPARE = 10.0  # seconds for all else: the report, the trackers, processes that end

BEGAN = "GRPO_BEGAN"  # in a stage's environment: when its pipeline began, on the clock of the machine
_imported = time.monotonic()  # which is the first thing that a command does

_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_SHAPE = re.compile(r"\s*".join(rf"(?:(\d+(?:\.\d+)?)\s*{unit})?" for unit in _UNITS))

Elapsed = Callable[[], float]  # seconds since the command began


def parse(text: str) -> float:
    """Seconds: "11h45m" → 42300.  Raises `ValueError` for what is no time, or one of nothing."""
    found = _SHAPE.fullmatch(text.strip())
    parts = found.groups() if found else ()
    seconds = sum(float(part) * unit for part, unit in zip(parts, _UNITS.values(), strict=False) if part)
    if not seconds:
        raise ValueError('must be a time such as "11h45m", "90m" or "1d 30s"')
    return seconds


def began() -> float:
    """When this command began, or the pipeline of which it is a stage: on the clock that all processes share."""
    return float(os.environ.get(BEGAN, _imported))


def since_the_command_began() -> float:
    return time.monotonic() - began()


def from_now() -> Elapsed:
    start = time.monotonic()
    return lambda: time.monotonic() - start


class Deadline:
    """What is left until `text`, a time such as "11h45m"; None: for ever."""

    def __init__(self, text: str | None = None, elapsed: Elapsed | None = None) -> None:
        self._text, self._end = text, inf if text is None else parse(text)
        self._elapsed = elapsed or from_now()
        self._longest: dict[str, float] = {}  # seconds, by kind

    @contextmanager
    def takes(self, kind: str) -> Iterator[None]:
        """Time what happens within, unless it fails."""
        start = self._elapsed()
        yield
        self.took(kind, self._elapsed() - start)

    def took(self, kind: str, seconds: float) -> None:
        self._longest[kind] = max(seconds, self._longest.get(kind, 0.0))

    def check(self, *ahead: str) -> None:
        """Raises `Interrupted` where what is `ahead` would not end in time."""
        left = self._end - self._elapsed()
        needed = min(SPARE, self._end / 20) + sum(map(self._expected, ahead))
        if left < needed:
            for_what = f", and {' and '.join(ahead)} may take {needed:.0f} s" if ahead else ""
            raise Interrupted(
                f"stopped in time for run.deadline = {self._text} ({max(0.0, left):.0f} s left{for_what})",
                exit_code=EXIT_AGAIN,
            )

    def _expected(self, kind: str) -> float:
        if kind != "save":
            return self._longest.get(kind, 0.0)
        return 1.5 * self._longest[kind] if kind in self._longest else min(FIRST_SAVE, self._end / 5)
