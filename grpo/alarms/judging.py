"""Rules on rewards, and on whose problems are solved."""

from __future__ import annotations

import math
from itertools import permutations
from statistics import NormalDist

from grpo.alarms.findings import Finding, moved, pairs, rose, shares
from grpo.alarms.windows import Span, Window
from grpo.run.wording import percent, plain

CORRELATION, UNSCORED, AGREE = "reward/length_correlation", "completions/unscored", "agree/"
NO_PARTS = ("reward/mean", "reward/std", CORRELATION)
LEAST_PROBLEMS = 30  # of one value of a column, in either window


def length_explains_reward(start: Window, now: Window) -> Finding | None:
    a, b = start[CORRELATION], now[CORRELATION]
    if a is None or b is None:
        return None
    strength, was = (b.low, a.high) if b.mean > 0 else (-b.high, -a.low)
    if not strength > max(0.4, was):
        return None
    what = f"{'longer' if b.mean > 0 else 'shorter'} completions earn more"
    return moved(CORRELATION, a, b, now, what, "is Pearson's r within groups")


def judged_less(start: Window, now: Window) -> Finding | None:
    a, b = start[UNSCORED], now[UNSCORED]
    if a is None or b is None or not b.low > max(0.02, 2 * a.mean):
        return None
    return shares(UNSCORED, a, b, now, "completions that could not be judged are")


def shaped_part(start: Window, now: Window) -> Finding | None:
    """Dynamics, not shares: the total rises, and what the first part of it says is solved does not."""
    a, b, was, solved = start["reward/mean"], now["reward/mean"], start["solved"], now["solved"]
    if a is None or b is None or was is None or solved is None:
        return None
    rise = b.since(a)
    if not (rise.low > 0.02 and solved.since(was).high < rise.mean / 4):
        return None
    text = (
        f"the reward rose from {plain(a.mean)} to {plain(b.mean)} while {percent(was.mean)}, then "
        f"{percent(solved.mean)} were solved: another part of it is what is learned"
    )
    return Finding(text, pairs({"reward/mean": (a, b), "solved": (was, solved)}))


def rewards_part(start: Window, now: Window) -> Finding | None:
    for up, down in permutations((name for name in now.names("reward/") if name not in NO_PARTS), 2):
        a, b, c, d = start[up], now[up], start[down], now[down]
        if a is None or b is None or c is None or d is None:
            continue
        if b.low - a.high > 0 and c.low - d.high > 0 and min(b.mean - a.mean, c.mean - d.mean) > 0.02:
            text = (
                f"two rewards part ways: {up} {plain(a.mean)} → {plain(b.mean)}, {down} {plain(c.mean)} → "
                f"{plain(d.mean)}"
            )
            return Finding(text, pairs({up: (a, b), down: (c, d)}))
    return None


def second_opinion(start: Window, now: Window) -> Finding | None:
    for key in now.names(AGREE):
        a, b = start[key], now[key]
        if a is not None and b is not None and b.high < a.low and a.mean - b.mean > 0.05:
            other = key.removeprefix(AGREE)
            return shares(key, a, b, now, f"of what the first reward calls right, {other} calls less and less so")
    return None


def drifting_column(start: Window, now: Window) -> Finding | None:
    """A column's value that is solved less often than at the start, while all problems together are solved more often;
    z-tests of two shares, with Holm's correction over the values (Holm 1979)."""
    if not rose(start, now, "solved"):
        return None
    tests = sorted((_fall(start, now, key), key) for key in now.names("solved/"))
    if not tests or not tests[0][0] < 0.05 / len(tests):  # Holm's first step decides whether there is any
        return None
    p, key = tests[0]
    _, column, value = key.split("/", 2)
    a, b = _share(start, key), _share(now, key)
    text = (
        f"the gain is not shared: of {column} {value}, {percent(a)} were solved at the start and {percent(b)} now "
        f"(p = {p:.1g} among {len(tests)}), while all together rose"
    )
    return Finding(text, pairs({key: (Span(a), Span(b))}))


def _fall(start: Window, now: Window, key: str) -> float:
    """One-sided p of a fall in the share `key`.  Completions of one problem are alike, so there are as many trials as
    there are problems (arXiv 2411.00640, section 2.2)."""
    n, m = (window.total(key.replace("solved/", "sampled/", 1)) for window in (start, now))
    if min(n, m) < LEAST_PROBLEMS:
        return 1.0
    a, b = _share(start, key), _share(now, key)
    pooled = (n * a + m * b) / (n + m)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return NormalDist().cdf((b - a) / error) if error else 1.0


def _share(window: Window, key: str) -> float:
    """Over the window's problems, of which steps may have had different numbers."""
    sampled = key.replace("solved/", "sampled/", 1)
    counts = [(float(row[key]), float(row[sampled])) for row in window.rows if key in row and sampled in row]
    return sum(share * count for share, count in counts) / (sum(count for _, count in counts) or 1.0)
