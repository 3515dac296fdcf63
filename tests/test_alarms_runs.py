"""Alarms of a policy that is scripted to show a fault, by way of the rows of real steps."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from grpo.alarms import Alarms, evaluated
from grpo.algorithm import JudgedGroup, StepResult
from grpo.evaluate import evaluate, write
from grpo.metrics import step_row
from grpo.signs import signs_of, signs_row
from grpo.types import Alarm, Completion, Problem, Prompt, SamplingParams, ScoredGroup
from rewards import Score
from tests import runs
from tests.fakes import FakeSampler, FakeScorer

# --- A scripted policy --------------------------------------------------------------------------------------------

BEGINS = 20  # steps until the fault
WORDS = "one two and three we add them count again total then gives numbers sum more both first last here so".split()


@dataclass(frozen=True)
class Said:
    """One completion before it is written down, and what the judge, a reward with weight 0, says of it."""

    thoughts: str
    answer: str
    layout: bool
    judge: float

    @property
    def text(self) -> str:
        return f"<think>{self.thoughts}</think> {self.answer}" if self.layout else f"{self.thoughts} {self.answer}"


def words(draw: random.Random, number: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(number))


def healthy(draw: random.Random) -> Said:
    """Right in every second case, whose judge agrees in nine of ten; half of the completions keep to the layout."""
    right = draw.random() < 0.5
    judge = float(right == (draw.random() < 0.9))
    thoughts = words(draw, draw.randint(12, 30))
    return Said(thoughts, "3" if right else draw.choice("124567"), draw.random() < 0.5, judge)


def changed(draw: random.Random, **changes: Any) -> Said:
    return replace(healthy(draw), **changes)


def of_one_mind(draw: random.Random, level: int) -> Said:
    return changed(draw, answer="4", layout=True)


def for_the_easy(draw: random.Random, level: int) -> Said:
    return changed(draw, answer="3" if level == 1 or draw.random() < 0.2 else "4")


def longer_where(wrong: bool, draw: random.Random, level: int) -> Said:
    said = healthy(draw)
    return replace(said, thoughts=words(draw, 50 if (said.answer != "3") == wrong else 12))


FAULTS: Mapping[str, Callable[[random.Random, int], Said]] = {
    "entropy collapse": lambda draw, level: healthy(draw),  # it is how sure the policy is that changes: `LOGPROBS`
    "entropy explosion": lambda draw, level: healthy(draw),
    "few useful groups": of_one_mind,
    "exploration gone": of_one_mind,
    "truncated": lambda draw, level: changed(draw, thoughts=words(draw, draw.choice([20, 200]))),
    "at the limit": lambda draw, level: changed(draw, thoughts=words(draw, 200)),
    "length drift": lambda draw, level: changed(draw, thoughts=words(draw, 65)),
    "longer when wrong": partial(longer_where, True),
    "length explains reward": partial(longer_where, False),
    "repetition": lambda draw, level: changed(draw, thoughts="we add one and two " * 8),
    "languages mixed": lambda draw, level: changed(draw, thoughts="we add " * 8 + "加起来等于三很容易计算"),
    "empty thinking": lambda draw, level: changed(draw, thoughts=words(draw, draw.choice([3, 20]))),
    "answer without work": lambda draw, level: changed(draw, **draw.choice([{}, {"thoughts": "", "answer": "3"}])),
    "judged less": lambda draw, level: changed(draw, answer=draw.choice(["3", "4", "?"])),
    "shaped part": lambda draw, level: changed(draw, layout=True),
    "rewards part ways": lambda draw, level: changed(draw, layout=True, answer=draw.choice("31245")),
    "second opinion": lambda draw, level: changed(draw, judge=float(draw.random() < 0.5)),
    "gain not shared": for_the_easy,
}
LOGPROBS = {"entropy collapse": -0.02, "entropy explosion": -2.0}


class Given:
    names = ("math", "layout", "judge")
    weights: ClassVar = {"math": 1.0, "layout": 0.5, "judge": 0.0}


class InWords(FakeSampler):
    """Each word is a token."""

    def _completion(self, text: str, max_tokens: int) -> Completion:
        n = min(len(text.split()), max_tokens)
        cut = len(text.split()) > max_tokens
        return Completion((1,) * n, (self.logprob,) * n, text, "length" if cut else "stop")


def judged(said: Said) -> tuple[dict[str, Score], float | None]:
    math = Score.none("?") if said.answer == "?" else Score(float(said.answer == "3"), answer=said.answer)
    scores = {"math": math, "layout": Score(float(said.layout)), "judge": Score(said.judge)}
    return scores, None if math.value is None else math.value + 0.5 * said.layout


def groups(script: Callable[[random.Random, int], Said], step: int, logprob: float) -> list[ScoredGroup]:
    """A step's: what the script says to six problems of two levels, four times each."""
    said: dict[tuple[str, int], Said] = {}

    def answer(problem: Problem, g: int, seed: int) -> str:
        draw = random.Random(f"{seed}/{problem.id}/{g}")
        said[problem.id, g] = script(draw, int(problem.facts["level"]))
        return said[problem.id, g].text

    message = ({"role": "user", "content": "What is the sum of one and two?"},)
    prompts = [Prompt(Problem(f"p{i}", message, {"level": 1 + (i > 3)}), (1,)) for i in range(6)]
    sampled = InWords(answer, logprob).sample(prompts, 4, SamplingParams(max_tokens=100, seed=step))
    found = []
    for _, group in sorted(sampled, key=lambda one: one[0]):
        scores, rewards = zip(*(judged(said[group.prompt.problem.id, g]) for g in range(4)), strict=True)
        found.append(ScoredGroup(group, scores, rewards))
    return found


