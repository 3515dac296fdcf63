"""`scripts/bench scale`: the model of a run keeps its books and bounds, and gives schedules worked out by hand."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import bench_scale
from scripts.benchmark import hardware, scaling
from scripts.benchmark.hardware import MODELS, Split, Work
from scripts.benchmark.pipeline import Costs, Decode, Outcome, Plan, Step, simulate
from scripts.benchmark.validation import SHAPES, cluster, costs_of, fitted, run, table, update_features
from scripts.benchmark.workloads import Workload, make_model

A_SECOND_A_TOKEN = Decode(fixed=1.0)


def costs(update: float = 10.0, **others: float) -> Costs:
    decode = others.pop("decode", A_SECOND_A_TOKEN)
    return Costs(decode, update=lambda step: update, **others)  # type: ignore[arg-type]


def ragged(steps: int, groups: int, seed: int, size: int = 4) -> list[Step]:
    draw = random.Random(seed)
    return [
        [[min(400, int(draw.lognormvariate(3, 1)) + 1) for _ in range(size)] for _ in range(groups)]
        for _ in range(steps)
    ]


def everything(steps: list[Step]) -> list[tuple[int, int]]:
    return [(number, group) for number, step in enumerate(steps, start=1) for group in range(len(step))]


# --- Properties ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samplers", [1, 3, 16])
@pytest.mark.parametrize("max_staleness", [0, 1, 4])
def test_every_group_that_was_asked_is_learned_from_once_and_in_its_own_step(samplers: int, max_staleness: int) -> None:
    steps = ragged(9, groups=7, seed=samplers)
    busy = replace(
        costs(update=60.0, publish=3.0, pause=2.0, reward=0.5), decode=Decode(0.5, 0.01, 1e-4, 0.01, slots=6)
    )
    outcome = simulate(Plan(samplers, max_staleness), busy, 10, steps)
    assert sorted(outcome.learned) == everything(steps)
    assert [step for step, _ in outcome.learned] == sorted(step for step, _ in outcome.learned)


@pytest.mark.parametrize("max_staleness", [0, 1, 2, 4])
@pytest.mark.parametrize("update", [0.0, 30.0, 3000.0])
def test_no_token_is_older_than_the_bound_and_shares_of_time_are_between_0_and_1(
    max_staleness: int, update: float
) -> None:
    outcome = simulate(Plan(3, max_staleness), costs(update=update, publish=5.0, pause=5.0), 5, ragged(14, 6, seed=1))
    assert max(outcome.staleness) <= max_staleness
    assert sum(outcome.staleness.values()) == pytest.approx(1)
    assert 0 <= outcome.learner_idle <= 1
    assert 0 <= outcome.samplers_idle <= 1


@pytest.mark.parametrize("max_staleness", [0, 2])
def test_twice_the_samplers_are_never_slower_where_weights_travel_for_nothing(max_staleness: int) -> None:
    steps = ragged(8, groups=32, seed=3)
    decode = Decode(0.5, 0.05, 1e-4, slots=16)
    times = [
        simulate(Plan(count, max_staleness), costs(update=1.0, decode=decode), 10, steps).step  # type: ignore[arg-type]
        for count in (1, 2, 4, 8, 16, 32)
    ]
    assert times == sorted(times, reverse=True)


def test_sampling_ahead_is_never_slower_than_taking_turns() -> None:
    steps = ragged(12, groups=8, seed=4)
    by_turns, *ahead = (simulate(Plan(2, k), costs(update=100.0, publish=2.0), 10, steps).step for k in (0, 1, 2, 4))
    assert all(step < by_turns for step in ahead)


# --- Schedules by hand --------------------------------------------------------------------------------------------

THREE: Step = [[3, 5], [4, 4], [6, 1]]


def test_a_sampler_has_one_share_and_takes_nothing_from_another() -> None:
    # A draws groups 1 and 3 until 6, B group 2 until 4; 10 of update, 2 of hand-over.
    outcome = simulate(Plan(2), costs(publish=2.0), 0, [THREE] * 3)
    assert outcome.step == 18
    assert outcome.learner_idle == pytest.approx(6 / 18)
    assert outcome.samplers_idle == pytest.approx(1 - (6 + 4) / 36)
    assert outcome.tokens_per_second == pytest.approx(23 / 18)
    assert outcome.staleness == {0: 1.0}


def test_by_turns_a_step_is_the_sum_of_its_phases() -> None:
    # Asked for 0.5, a prompt of 10 tokens at 0.1, 8 tokens at 1 + 0.25, two rewards of 2 by one worker, then the rest.
    one = Costs(
        Decode(1.0, per_sequence=0.125, prefill=0.1),
        update=lambda step: 7.0,
        reward=2.0,
        reward_workers=1,
        publish=3.0,
        turns=1.5,
        ask=0.5,
    )
    outcome = simulate(Plan(1), one, 10, [[[8, 8]]] * 2)
    assert outcome.step == pytest.approx(0.5 + 10 * 0.1 + 8 * (1 + 2 * 0.125) + 2 * 2.0 + 7.0 + 1.5 + 3.0)


def test_one_step_ahead_the_longer_of_sampling_and_learning_is_the_step() -> None:
    learning = simulate(Plan(2, 1), costs(update=10.0, publish=2.0), 0, [THREE] * 20)
    assert learning.step == 12  # 10 + 2, and 6 of sampling beside it
    assert learning.learner_idle == 0
    assert learning.staleness == {1: 1.0}
    sampling = simulate(Plan(1, 1), costs(update=1.0), 0, [[[50, 50]]] * 21)
    # Two steps are drawn side by side in 50; the first is learned from in 1 and makes room for the next.
    assert sampling.step == pytest.approx((50 + 1) / 2)


def test_a_decoding_step_grows_with_what_runs_and_with_the_cache() -> None:
    # 4 steps with 3 running from 30 tokens on, a cache that grows to 42: 36 on average.
    assert Decode(1.0, 0.5, 0.25).seconds(4, running=3, context=30) == 4 * (1 + 1.5 + 0.25 * 36)


def test_slots_make_completions_wait() -> None:
    # Two slots for four completions of 5: two rounds.
    assert simulate(Plan(1), costs(update=0.0, decode=Decode(1.0, slots=2)), 0, [[[5] * 4]]).step == 10  # type: ignore[arg-type]


def test_new_weights_in_mid_completion_cost_the_pause_and_the_cache() -> None:
    # Step 2 begins at 0 beside step 1, which ends at 10, is learned from in 5 and published in 1.  Then 15 of step 2's
    # 40 tokens are there, of which 2 each are read again, and everything stands still for 1.
    one = replace(costs(update=5.0, publish=1.0, pause=1.0), decode=Decode(1.0, prefill=0.5))
    for last in ([], [[[1]]]):  # whether or not another step is asked for at once
        steps: list[Step] = [[[10]], [[40]], *last]
        kept = simulate(Plan(1, 1, recompute=False), one, 0, steps).step * len(steps)
        again = simulate(Plan(1, 1), one, 0, steps).step * len(steps)
        assert kept == pytest.approx(10 + 5 + 1 + 25 + len(steps[1:]) * (5 + 1))
        assert again == pytest.approx(kept + 15 * 0.5)


# --- Costs --------------------------------------------------------------------------------------------------------


def test_fitted_costs_are_those_that_made_the_times_and_never_negative() -> None:
    rows = [
        update_features([[n] * 4] * p, prompt) for p, n, prompt in ((1, 8, 4), (3, 50, 9), (5, 20, 70), (2, 200, 3))
    ]
    times = [0.5 + 2e-3 * tokens + 1e-6 * pairs for _, tokens, pairs in rows]
    assert fitted(rows, times) == pytest.approx([0.5, 2e-3, 1e-6])
    assert min(fitted(rows, [tokens * 1e-3 - 0.01 for _, tokens, _ in rows])) >= 0


def test_the_model_finds_again_the_steps_its_costs_were_taken_from() -> None:
    true = Costs(Decode(2e-3, 1e-4, 1e-7, 1e-4, slots=512), update=lambda step: 0.0, ask=0.1)
    lines = []
    for problems, group, prompt, new in SHAPES:
        lengths = [[new] * group] * problems
        sample = simulate(Plan(1), true, prompt, [lengths]).step
        update = 1e-4 * update_features(lengths, prompt)[1]
        lines.append(
            {
                "asked": [problems, group, prompt, new],
                "lengths": lengths,
                "wall": {"sample": sample, "update": update, "sync": 0.2},
            }
        )
    found, update_of = costs_of(lines, "wall", learners=1)
    assert found.decode.fixed == pytest.approx(2e-3, rel=1e-3)
    assert found.decode.per_sequence == pytest.approx(1e-4, rel=1e-3)
    assert found.publish == 0.2
    assert update_of([[7] * 8] * 3, 5) == pytest.approx(1e-4 * 3 * (5 + 56), rel=1e-3)


def test_lengths_have_the_mean_they_were_asked_for_and_a_tail() -> None:
    work = Work(512, 16, 300, mean=2000, sigma=1.0, shared=0.5, longest=16_384)
    lengths = sorted(n for group in work.steps(1)[0] for n in group)
    assert sum(lengths) / len(lengths) == pytest.approx(2000, rel=0.05)  # the cut takes a little
    assert lengths[len(lengths) // 2] == pytest.approx(1213, rel=0.1)  # e^(-1/2) · 2000
    assert lengths[-1] == 16_384
    assert work.steps(2)[0] == work.steps(1)[0]


def test_more_learners_than_groups_help_no_further() -> None:
    step = Work(8, 16, 300, 2000, 1.0, 0.5, 16_384).steps(1)[0]
    times = [hardware.update(step, model=MODELS["7B"], prompt=300, learners=count) for count in (1, 2, 4, 8, 16)]
    assert times[:4] == sorted(times[:4], reverse=True)
    assert times[4] == pytest.approx(times[3], rel=0.1)


def test_a_division_leaves_no_more_than_there_is_and_fits() -> None:
    work = replace(scaling.STEP, problems=64)
    for name, model in MODELS.items():
        for gpus in (8, 64, 512):
            for split in scaling.divisions(model, work, gpus, 1):
                assert split.learners + split.samplers * model.tensor_parallel <= gpus
                assert split.learners <= work.problems and split.samplers <= work.problems
                assert hardware.fits(model, split), name
    assert not hardware.fits(MODELS["32B"], Split(8, 1, 0))


def test_a_small_cluster_is_asked_and_printed() -> None:
    work = replace(scaling.STEP, problems=8)
    found = scaling.ask(MODELS["1.5B"], work, Split(2, 6, 1), 8)
    assert isinstance(found.outcome, Outcome)
    assert scaling.row("max_staleness 1", 8, MODELS["1.5B"], found, {}).startswith("| max_staleness 1 | 8 | 2 + 6 |")
    assert "does not fit" in scaling.row("by turns, colocated", 8, MODELS["32B"], None, {})


def test_parts_are_measured_on_real_steps_and_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing is asserted of a time but that there is one: machines are noisy, and so short a step says little.
    work = Workload(1, 32, 64, 2, 64, problems=1, group=2, prompt=8, new=8)
    make_model(work, tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings = {"sampling": {"backend": "transformers"}, **cluster(0, 0)}
    shapes = [(1, 2, 4, 4), (1, 2, 4, 4), (2, 2, 8, 4), (1, 2, 4, 8), (2, 2, 4, 8)]
    lines = run(str(tmp_path), shapes, threads=1, settings=settings)
    assert [line["asked"] for line in lines] == [list(shape) for shape in shapes[1:]]  # the first warms up
    for line in lines:
        problems, group, _, new = line["asked"]
        assert [len(lengths) for lengths in line["lengths"]] == [group] * problems
        assert all(1 <= length <= new for lengths in line["lengths"] for length in lengths)
        assert {"sample", "score", "sync"} <= line["wall"].keys()
    assert "| 2 × 2, 4 + at most 8 tokens |" in table(lines, lines, Plan(1), clock="wall", learners=1)


def test_an_unknown_measurement_is_refused_with_those_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench_scale", "sideways"])
    with pytest.raises(SystemExit, match="2"):
        bench_scale.main()
    assert "invalid choice: 'sideways'" in capsys.readouterr().err
