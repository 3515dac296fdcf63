"""A metric of several runs, over steps, tokens or time; runs that differ in their seed only as mean and interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import Any, Literal

import numpy as np

from grpo.estimates import Z95
from grpo.run.columns import Row, column
from grpo.show.catalogue import ShownRun

Axis = Literal["step", "tokens", "time"]
Values = list[float | None]

POINTS = 500  # of a curve, at most
_GRID = 200  # points at which runs are compared that were measured at others
_EVALUATED = "eval/"
_OF_AXIS: Mapping[Axis, str] = {"tokens": "tokens/sample", "time": "time/step"}  # summed up over the steps

# The 97.5 % point of Student's t by degrees of freedom, where there are few seeds.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


@dataclass(frozen=True)
class Series:
    """One curve, of a run or of an experiment's runs.  `raw` is before smoothing; `low` and `high` bound the mean over
    `n` seeds with 95 % confidence."""

    label: str
    x: Values
    y: Values
    raw: Values
    n: int = 1
    low: Values | None = None
    high: Values | None = None
    run: str | None = None
    experiment: str | None = None


def curves(runs: Sequence[ShownRun], metric: str, axis: Axis, smooth: float, *, together: bool) -> dict[str, Any]:
    """What the page draws of `metric`: {metric, axis, series, dots}."""
    alone = {run.id: of_run(run, metric, axis, smooth) for run in runs}
    series = [one for one in alone.values() if any(value is not None for value in one.y)]
    if together:
        series = over_seeds(series, {run.id: run.line()["experiment"] for run in runs})
    dots = [dot for run in runs for dot in _dots(run, axis)] if metric == "solved" else []
    return {"metric": metric, "axis": axis, "series": [_as_sent(one) for one in series], "dots": dots}


def names(runs: Iterable[ShownRun]) -> list[str]:
    """Of the numeric metrics that any step or evaluation of these runs has."""
    found = {
        name
        for run in runs
        for row in run.summary.rows
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return sorted(found - {"step"})


def of_run(run: ShownRun, metric: str, axis: Axis, smooth: float) -> Series:
    """Of a step's metric every step; an evaluation's are in rows between."""
    summary = run.summary
    rows = [row for row in summary.rows if metric in row] if metric.startswith(_EVALUATED) else summary.steps
    at, values = _axis(summary.steps, axis), column(rows, metric)
    return Series(run.id, [at.get(row["step"]) for row in rows], smoothed(values, smooth), values, run=run.id)


def smoothed(values: Sequence[float | None], weight: float) -> Values:
    """The exponential moving mean, m_t = w m_{t-1} + (1 - w) x_t, divided by 1 - w^t so that the start is not drawn to
    zero (arXiv 1412.6980, section 3)."""
    mean, count, found = 0.0, 0, Values()
    for value in values:
        if value is None:
            found.append(None)
            continue
        mean, count = weight * mean + (1 - weight) * value, count + 1
        found.append(mean / (1 - weight**count))
    return found


def over_seeds(series: Sequence[Series], experiments: Mapping[str | None, str]) -> list[Series]:
    """One curve for the runs of each experiment: their mean, with its interval where there are two or more."""
    groups: dict[str, list[Series]] = {}
    for one in series:
        groups.setdefault(experiments[one.run], []).append(one)
    return [replace(_mean_of(runs), run=None, experiment=experiment) for experiment, runs in groups.items()]


def _mean_of(runs: Sequence[Series]) -> Series:
    if len(runs) == 1:
        return runs[0]
    grid = _common(runs)
    values_RX = np.array([_at(run, run.y, grid) for run in runs])
    mean_X, n = values_RX.mean(axis=0), len(runs)
    half_X = t_quantile(n - 1) * values_RX.std(axis=0, ddof=1) / math.sqrt(n)
    raw_X = np.array([_at(run, run.raw, grid) for run in runs]).mean(axis=0)
    label = f"{runs[0].label} and {n - 1} more seed{'s' if n > 2 else ''}"
    lines = (mean_X, raw_X, mean_X - half_X, mean_X + half_X)
    y, raw, low, high = (line.tolist() for line in lines)
    return Series(label, list(grid), y, raw, n, low, high)


def t_quantile(degrees: int) -> float:
    """Beyond the table two terms of its expansion about the normal's suffice (Abramowitz and Stegun, 26.7.5)."""
    if degrees <= len(_T):
        return _T[degrees - 1]
    return Z95 + (Z95**3 + Z95) / (4 * degrees) + (5 * Z95**5 + 16 * Z95**3 + 3 * Z95) / (96 * degrees**2)


def _common(runs: Sequence[Series]) -> list[float]:
    """Where all runs were measured; where that is nowhere, a grid over what they have in common."""
    known = [[x for x, y in zip(run.x, run.y, strict=True) if x is not None and y is not None] for run in runs]
    shared = sorted(set(known[0]).intersection(*known[1:]))
    if len(shared) >= min(len(xs) for xs in known) / 2:
        return shared
    first, last = max(xs[0] for xs in known), min(xs[-1] for xs in known)
    return np.linspace(first, last, _GRID).tolist() if last > first else []


def _at(run: Series, values: Sequence[float | None], grid: Sequence[float]) -> list[float]:
    """Between two measurements, on the straight line through them."""
    known = [(x, y) for x, y in zip(run.x, values, strict=True) if x is not None and y is not None]
    return np.interp(grid, [x for x, _ in known], [y for _, y in known]).tolist() if known else []


def _axis(steps: Sequence[Row], axis: Axis) -> dict[int, float]:
    """By step, what it has come to; 0 before the first."""
    at = [int(row["step"]) for row in steps]
    summed = at if axis == "step" else accumulate(value or 0.0 for value in column(steps, _OF_AXIS[axis]))
    return {0: 0.0} | dict(zip(at, map(float, summed), strict=True))


def _dots(run: ShownRun, axis: Axis) -> list[dict[str, Any]]:
    """The evaluations, each at what its step has come to."""
    summary = run.summary
    at = _axis(summary.steps, axis)
    return [
        {"run": run.id, "x": at[dot.step], "y": dot.value, "low": dot.low, "high": dot.high}
        for dot in summary.evaluations
        if dot.step in at
    ]


def _as_sent(series: Series) -> dict[str, Any]:
    """With `POINTS` points at most, the last among them."""
    every = max(1, math.ceil(len(series.x) / POINTS))
    keep = range(len(series.x) - 1, -1, -every)[::-1]
    return {
        name: [value[i] for i in keep] if name in ("x", "y", "raw", "low", "high") and value is not None else value
        for name, value in asdict(series).items()
    }
