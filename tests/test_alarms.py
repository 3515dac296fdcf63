"""Alarms: each on a run that shows its fault and on one that is well; raised once, cleared, the same after a resume."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import pytest

from grpo.alarms import RULES, Alarms
from grpo.alarms.alarms import worst_of
from grpo.alarms.evaluations import EVALUATION_RULES, Evaluated
from grpo.alarms.windows import STEPS, Window
from grpo.config import Config
from grpo.signs import Sign, signs_of, signs_row
from grpo.types import Alarm, Completion, Example, Group, Problem, Prompt, ScoredGroup
from rewards import Score
from tests.conftest import ROOT

Row = dict[str, Any]

HEALTHY = {
    "groups/useful": 0.6,
    "solved": 0.4,
    "reward/mean": 0.4,
    "reward/math": 0.4,
    "reward/layout": 0.8,
    "policy/entropy": 0.5,
    "policy/sampler_gap": 0.002,
    "completions/length_mean": 200.0,
    "completions/length_right": 180.0,
    "completions/length_wrong": 220.0,
    "completions/truncated": 0.02,
    "completions/unscored": 0.0,
    "completions/repetition": 0.03,
    "completions/prompt_script": 0.99,
    "thinking/empty": 0.01,
    "thinking/empty_solved": 0.1,
    "thinking/solved": 0.4,
    "groups/distinct_answers": 3.0,
    "reward/length_correlation": 0.1,
    "agree/judge": 0.9,
    "solved/level/1": 0.6,
    "sampled/level/1": 64,
    "solved/level/5": 0.2,
    "sampled/level/5": 64,
}

# What the metrics have become after the fault; the rest stays as it was.
FAULTS: Mapping[str, Mapping[str, float]] = {
    "entropy collapse": {"policy/entropy": 0.02},
    "entropy explosion": {"policy/entropy": 4.0},
    "sampler mismatch": {"policy/sampler_gap": 0.05},
    "few useful groups": {"groups/useful": 0.05},
    "exploration gone": {"groups/distinct_answers": 1.1},
    "truncated": {"completions/truncated": 0.4},
    "at the limit": {"completions/truncated": 1.0},
    "length drift": {"completions/length_mean": 900.0},
    "longer when wrong": {"completions/length_wrong": 500.0},
    "repetition": {"completions/repetition": 0.5},
    "languages mixed": {"completions/prompt_script": 0.7},
    "empty thinking": {"thinking/empty": 0.5},
    "answer without work": {"thinking/empty": 0.5, "thinking/empty_solved": 0.6},
    "length explains reward": {"reward/length_correlation": 0.8},
    "judged less": {"completions/unscored": 0.2},
    "shaped part": {"reward/mean": 0.9, "reward/layout": 1.0},
    "rewards part ways": {"reward/layout": 0.99, "reward/math": 0.1, "solved": 0.1},
    "second opinion": {"agree/judge": 0.5},
    "gain not shared": {"solved": 0.6, "solved/level/1": 0.95, "solved/level/5": 0.05},
}


def rows_of(values: Mapping[str, float], steps: range, draw: random.Random, noise: float = 0.05) -> list[Row]:
    """Each metric near its value, off by `noise` of it; counts are as they are."""
    return [
        {"step": step} | {k: v if k.startswith("sampled/") else v * draw.gauss(1, noise) for k, v in values.items()}
        for step in steps
    ]


def said(alarms: Alarms, rows: Sequence[Row]) -> list[Alarm]:
    return [alarm for row in rows for alarm in alarms.step(row, ())]


def test_every_rule_has_a_fault_here() -> None:
    assert list(RULES) == list(FAULTS)


@pytest.mark.parametrize("name", FAULTS)
def test_a_run_that_shows_the_fault_is_told_of_it_once(name: str) -> None:
    draw = random.Random(0)
    rows = rows_of(HEALTHY, range(1, 41), draw) + rows_of({**HEALTHY, **FAULTS[name]}, range(41, 121), draw)
    found = [alarm for alarm in said(Alarms(), rows) if alarm.name == name]
    assert len(found) == 1 and not found[0].cleared
    assert 41 < found[0].step <= 80  # the fault has lasted for two windows at the latest then
    assert re.search(r"\d", found[0].text) and found[0].numbers


@pytest.mark.parametrize("seed", range(20))
def test_a_run_that_stays_as_it_was_is_told_of_nothing(seed: int) -> None:
    assert said(Alarms(), rows_of(HEALTHY, range(1, 301), random.Random(seed), noise=0.3)) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_run_that_learns_is_told_of_nothing(seed: int) -> None:
    """What rises with learning rises, and entropy goes down to a third, as it does."""
    draw, rows = random.Random(seed), list[Row]()
    for step in range(1, 201):
        gain = min(1.0, step / 150)
        better = {
            "solved": 0.4 + 0.4 * gain,
            "reward/mean": 0.4 + 0.4 * gain,
            "reward/math": 0.4 + 0.4 * gain,
            "policy/entropy": 0.5 - 0.33 * gain,
            "completions/length_mean": 200 + 300 * gain,
            "solved/level/1": 0.6 + 0.3 * gain,
            "solved/level/5": 0.2 + 0.3 * gain,
        }
        rows += rows_of(HEALTHY | better, range(step, step + 1), draw, noise=0.1)
    assert said(Alarms(), rows) == []


def test_what_is_over_is_said_and_may_come_again() -> None:
    draw, bad = random.Random(1), {**HEALTHY, "completions/truncated": 0.4}
    parts = [(HEALTHY, 40), (bad, 50), (HEALTHY, 50), (bad, 50)]
    rows: list[Row] = []
    for values, steps in parts:
        rows += rows_of(values, range(len(rows) + 1, len(rows) + steps + 1), draw)
    assert [(alarm.name, alarm.cleared) for alarm in said(Alarms(), rows)] == [
        ("truncated", False),
        ("truncated", True),
        ("truncated", False),
    ]


@pytest.mark.parametrize("at", [10, 41, 75, 110])
def test_a_run_that_goes_on_says_what_one_that_never_stopped_says(at: int) -> None:
    draw = random.Random(2)
    rows = rows_of(HEALTHY, range(1, 41), draw)
    rows += rows_of({**HEALTHY, "policy/entropy": 0.01, "completions/truncated": 0.5}, range(41, 121), draw)
    whole = said(Alarms(), rows)
    first = said(Alarms(), rows[:at])
    second = said(Alarms(rows[:at], [asdict(alarm) for alarm in first]), rows[at:])
    assert len(whole) == 2
    assert first + second == whole


def test_short_runs_are_not_judged() -> None:
    assert said(Alarms(), rows_of(HEALTHY | {"policy/entropy": 9.0}, range(1, 3 * STEPS), random.Random(0))) == []


def test_a_windows_bounds_are_two_standard_errors_away() -> None:
    span = Window([{"x": 1.0}, {"x": 2.0}, {"x": 3.0}, {"x": 2.0}])["x"]
    assert span is not None
    assert span.mean == 2  # standard deviation sqrt(2 / 3), of the mean half of it
    assert span.high - span.mean == pytest.approx((2 / 3) ** 0.5)
    assert Window([{"x": 1.0}, {}, {}, {}])["x"] is None


# --- Held-out problems --------------------------------------------------------------------------------------------


def evaluations(*points: Sequence[float], n: int = 1) -> list[Evaluated]:
    """After steps 0, 20, 40, …: the share solved of each of some problems."""
    return [
        Evaluated(20 * number, n, {f"p{i}": share for i, share in enumerate(point)})
        for number, point in enumerate(points)
    ]


def of_40(*shares: float) -> list[Evaluated]:
    """One sample of 40 problems, of which so many are solved."""
    return evaluations(*([float(i < 40 * share) for i in range(40)] for share in shares))


def rising(steps: int) -> list[Row]:
    return [
        {**HEALTHY, "step": step, "reward/mean": 0.3 + 0.01 * step, "solved": 0.3 + 0.01 * step}
        for step in range(1, steps + 1)
    ]


def after_each(points: Sequence[Evaluated], rows: Sequence[Row]) -> list[Alarm]:
    """As a run asks, after each evaluation in turn."""
    alarms, found = Alarms(rows), list[Alarm]()
    for n in range(1, len(points) + 1):
        found += alarms.evaluated(points[n - 1].step, points[:n])
    return found


def test_a_reward_that_rises_while_held_out_problems_are_not_solved_more_often_is_said_with_its_confidence() -> None:
    (alarm,) = after_each(of_40(0.5, 0.5, 0.45, 0.4), rising(60))
    assert (alarm.name, alarm.step) == ("held-out flat", 40)
    assert "-5.0 points (95% interval" in alarm.text  # 0.45 - 0.5
    # Means over the first and the last 20 of 40 steps: 0.3 + 0.01 * 10.5, 0.3 + 0.01 * 30.5.
    assert "excludes a gain of 20.0 as in training" in alarm.text


def test_where_held_out_problems_are_solved_more_often_or_the_reward_does_not_rise_nothing_is_said() -> None:
    assert after_each(of_40(0.5, 0.55, 0.6, 0.6), rising(60)) == []
    flat = [{**row, "reward/mean": 0.3} for row in rising(60)]
    assert after_each(of_40(0.5, 0.4, 0.3, 0.3), flat) == []


def test_held_out_problems_that_are_too_few_to_tell_are_no_evidence() -> None:
    """Of 8 problems two are lost and two won: the change is 0, but by ±0.52, so they might have gained as training."""
    first, later = [1, 1, 1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1, 0, 0]
    assert after_each(evaluations(first, later, later, later), rising(60)) == []


SURE = [0.5] * 30 + [0.0] * 30  # of four samples two are right in half of the problems: pass@4 is 0.5, pass@1 0.25
SURER = [1.0] * 22 + [0.0] * 38  # pass@4 and pass@1 are 22/60


def test_pass_at_k_that_falls_while_pass_at_1_rises_is_said() -> None:
    (alarm,) = after_each(evaluations(SURE, SURER, SURER, n=4), rising(60))
    assert (alarm.name, alarm.step) == ("fewer ways", 40)
    assert "pass@4 fell from 50.0% to 36.7%" in alarm.text
    assert (
        after_each(evaluations(SURE, [share * 1.5 for share in SURE], [share * 2 for share in SURE], n=4), rising(60))
        == []
    )


def test_a_fall_of_pass_at_k_that_chance_explains_is_not_said() -> None:
    """As above of a tenth of the problems: two wins and one loss are no evidence."""
    assert after_each(evaluations(SURE[::10], SURER[::10], SURER[::10], n=4), rising(60)) == []


# --- From completions to alarms -----------------------------------------------------------------------------------


class Given:
    names = ("math", "judge")
    weights: ClassVar = {"math": 1.0, "judge": 0.0}


Rewards = Given()


def group(texts: Sequence[str], right: Sequence[bool], *, problem: str = "p/0", **facts: Any) -> ScoredGroup:
    messages = ({"role": "user", "content": "What is the sum of one and two?"},)
    completions = tuple(Completion((1,) * 50, (-0.5,) * 50, text, "stop") for text in texts)
    scores = tuple(
        {"math": Score(float(r), answer=t[-1]), "judge": Score(1.0)} for t, r in zip(texts, right, strict=True)
    )
    prompt = Prompt(Problem(problem, messages, facts), (1,))
    return ScoredGroup(Group(prompt, completions, 0), scores, tuple(map(float, right)))


GOOD = "<think>One and two are added, which as everyone who can count knows makes three.</think> 3"
# A policy that shows the fault: what it writes.
WRITTEN: Mapping[str, Callable[[int], str]] = {
    "repetition": lambda i: f"<think>{'we add one and two again and ' * 30}</think> {i}",
    "languages mixed": lambda i: f"<think>One and two 加起来等于三这是很容易计算的 are added by all of us.</think> {i}",
    "empty thinking": lambda i: f"<think></think> {i}",
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_a_faulty_policy_writes_raises_the_alarm_and_its_completions_are_the_examples(name: str) -> None:
    alarms, found = Alarms(), list[Alarm]()
    for step in range(1, 101):
        texts = [GOOD, GOOD, GOOD, WRITTEN[name](step % 10) if step > 30 else GOOD]
        scored = [group(texts, [True, False, True, False], problem=f"p/{i}") for i in range(4)]
        signs = signs_of(step, scored, Rewards)
        row = {**HEALTHY, "step": step, **signs_row(signs, scored, Rewards)}
        found += alarms.step(row, signs)
    told = [alarm for alarm in found if alarm.name == name]
    assert len(told) == 1
    assert {example.index for example in told[0].examples} == {3}
    assert len({example.problem for example in told[0].examples}) == 3
    assert {example.step for example in told[0].examples} == {told[0].step}


def test_a_good_policy_raises_none() -> None:
    alarms = Alarms()
    scored = [group([GOOD, GOOD + "!"], [True, False], problem=f"p/{i}") for i in range(4)]
    for step in range(1, 101):
        signs = signs_of(step, scored, Rewards)
        row = {**HEALTHY, "step": step, **signs_row(signs, scored, Rewards)}
        assert alarms.step(row, signs) == []


def test_the_signs_of_a_step_by_hand() -> None:
    scored = [
        group(["a b c d a b c d", "<think>no</think> 3"], [False, True], level=1),
        group(["x", "y"], [True, True], problem="p/1", level=2),
    ]
    row = signs_row(signs_of(1, scored, Rewards), scored, Rewards)
    # Of eight words there are five runs of four, four of them distinct; the other texts have none.
    assert row["completions/repetition"] == pytest.approx((1 / 5) / 4)
    assert row["completions/prompt_script"] == 1
    assert (row["thinking/empty"], row["thinking/empty_solved"]) == (1, 1)  # one marks its thoughts: one word
    assert "thinking/solved" not in row
    assert row["groups/distinct_answers"] == 2
    assert row["agree/judge"] == 1  # all that is right is so to the judge
    assert (row["solved/level/1"], row["sampled/level/1"], row["solved/level/2"]) == (0.5, 1, 1.0)
    assert "reward/length_correlation" not in row  # all are of one length


def test_length_and_reward_are_correlated_within_groups() -> None:
    texts = ["a", "b"]
    one, other = group(texts, [True, False]), group(texts, [False, False], problem="p/1")
    longer = Completion((1,) * 90, (-0.5,) * 90, "a", "stop")
    one = ScoredGroup(Group(one.group.prompt, (longer, one.group.completions[1]), 0), one.scores, one.rewards)
    row = signs_row(signs_of(1, [one, other], Rewards), [one, other], Rewards)
    assert row["reward/length_correlation"] == pytest.approx(1)  # the other group has no spread of either


def test_the_worst_are_of_different_problems_where_there_are_as_many() -> None:
    def sign(problem: str, index: int, tokens: int) -> Sign:
        return Sign(Example(1, problem, index), 0.0, 1.0, 20, tokens, False, 1.0, True, False, 0.5)

    signs = [sign("a", 0, 9), sign("a", 1, 8), sign("b", 0, 5), sign("c", 0, 1)]
    found = worst_of(signs, lambda one: one.tokens)
    assert [(example.problem, example.index) for example in found] == [("a", 0), ("b", 0), ("c", 0)]
    assert [example.index for example in worst_of(signs[:2], lambda one: one.tokens)] == [0, 1]


# --- The page -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", [RULES, EVALUATION_RULES])
def test_the_page_is_the_table_of_rules(rules: Mapping[str, Any]) -> None:
    page = (ROOT / "docs" / "alarms.md").read_text()
    rows = [
        f"| {name} | {rule.formula} | {rule.source} | {rule.harmless} | {rule.advice} |".replace("|`", "\\|`").replace(
            "`| >", "`\\| >"
        )
        for name, rule in rules.items()
    ]
    assert "\n".join(rows) in page


def test_settings_that_are_advised_exist() -> None:
    advised = {
        name
        for rule in RULES.values()
        for name in re.findall(r"\b(?:objective|sampling|model|optim|curriculum)\.\w+", rule.advice)
    }
    assert len(advised) > 8
    for name in advised:
        part, own = name.split(".")
        assert own in Config.model_fields[part].annotation.model_fields, name  # type: ignore[union-attr]
