"""What is said of a step whose numbers are worthless, how often, and when it ends the run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from grpo.algorithm import StepResult
from grpo.engine import Update
from grpo.errors import LearningError, RewardError
from grpo.learning.batch import Batch
from grpo.metrics import FAILURES, Row
from grpo.watch import BAD_STEPS, IDLE_STEPS, Watch
from tests.batches import Row as BatchRow
from tests.batches import collate


def batch(token: int = 2) -> Batch:
    return collate([BatchRow((1,), (token,), (-0.5,), 1.0, 1.0)])


GOOD = Update(batch(), 1e-6, 1.0, {"loss": 0.5})
BAD = Update(batch(7), 1e-6, math.nan, {"loss": math.inf})


def step_of(*updates: Update) -> StepResult:
    return StepResult((), updates, rounds=1, gap=0.0)


def row(step: int = 1, **shares: float) -> Row:
    return {"step": step, **{f"completions/{kind}": shares.get(kind, 0.0) for kind in FAILURES}}


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def watch(said: list[str], tmp_path: Path) -> Watch:
    return Watch(said.append, tmp_path / "failed-batch.pt")


# --- Rewards ------------------------------------------------------------------------------------------------------


def test_rewards_that_all_answer_are_nothing_to_speak_of(watch: Watch, said: list[str]) -> None:
    for step in range(100):
        watch.rewards(row(step))
    assert said == []


@pytest.mark.parametrize("kind", FAILURES)
def test_a_share_of_failures_is_said_once_with_its_kind(watch: Watch, said: list[str], kind: str) -> None:
    for step in range(5):
        watch.rewards(row(step, **{kind: 0.125}))
    assert said == [f"12.5% of the rewards' calls ended in a {kind}; see rollouts/ with `grpo show`"]


def test_failures_are_said_again_when_they_are_more_than_twice_those_that_were_said(
    watch: Watch, said: list[str]
) -> None:
    for share in (0.1, 0.2, 0.05, 0.21, 0.3, 0.42, 0.43):
        watch.rewards(row(timeout=share))
    assert [line.split("%")[0] for line in said] == ["10.0", "21.0", "43.0"]


def test_kinds_of_failure_are_said_each_by_itself(watch: Watch, said: list[str]) -> None:
    watch.rewards(row(timeout=0.5))
    watch.rewards(row(timeout=0.5, crash=0.1))
    assert [line.rsplit(" a ")[1] for line in said] == [
        "timeout; see rollouts/ with `grpo show`",
        "crash; see rollouts/ with `grpo show`",
    ]


@pytest.mark.parametrize("kind", FAILURES)
def test_a_step_in_which_every_call_failed_in_one_way_ends_the_run(watch: Watch, said: list[str], kind: str) -> None:
    watch.rewards(row(6, **{kind: 0.999}))
    with pytest.raises(
        RewardError,
        match=rf"^every call of every reward ended in a {kind} in step 7: .*rollouts/, which `grpo show` reads$",
    ):
        watch.rewards(row(7, **{kind: 1.0}))
    assert len(said) == 1


# --- Updates ------------------------------------------------------------------------------------------------------


def test_steps_with_bad_gradients_are_counted_in_a_row(watch: Watch, said: list[str]) -> None:
    counts = [0]
    for updates in ([BAD, GOOD], [GOOD, BAD], [GOOD, GOOD], [BAD], [GOOD]):
        counts.append(watch.updates(step_of(*updates), counts[-1]))
    assert counts[1:] == [1, 2, 0, 1, 0]
    assert said == []


def test_a_step_without_an_update_neither_ends_nor_lengthens_a_row_of_bad_ones(watch: Watch) -> None:
    assert watch.updates(step_of(), 2) == 2
    assert watch.updates(step_of(), 0) == 0


def test_bad_gradients_in_a_few_steps_in_a_row_end_the_run_with_the_batch_saved(watch: Watch, tmp_path: Path) -> None:
    bad_steps = 0
    for _ in range(BAD_STEPS - 1):
        bad_steps = watch.updates(step_of(BAD), bad_steps)
        assert list(tmp_path.iterdir()) == []
    expected = (
        rf"not finite in {BAD_STEPS} steps in a row, .*\(loss of the last: inf\).*failed-batch.pt; lower optim.lr"
    )
    with pytest.raises(LearningError, match=expected):
        watch.updates(step_of(GOOD, BAD), bad_steps)
    saved = torch.load(tmp_path / "failed-batch.pt", weights_only=False)
    assert isinstance(saved, Batch)
    assert saved.sequences.tokens_BT.tolist() == [[7]]  # of the update that failed, not of the one before it
    assert saved.targets["advantages"].tolist() == [[1.0]]


def test_a_run_that_was_resumed_goes_on_counting_bad_steps(watch: Watch) -> None:
    with pytest.raises(LearningError, match=f"in {BAD_STEPS} steps in a row"):
        watch.updates(step_of(BAD), BAD_STEPS - 1)


def idle(watch: Watch, steps: Sequence[StepResult]) -> None:
    for step in steps:
        watch.updates(step, 0)


def test_steps_without_a_signal_are_said_after_some_in_a_row_and_again_after_as_many(
    watch: Watch, said: list[str]
) -> None:
    idle(watch, [step_of()] * (IDLE_STEPS - 1))
    assert said == []
    idle(watch, [step_of()] * (IDLE_STEPS + 1))
    assert [line.partition(":")[0] for line in said] == [
        f"no group carried a signal in {IDLE_STEPS} steps",
        f"no group carried a signal in {2 * IDLE_STEPS} steps",
    ]


def test_one_step_that_learned_ends_a_row_of_idle_ones(watch: Watch, said: list[str]) -> None:
    for _ in range(3):
        idle(watch, [*[step_of()] * (IDLE_STEPS - 1), step_of(GOOD)])
    assert said == []
