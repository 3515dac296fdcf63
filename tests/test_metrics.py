"""One flat row per step, whose numbers follow from the groups and updates by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grpo.algorithm import JudgedGroup, StepResult
from grpo.engine import Update
from grpo.metrics import (
    Stopwatch,
    completion_shares,
    entropy,
    gpu_memory,
    reward_statistics,
    sample_rows,
    step_row,
)
from grpo.mismatch import EDGES
from grpo.types import Completion, Group, Problem, Prompt, ScoredGroup
from rewards import Score
from tests.batches import Row, collate


def scored(*scores: dict[str, Score], rewards=None, logprobs=None, finish=None) -> ScoredGroup:
    logprobs = logprobs or [(-0.5,)] * len(scores)
    finish = finish or ["stop"] * len(scores)
    completions = tuple(
        Completion(tuple(range(len(lps))), tuple(lps), f"text {g}", end)
        for g, (lps, end) in enumerate(zip(logprobs, finish, strict=True))
    )
    rewards = [by_name["math"].value for by_name in scores] if rewards is None else rewards
    problem = Problem("p/0", ({"role": "user", "content": "?"},), {"answer": "4"})
    return ScoredGroup(Group(Prompt(problem, (1, 2)), completions, 0), scores, tuple(rewards))


RIGHT, WRONG = {"math": Score(1.0, parsed=True)}, {"math": Score(0.0, why="different", parsed=True)}
LOST = {"math": Score(0.0, why="no answer within 5 s", parsed=False, failure="timeout")}
UNJUDGED = {"math": Score.none("down")}


def update(grad_norm=1.0, tokens=10, **totals) -> Update:
    batch = collate([Row((1,), (2,) * tokens, (-0.5,) * tokens, 1.0, 1 / tokens)])
    return Update(batch, 1e-6, grad_norm, {"loss": 0.5, "tokens/update": 0.0, "tokens/padding": 0.0, **totals})


# --- Shares -------------------------------------------------------------------------------------------------------


def test_shares_of_completions_by_hand():
    lengths = [(-1.0,) * length for length in (1, 2, 3, 6)]
    group = scored(RIGHT, WRONG, LOST, UNJUDGED, logprobs=lengths, finish=["stop", "stop", "length", "stop"])
    assert completion_shares([group], "math") == {
        "solved": 1 / 4,
        "completions/truncated": 1 / 4,
        "completions/unparseable": 1 / 3,  # of those that were looked into
        "completions/unscored": 1 / 4,
        "completions/timeout": 1 / 4,
        "completions/crash": 0.0,
        "completions/fault": 0.0,
        "completions/length_mean": 3.0,
        "completions/length_max": 6,
    }


def test_only_the_first_reward_says_solved():
    group = scored({"math": Score(0.0), "layout": Score(1.0)})
    assert completion_shares([group], "math")["solved"] == 0
    assert completion_shares([group], "layout")["solved"] == 1


@given(st.lists(st.lists(st.sampled_from([RIGHT, WRONG, LOST, UNJUDGED]), min_size=1, max_size=5), min_size=1))
def test_every_share_of_completions_is_between_0_and_1(groups):
    shares = completion_shares([scored(*group) for group in groups], "math")
    assert all(0 <= value <= 1 for name, value in shares.items() if "length" not in name)


def test_entropy_is_per_token_and_not_per_completion():
    group = scored(RIGHT, WRONG, logprobs=[(-1.0,), (-0.1, -0.2, -0.3)])
    assert entropy([group]) == pytest.approx(1.6 / 4)


def test_reward_statistics_leave_out_what_could_not_be_judged():
    group = scored(RIGHT, WRONG, UNJUDGED, rewards=[3.0, 1.0, None])
    row = reward_statistics([group], ["math"])
    assert row == {"reward/mean": 2.0, "reward/std": 1.0, "reward/math": 0.5}


def test_where_no_completion_was_judged_there_is_no_mean_reward():
    assert reward_statistics([scored(UNJUDGED)], ["math"]) == {}


# --- A step -------------------------------------------------------------------------------------------------------


def result_of(*updates: Update) -> StepResult:
    groups = (
        JudgedGroup(scored(RIGHT, WRONG, logprobs=[(-1.0,) * 2, (-1.0,) * 4]), (1.0, -1.0), useful=True),
        # A penalty in the reward gives advantages to a group that is not useful.
        JudgedGroup(scored(RIGHT, RIGHT, logprobs=[(-1.0,) * 2, (-1.0,) * 4]), (0.5, -0.5), useful=False),
    )
    return StepResult(groups, updates, rounds=3, gap=0.003)


def test_gaps_of_several_updates_are_those_of_all_their_tokens():
    short = {"gap/from/0": 1.0, "gap/tokens/0": 10.0, "gap/bin/30": 10.0}
    long = {"gap/from/0": 2.0, "gap/tokens/0": 20.0, "gap/from/16": 8.0, "gap/tokens/16": 10.0, "gap/bin/40": 30.0}
    row = step_row(1, result_of(update(**short), update(**long)), reward_names=["math"])
    assert row["policy/sampler_gap_from_0"] == pytest.approx(3 / 30)
    assert row["policy/sampler_gap_from_16"] == pytest.approx(8 / 10)
    # 39.6 of 40 tokens lie below: 10 in a bin of smaller gaps, and 29.6 of the 30 in that from EDGES[39] to EDGES[40].
    assert row["policy/sampler_gap_p99"] == pytest.approx(EDGES[39] * 2 ** (0.5 * 29.6 / 30))
    assert not [name for name in row if name.startswith("gap/")]


def test_the_metrics_of_a_step_by_hand():
    updates = [
        update(2.0, 10, **{"policy/clipped": 1.0, "policy/ratio_max": 1.2, "tokens/update": 14.0}),
        update(
            4.0, 30, **{"policy/clipped": 7.0, "policy/ratio_max": 1.5, "tokens/update": 36.0, "tokens/padding": 5.0}
        ),
    ]
    row = step_row(7, result_of(*updates), reward_names=["math"])
    assert (
        row
        | {
            "step": 7,
            "solved": 0.75,
            "groups/sampled": 2,
            "groups/useful": 0.5,
            "groups/rounds": 3,
            "tokens/sample": 12,
            "tokens/update": 50,  # a sum over tokens that no token divides
            "update/padded": 5 / 50,
            "sync/logprob_gap": 0.003,
            "policy/clipped": 8 / 40,  # a sum over tokens, by all tokens
            "policy/ratio_max": 1.5,
            "policy/loss": 0.5,
            "policy/grad_norm": 3.0,
            "policy/lr": 1e-6,
            "policy/updates": 2,
            "policy/skipped_updates": 0,
            "policy/entropy": 1.0,
        }
        == row
    )
    assert not {"loss", "tokens/padding"} & row.keys()


def test_a_step_without_a_signal_has_no_loss():
    row = step_row(1, result_of(), reward_names=["math"])
    assert (row["policy/updates"], row["tokens/update"], row["update/padded"]) == (0, 0, 0)
    assert "policy/loss" not in row


def test_an_update_that_was_not_applied_is_counted():
    row = step_row(1, result_of(update(math.nan), update()), reward_names=["math"])
    assert (row["policy/updates"], row["policy/skipped_updates"]) == (2, 1)


def test_a_row_of_metrics_holds_plain_values_only():
    assert {type(value) for value in step_row(1, result_of(update()), reward_names=["math"]).values()} <= {int, float}


def test_peak_memory_is_that_of_a_process_with_torch_in_it():
    row = Stopwatch().memory()
    assert 0.05 < row.pop("memory/peak_gib") < 1024
    assert not row


def test_memory_of_a_gpu_is_what_is_taken_when_a_phase_ends_and_begins_anew_with_every_step(monkeypatch):
    taken = iter([9.0, 11.0, 70.0, 12.0, 8.0])
    monkeypatch.setattr("grpo.metrics.gpu_memory", lambda: next(taken))
    watch = Stopwatch()
    for phase in ("sample", "sample", "update", "sync"):  # two rounds of sampling
        with watch(phase):
            pass
    assert watch.memory() == {
        "memory/sample_gib": 11.0,
        "memory/update_gib": 70.0,
        "memory/sync_gib": 12.0,
        "memory/peak_gib": 70.0,
    }
    watch.restart()
    with watch("sample"):
        pass
    assert watch.memory()["memory/peak_gib"] == 8.0


def test_a_process_that_uses_no_gpu_is_not_made_to_by_asking(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: pytest.fail("asked"))
    assert gpu_memory() is None
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (60 * 2**30, 80 * 2**30))
    assert gpu_memory() == 20


def test_every_completion_has_a_row_with_its_reason():
    group = JudgedGroup(scored(RIGHT, WRONG), (1.0, -1.0), useful=True)
    rows = list(sample_rows(3, [group], {"p/0": "the prompt"}))
    assert rows[1] == {
        "step": 3,
        "problem": "p/0",
        "index": 1,
        "prompt": "the prompt",
        "gold": "4",
        "completion": "text 1",
        "reward": 0.0,
        "advantage": -1.0,
        "finish": "stop",
        "tokens": 1,
        "scores": {"math": {"value": 0.0, "answer": None, "why": "different"}},
    }


def test_a_row_has_the_failure_of_a_score_where_there_is_one():
    group = JudgedGroup(scored(RIGHT, LOST), (1.0, -1.0), useful=True)
    right, lost = (row["scores"]["math"] for row in sample_rows(3, [group], {"p/0": "the prompt"}))
    assert "failure" not in right
    assert lost == {"value": 0.0, "answer": None, "why": "no answer within 5 s", "failure": "timeout"}


# --- Time ---------------------------------------------------------------------------------------------------------


def test_phases_of_a_step_add_up_and_the_one_under_way_is_known():
    watch = Stopwatch()
    for _ in range(2):
        with watch("sample"):
            assert watch.phase == "sample"
    with watch("score"):
        pass
    assert watch.phase == ""
    row = watch.row()
    assert set(row) == {"time/sample", "time/score", "time/step"}
    assert 0 <= row["time/sample"] + row["time/score"] <= row["time/step"]


def test_a_row_made_within_a_phase_has_what_that_phase_took_so_far():
    watch = Stopwatch()
    with watch("sample"):
        pass
    with watch("books"):
        row = watch.row()
        assert set(row) == {"time/sample", "time/books", "time/step"}
        assert 0 < row["time/books"] <= row["time/step"] - row["time/sample"]
    assert watch.row()["time/books"] > row["time/books"]


def test_a_phase_that_broke_off_is_still_the_one_under_way():
    watch = Stopwatch()
    with pytest.raises(ZeroDivisionError), watch("update"):
        raise ZeroDivisionError
    assert watch.phase == "update"
    watch.restart()
    assert (watch.phase, set(watch.row())) == ("", {"time/step"})
