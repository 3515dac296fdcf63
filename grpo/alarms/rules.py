"""The rules: each looks at the run's first window and at a later one, and says what it sees there, or nothing.

Where a bound is given, `low` and `high` are two standard errors from the mean, so noise around a threshold is no
finding.  Sources are in docs/alarms.md, whose table is made from `RULES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from statistics import NormalDist

from grpo.alarms.windows import STEPS, Span, Window
from grpo.run.wording import percent, plain
from grpo.signs import LEAST_THINKING, Sign

LENGTHS = "completions/length_mean"


@dataclass(frozen=True)
class Finding:
    """What a rule sees.  `numbers` are by the names of metrics, those of the start as "start …"."""

    text: str
    numbers: Mapping[str, float]


Sees = Callable[[Window, Window], Finding | None]


@dataclass(frozen=True)
class Rule:
    """`worst` ranks the completions of a step: those with the highest show best what is meant."""

    name: str
    formula: str
    source: str
    advice: str
    sees: Sees
    worst: Callable[[Sign], float] | None = None


# --- Sampling and learning ----------------------------------------------------------------------------------------


def entropy_collapse(start: Window, now: Window) -> Finding | None:
    a, b = start["policy/entropy"], now["policy/entropy"]
    if a is None or b is None or not b.high < 0.2 * a.mean:
        return None
    return _moved("policy/entropy", a, b, "entropy has collapsed", "nats per token")


def entropy_explosion(start: Window, now: Window) -> Finding | None:
    a, b = start["policy/entropy"], now["policy/entropy"]
    if a is None or b is None or not b.low > 3 * a.mean or b.mean < 0.1:
        return None
    return _moved("policy/entropy", a, b, "entropy has exploded", "nats per token")


def sampler_mismatch(start: Window, now: Window) -> Finding | None:
    a, b = start["policy/sampler_gap"], now["policy/sampler_gap"]
    if a is None or b is None or not b.low > max(0.001, 3 * a.mean):
        return None
    return _moved("policy/sampler_gap", a, b, "sampler and policy drift apart", "nats per token")


def few_useful_groups(start: Window, now: Window) -> Finding | None:
    b, solved = now["groups/useful"], now["solved"]
    if b is None or not b.high < 0.2:
        return None
    high = solved is not None and solved.mean > 0.5
    reason = "nearly all problems are solved every time" if high else "nearly none is ever solved"
    text = f"only {percent(b.mean)} of the groups of the last {STEPS} steps carried a signal: {reason}"
    return Finding(text, {"groups/useful": b.mean})


def exploration_gone(start: Window, now: Window) -> Finding | None:
    a, b = start["groups/distinct_answers"], now["groups/distinct_answers"]
    if a is None or b is None or a.mean < 2 or not b.high < 0.5 * a.mean or _rose(start, now, "solved"):
        return None
    return _moved("groups/distinct_answers", a, b, "groups agree more, and solve no more", "different answers a group")


# --- What is written ----------------------------------------------------------------------------------------------


def truncated(start: Window, now: Window) -> Finding | None:
    a, b = start["completions/truncated"], now["completions/truncated"]
    if a is None or b is None or not (b.low > 0.1 or b.low > max(0.02, 2 * a.mean)):
        return None
    return _shares("completions/truncated", a, b, "completions run out of room")


def length_drift(start: Window, now: Window) -> Finding | None:
    a, b = start[LENGTHS], now[LENGTHS]
    if a is None or b is None or not (b.low > 2 * a.mean or b.high < 0.5 * a.mean) or _rose(start, now, "solved"):
        return None
    longer = "longer" if b.mean > a.mean else "shorter"
    return _moved(LENGTHS, a, b, f"completions grow {longer}, and solve no more", "tokens")


def longer_when_wrong(start: Window, now: Window) -> Finding | None:
    right, wrong = "completions/length_right", "completions/length_wrong"
    a, b, c, d = start[right], start[wrong], now[right], now[wrong]
    if a is None or b is None or c is None or d is None or _rose(start, now, "solved"):
        return None
    before, after = b.mean / a.mean, d.mean / c.mean
    if not d.low / c.high > 1.25 * before:
        return None
    text = f"wrong completions are {after:.1f} times as long as right ones, {before:.1f} times at the start"
    return Finding(text, {wrong: d.mean, right: c.mean, f"start {wrong}": b.mean, f"start {right}": a.mean})


def repetition(start: Window, now: Window) -> Finding | None:
    a, b = start["completions/repetition"], now["completions/repetition"]
    if a is None or b is None or not (b.low > 0.2 or b.low > max(0.05, 3 * a.mean)):
        return None
    return _shares("completions/repetition", a, b, "completions repeat themselves: of the runs of four words")


def languages_mixed(start: Window, now: Window) -> Finding | None:
    a, b = start["completions/prompt_script"], now["completions/prompt_script"]
    if a is None or b is None or not b.high < min(0.95, a.low):
        return None
    return _shares("completions/prompt_script", a, b, "languages mix: letters in the script of the prompt are")


def empty_thinking(start: Window, now: Window) -> Finding | None:
    a, b = start["thinking/empty"], now["thinking/empty"]
    if b is None or not b.low > max(0.05, a.high if a else 0.0):
        return None
    what = f"completions think in fewer than {LEAST_THINKING} words"
    return _shares("thinking/empty", a or Span(0.0, 0.0, 0.0), b, what)


def answer_without_work(start: Window, now: Window) -> Finding | None:
    empty, without, with_work = now["thinking/empty"], now["thinking/empty_solved"], now["thinking/solved"]
    if empty is None or without is None or with_work is None or not empty.low > 0.05:
        return None
    if not (without.mean >= with_work.mean and without.mean > 0):
        return None
    text = (
        f"completions that skip their thinking are right as often ({percent(without.mean)}) as those that think "
        f"({percent(with_work.mean)}): the answer may be had without the work"
    )
    return Finding(text, {"thinking/empty_solved": without.mean, "thinking/solved": with_work.mean})


# --- Rewards ------------------------------------------------------------------------------------------------------


def length_explains_reward(start: Window, now: Window) -> Finding | None:
    key = "reward/length_correlation"
    a, b = start[key], now[key]
    if a is None or b is None or not min(abs(b.low), abs(b.high)) > 0.4 or b.low * b.high < 0:
        return None
    if abs(b.mean) <= abs(a.mean):
        return None
    return _moved(key, a, b, f"{'longer' if b.mean > 0 else 'shorter'} completions earn more", "within groups (r)")


def judged_less(start: Window, now: Window) -> Finding | None:
    a, b = start["completions/unscored"], now["completions/unscored"]
    if a is None or b is None or not b.low > max(0.02, 2 * a.mean):
        return None
    return _shares("completions/unscored", a, b, "completions that could not be judged are")


def shaped_part(start: Window, now: Window) -> Finding | None:
    """The total rises, and the share solved, which the first part of it says, by less than a quarter as much."""
    a, b, was, solved = start["reward/mean"], now["reward/mean"], start["solved"], now["solved"]
    if a is None or b is None or was is None or solved is None:
        return None
    rise = b.mean - a.mean
    if not (b.low > a.high and rise > 0.02 and solved.mean - was.mean < rise / 4):
        return None
    text = (
        f"the reward rose from {plain(a.mean)} to {plain(b.mean)} while {percent(was.mean)}, then "
        f"{percent(solved.mean)} were solved: another part of it is what is learned"
    )
    return Finding(text, _pairs({"reward/mean": (a, b), "solved": (was, solved)}))


def rewards_part(start: Window, now: Window) -> Finding | None:
    for up, down in permutations(_parts(now), 2):
        a, b, c, d = start[up], now[up], start[down], now[down]
        if a is None or b is None or c is None or d is None:
            continue
        if b.low > a.high and d.high < c.low and min(b.mean - a.mean, c.mean - d.mean) > 0.02:
            text = (
                f"two rewards part ways: {up} {plain(a.mean)} → {plain(b.mean)}, {down} {plain(c.mean)} → "
                f"{plain(d.mean)}"
            )
            return Finding(text, _pairs({up: (a, b), down: (c, d)}))
    return None


def second_opinion(start: Window, now: Window) -> Finding | None:
    for key in _names(now, "agree/"):
        a, b = start[key], now[key]
        if a is not None and b is not None and b.high < a.low and a.mean - b.mean > 0.05:
            other = key.removeprefix("agree/")
            return _shares(key, a, b, f"{other} agrees less and less with the first reward: on the completions")
    return None


def drifting_column(start: Window, now: Window) -> Finding | None:
    """A column's value that is solved less often than at the start, while all problems together are solved more often;
    z-tests of two shares, with Holm's correction over the values (Holm 1979)."""
    if not _rose(start, now, "solved"):
        return None
    keys = _names(now, "solved/")
    tests = sorted((_fall(start, now, key), key) for key in keys)
    if not tests or not tests[0][0] < 0.05 / len(tests):  # Holm's first step decides whether there is any
        return None
    key = tests[0][1]
    _, column, value = key.split("/", 2)
    a, b = _share(start, key), _share(now, key)
    text = (
        f"the gain is not shared: of {column} {value}, {percent(a)} were solved at the start and {percent(b)} now "
        f"(p = {tests[0][0]:.1g} among {len(tests)}), while all together rose"
    )
    return Finding(text, {key: b, f"start {key}": a})


