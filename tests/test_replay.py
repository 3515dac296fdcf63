"""A recorded step can be run again, compared, and laid out."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from grpo.config import Config
from grpo.errors import DataError
from grpo.explain import explain, explained, footing, heading, table
from grpo.replay import differences, opened, replay, rescore
from grpo.train import train
from tests import runs


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Config, Path]:
    """Six steps of two updates each, with a refill and a curriculum; checkpoints after steps 3 and 6."""
    folder = tmp_path_factory.mktemp("recorded")
    runs.write_inputs(folder)
    config = runs.settings(
        folder,
        tiny_model,
        sampling={"max_num_gen_batches": 2},
        curriculum={"easy": 0.25, "hard": 0.25},
        eval={"source": None, "every": 0},
    )
    train(config, folder / "run")
    return config, folder / "run"


def changed(run: Path, tmp_path: Path, file: str, step: int, **values: Any) -> Path:
    """A copy of the run in whose `file` the first row of `step` says something else."""
    copy = shutil.copytree(run, tmp_path / "run")
    rows = [json.loads(line) for line in (copy / file).read_text().splitlines()]
    next(row for row in rows if row["step"] == step).update(values)
    (copy / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return copy


# --- Replay -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "steps"), [(1, [1]), (3, [1, 2, 3]), (5, [4, 5]), (6, [4, 5, 6])])
def test_a_step_runs_again_from_the_checkpoint_before_it_as_it_was_recorded(
    recorded: tuple[Config, Path], step: int, steps: list[int]
) -> None:
    said: list[str] = []
    assert replay(recorded[1], step, said.append)
    assert [line.split(":")[0] for line in said[1:]] == [f"step {number}" for number in steps]
    assert all("all as recorded" in line for line in said[1:])


def test_a_replay_leaves_the_run_as_it_was(recorded: tuple[Config, Path]) -> None:
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in recorded[1].rglob("*") if path.is_file()}

    before = files()
    replay(recorded[1], 2, lambda line: None)
    assert files() == before


@pytest.mark.parametrize(
    ("file", "values", "first"),
    [
        ("samples.jsonl", {"completion": "something else"}, "completions: 1 of"),
        ("samples.jsonl", {"reward": 7.0}, "scores: 1 of"),
        ("samples.jsonl", {"advantage": 7.0}, "advantages: 1 of"),
        ("metrics.jsonl", {"policy/loss": 7.0}, "policy/loss: 7.0 recorded"),
        ("metrics.jsonl", {"policy/grad_norm": 7.0}, "policy/grad_norm: 7.0 recorded"),
    ],
)
def test_a_step_that_differs_from_its_record_is_told_where_first(
    recorded: tuple[Config, Path], tmp_path: Path, file: str, values: dict[str, Any], first: str
) -> None:
    said: list[str] = []
    assert not replay(changed(recorded[1], tmp_path, file, 4, **values), 4, said.append)
    assert any(line.startswith("step 4: differs from what was recorded, first in " + first) for line in said)


def test_nothing_can_be_explained_of_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no run \(no config.toml\)"):
        explain(tmp_path, 1, None, lambda line: None, lambda table: None)


def test_a_record_from_before_the_gold_answer_was_in_it_is_as_good() -> None:
    row = {"problem": "p", "prompt": "?", "completion": "12", "reward": 1.0}
    assert differences([row], [{**row, "gold": "12"}], {}, {}) == []
    assert differences([{**row, "gold": "11"}], [{**row, "gold": "12"}], {}, {})[0].startswith("problems: 1 of 1")


def test_the_first_difference_is_the_cause_and_stands_before_what_follows_from_it() -> None:
    row = {
        "problem": "p",
        "prompt": "?",
        "completion": "12",
        "finish": "stop",
        "tokens": 3,
        "scores": {},
        "reward": 1.0,
    }
    other = {**row, "completion": "13", "reward": 0.0, "advantage": -1.0}
    found = differences([{**row, "advantage": 1.0}], [other], {"policy/loss": 1.0}, {"policy/loss": 2.0})
    assert [line.split(":")[0] for line in found] == ["completions", "scores", "advantages", "policy/loss"]
    assert "'12' recorded, '13' now" in found[0]


@pytest.mark.parametrize("step", [7, 100])
def test_a_step_that_was_not_recorded_is_refused(recorded: tuple[Config, Path], step: int) -> None:
    with pytest.raises(DataError, match=rf"--step {step}: .* has recorded the steps 1 to 6"):
        replay(recorded[1], step, print)


def test_a_start_that_is_missing_is_not_made_anew(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[model]\nname = "builtin:tiny"\n[data]\nsource = "builtin:arithmetic"\n')
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "groups/useful": 1.0}\n')
    with pytest.raises(DataError, match="model: is missing, and the run started from it"):
        replay(tmp_path, 1, print)
    assert not (tmp_path / "model").exists()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no run"):
        replay(tmp_path, 1, print)


# --- Scores alone -------------------------------------------------------------------------------------------------


def test_the_recorded_completions_get_the_recorded_scores_again(recorded: tuple[Config, Path]) -> None:
    said: list[str] = []
    assert rescore(recorded[1], 2, [], said.append)
    counts = [row for row in runs.rows(recorded[1] / "samples.jsonl") if row["step"] == 2]
    assert f"{len(counts)} of {len(counts)} completions get the reward that was recorded" in said[-2]


def test_another_reward_says_what_it_would_have_given(recorded: tuple[Config, Path], tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("def none_at_all(completion, problem):\n    return -1.0\n")
    said: list[str] = []
    assert not rescore(recorded[1], 2, [f"{tmp_path / 'other.py'}:none_at_all"], said.append)
    assert said[-1].endswith("-1.0000 now")


# --- Explain ------------------------------------------------------------------------------------------------------


def at_step(run: Path, step: int) -> Any:
    return opened(run, step, lambda line: None)


def test_the_contributions_of_an_update_add_up_to_its_gradient_norm(recorded: tuple[Config, Path]) -> None:
    metrics = {row["step"]: row for row in runs.rows(recorded[1] / "metrics.jsonl") if "groups/useful" in row}
    with at_step(recorded[1], 4) as again:
        source = again.source()
        groups = again.trainer.compare(again.trainer.rollout(source)[0], again.next)
        names = [group.scored.group.prompt.problem.id for group in groups if group.useful]
    parts: dict[int, list[float]] = {}
    norms: dict[int, float] = {}
    for name in dict.fromkeys(names):
        with at_step(recorded[1], 4) as again:
            explanation = explained(again, name)
        parts.setdefault(explanation.number, []).extend(row.contribution or 0.0 for row in explanation.completions)
        norms[explanation.number] = explanation.grad_norm
    assert sorted(parts) == [1, 2]
    for number, values in parts.items():
        assert math.fsum(values) == pytest.approx(norms[number], rel=1e-4)
    assert sum(norms.values()) / 2 == pytest.approx(metrics[4]["policy/grad_norm"], rel=1e-5)


def test_a_group_is_laid_out_from_rewards_to_its_part_of_the_gradient(recorded: tuple[Config, Path]) -> None:
    samples = [row for row in runs.rows(recorded[1] / "samples.jsonl") if row["step"] == 1]
    with at_step(recorded[1], 1) as again:
        explanation = explained(again, None)
        objective = again.trainer.objective
    name = explanation.group.scored.group.prompt.problem.id
    own = [row for row in samples if row["problem"] == name]
    assert [row.advantage for row in explanation.completions] == [row["advantage"] for row in own]
    assert [row.tokens for row in explanation.completions] == [row["tokens"] for row in own]
    assert all(row.ratio == pytest.approx(1) for row in explanation.completions)  # the first update
    lines = heading(explanation, objective)
    assert lines[0] == f"problem {name}, 4 completions, objective dapo"
    assert f"gold answer  {own[0]['gold']!r}" in lines
    assert any("(r - mean) / std" in line for line in lines)
    assert table(explanation).row_count == 4
    assert "add up to the gradient norm" in footing(explanation)[0]


def test_a_zero_variance_group_is_part_of_no_update_and_says_why(tmp_path: Path, tiny_model: Path) -> None:
    runs.write_inputs(tmp_path)
    (tmp_path / "reward.py").write_text(
        "def digits(completion, problem):\n"
        "    return float(len(completion.encode()) % 2 and int(problem['answer']) % 4 == 1)\n"
    )
    train(runs.settings(tmp_path, tiny_model, run={"steps": 1}, eval={"source": None, "every": 0}), tmp_path / "run")
    alike = [row["problem"] for row in runs.rows(tmp_path / "run" / "samples.jsonl") if int(row["problem"][1:]) % 2]
    with at_step(tmp_path / "run", 1) as again:
        explanation = explained(again, alike[0])
    assert (explanation.number, [row.contribution for row in explanation.completions]) == (0, [None] * 4)
    assert "zero-variance" in footing(explanation)[0]


def test_a_problem_that_is_not_in_the_step_is_refused_with_those_that_are(recorded: tuple[Config, Path]) -> None:
    with at_step(recorded[1], 1) as again, pytest.raises(DataError, match="--problem nope: is not in the step; there"):
        explained(again, "nope")
