"""The control run: the rewards of a step are the same ones, and say nothing of the completions that get them."""

from __future__ import annotations

import os
import signal
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.control import as_they_are, random_reward
from grpo.errors import CheckpointError, Interrupted
from grpo.objectives import GroupRewards
from grpo.replay import replay
from grpo.train import train
from tests import engines, runs

rewards = st.one_of(st.none(), st.integers(0, 3).map(float))


def of(group: list[float | None]) -> GroupRewards:
    halves = [None if reward is None else reward / 2 for reward in group]
    return GroupRewards(group, {"math": (1.0, group), "half": (0.5, halves)})


groups = st.lists(st.lists(rewards, min_size=1, max_size=5).map(of), min_size=1, max_size=6)


def records(found: list[GroupRewards]) -> list[tuple[object, ...]]:
    """What each completion has: its total, and each part."""
    return [
        (total, *(values[index] for _, values in group.parts.values()))
        for group in found
        for index, total in enumerate(group.totals)
    ]


@given(groups, st.integers(0, 10), st.integers(1, 100))
def test_what_is_given_is_what_there_was_total_and_parts_together(
    given_: list[GroupRewards], seed: int, step: int
) -> None:
    shuffled = list(random_reward(seed)(given_, step))
    assert [len(group.totals) for group in shuffled] == [len(group.totals) for group in given_]
    assert Counter(records(shuffled)) == Counter(records(given_))
    assert shuffled == list(random_reward(seed)(given_, step))


def test_each_step_and_each_seed_shuffles_otherwise() -> None:
    one = [GroupRewards([float(i) for i in range(20)], {})]
    orders = {tuple(random_reward(seed)(one, step)[0].totals) for seed in (0, 1) for step in (1, 2, 3)}
    assert len(orders) == 6
    assert as_they_are(one, 1) is one


def test_a_reward_goes_to_right_and_wrong_alike() -> None:
    """Over 1,000 steps of 4 right and 4 wrong completions: half of what the right ones get is 1 (± 0.03)."""
    step = [GroupRewards([1.0, 0.0] * 4, {})]
    got = [random_reward(0)(step, number)[0].totals[0] for number in range(1000)]
    assert sum(filter(None, got)) / 1000 == pytest.approx(0.5, abs=0.05)


def test_a_control_run_is_told_the_truth_and_learns_from_something_else(tmp_path: Path, tiny_model: Path) -> None:
    runs.write_inputs(tmp_path)
    config = runs.settings(tmp_path, tiny_model, run={"control": "random-reward"})
    train(config, tmp_path / "control")
    rows = runs.completions(tmp_path / "control")
    for row in rows:
        assert row["reward"] == row["scores"]["digits"]["value"]  # as it was judged
    first = [row for row in rows if row["step"] == 1]
    by_group: dict[str, list[tuple[float, float]]] = {}
    for row in first:
        by_group.setdefault(row["problem"], []).append((row["reward"], row["advantage"]))
    # Somewhere a completion that earned less has the larger advantage.
    assert any(a[0] < b[0] and a[1] > b[1] for pairs in by_group.values() for a in pairs for b in pairs)
    assert replay(tmp_path / "control", 2, lambda line: None)


def test_a_control_run_goes_on_bit_for_bit_and_not_as_the_run(tmp_path: Path, tiny_model: Path) -> None:
    runs.write_inputs(tmp_path)
    plain = runs.settings(tmp_path, tiny_model)
    config = plain.with_changes(run={"control": "random-reward"})
    train(config, tmp_path / "whole")

    def stop(engine: engines.Wrapped, is_evaluation: bool) -> None:
        if engine.step == 2 and not is_evaluation:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train(config, tmp_path / "run", open_engine=engines.opening(partial(engines.Calling, before=stop)))
    with pytest.raises(CheckpointError, match=r'run\.control: "random-reward" in the run, not set given'):
        train(plain, tmp_path / "run", resume=True)
    train(config, tmp_path / "run", resume=True)
    assert runs.rows(tmp_path / "run" / "metrics.jsonl") == runs.rows(tmp_path / "whole" / "metrics.jsonl")