def _fall(start: Window, now: Window, key: str) -> float:
    """One-sided p of a fall in the share `key`, pooled over the steps of each window."""
    n, m = (window.total(key.replace("solved/", "sampled/", 1)) for window in (start, now))
    if min(n, m) < 30:
        return 1.0
    a, b = _share(start, key), _share(now, key)
    pooled = (n * a + m * b) / (n + m)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return NormalDist().cdf((b - a) / error) if error else 1.0


def _share(window: Window, key: str) -> float:
    """Over the window's completions, of which steps may have had different numbers."""
    sampled = key.replace("solved/", "sampled/", 1)
    counts = [(float(row[key]), float(row[sampled])) for row in window.rows if key in row and sampled in row]
    return sum(share * count for share, count in counts) / (sum(count for _, count in counts) or 1.0)


# --- Words and numbers --------------------------------------------------------------------------------------------


def _rose(start: Window, now: Window, key: str) -> bool:
    a, b = start[key], now[key]
    return a is not None and b is not None and b.low > a.high


def _moved(key: str, a: Span, b: Span, what: str, unit: str) -> Finding:
    text = f"{what}: {plain(b.mean)} {unit} in the last {STEPS} steps, {plain(a.mean)} in the first"
    return Finding(text, _pairs({key: (a, b)}))


