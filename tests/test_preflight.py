"""What would silently ruin a run is said before its first step; what is certain to ruin it is refused."""

from __future__ import annotations

import pytest

from grpo.config import Reward, Run
from grpo.errors import ConfigError
from grpo.memory import Memory, Sizes
from grpo.preflight import (
    GOLDS,
    Finding,
    check_disk,
    check_groups,
    check_memory,
    check_rejected_golds,
    settle,
)
from grpo.sizes import Choice
from grpo.types import Completion, Group, Problem, Prompt, ScoredGroup
from rewards import Declaration, Score
from tests.sizes import settings, shape_of_qwen


def problem(number: int, answer: str = "4") -> Problem:
    return Problem(f"p/{number}", ({"role": "user", "content": "2+2?"},), {"answer": answer} if answer else {})


def group(values, *, finish="stop", parsed=True, why="different") -> ScoredGroup:
    completions = tuple(Completion((1,), (-0.1,), "text", finish) for _ in values)
    scores = tuple({"math": Score(value, why=why, parsed=parsed)} for value in values)
    return ScoredGroup(Group(Prompt(problem(0), (1,)), completions, 0), scores, tuple(values))


# --- Golds --------------------------------------------------------------------------------------------------------


@pytest.fixture
def a_reward(tmp_path):
    """A reward whose function has this body."""

    def make(body: str) -> Reward:
        path = tmp_path / "mine.py"
        path.write_text(f"def f(completion, problem):\n    return {body}\n")
        return Reward(use=f"{path}:f")

    return make


def rejected(reward: Reward, problems: list[Problem], **declared: object) -> list[Finding]:
    return check_rejected_golds(reward, Declaration(**declared), problems, chat=True)


def test_golds_that_are_accepted_are_no_finding():
    assert rejected(Reward(use="math"), [problem(n, str(n)) for n in range(1, 5)]) == []


def test_some_rejected_golds_are_reported_with_one_of_them(a_reward):
    rejects_7 = a_reward('float(completion != "" and "7" not in completion)')
    [finding] = rejected(rejects_7, [problem(n, str(n)) for n in range(1, 9)])
    assert "1 of 8 gold answers its best value, such as '7' of p/7 (" in finding.text
    assert not finding.certain


def test_a_reward_that_rejects_every_gold_is_certain_to_teach_nothing(a_reward):
    [finding] = rejected(a_reward("0.0"), [problem(1), problem(2)])
    assert "2 of 2 gold answers" in finding.text
    assert finding.certain


def test_a_reward_without_gold_answers_is_free_to_do_without(a_reward):
    assert rejected(a_reward("float(len(completion) < 9)"), [problem(1, ""), problem(2, "")]) == []


def test_not_more_golds_than_can_be_waited_for_are_looked_at(a_reward):
    rejects_the_last = a_reward('float(completion != "" and "last" not in completion)')
    assert rejected(rejects_the_last, [problem(0)] * GOLDS + [problem(1, "last")]) == []


@pytest.mark.parametrize("rejected_golds", ["drop", "ignore"])
def test_golds_are_not_tried_on_a_reward_that_has_dropped_them_or_looks_at_none(a_reward, rejected_golds):
    assert rejected(a_reward("0.0"), [problem(1)], rejected_golds=rejected_golds) == []


# --- The first groups ---------------------------------------------------------------------------------------------


def test_groups_that_can_teach_something_are_no_finding():
    assert check_groups([group([1.0, 0.0]), group([0.0, 0.0])], max_tokens=1024) == []


def test_completions_that_never_end_are_certain_to_teach_nothing():
    [finding, *_] = check_groups([group([1.0, 0.0], finish="length")], max_tokens=1024)
    assert finding.text.startswith("no completion ended within sampling.max_tokens = 1024; raise it, or give the model")
    assert finding.certain


def test_many_cut_completions_are_reported():
    [finding] = check_groups([group([1.0, 0.0]), group([1.0, 0.0], finish="length")], max_tokens=1024)
    assert finding == Finding("sampling.max_tokens = 1024 cuts off 50% of completions; raise it")


def test_groups_that_all_agree_are_reported_with_the_reward_and_a_reason():
    [finding] = check_groups([group([0.0, 0.0]), group([1.0, 1.0])], max_tokens=1024)
    assert finding.text.startswith(
        "all completions got the same reward in each of 2 groups (0, 1), so there is nothing"
    )
    assert finding.text.endswith('reward math says "different" of the first')
    assert not finding.certain  # the next groups may differ


def test_groups_that_could_not_be_judged_are_said_to_be():
    [finding] = check_groups([group([None, None], parsed=None)], max_tokens=1024)
    assert "(unscored)" in finding.text


