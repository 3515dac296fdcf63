"""Where a step's problems and seeds come from: the seed, the step, and what a checkpoint holds; nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Sequence
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.config import Curriculum
from grpo.problems import SolveRates, draw
from grpo.run.checkpoints import Progress
from grpo.source import StepSource, sampling_seed
from grpo.types import Problem, Prompt

PROMPTS = [Prompt(Problem(f"p{n}", ({"role": "user", "content": "?"},), {}), (1,)) for n in range(20)]
NONE, SOME = Curriculum(), Curriculum(easy=0.25, hard=0.25, retire_after=2)


def source(
    *,
    step: int = 1,
    drawn: int = 0,
    seed: int = 0,
    curriculum: Curriculum = NONE,
    rates: SolveRates | None = None,
    without: Collection[str] = (),
) -> StepSource:
    return StepSource(
        PROMPTS,
        step=step,
        drawn=drawn,
        seed=seed,
        curriculum=curriculum,
        rates=SolveRates() if rates is None else rates,
        without=without,
    )


def names(prompts: Sequence[Prompt]) -> list[str]:
    return [prompt.problem.id for prompt in prompts]


# --- Seeds --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(0, 10**6))
def test_the_seed_of_the_first_round_is_that_of_runs_that_know_no_rounds(seed: int, step: int) -> None:
    expected = random.Random(f"{seed}/sampling/{step}").getrandbits(32)
    assert sampling_seed(seed, step) == sampling_seed(seed, step, 0) == expected
    assert source(seed=seed, step=step).seed(0) == expected


def test_seeds_of_steps_rounds_and_runs_all_differ_and_fit_every_generator() -> None:
    seeds = [source(seed=seed, step=step).seed(round) for seed in range(3) for step in range(30) for round in range(5)]
    assert len(set(seeds)) == len(seeds) == 450
    assert all(0 <= seed < 2**32 for seed in seeds)


# --- Problems in a fixed order ------------------------------------------------------------------------------------


@given(st.integers(0, 100), st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 9))
def test_without_a_curriculum_rounds_go_on_in_the_order_of_the_seed(drawn: int, rounds: list[int], seed: int) -> None:
    taken = source(drawn=drawn, seed=seed)
    found = [prompt for count in rounds for prompt in taken.prompts(count)]
    assert found == draw(PROMPTS, drawn, sum(rounds), seed=seed)
    assert taken.drawn == drawn + sum(rounds)


def test_without_a_curriculum_the_step_does_not_matter_only_how_many_were_drawn() -> None:
    assert source(step=1, drawn=7).prompts(5) == source(step=9, drawn=7).prompts(5)


# --- A curriculum -------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 10), min_size=1, max_size=6), st.integers(0, 9), st.lists(st.floats(0, 1), max_size=20))
def test_with_a_curriculum_no_problem_comes_twice_within_a_step_unless_none_is_left(
    rounds: list[int], seed: int, shares: list[float]
) -> None:
    rates = SolveRates()
    for number, share in enumerate(shares):
        rates.record(f"p{number}", share, 1)
    taken = source(step=2, seed=seed, curriculum=SOME, rates=rates)
    found = [name for count in rounds for name in names(taken.prompts(count))]
    assert len(found) == sum(rounds)
    assert len(set(found)) == min(len(found), len(PROMPTS))


def test_what_other_steps_are_about_to_learn_from_is_drawn_last_and_not_counted_as_taken() -> None:
    others = {f"p{n}" for n in range(12)}
    taken = source(curriculum=SOME, without=others)
    assert not others & set(names([*taken.prompts(4), *taken.prompts(4)]))
    assert taken.taken == {f"p{n}" for n in range(12, 20)}
    assert len(taken.prompts(3)) == 3  # where there are no others


def test_another_step_starts_with_all_problems_again() -> None:
    first, second = (source(step=step, curriculum=SOME).prompts(20) for step in (1, 2))
    assert sorted(names(first)) == sorted(names(second)) == sorted(names(PROMPTS))


def test_with_a_curriculum_problems_differ_by_seed_step_and_what_was_drawn() -> None:
    draws = [
        names(source(seed=seed, step=step, drawn=drawn, curriculum=SOME).prompts(5))
        for seed, step, drawn in ((0, 1, 0), (1, 1, 0), (0, 2, 0), (0, 1, 5))
    ]
    assert len({tuple(names) for names in draws}) == 4


def test_what_was_solved_decides_which_problems_the_next_step_draws() -> None:
    rates, hard_ones = SolveRates(), Curriculum(easy=0.01, hard=0.99)
    first = source(step=1, curriculum=hard_ones, rates=rates)
    for prompt in first.prompts(20):
        rates.record(prompt.problem.id, 0.0 if prompt.problem.id in ("p3", "p5") else 1.0, 1)
    assert rates.state()["p3"] == {"rate": 0.0, "step": 1, "streak": 0}
    second = source(step=2, drawn=20, curriculum=hard_ones, rates=rates)
    assert sorted(names(second.prompts(2))) == ["p3", "p5"]


# --- Resumed ------------------------------------------------------------------------------------------------------


def run(steps: range, progress: Progress, curriculum: Curriculum) -> tuple[list[list[str]], Progress]:
    """Problems of each step, of two rounds; every third is solved by half, the others by all or none."""
    found = []
    for step in steps:
        rates = SolveRates(progress.solve_rates)
        taken = source(step=step, drawn=progress.drawn, curriculum=curriculum, rates=rates)
        drawn = names([*taken.prompts(4), *taken.prompts(2)])
        for name in drawn:
            rates.record(name, (0.0, 0.5, 1.0)[int(name[1:]) % 3], step)
        progress = Progress(step, taken.drawn, solve_rates=rates.state())
        found.append([*drawn, str(taken.seed(0))])
    return found, progress


@pytest.mark.parametrize("curriculum", [NONE, SOME], ids=["none", "some"])
@pytest.mark.parametrize("stop", [1, 4, 9])
def test_a_resumed_run_draws_what_it_would_have_drawn(curriculum: Curriculum, stop: int) -> None:
    whole, end = run(range(1, 11), Progress(0, 0), curriculum)
    first, progress = run(range(1, stop + 1), Progress(0, 0), curriculum)
    resumed = Progress(**json.loads(json.dumps(asdict(progress))))  # as a checkpoint keeps it
    second, after = run(range(stop + 1, 11), resumed, curriculum)
    assert first + second == whole
    assert after == end
