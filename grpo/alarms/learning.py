"""Rules on sampling and learning."""

from __future__ import annotations

from grpo.alarms.findings import Finding, moved, rose
from grpo.alarms.windows import Window
from grpo.run.wording import percent

ENTROPY, GAP, ANSWERS = "policy/entropy", "policy/sampler_gap", "groups/distinct_answers"


def entropy_collapse(start: Window, now: Window) -> Finding | None:
    a, b = start[ENTROPY], now[ENTROPY]
    if a is None or b is None or not b.high < 0.2 * a.mean:
        return None
    return moved(ENTROPY, a, b, now, "entropy has collapsed", "nats per token")


def entropy_explosion(start: Window, now: Window) -> Finding | None:
    a, b = start[ENTROPY], now[ENTROPY]
    if a is None or b is None or not b.low > max(0.1, 3 * a.mean):
        return None
    return moved(ENTROPY, a, b, now, "entropy has exploded", "nats per token")


def sampler_mismatch(start: Window, now: Window) -> Finding | None:
    a, b = start[GAP], now[GAP]
    if a is None or b is None or not b.low > max(0.001, 3 * a.mean):
        return None
    return moved(GAP, a, b, now, "sampler and policy drift apart", "nats per token")


def few_useful_groups(start: Window, now: Window) -> Finding | None:
    b, solved = now["groups/useful"], now["solved"]
    if b is None or not b.high < 0.2:
        return None
    high = solved is not None and solved.mean > 0.5
    reason = "nearly all problems are solved every time" if high else "nearly none is ever solved"
    text = f"only {percent(b.mean)} of the groups of the last {len(now.rows)} steps carried a signal: {reason}"
    return Finding(text, {"groups/useful": b.mean})


def exploration_gone(start: Window, now: Window) -> Finding | None:
    a, b = start[ANSWERS], now[ANSWERS]
    if a is None or b is None or a.mean < 2 or not b.high < 0.5 * a.mean or rose(start, now, "solved"):
        return None
    return moved(ANSWERS, a, b, now, "groups agree more, and solve no more", "different answers a group")
