"""Rules on what is written."""

from __future__ import annotations

from grpo.alarms.findings import Finding, moved, rose, shares
from grpo.alarms.windows import Span, Window
from grpo.run.columns import known
from grpo.run.wording import percent
from grpo.signs import LEAST_THINKING

LENGTHS, TRUNCATED = "completions/length_mean", "completions/truncated"
REPETITION, SCRIPT = "completions/repetition", "completions/prompt_script"


def truncated(start: Window, now: Window) -> Finding | None:
    a, b = start[TRUNCATED], now[TRUNCATED]
    if a is None or b is None or not (b.low > 0.1 or b.low > max(0.02, 2 * a.mean)):
        return None
    return shares(TRUNCATED, a, b, now, "completions run out of room")


def at_the_limit(start: Window, now: Window) -> Finding | None:
    a, b = start[TRUNCATED], now[TRUNCATED]
    steps = sum(share >= 1 for share in known(now.rows, TRUNCATED))
    if a is None or b is None or steps < 2:
        return None
    text = f"every completion ran out of room in {steps} of the last {len(now.rows)} steps: none is ever ended"
    return Finding(text, {TRUNCATED: b.mean, f"start {TRUNCATED}": a.mean})


def length_drift(start: Window, now: Window) -> Finding | None:
    a, b = start[LENGTHS], now[LENGTHS]
    if a is None or b is None or not (b.low > 2 * a.mean or b.high < 0.5 * a.mean) or rose(start, now, "solved"):
        return None
    longer = "longer" if b.mean > a.mean else "shorter"
    return moved(LENGTHS, a, b, now, f"completions grow {longer}, and solve no more", "tokens")


def longer_when_wrong(start: Window, now: Window) -> Finding | None:
    right, wrong = "completions/length_right", "completions/length_wrong"
    a, b, c, d = start[right], start[wrong], now[right], now[wrong]
    if a is None or b is None or c is None or d is None or rose(start, now, "solved"):
        return None
    before, after = b.mean / a.mean, d.mean / c.mean
    if not d.low / c.high > 1.25 * before:
        return None
    text = f"wrong completions are {after:.1f} times as long as right ones, {before:.1f} times at the start"
    return Finding(text, {wrong: d.mean, right: c.mean, f"start {wrong}": b.mean, f"start {right}": a.mean})


def repetition(start: Window, now: Window) -> Finding | None:
    a, b = start[REPETITION], now[REPETITION]
    if a is None or b is None or not (b.low > 0.2 or b.low > max(0.05, 3 * a.mean)):
        return None
    return shares(REPETITION, a, b, now, "completions repeat themselves: of the runs of four words")


def languages_mixed(start: Window, now: Window) -> Finding | None:
    a, b = start[SCRIPT], now[SCRIPT]
    if a is None or b is None or not b.high < min(0.95, a.low):
        return None
    return shares(SCRIPT, a, b, now, "languages mix: letters in the script of the prompt are")


def empty_thinking(start: Window, now: Window) -> Finding | None:
    a, b = start["thinking/empty"], now["thinking/empty"]
    if b is None or not b.low > max(0.05, a.high if a else 0.0):
        return None
    what = f"completions think in fewer than {LEAST_THINKING} words"
    return shares("thinking/empty", a or Span(0.0), b, now, what)


def answer_without_work(start: Window, now: Window) -> Finding | None:
    empty, without, with_work = now["thinking/empty"], now["thinking/empty_solved"], now["thinking/solved"]
    if empty is None or without is None or with_work is None or not empty.low > 0.05:
        return None
    # "As often" cannot be shown; not much less often, as far as so many completions can tell, can.
    if not (without.mean >= with_work.mean > 0 and without.low > 0.75 * with_work.mean):
        return None
    text = (
        f"completions that skip their thinking are right as often ({percent(without.mean)}) as those that think "
        f"({percent(with_work.mean)}): the answer may be had without the work"
    )
    return Finding(text, {"thinking/empty_solved": without.mean, "thinking/solved": with_work.mean})