def test_unreadable_completions_are_reported_with_what_to_do():
    findings = check_groups([group([1.0, 0.0], parsed=False)], max_tokens=1024)
    assert [finding.text for finding in findings] == [
        'no completion has an answer that can be read; reward math says "different" of the first; say in '
        "data.system or data.template how the answer is to be written"
    ]


def test_where_no_completion_can_be_read_and_no_other_reward_tells_them_apart_nothing_can_be_learned():
    lost, apart = group([0.0, 0.0], parsed=False), group([1.0, 0.0], parsed=False)
    assert [finding.certain for finding in check_groups([lost, lost], max_tokens=1024)] == [False, True]
    assert not any(finding.certain for finding in check_groups([lost, apart], max_tokens=1024))
    assert not any(finding.certain for finding in check_groups([lost, group([0.0, 0.0])], max_tokens=1024))


@pytest.mark.parametrize(("failing", "share", "certain"), [(1, "50%", False), (2, "100%", True)])
def test_calls_that_fail_are_reported_with_the_first_reason_and_all_of_them_are_certain(failing, share, certain):
    lost, fine = Score(0.0, why="no answer within 5 s", failure="timeout"), Score(1.0, why="equal")
    plain = group([0.0, 1.0])
    scores = tuple({"math": score} for score in ([lost] * failing + [fine] * 2)[:2])
    [finding, *_] = check_groups([ScoredGroup(plain.group, scores, plain.rewards)], max_tokens=1024)
    assert finding == Finding(f"{share} of the rewards' calls ended in a timeout; no answer within 5 s", certain)


def test_a_reason_that_only_sounds_like_a_failure_is_none():
    assert check_groups([group([1.0, 0.0], why="timeout: no answer within 5 s")], max_tokens=1024) == []


# --- Refusal ------------------------------------------------------------------------------------------------------


def test_what_is_certain_is_refused_after_the_rest_was_said_unless_the_settings_go_on_regardless():
    findings, said = [Finding("for sure", certain=True), Finding("maybe")], []
    with pytest.raises(ConfigError, match=r'^preflight: for sure \(run.preflight = "report" goes on regardless\)$'):
        settle(findings, Run(), said.append)
    assert said == ["maybe"]
    settle(findings, Run(preflight="report"), said.append)
    assert said == ["maybe", "for sure", "maybe"]


def chosen(memory: Memory, lack: str, *, certain: bool = False, leanest: bool = False) -> Choice:
    return Choice(Sizes(2048, leanest, leanest, 0.5), memory, (), lack, certain)


def test_memory_that_suffices_is_no_finding():
    assert check_memory(chosen(Memory(1, 2, 1, available=4, by_turns=True), "")) == []


def test_what_does_not_fit_is_said_with_what_would_help():
    memory = Memory(1, 7, 5, available=4, by_turns=True)
    [may] = check_memory(chosen(memory, f"the run may need {memory}"))
    assert "8.0 GiB of 4.0 on the GPU" in may.text
    assert "lower optim.tokens_per_microbatch" in may.text
    assert may.text.endswith("or raise cluster.learners")
    [leanest] = check_memory(chosen(memory, "too much", certain=True, leanest=True))
    assert (may.certain, leanest.certain) == (False, True)
    assert leanest.text.startswith("too much; take a smaller model, an adapter (model.lora_rank = 32)")
    [on_processors] = check_memory(chosen(Memory(1, 7, 5, available=4, by_turns=False), "too much"))
    assert "cluster" not in on_processors.text


@pytest.fixture
def on_a_disk_of(monkeypatch, tmp_path):
    """What is said of a run of 1.5B, checkpoints of 20.1 GiB, with so many GiB free."""

    def findings(free: float, **run: object) -> list[Finding]:
        monkeypatch.setattr("grpo.preflight.free_space", lambda folder: free)
        config = settings(run=run, eval={"source": run.pop("held_out", None)})
        return check_disk(shape_of_qwen(1.5, 0), config, tmp_path / "checkpoints")

    return findings


def test_a_disk_that_holds_the_checkpoints_is_no_finding(on_a_disk_of):
    assert on_a_disk_of(41.0) == []  # two, of which a new one is whole before the older one goes
    assert on_a_disk_of(21.0, steps=50) == []  # the only one


def test_a_disk_that_will_be_full_is_reported_with_what_is_needed_and_one_without_room_for_any_is_refused(on_a_disk_of):
    [later] = on_a_disk_of(41.0, held_out="test.jsonl")
    assert "needs 46.0 GiB for 2 checkpoints of 20.1 and the best model of 2.9, twice while" in later.text
    assert "and the disk has 41.0; make room, lower run.keep = 2, or choose another disk with --out" in later.text
    assert not later.certain
    assert [finding.certain for finding in on_a_disk_of(20.0)] == [True]
    assert "for 4 checkpoints" in on_a_disk_of(41.0, keep=4)[0].text
