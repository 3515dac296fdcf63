"""Sampling ahead of learning: how far, whose groups, what of those that are too old, and that nothing is lost."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from grpo import assemble, asynchronous, opening
from grpo.algorithm import JudgedGroup, Trainer, policy_loss
from grpo.asynchronous import Ahead, Finished
from grpo.config import Cluster, Config, Curriculum, Data, Model, Objective, Optim, Sampling
from grpo.engine import Update
from grpo.errors import ConfigError, DataError, Interrupted, RewardError, SamplerError
from grpo.learning.batch import Batch, Loss, Sequences, Targets
from grpo.metrics import sample_rows, staleness_row
from grpo.objectives import OBJECTIVES, choose
from grpo.problems import draw
from grpo.replay import opened, replay
from grpo.run.checkpoints import Progress
from grpo.run.rollouts import PER_TOKEN
from grpo.train import advanced, train
from grpo.types import Completion, Group, Problem, Prompt, SamplingParams, ScoredGroup, Span
from rewards import Score
from tests import engines, runs
from tests.fakes import FakeScorer

PROBLEMS = [Prompt(Problem(f"p{n}", ({"role": "user", "content": "?"},), {}), (1, n + 1)) for n in range(24)]
NONE, SOME, START = Curriculum(), Curriculum(easy=0.25, hard=0.25), Progress(0, 0)


def names(prompts: Sequence[Prompt]) -> list[str]:
    return [prompt.problem.id for prompt in prompts]


def learned(finished: Finished) -> list[str]:
    return [group.scored.group.prompt.problem.id for group in finished.result.groups]


# --- An engine whose weights change while it samples --------------------------------------------------------------


class Drifting:
    """Draws a token with the weights it has at that moment, and says so; groups come in any order, after any time.

    Groups of `stale` problems say that they are older than any bound.
    """

    name = "drifting"
    remarks = ()

    def __init__(self, seed: int, stale: frozenset[str] = frozenset()) -> None:
        self.dice, self.lock, self.stale = random.Random(seed), threading.Lock(), stale
        self.weights = 0
        self.active, self.most_active = 0, 0  # calls
        self.asked: list[str] = []
        self.drawn_with: dict[str, list[int]] = {}  # the weights of each token, by problem, of its last visit
        self.batches: list[Batch] = []

    def pause(self) -> None:
        with self.lock:
            duration = self.dice.choice([0, 0, 0.0005, 0.002])
        time.sleep(duration)

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> Iterator[tuple[int, Group]]:
        with self.lock:
            self.active += 1
            self.most_active = max(self.active, self.most_active)
            self.asked += names(prompts)
            order = self.dice.sample(range(len(prompts)), len(prompts))
        for index in order:
            yield index, self.group(prompts[index], n)
        with self.lock:
            self.active -= 1

    def group(self, prompt: Prompt, n: int) -> Group:
        completions, drawn_with = [], list[int]()
        for g in range(n):
            versions = []
            for _ in range(3 + g):
                self.pause()
                versions.append(self.weights)
            spans = tuple(Span(step, count) for step, count in Counter(versions).items())
            T = len(versions)
            completions.append(Completion(tuple(range(3, 3 + T)), (-1.0,) * T, str(g), "stop", spans))
            drawn_with += versions
        oldest = min(drawn_with)
        if prompt.problem.id in self.stale:
            oldest -= 10
            completions = [Completion(c.token_ids, c.logprobs, c.text, c.finish) for c in completions]
        self.drawn_with[prompt.problem.id] = drawn_with
        return Group(prompt, tuple(completions), oldest)

    def logprobs(self, sequences: Sequences, of: str = "policy") -> Tensor:
        return -1.5 * sequences.real_BT

    def update(self, batch: Batch, loss: Loss, lr: float) -> Update:
        self.pause()
        self.batches.append(batch)
        loss(torch.zeros_like(batch.targets.weights_BT), batch.targets)
        return Update(batch, lr, 1.0, {"loss": 0.0, "tokens/update": 0.0, "tokens/padding": 0.0})

    def publish(self, step: int) -> float:
        self.pause()
        self.weights = step
        return 0.0


def solved_by_half(problem: str, g: int) -> float:
    """Every third problem by all, so that its group carries no signal."""
    return float(g % 2 == 0 or int(problem[1:]) % 3 == 0)


def trainer(engine: Any, reward: Any = solved_by_half, **changes: dict[str, Any]) -> Trainer:
    sampling = Sampling(**{"problems_per_step": 4, "group_size": 2, "max_tokens": 9, **changes.get("sampling", {})})
    objective, optim = choose(Objective(**changes.get("objective", {}))), Optim(**changes.get("optim", {}))
    scorer: Any = FakeScorer(reward)
    return Trainer(engine, scorer, objective, sampling, optim, lambda phase: nullcontext(), lambda done, total: None)


def settings_with(curriculum: Curriculum = NONE) -> Config:
    return Config(model=Model(name="-"), data=Data(source="-"), curriculum=curriculum)


def ahead(made: Trainer, k: int, steps: int, config: Config | None = None) -> Ahead:
    source = partial(opening.make_source, config or settings_with(), PROBLEMS)
    return Ahead(made, source, max_staleness=k, steps=steps)


def steps_of(
    pace: Ahead, steps: int, progress: Progress = START, curriculum: Curriculum = NONE
) -> tuple[list[Finished], list[Progress]]:
    """The steps up to `steps`, and where the run stood after each."""
    found, stands = [], []
    while progress.step < steps:
        finished = pace.step(progress, lr=1.0)
        progress = advanced(progress, finished.result, drawn=finished.drawn, curriculum=curriculum, headline="given")
        pace.start(progress)
        found.append(finished)
        stands.append(progress)
    return found, stands


def rollouts() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("rollout")]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    until = time.monotonic() + 30
    while rollouts() and time.monotonic() < until:
        time.sleep(0.01)
    assert not rollouts()


# --- The bound ----------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.integers(0, 4), st.integers(1, 8), st.integers(1, 3), st.integers(0, 2**32))
def test_no_token_is_older_than_the_bound_and_every_problem_comes_in_its_order(
    k: int, steps: int, rounds: int, seed: int
) -> None:
    engine = Drifting(seed)
    made = trainer(engine, sampling={"max_num_gen_batches": rounds})
    with closing(ahead(made, k, steps)) as pace:
        found, stands = steps_of(pace, steps)
    drawn = [name for finished in found for name in learned(finished)]
    assert drawn == names(draw(PROBLEMS, 0, len(drawn), seed=0))
    assert [stand.drawn for stand in stands] == [finished.drawn for finished in found]
    assert stands[-1].drawn == len(drawn)
    assert not stands[-1].solve_rates  # nobody asks for them
    assert sorted(engine.asked) == sorted(drawn)  # none beyond the last step, none twice
    assert engine.most_active <= k + 1
    assert all(finished.row["groups/dropped"] == 0 for finished in found)
    assert all(finished.row["staleness/max"] <= k for finished in found)
    assert [finished.result.rounds for finished in found] == [1] * steps or rounds > 1


@pytest.mark.parametrize("k", [1, 4])
def test_sampling_runs_as_far_ahead_as_it_may_and_no_further(k: int) -> None:
    """The learner of this test is slow, so the rollouts of k + 1 steps wait for it."""
    engine = Drifting(0)
    with closing(ahead(trainer(engine), k, 9)) as pace:
        progress = START
        pace.start(progress)
        until = time.monotonic() + 30
        while len(engine.asked) < 4 * (k + 1) and time.monotonic() < until:
            time.sleep(0.01)
        pace.start(progress)
        time.sleep(0.05)
        assert sorted(engine.asked) == sorted(names(draw(PROBLEMS, 0, 4 * (k + 1), seed=0)))


@settings(max_examples=15)
@given(st.integers(0, 3), st.sets(st.integers(0, 23), max_size=24), st.integers(0, 2**32))
def test_every_group_that_is_asked_is_learned_from_filtered_or_dropped(k: int, stale: set[int], seed: int) -> None:
    engine = Drifting(seed, frozenset(f"p{n}" for n in stale))
    with closing(ahead(trainer(engine), k, 6)) as pace:
        found, _ = steps_of(pace, 6)
    groups = [group for finished in found for group in finished.result.groups]
    dropped = {group.scored.group.prompt.problem.id for group in groups if group.dropped}
    filtered = {group.scored.group.prompt.problem.id for group in groups if not group.dropped and not group.useful}
    updates = [tuple(row) for batch in engine.batches for row in batch.sequences.prompts]
    learned_from = {f"p{prompt[1] - 1}" for prompt in updates}
    assert dropped == {f"p{n}" for n in stale}
    assert not dropped & filtered and not learned_from & (dropped | filtered)
    assert sorted(engine.asked) == sorted(dropped | filtered | learned_from)
    assert sum(finished.row["groups/dropped"] for finished in found) == len(dropped)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_step_all_of_whose_groups_are_too_old_learns_nothing_and_goes_on(name: str) -> None:
    engine = Drifting(0, frozenset(names(PROBLEMS)))
    made = trainer(engine, objective={"name": name, "kl_coef": 0.1, "kl_in": "loss"})
    with closing(ahead(made, 1, 2)) as pace:
        found, stands = steps_of(pace, 2)
    assert [finished.result.updates for finished in found] == [(), ()]
    assert [finished.row["groups/dropped"] for finished in found] == [4, 4]
    assert "staleness/mean" not in found[0].row
    assert engine.weights == stands[-1].step == 2


def test_a_dropped_group_is_on_record_and_its_problem_counts_as_not_visited() -> None:
    engine = Drifting(0, frozenset({"p0", "p1", "p2"}))
    with closing(ahead(trainer(engine), 1, 6, settings_with(SOME))) as pace:
        found, stands = steps_of(pace, 6, curriculum=SOME)
    marked = {
        row["problem"]
        for step, finished in enumerate(found, 1)
        for row in sample_rows(step, finished.result.groups, dict.fromkeys(names(PROBLEMS), ""))
        if "dropped" in row
    }
    assert marked and marked <= engine.stale
    assert not marked & stands[-1].solve_rates.keys()
    tokens = [c for finished in found for group in finished.result.groups for c in group.scored.group.completions]
    assert stands[-1].tokens == sum(len(completion.token_ids) for completion in tokens)


# --- How old tokens are -------------------------------------------------------------------------------------------


def scored(policy_step: int, *spans: tuple[Span, ...]) -> ScoredGroup:
    """Completions of four tokens."""
    made = tuple(Completion((1, 2, 3, 4), (-1.0,) * 4, "", "stop", of_one) for of_one in spans)
    return ScoredGroup(Group(PROBLEMS[0], made, policy_step), ({"given": Score(1.0)},) * len(made), (1.0,) * len(made))


def test_the_histogram_counts_tokens_by_hand() -> None:
    # Step 7 starts from the weights of 6.  16 tokens are not dropped: 4 + 3 + 4 of step 6, 1 of 5, 4 of 4.
    groups = [
        JudgedGroup(scored(5, (Span(6, 4),), (Span(5, 1), Span(6, 3))), (1.0, -1.0), useful=True),
        JudgedGroup(scored(6, ()), (0.0,), useful=False),
        JudgedGroup(scored(4, ()), (1.0,), useful=True),
        JudgedGroup(scored(1, ()), (0.0,), useful=False, dropped=True),
    ]
    assert staleness_row(7, groups, 3) == {
        "groups/dropped": 1,
        "staleness/mean": (0 * 11 + 1 * 1 + 2 * 4) / 16,
        "staleness/max": 2,
        "staleness/0": 11 / 16,
        "staleness/1": 1 / 16,
        "staleness/2": 4 / 16,
        "staleness/3": 0.0,
    }


def test_the_histogram_is_what_the_engine_drew_with() -> None:
    engine = Drifting(3)
    with closing(ahead(trainer(engine), 2, 6)) as pace:
        found, _ = steps_of(pace, 6)
    for step, finished in enumerate(found, 1):
        ages = Counter(step - 1 - weights for name in learned(finished) for weights in engine.drawn_with[name])
        assert {age: finished.row[f"staleness/{age}"] for age in range(3)} == {
            age: ages[age] / ages.total() for age in range(3)
        }
    assert found[0].row["staleness/0"] == 1  # of step 1, which nothing was published before
    assert any(finished.row["staleness/max"] > 0 for finished in found)


# --- The objective ------------------------------------------------------------------------------------------------


def test_the_loss_of_stale_tokens_is_the_decoupled_objective_by_hand() -> None:
    """Probabilities of three tokens with A = 2 and w = 1/2: where they were drawn, before the update, and now.

    π_sampler  π_old  π      ρ = π_old / π_sampler    u = π / π_old    ρ · min(u A, 1.28 A)
    0.2        0.3    0.36   1.5                      1.2              3.6
    0.2        0.3    0.6    1.5                      2, clipped       3.84, without a gradient
    0.1        0.3    0.3    3, truncated to 2        1                4
    """
    log = lambda *values: torch.tensor([values]).log()  # noqa: E731
    logprobs_BT = log(0.36, 0.6, 0.3).requires_grad_()
    columns = {"sampler": log(0.2, 0.2, 0.1), "old": log(0.3, 0.3, 0.3), "advantages": torch.full((1, 3), 2.0)}
    targets = Targets(torch.ones(1, 3, dtype=torch.bool), torch.full((1, 3), 0.5), columns)
    terms = policy_loss(logprobs_BT, targets, objective=choose(Objective(name="dapo")))
    terms.loss.backward()  # type: ignore[no-untyped-call]
    assert float(terms.loss.detach()) == pytest.approx(-0.5 * (3.6 + 3.84 + 4))
    assert logprobs_BT.grad is not None
    assert logprobs_BT.grad[0].tolist() == pytest.approx([-0.5 * 3.6, 0.0, -0.5 * 4], abs=1e-5)


@pytest.mark.parametrize("updates", [1, 2])
def test_old_logprobs_are_the_learners_and_not_those_that_were_noted_when_a_token_was_drawn(updates: int) -> None:
    engine = Drifting(0)
    with closing(ahead(trainer(engine, optim={"updates_per_step": updates}), 1, 3)) as pace:
        steps_of(pace, 3)
    for batch in engine.batches:
        mask_BT, per_token = batch.targets.mask_BT, batch.targets.per_token
        assert set(per_token["sampler"][mask_BT].tolist()) == {-1.0}
        assert ("old" in per_token) == (updates > 1)  # with one update the policy is its own
        assert set(per_token.get("old", torch.full(mask_BT.shape, -1.5))[mask_BT].tolist()) == {-1.5}


# --- A curriculum -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_curriculum_draws_no_problem_that_another_step_is_about_to_learn_from(rounds: int) -> None:
    engine = Drifting(1)
    made = trainer(engine, sampling={"max_num_gen_batches": rounds})
    with closing(ahead(made, 2, 12, settings_with(SOME))) as pace:
        found, stands = steps_of(pace, 12, curriculum=SOME)
    drawn = [name for finished in found for name in learned(finished)]
    assert set(drawn) == set(names(PROBLEMS))
    for at in range(len(found) - 2):
        near = [name for finished in found[at : at + 3] for name in learned(finished)]
        assert len(set(near)) == min(len(near), len(PROBLEMS))
    rates: dict[str, float] = {}
    for finished, stand in zip(found, stands, strict=True):
        for name in learned(finished):
            share = (solved_by_half(name, 0) + solved_by_half(name, 1)) / 2
            rates[name] = (rates[name] + share) / 2 if name in rates else share
        assert {name: visit["rate"] for name, visit in stand.solve_rates.items()} == rates


# --- To stop, to fail, to begin again -----------------------------------------------------------------------------


def test_what_was_abandoned_is_asked_again_from_the_step_that_is_given() -> None:
    engine = Drifting(5)
    with closing(ahead(trainer(engine), 2, 8)) as pace:
        found, stands = steps_of(pace, 4)
        pace.abandon()
        engine.publish(2)  # as from the checkpoint after step 2
        again, _ = steps_of(pace, 8, stands[1])
    assert [learned(finished) for finished in again[:2]] == [learned(finished) for finished in found[2:]]
    drawn = [name for finished in [*found[:2], *again] for name in learned(finished)]
    assert drawn == names(draw(PROBLEMS, 0, 32, seed=0))
    assert all(finished.row["staleness/max"] <= 2 for finished in again)


def test_an_error_in_a_rollout_is_raised_by_its_own_step_after_those_before_it() -> None:
    class Fault(Exception):
        pass

    def reward(problem: str, g: int) -> float:
        if problem == broken:
            raise Fault(problem)
        return float(g)

    broken = names(draw(PROBLEMS, 0, 12, seed=0))[9]  # of step 3
    engine = Drifting(0)
    with closing(ahead(trainer(engine, reward), 2, 6)) as pace:
        _, stands = steps_of(pace, 2)
        with pytest.raises(Fault, match=broken):
            pace.step(stands[-1], lr=1.0)
    assert engine.weights == 2


def test_a_run_that_waits_for_a_rollout_notices_that_it_is_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asynchronous, "PATIENCE", 0.1)
    answer, asked = threading.Event(), list[tuple[int, int]]()

    class Silent(Drifting):
        def group(self, prompt: Prompt, n: int) -> Group:
            answer.wait()
            return super().group(prompt, n)

    def arrived(done: int, total: int) -> None:
        asked.append((done, total))
        if len(asked) == 3:
            raise Interrupted("stopped")

    made = trainer(Silent(0))
    made = Trainer(made.engine, made.scorer, made.objective, made.sampling, made.optim, made.clock, arrived)
    with closing(ahead(made, 1, 4)) as pace, pytest.raises(Interrupted):
        pace.step(START, lr=1.0)
    assert asked == [(0, 4)] * 3
    answer.set()  # as an engine does that is closed; then the threads end


# --- Whole runs of a small model ----------------------------------------------------------------------------------

TWO = {"learners": 1, "samplers": 1}


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path) -> Config:
    runs.write_inputs(tmp_path)
    return runs.settings(tmp_path, tiny_model, cluster={**TWO, "max_staleness": 2})


def metrics(run: Path) -> list[dict[str, Any]]:
    return [row for row in runs.rows(run / "metrics.jsonl") if "solved" in row]


def problems(run: Path) -> list[str]:
    """Of every group, in their order."""
    return [row["problem"] for row in runs.completions(run)][::4]


def in_order(steps: int) -> list[str]:
    """As a synchronous run draws them: four of twelve a step."""
    return names(draw(PROBLEMS[:12], 0, 4 * steps, seed=0))


def test_through_threads_but_without_staleness_a_run_is_the_synchronous_one_bit_for_bit(
    config: Config, tmp_path: Path
) -> None:
    seen: list[str] = []
    watching = partial(engines.Calling, before=lambda engine, is_evaluation: seen.extend(rollouts()))
    alone = {"max_staleness": 0, "learners": 0, "samplers": 0}
    by_turns = config.with_changes(cluster=alone, run={"steps": 3}, eval={"source": None, "every": 0})
    train(by_turns, tmp_path / "run", open_engine=engines.opening_here(watching))
    assert not seen  # by turns there are no threads
    recorded = [{k: v for k, v in row.items() if k not in PER_TOKEN} for row in runs.completions(tmp_path / "run")]
    with opened(tmp_path / "run", 1, lambda line: None) as again:
        source = partial(opening.make_source, again.config, again.prompts)
        with closing(Ahead(again.trainer, source, max_staleness=0, steps=3)) as pace:
            for step, row in enumerate(metrics(tmp_path / "run"), 1):
                finished = pace.step(again.progress, again.lr)
                samples, now = again.rows(step, finished.result)
                again.progress = advanced(
                    again.progress, finished.result, drawn=finished.drawn, curriculum=NONE, headline="digits"
                )
                assert samples == [row for row in recorded if row["step"] == step]
                assert {name: now[name] for name in row if name in now and not name.startswith("memory/")} == {
                    name: value for name, value in row.items() if name in now
                }
                assert finished.row["staleness/0"] == 1


@pytest.mark.parametrize("k", [1, 4])
def test_a_run_that_samples_ahead_learns_and_says_how_old_its_tokens_are(
    config: Config, tmp_path: Path, k: int
) -> None:
    longer = config.with_changes(cluster={"max_staleness": k}, run={"steps": 25}, eval={"every": 10})
    train(longer, tmp_path / "run", open_engine=engines.opening_here(engines.Threaded))
    rows = metrics(tmp_path / "run")
    rewards = [row["reward/mean"] for row in rows]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.15
    assert all(row["staleness/max"] <= k and row["groups/dropped"] == 0 for row in rows)
    assert all(sum(row[f"staleness/{age}"] for age in range(k + 1)) == pytest.approx(1) for row in rows)
    assert max(row["staleness/max"] for row in rows) >= 1
    assert all(row.keys() >= {"rollout/sample", "rollout/score"} for row in rows)
    assert problems(tmp_path / "run") == in_order(25)


def test_ctrl_c_in_the_midst_saves_and_the_run_goes_on_without_a_gap(config: Config, tmp_path: Path) -> None:
    interrupts = []

    def interrupt(engine: engines.Wrapped, is_evaluation: bool) -> None:
        if not is_evaluation and engine.step >= 2 and not interrupts:
            interrupts.append(engine.step)
            os.kill(os.getpid(), signal.SIGTERM)

    interrupted = engines.opening_here(partial(engines.Threaded, before=interrupt))
    with pytest.raises(Interrupted, match=r"SIGTERM; step [2-5] is saved .*--resume"):
        train(config, tmp_path / "run", open_engine=interrupted)
    assert not rollouts()
    train(config, tmp_path / "run", resume=True, open_engine=engines.opening_here(engines.Threaded))
    assert problems(tmp_path / "run") == in_order(6)
    assert {file.name for file in (tmp_path / "run" / "eval").iterdir()} == {"before", "step-2", "step-4", "after"}


@pytest.mark.parametrize("what", ["sampler", "reward"])
def test_what_fails_in_a_thread_ends_the_run_in_the_same_words(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    def fail(engine: engines.Wrapped, is_evaluation: bool) -> None:
        if engine.step >= 2 and not is_evaluation and threading.current_thread() is not threading.main_thread():
            if what == "sampler":
                raise SamplerError("the engine is dead")
            (tmp_path / "broken").touch()

    (tmp_path / "reward.py").write_text(
        "import pathlib\ndef digits(completion, problem):\n"
        f"    assert not pathlib.Path({str(tmp_path / 'broken')!r}).exists()\n"
        "    return sum(map(str.isdigit, completion)) / (len(completion) + 1)\n"
    )
    error, words = (SamplerError, "the engine is dead") if what == "sampler" else (RewardError, "raised AssertionError")
    with pytest.raises(error, match=words):
        train(config, tmp_path / "run", open_engine=engines.opening_here(partial(engines.Threaded, before=fail)))
    assert "go on with --resume" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["step"] >= 2


def test_a_dry_run_takes_its_steps_by_turns(config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[str] = []
    watching = partial(engines.Calling, before=lambda engine, is_evaluation: seen.extend(rollouts()))
    train(config, tmp_path / "run", dry_run=True, open_engine=engines.opening_here(watching))
    assert not seen
    assert "nothing was kept" in capsys.readouterr().out


def test_a_run_that_sampled_ahead_is_not_replayed(config: Config, tmp_path: Path) -> None:
    short = config.with_changes(run={"steps": 1}, eval={"source": None, "every": 0})
    train(short, tmp_path / "run", open_engine=engines.opening_here(engines.Threaded))
    with pytest.raises(DataError, match=r"sampled ahead of learning \(cluster.max_staleness = 2\).*--rescore"):
        replay(tmp_path / "run", 1, lambda line: None)


# --- Refused ------------------------------------------------------------------------------------------------------


def refused(cluster: dict[str, Any], **objective: Any) -> Config:
    return settings_with().model_copy(update={"cluster": Cluster(**cluster), "objective": Objective(**objective)})


@pytest.mark.parametrize("nobody", [{"learners": 0, "samplers": 0}, {}])
def test_staleness_without_a_cluster_is_refused(nobody: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"max_staleness = 1 without a cluster: .*set cluster\.learners"):
        assemble.resolved(refused({"max_staleness": 1, **nobody}))


def test_staleness_on_shared_devices_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"max_staleness = 1 with cluster\.colocate = true: .*\"auto\""):
        assemble.resolved(refused({**TWO, "max_staleness": 1, "colocate": True}))


def test_staleness_without_a_correction_is_refused_unless_the_ratio_is_to_the_sampler() -> None:
    one = {**TWO, "max_staleness": 1}
    with pytest.raises(ConfigError, match=r'max_staleness = 1 with objective\.correction = "off"'):
        assemble.resolved(refused(one, correction="off"))
    assert assemble.resolved(refused(one, name="dppo")).objective.correction == "off"
    assert assemble.resolved(refused({**TWO}, correction="off")).objective.correction == "off"
    assert math.isclose(assemble.resolved(refused(one)).objective.correction_bounds[1], 2)