def _shares(key: str, a: Span, b: Span, what: str) -> Finding:
    text = f"{what}: {percent(b.mean)} in the last {STEPS} steps, {percent(a.mean)} in the first"
    return Finding(text, _pairs({key: (a, b)}))


def _pairs(spans: Mapping[str, tuple[Span, Span]]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for key, (a, b) in spans.items():
        numbers |= {key: b.mean, f"start {key}": a.mean}
    return numbers


def _names(window: Window, prefix: str) -> list[str]:
    return sorted({name for row in window.rows for name in row if name.startswith(prefix)})


def _parts(window: Window) -> Iterator[str]:
    others = ("reward/mean", "reward/std", "reward/length_correlation")
    return (name for name in _names(window, "reward/") if name not in others)


def _most_tokens_wrong(sign: Sign) -> float:
    return -1.0 if sign.right else sign.tokens


RULES: tuple[Rule, ...] = (
    Rule(
        "entropy collapse",
        "`policy/entropy` < 0.2 × start",
        "arXiv 2505.22617: reward is bought with entropy, most of it in the first tenth of a run; a universal bound is "
        "not in the paper, 0.2 is ours",
        "raise objective.clip_high (0.28), or objective.top_entropy_quantile = 0.2; the run may also simply be done",
        entropy_collapse,
        lambda sign: -sign.entropy,
    ),
    Rule(
        "entropy explosion",
        "`policy/entropy` > 3 × start, and > 0.1",
        "ours; entropy that grows without bound is reported with clip-higher (rllm#116)",
        "lower objective.clip_high or optim.lr",
        entropy_explosion,
        lambda sign: sign.entropy,
    ),
    Rule(
        "sampler mismatch",
        "`policy/sampler_gap` > 3 × start, and > 0.001",
        "3 × is ours; that runs collapse of it: TRL#5231, TRL#6789",
        'objective.correction, model.head_dtype = "float32", or a sampler of the same precision',
        sampler_mismatch,
    ),
    Rule(
        "few useful groups",
        "`groups/useful` < 0.2",
        "arXiv 2503.14476 (DAPO), section 3.2; 0.2 is ours",
        "all right: harder problems; all wrong: easier ones, a larger sampling.group_size; or curriculum.easy and hard",
        few_useful_groups,
    ),
    Rule(
        "exploration gone",
        "`groups/distinct_answers` < 0.5 × start (of 2 or more), and `solved` has not risen",
        "arXiv 2503.14476 (DAPO), figure 2b; 0.5 is ours",
        "raise sampling.temperature or sampling.group_size, or objective.advantages that pay for pass@k",
        exploration_gone,
    ),
    Rule(
        "truncated",
        "`completions/truncated` > 0.1, or > 2 × start and > 0.02",
        "arXiv 2503.14476 (DAPO), section 3.4; TRL#5697: 97 % of answers cut, reward 0 for hours",
        "raise sampling.max_tokens, or objective.mask_truncated_completions = true",
        truncated,
        lambda sign: sign.tokens if sign.truncated else -1.0,
    ),
    Rule(
        "length drift",
        "`completions/length_mean` > 2 × or < 0.5 × start, and `solved` has not risen",
        "arXiv 2503.20783 (Dr. GRPO); factors are ours",
        'objective.name = "dr_grpo", or the length reward',
        length_drift,
        lambda sign: sign.tokens,
    ),
    Rule(
        "longer when wrong",
        "`length_wrong` / `length_right` > 1.25 × start, and `solved` has not risen",
        "arXiv 2503.20783 (Dr. GRPO), section 3.1; 1.25 is ours",
        'objective.name = "dr_grpo", whose weights do not favour long wrong answers',
        longer_when_wrong,
        _most_tokens_wrong,
    ),
    Rule(
        "repetition",
        "`completions/repetition` > 0.2, or > 3 × start and > 0.05",
        "arXiv 2502.03373, appendix C.2; thresholds are ours",
        "add the repetition reward; look whether the reward pays for length",
        repetition,
        lambda sign: sign.repetition,
    ),
    Rule(
        "languages mixed",
        "`completions/prompt_script` < 0.95, and below start",
        "arXiv 2501.12948 (DeepSeek-R1), section 2.2 and eq. 7",
        "add the language reward",
        languages_mixed,
        lambda sign: -1.0 if sign.script is None else 1 - sign.script,
    ),
    Rule(
        "empty thinking",
        "`thinking/empty` > 0.05, and above start",
        "DeepSeek-R1's README: models skip their thinking; 0.05 is ours",
        "the layout reward; a prompt that opens the tag",
        empty_thinking,
        lambda sign: -1.0 if sign.thinking is None else 1 / (1 + sign.thinking),
    ),
    Rule(
        "answer without work",
        "`thinking/empty` > 0.05, and `thinking/empty_solved` ≥ `thinking/solved`",
        "ours: a shortcut, or problems that need no thought",
        "look whether the prompt or the data gives the answer away; harder problems",
        answer_without_work,
        lambda sign: 1 / (1 + sign.thinking) if sign.thinking is not None and sign.right else -1.0,
    ),
    Rule(
        "length explains reward",
        "|`reward/length_correlation`| > 0.4, and above start",
        "arXiv 2310.03716 on length bias; 0.4 is ours",
        "judge length by itself (the length reward), and look at the first reward's mistakes",
        length_explains_reward,
        lambda sign: sign.tokens,
    ),
    Rule(
        "judged less",
        "`completions/unscored` > 2 × start, and > 0.02",
        "ours: a checker that is dodged, or that breaks",
        "the reasons are with the completions; mend the reward, or give it more time",
        judged_less,
        lambda sign: float(sign.reward is None),
    ),
    Rule(
        "shaped part",
        "`reward/mean` up, and `solved` by less than a quarter of that",
        "dynamics, not shares: detectors of dominance raise false alarms on healthy runs (CoursIA#9583)",
        "lower the other parts' weights until the first outranks them: grpo rewards probe",
        shaped_part,
        lambda sign: -math.inf if sign.right or sign.reward is None else sign.reward,
    ),
    Rule(
        "rewards part ways",
        "one `reward/<part>` up, another down",
        "arXiv 2210.10760 (Gao et al.): a proxy rises while what is meant falls",
        "look at completions that the rising part likes; it may be gamed",
        rewards_part,
        lambda sign: -math.inf if sign.right or sign.reward is None else sign.reward,
    ),
    Rule(
        "second opinion",
        "`agree/<reward>` below start by more than 0.05",
        "arXiv 2210.10760: a gold beside the proxy; 0.05 is ours",
        "read the completions on which the two differ; the first may be gamed",
        second_opinion,
        lambda sign: float(sign.right),
    ),
    Rule(
        "gain not shared",
        "`solved` up, while some `solved/<column>/<value>` is down (z-test, Holm over the values, p < 0.05)",
        "ours; no trainer publishes a measure of bias",
        "look at that part of the data; weigh it, or add to it",
        drifting_column,
    ),
)