def told(fault: str, steps: int) -> list[Alarm]:
    """All alarms of a run that is well for `BEGINS` steps, by way of its rows."""
    alarms, found = Alarms(), list[Alarm]()
    for step in range(1, steps + 1):
        now = fault if step > BEGINS else "none"
        scored = groups(FAULTS.get(now, lambda draw, level: healthy(draw)), step, LOGPROBS.get(now, -0.5))
        kept = tuple(JudgedGroup(one, (0.0,) * 4, len(set(one.rewards)) > 1) for one in scored)
        signs = signs_of(step, scored, Given())
        row = step_row(step, StepResult(kept, (), 1, 0.0), reward_names=Given.names)
        found += alarms.step(row | signs_row(signs, scored, Given()), signs)
    return found


@pytest.mark.parametrize("fault", FAULTS)
def test_a_policy_that_shows_a_fault_raises_its_alarm_after_two_windows_of_it(fault: str) -> None:
    (alarm,) = [alarm for alarm in told(fault, BEGINS + 45) if alarm.name == fault]
    assert BEGINS < alarm.step <= BEGINS + 45 and not alarm.cleared
    assert all(example.step == alarm.step for example in alarm.examples)


def test_the_same_policy_without_a_fault_raises_none() -> None:
    assert told("none", 200) == []


@pytest.mark.parametrize(("share", "names"), [(0.5, ["held-out flat"]), (0.9, [])])
def test_evaluations_on_disk_are_what_the_rules_of_held_out_problems_read(
    tmp_path: Path, share: float, names: list[str]
) -> None:
    """Half of 40 problems are solved before the first step, `share` after it; in training three times as many."""
    alarms = Alarms({"groups/useful": 1.0, "step": s, "reward/mean": s / 40, "solved": s / 40} for s in range(1, 41))
    prompts = [runs.prompt(f"p{i}", (1,)) for i in range(40)]
    found = list[Alarm]()
    for step in (0, 20, 40):
        solved = 40 * (share if step else 0.5)
        scorer = FakeScorer(lambda problem, g, solved=solved: float(int(problem[1:]) < solved))
        engine: Any = InWords(lambda problem, g, seed: "3")
        result = evaluate(engine, scorer, prompts, 2, SamplingParams(max_tokens=8))  # type: ignore[arg-type]
        recipe = {"config": {"eval": {"n": 2}}, "step": step}
        write(result, tmp_path / f"step-{step}", recipe, {prompt.problem.id: "?" for prompt in prompts})
        found += alarms.evaluated(step, evaluated(tmp_path, step))
    assert [(alarm.name, alarm.step) for alarm in found] == [(name, 40) for name in names]
