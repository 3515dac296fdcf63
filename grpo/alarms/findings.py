"""What a rule finds, and the words for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from grpo.alarms.windows import Span, Window
from grpo.run.wording import percent, plain


@dataclass(frozen=True)
class Finding:
    """What a rule sees.  `numbers` are by the names of metrics, those of the start as "start …"."""

    text: str
    numbers: Mapping[str, float]


Sees = Callable[[Window, Window], Finding | None]


def rose(start: Window, now: Window, key: str) -> bool:
    a, b = start[key], now[key]
    return a is not None and b is not None and b.low > a.high


def moved(key: str, a: Span, b: Span, now: Window, what: str, unit: str) -> Finding:
    text = f"{what}: {plain(b.mean)} {unit} in the last {len(now.rows)} steps, {plain(a.mean)} in the first"
    return Finding(text, pairs({key: (a, b)}))


def shares(key: str, a: Span, b: Span, now: Window, what: str) -> Finding:
    text = f"{what}: {percent(b.mean)} in the last {len(now.rows)} steps, {percent(a.mean)} in the first"
    return Finding(text, pairs({key: (a, b)}))


def pairs(spans: Mapping[str, tuple[Span, Span]]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for key, (a, b) in spans.items():
        numbers |= {key: b.mean, f"start {key}": a.mean}
    return numbers
