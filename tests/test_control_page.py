"""A run and its control on one page: found, compared problem by problem, and said where there is no difference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grpo.run.control_page import Outcomes, control_html, outcomes, partner, said
from grpo.run.report import write_report

SETTINGS = (
    '[optim]\nlr = {lr}\n\n[run]\nsteps = 2\nseed = {seed}\nsave_every = {save}\n{control}[[reward]]\nuse = "math"\n'
)
PROBLEMS = 40


def a_run(
    folder: Path, after: int, *, before: int = 12, control: bool = False, lr: float = 1e-4, seed: int = 0, save: int = 1
) -> Path:
    """It solves so many of 40 held-out problems before and after."""
    setting = 'control = "random-reward"\n\n' if control else "\n"
    (folder / "eval").mkdir(parents=True)
    (folder / "config.toml").write_text(SETTINGS.format(lr=lr, seed=seed, save=save, control=setting))
    rows = [{"step": step, "solved": 0.3, "reward/mean": 0.3, "groups/useful": 1.0} for step in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for label, count in (("before", before), ("after", after)):
        (folder / "eval" / label).mkdir()
        solved = {f"p{i}": float(i < count) for i in range(PROBLEMS)}
        (folder / "eval" / label / "results.json").write_text(json.dumps({"solved": solved}))
    return folder


def sentences(folder: Path, control: Path) -> list[str]:
    return list(said(outcomes(folder, control)))


def test_a_control_is_the_same_run_with_its_rewards_shuffled(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", 30)
    a_run(tmp_path / "run-faster", 14, control=True, lr=1e-3)
    a_run(tmp_path / "run-other-seed", 14, control=True, seed=1)
    a_run(tmp_path / "another", 30)
    assert partner(run) is None
    control = a_run(tmp_path / "run-random-reward", 14, control=True, save=2)  # which is no mathematics
    assert partner(run) == control
    assert partner(control) in {run, tmp_path / "another"}
    assert partner(control) == run  # named alike


def test_a_clear_difference_is_said_with_its_test(tmp_path: Path) -> None:
    run, control = a_run(tmp_path / "run", 30), a_run(tmp_path / "run-random-reward", 14, control=True)
    found = outcomes(run, control)
    assert found is not None
    assert (found.problems, found.before, found.after) == (PROBLEMS, (0.3, 0.3), (0.75, 0.35))
    assert found.apart.mean == pytest.approx(0.4)  # 16 of 40 more
    first, second = sentences(run, control)
    assert first == "Held-out, 40 problems: random rewards 30.0% → 35.0%, real ones 30.0% → 75.0%."
    assert second.startswith("The run ends above its control by +40.0 points [+24.6, +55.4], p = ")


@pytest.mark.parametrize("after", [14, 17, 12])
def test_a_gain_that_random_rewards_give_too_is_no_evidence(tmp_path: Path, after: int) -> None:
    # 17 against 14: three problems, all in one direction, p = 2 · (1/2)³ = 1/4
    run, control = a_run(tmp_path / "run", after), a_run(tmp_path / "run-random-reward", 14, control=True)
    assert "does not end clearly above its control" in sentences(run, control)[1]


def test_a_run_that_is_not_over_is_compared_where_both_were_evaluated(tmp_path: Path) -> None:
    run, control = a_run(tmp_path / "run", 30), a_run(tmp_path / "run-random-reward", 14, control=True)
    (run / "eval" / "after").rename(run / "eval" / "step-2")
    assert outcomes(run, control) is None
    (control / "eval" / "step-2").mkdir()
    (control / "eval" / "step-2" / "results.json").write_text('{"solved": {"p0": 1.0, "p39": 0.0}}')
    found = outcomes(run, control)
    assert isinstance(found, Outcomes)
    assert found.problems == 2  # only those that both have
    (control / "eval" / "step-2" / "results.json").write_text('{"solved": {"p0"')  # a kill's half file
    assert outcomes(run, control) is None
    assert list(said(None)) == []


def test_both_reports_show_it(tmp_path: Path) -> None:
    run, control = a_run(tmp_path / "run", 30), a_run(tmp_path / "run-<b>", 14, control=True)
    of_run, of_control = (write_report(folder).read_text() for folder in (run, control))
    assert "Beside its control" in of_run
    assert "run-&lt;b&gt;" in of_run
    assert "random rewards 30.0% → 35.0%" in of_run
    assert "This run is a control" not in of_run
    assert "Beside its run" in of_control
    assert "This run is a control" in of_control


def test_a_run_without_a_control_says_nothing_of_one(tmp_path: Path) -> None:
    assert control_html(a_run(tmp_path / "run", 30)) == ""
    assert "This run is a control" in control_html(a_run(tmp_path / "elsewhere" / "control", 14, control=True))
    assert control_html(tmp_path / "nowhere") == ""
