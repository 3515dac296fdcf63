"""Small charts as SVG text: lines, a band, dots with whiskers, stacked areas.  No library, no script, no request.

A chart is 360 × 176 units and scales with its card.  Colours are the classes c1 … c5 of `report.css`, so that light
and dark mode need nothing here.  Values under the pointer appear by CSS alone: every point owns an invisible strip,
and hovering over the strip shows its text.  Long runs are pooled to `POINTS` points, which bounds the size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 360, 176
LEFT, RIGHT, TOP, BOTTOM = 46.0, 352.0, 20.0, 154.0  # edges of the plot
POINTS = 100  # at most, per chart
SMOOTH_FROM = 40  # points, from which a moving mean is drawn over the faint raw line

Value = float | None
Format = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Line:
    """One quantity over the steps; `None` where it was not measured.  `spread` draws a band of ± that much."""

    name: str
    values: Sequence[Value]
    color: int = 1
    spread: Sequence[Value] | None = None
    peak: bool = False  # pool by the maximum: a quantity whose spikes are the news


@dataclass(frozen=True, slots=True)
class Dot:
    """A measurement now and then, with its interval where it is known."""

    step: int
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class _Scale:
    """Steps and values to positions in the drawing."""

    first: int
    last: int
    low: float
    high: float

    def x(self, step: float) -> float:
        if self.first == self.last:
            return (LEFT + RIGHT) / 2
        return LEFT + 6 + (RIGHT - LEFT - 12) * (step - self.first) / (self.last - self.first)

    def y(self, value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (value - self.low) / (self.high - self.low)


def line_chart(
    title: str,
    steps: Sequence[int],
    lines: Sequence[Line],
    show: Format,
    *,
    top: float | None = None,
    least_top: float = 0.0,
    dots: Sequence[Dot] = (),
    dots_name: str = "",
) -> str:
    """Lines over steps.  The value axis holds zero and all values; `top` fixes its end, `least_top` a lower bound."""
    chunks = _chunks(len(steps))
    at = [steps[chunk[len(chunk) // 2]] for chunk in chunks]
    pooled = [(line, _pool(line.values, chunks, line.peak), _pool(line.spread, chunks)) for line in lines]
    dots = _thinned(dots)
    low, high = _range(pooled, dots)
    ticks = _ticks(min(0.0, low), top if top is not None else max(high, least_top))
    everything = [*steps, *(dot.step for dot in dots)]
    scale = _Scale(min(everything, default=0), max(everything, default=0), ticks[0], ticks[-1])
    marks = [_band(scale, at, values, spread, line.color) for line, values, spread in pooled]
    marks += [_curve(scale, at, values, line.color) for line, values, _ in pooled]
    marks += [_dots(scale, dots)]
    named = [(line.name if len(lines) > 1 else "", values) for line, values, _ in pooled]
    tips = [_tip_text(steps, chunk, _at(named, i), show) for i, chunk in enumerate(chunks)]
    legend = [(line.name, line.color, _last(line.values)) for line in lines]
    legend += [(dots_name, 2, dots[-1].value)] if dots else []
    return _figure(title, legend, show, _axes(scale, ticks, show) + "".join(marks) + _strips(scale, at, tips))


def _thinned(dots: Sequence[Dot]) -> list[Dot]:
    """At most `POINTS` of them, the last one always."""
    return [dot for index, dot in enumerate(reversed(dots)) if index % math.ceil(len(dots) / POINTS) == 0][::-1]


def _at(named: Sequence[tuple[str, Sequence[float | None]]], index: int) -> list[tuple[str, float | None]]:
    """What each line is at one place."""
    return [(name, values[index]) for name, values in named]


def stacked_chart(title: str, steps: Sequence[int], lines: Sequence[Line], show: Format) -> str:
    """Areas on top of each other, for parts that add up, as the seconds of a step's phases."""
    chunks = _chunks(len(steps))
    at = [steps[chunk[len(chunk) // 2]] for chunk in chunks]
    pooled = [[value or 0.0 for value in _pool(line.values, chunks)] for line in lines]
    totals = [sum(parts) for parts in zip(*pooled, strict=True)]
    ticks = _ticks(0.0, max(totals, default=0.0))
    scale = _Scale(min(steps, default=0), max(steps, default=0), ticks[0], ticks[-1])
    areas, base = [], [0.0] * len(at)
    for line, values in zip(lines, pooled, strict=True):
        upper = [below + value for below, value in zip(base, values, strict=True)]
        areas.append(_area(scale, at, base, upper, f"area c{line.color}"))
        base = upper
    tips = [
        _tip_text(steps, chunk, [(line.name, values[i]) for line, values in zip(lines, pooled, strict=True)], show)
        for i, chunk in enumerate(chunks)
    ]
    legend = [(line.name, line.color, _last(line.values)) for line in lines]
    return _figure(title, legend, show, _axes(scale, ticks, show) + "".join(areas) + _strips(scale, at, tips))


def interval_strip(rows: Sequence[tuple[str, Dot]], show: Format) -> str:
    """Measurements under each other on one line from 0 to 1: before and after, each with its interval."""
    height = 26 * len(rows) + 18
    left = max(64.0, 14 + 5.6 * max(len(label) for label, _ in rows))  # where 0 is, right of the longest label
    wide = 344 - left
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = left + wide * tick
        parts.append(f'<path class="grid" d="M{x:.0f} 4V{height - 18}"/>')
        parts.append(f'<text class="tick" x="{x:.0f}" y="{height - 4}" text-anchor="middle">{show(tick)}</text>')
    for index, (label, dot) in enumerate(rows):
        y, x = 18 + 26 * index, left + wide * dot.value
        parts.append(f'<text class="tick" x="{left - 10:g}" y="{y + 4}" text-anchor="end">{escape(label)}</text>')
        if dot.low is not None and dot.high is not None:
            low, high = left + wide * dot.low, left + wide * dot.high
            parts.append(f'<path class="whisker c2" d="M{low:.1f} {y}H{high:.1f}"/>')
        parts.append(f'<circle class="dot c2" cx="{x:.1f}" cy="{y}" r="3.5"/>')
    return f'<svg class="strip" viewBox="0 0 360 {height}" role="img">{"".join(parts)}</svg>'


def _figure(title: str, legend: Sequence[tuple[str, int, Value]], show: Format, drawing: str) -> str:
    keys = "".join(
        f'<span class="key"><i class="c{color}"></i>{escape(name)} <b>{_shown(value, show)}</b></span>'
        for name, color, value in legend
    )
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{drawing}</svg>'
    return f'<figure class="card"><figcaption><h3>{escape(title)}</h3><p>{keys}</p></figcaption>{svg}</figure>'


def _axes(scale: _Scale, ticks: Sequence[float], show: Format) -> str:
    parts = []
    for tick in ticks:
        y = scale.y(tick)
        parts.append(f'<path class="{"zero" if tick == 0 else "grid"}" d="M{LEFT} {y:.1f}H{RIGHT}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{show(tick)}</text>')
    ends = sorted({scale.first, (scale.first + scale.last) // 2, scale.last})
    for step in ends:
        anchor = (
            "start" if step == scale.first != scale.last else "end" if step == scale.last != scale.first else "middle"
        )
        label = f"step {step}" if step == ends[0] else str(step)
        parts.append(
            f'<text class="tick" x="{scale.x(step):.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{label}</text>'
        )
    return "".join(parts)


def _curve(scale: _Scale, steps: Sequence[int], values: Sequence[Value], color: int) -> str:
    if sum(value is not None for value in values) == 1:
        (x, y), *_ = [(scale.x(s), scale.y(v)) for s, v in zip(steps, values, strict=True) if v is not None]
        return f'<circle class="dot c{color}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    raw = _path(scale, steps, values)
    if len(steps) < SMOOTH_FROM:
        return f'<path class="line c{color}" d="{raw}"/>'
    smooth = _path(scale, steps, _moving_mean(values, radius=len(values) // 20))
    return f'<path class="line raw c{color}" d="{raw}"/><path class="line c{color}" d="{smooth}"/>'


def _path(scale: _Scale, steps: Sequence[int], values: Sequence[Value]) -> str:
    """Straight pieces between neighbours; a value that was not measured leaves a gap."""
    parts, pen = [], "M"
    for step, value in zip(steps, values, strict=True):
        if value is None:
            pen = "M"
            continue
        parts.append(f"{pen}{scale.x(step):.1f} {scale.y(value):.1f}")
        pen = "L"
    return "".join(parts)


def _band(scale: _Scale, steps: Sequence[int], values: Sequence[Value], spread: Sequence[Value], color: int) -> str:
    known = [(s, v, d) for s, v, d in zip(steps, values, spread, strict=True) if v is not None and d is not None]
    at, lower, upper = [s for s, _, _ in known], [v - d for _, v, d in known], [v + d for _, v, d in known]
    return _area(scale, at, lower, upper, f"band c{color}")


def _area(scale: _Scale, steps: Sequence[int], lower: Sequence[float], upper: Sequence[float], style: str) -> str:
    """What lies between two curves.  A run of one step is a block."""
    xs = [scale.x(step) for step in steps] if len(steps) > 1 else [scale.x(step) + d for step in steps for d in (-9, 9)]
    repeat = len(xs) // max(1, len(steps))
    there = [f"{x:.1f} {scale.y(y):.1f}" for x, y in zip(xs, list(upper) * repeat, strict=True)]
    back = [f"{x:.1f} {scale.y(y):.1f}" for x, y in zip(xs[::-1], (list(lower) * repeat)[::-1], strict=True)]
    return f'<path class="{style}" d="M{"L".join(there + back)}Z"/>' if xs else ""


def _dots(scale: _Scale, dots: Sequence[Dot]) -> str:
    parts = (
        [f'<path class="line c2" d="{_path(scale, [d.step for d in dots], [d.value for d in dots])}"/>'] if dots else []
    )
    for dot in dots:
        x = scale.x(dot.step)
        if dot.low is not None and dot.high is not None:
            parts.append(f'<path class="whisker c2" d="M{x:.1f} {scale.y(dot.low):.1f}V{scale.y(dot.high):.1f}"/>')
        parts.append(f'<circle class="dot c2" cx="{x:.1f}" cy="{scale.y(dot.value):.1f}" r="4"/>')
    return "".join(parts)


def _strips(scale: _Scale, steps: Sequence[int], tips: Sequence[str]) -> str:
    parts = []
    for i, (step, tip) in enumerate(zip(steps, tips, strict=True)):
        x = scale.x(step)
        left = (scale.x(steps[i - 1]) + x) / 2 if i else LEFT
        right = (scale.x(steps[i + 1]) + x) / 2 if i + 1 < len(steps) else RIGHT
        box = f'<rect x="{left:.1f}" y="0" width="{right - left:.1f}" height="{HEIGHT}"/>'
        squeeze = f' textLength="{RIGHT - 8}" lengthAdjust="spacingAndGlyphs"' if len(tip) > 58 else ""
        words = f'<text x="{RIGHT}" y="11"{squeeze}>{escape(tip)}</text>'
        parts.append(f'<g class="tip">{box}<path d="M{x:.1f} {TOP}V{BOTTOM}"/>{words}</g>')
    return "".join(parts)


def _tip_text(steps: Sequence[int], chunk: range, values: Sequence[tuple[str, Value]], show: Format) -> str:
    first, last = steps[chunk[0]], steps[chunk[-1]]
    when = f"step {first}" if first == last else f"steps {first}–{last}"
    return f"{when}: " + " · ".join(f"{name} {_shown(value, show)}".strip() for name, value in values)


def _shown(value: Value, show: Format) -> str:
    return "–" if value is None else show(value)


def _chunks(count: int) -> list[range]:
    """Indices 0 … count - 1 in at most POINTS neighbouring ranges of equal size, the last perhaps shorter."""
    size = max(1, math.ceil(count / POINTS))
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _pool(values: Sequence[Value] | None, chunks: Sequence[range], peak: bool = False) -> list[Value]:
    """One value per chunk: the mean, or for peaks the maximum, of what was measured in it."""
    pooled: list[Value] = []
    for chunk in chunks:
        known = [value for i in chunk if values is not None and (value := values[i]) is not None]
        pooled.append(None if not known else max(known) if peak else sum(known) / len(known))
    return pooled


def _moving_mean(values: Sequence[Value], radius: int) -> list[Value]:
    windows = [range(max(0, i - radius), min(len(values), i + radius + 1)) for i in range(len(values))]
    return _pool(values, windows)


def _range(pooled: Sequence[tuple[Line, list[Value], list[Value]]], dots: Sequence[Dot]) -> tuple[float, float]:
    seen = [edge for dot in dots for edge in (dot.value, dot.low, dot.high) if edge is not None]
    for _, values, spread in pooled:
        for value, around in zip(values, spread, strict=True):
            if value is not None:
                seen += [value - (around or 0.0), value + (around or 0.0)]
    return min(seen, default=0.0), max(seen, default=0.0)


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round values that hold `low` and `high`."""
    if high <= low:
        high = low + 1.0
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def _last(values: Sequence[Value]) -> Value:
    return next((value for value in reversed(values) if value is not None), None)
