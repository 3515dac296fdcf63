"""The control: rewards are dealt out anew within a step, and everything else is as it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo import assemble, commands
from grpo.algorithm import Trainer
from grpo.config import Config, Objective, Optim, Sampling
from grpo.errors import ConfigError
from grpo.objectives import GroupRewards, choose
from grpo.objectives.control import as_they_are, shuffled
from grpo.replay import replay
from grpo.train import train
from grpo.types import Completion, Group, Problem, Prompt, ScoredGroup
from rewards import Score
from tests import engines, runs
from tests.fakes import FakeSampler, FakeScorer
from tests.test_train import assert_same_run, die

Record = tuple[float | None, ...]  # of a completion: its total, then its parts

groups = st.lists(st.lists(st.sampled_from([None, 0.0, 0.2, 1.0, 1.2]), min_size=1, max_size=5), min_size=1, max_size=6)


def made(totals: Sequence[Sequence[float | None]]) -> list[GroupRewards]:
    """Groups whose parts can be told from the total: the integer, and the rest with weight 0.5."""
    return [
        GroupRewards(
            list(row),
            {
                "math": (1.0, [None if r is None else float(int(r)) for r in row]),
                "layout": (0.5, [None if r is None else 2 * (r - int(r)) for r in row]),
            },
        )
        for row in totals
    ]


def records(some: Sequence[GroupRewards]) -> list[Record]:
    return [
        record
        for group in some
        for record in zip(group.totals, *(values for _, values in group.parts.values()), strict=True)
    ]


@given(groups, st.integers(0, 9), st.integers(1, 9))
def test_what_is_dealt_out_is_what_was_earned_as_whole_records(
    totals: list[list[float | None]], seed: int, step: int
) -> None:
    before = made(totals)
    after = shuffled(before, step, seed=seed)
    assert Counter(records(after)) == Counter(records(before))
    assert [len(group.totals) for group in after] == [len(group.totals) for group in before]
    assert [group.parts["layout"][0] for group in after] == [0.5] * len(before)


@given(groups)
def test_a_completion_that_was_not_judged_stays_so(totals: list[list[float | None]]) -> None:
    after = shuffled(made(totals), 1, seed=0)
    assert [[r is None for r in group.totals] for group in after] == [[r is None for r in row] for row in totals]


def test_seed_and_step_alone_say_how_it_is_dealt() -> None:
    before = made([[float(i) for i in range(8)], [float(i) for i in range(8, 16)]])
    assert shuffled(before, 3, seed=1) == shuffled(before, 3, seed=1) != shuffled(before, 4, seed=1)
    assert shuffled(before, 3, seed=1) != shuffled(before, 3, seed=2)
    assert records(shuffled(before, 3, seed=1)) != records(before)


def test_no_place_is_better_than_another() -> None:
    # One right answer among eight: over 4,000 steps each place has it 4000 / 8 = 500 times, give or take
    # sqrt(4000 · 1/8 · 7/8) = 21; 5 of these are 105.
    before = made([[1.0, 0.0, 0.0, 0.0], [0.0] * 4])
    places = Counter(
        [total for group in shuffled(before, step, seed=0) for total in group.totals].index(1.0)
        for step in range(1, 4001)
    )
    assert len(places) == 8
    assert all(abs(count - 500) < 105 for count in places.values())


# --- In a step ----------------------------------------------------------------------------------------------------


def scored(name: str, values: Sequence[float | None]) -> ScoredGroup:
    completions = tuple(Completion((3,), (-1.0,), str(value), "stop") for value in values)
    group = Group(Prompt(Problem(name, ({"role": "user", "content": "?"},), {}), (1,)), completions, 0)
    return ScoredGroup(group, tuple({"given": Score(value)} for value in values), tuple(values))


class OneReward:
    names, weights = ("given",), {"given": 1.0}


def trainer(**changes: Any) -> Trainer:
    made = Trainer(
        engine=None,  # type: ignore[arg-type]
        scorer=OneReward(),  # type: ignore[arg-type]
        objective=choose(Objective(advantages="group_mean")),
        sampling=Sampling(),
        optim=Optim(),
        clock=lambda phase: nullcontext(),
        arrived=lambda done, total: None,
    )
    return replace(made, **changes)


def test_only_advantages_see_it() -> None:
    given = [scored(f"p{n}", [1.0] * n + [0.0] * (4 - n)) for n in range(5)]
    plain, control = trainer(), trainer(control=partial(shuffled, seed=0))
    assert plain.control is as_they_are
    assert plain.compare(given, 1)[4].advantages == (0.0,) * 4  # all right: nobody is better
    judged = control.compare(given, 1)
    assert [group.scored for group in judged] == given  # what is recorded and measured is what was earned
    dealt = shuffled([plain.rewards_of(group) for group in given], 1, seed=0)
    assert [group.advantages for group in judged] == [
        tuple(r - sum(row.totals) / 4 for r in row.totals) for row in dealt
    ]
    assert [group.useful for group in judged] == [len(set(row.totals)) > 1 for row in dealt]


def test_it_is_dealt_by_the_order_of_problems_and_not_by_that_of_arrival() -> None:
    """A rollout hands its groups over in the order of its problems; so what arrived first makes no difference."""

    class Source:
        def prompts(self, count: int) -> list[Prompt]:
            return [Prompt(Problem(f"p{n}", ({"role": "user", "content": "?"},), {}), (1,)) for n in range(count)]

        def seed(self, round: int) -> int:
            return round

    class InOrder(FakeSampler):
        def sample(self, *arguments: Any) -> Any:
            return reversed(list(super().sample(*arguments)))

    def advantages(kind: type[FakeSampler]) -> list[tuple[float, ...]]:
        sampler = kind(lambda problem, g, seed: f"{problem.id} {g}")
        scorer = FakeScorer(lambda problem, g: float(int(problem[1:]) > g))
        made = trainer(
            engine=sampler,
            scorer=scorer,
            sampling=Sampling(problems_per_step=4, group_size=4, max_tokens=9),
            control=partial(shuffled, seed=3),
        )
        return [group.advantages for group in made.compare(made.rollout(Source())[0], 2)]

    assert advantages(FakeSampler) == advantages(InOrder)


# --- In a run -----------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path) -> Config:
    runs.write_inputs(tmp_path)
    return runs.settings(tmp_path, tiny_model, run={"control": "random-reward"})


def test_a_control_goes_on_bit_for_bit_after_a_kill_and_can_be_replayed(config: Config, tmp_path: Path) -> None:
    train(config, tmp_path / "whole")
    die(config, tmp_path / "run", "update@5")
    train(config, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    assert replay(tmp_path / "run", 5, lambda text: None)
    rows = [row for row in runs.rows(tmp_path / "run" / "samples.jsonl") if row["step"] == 1]
    digits = [sum(map(str.isdigit, row["completion"])) / (len(row["completion"]) + 1) for row in rows]
    assert [row["reward"] for row in rows] == digits  # what it earned, not what it was dealt


def test_the_first_step_of_run_and_control_says_the_same_of_what_was_earned(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = config.with_changes(run={"steps": 1}, eval={"every": 0})
    train(short.with_changes(run={"control": None}), tmp_path / "run")
    assert "control" not in capsys.readouterr().out
    assert "Beside its control" not in (tmp_path / "run" / "report.html").read_text()
    train(short, tmp_path / "control")
    assert "control: each step's rewards are shuffled among its completions" in capsys.readouterr().out
    assert "Beside its control" in (tmp_path / "run" / "report.html").read_text()  # written when the control ended
    assert "Beside its run" in (tmp_path / "control" / "report.html").read_text()
    ours, theirs = (
        next(row for row in runs.rows(tmp_path / name / "metrics.jsonl") if "solved" in row)
        for name in ("control", "run")
    )
    same = ("solved", "reward/mean", "reward/std", "reward/digits", "completions/length_mean", "tokens/sample")
    assert [ours[name] for name in same] == [theirs[name] for name in same]
    assert ours["policy/grad_norm"] != theirs["policy/grad_norm"]


@pytest.mark.slow
def test_a_control_learns_nothing_where_the_run_does(config: Config, tmp_path: Path) -> None:
    gains = {}
    for control in (None, "random-reward"):
        longer = config.with_changes(run={"steps": 25, "control": control}, eval={"every": 0})
        train(longer, tmp_path / str(control))
        rewards = [
            row["reward/mean"] for row in runs.rows(tmp_path / str(control) / "metrics.jsonl") if "solved" in row
        ]
        gains[control] = sum(rewards[-5:]) / 5 - sum(rewards[:5]) / 5
    assert gains[None] > 0.2
    assert abs(gains["random-reward"]) < 0.05


def test_a_control_may_sample_ahead(config: Config, tmp_path: Path) -> None:
    ahead = config.with_changes(cluster={"learners": 1, "samplers": 1, "max_staleness": 1}, run={"steps": 3})
    train(ahead, tmp_path / "run", open_engine=engines.opening_here(engines.Threaded))
    assert sum("solved" in row for row in runs.rows(tmp_path / "run" / "metrics.jsonl")) == 3


def test_the_command_names_the_folder_after_the_control(config: Config, tmp_path: Path, monkeypatch: Any) -> None:
    seen = []
    monkeypatch.setattr("grpo.train.train", lambda config, path, **_: seen.append((config.run.control, str(path))))
    recipe = tmp_path / "r.toml"
    recipe.write_text(config.with_changes(run={"control": None}).to_toml())

    def run(out: Path | None, control: str | None, *changes: str) -> None:
        commands.train(str(recipe), None, None, [], changes, out, resume=False, dry_run=False, control=control)

    run(None, None)
    run(None, "random-reward")
    run(None, None, "run.control=random-reward")
    run(Path("here"), "random-reward")
    assert seen == [
        (None, "runs/r"), ("random-reward", "runs/r-random-reward"), ("random-reward", "runs/r-random-reward"),
        ("random-reward", "here"),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"run\.control"):
        run(None, "shuffled")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"distill": {"teacher": "t", "mode": "full"}}, "its loss reads no rewards"),
        ({"reward": [{"use": "math", "weight": 0}]}, "every reward has weight 0"),
    ],
)
def test_a_control_where_no_reward_is_learned_from_is_refused(
    tmp_path: Path, tiny_model: Path, changes: dict[str, Any], said: str
) -> None:
    runs.write_inputs(tmp_path)
    odd = runs.settings(tmp_path, tiny_model, run={"control": "random-reward"}, **changes)
    with pytest.raises(ConfigError, match=said):
        assemble.resolved_for(odd, None)
