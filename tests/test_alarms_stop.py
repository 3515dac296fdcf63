"""Alarms of real runs: they stop, go on and go back, and say what a run says that never did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from grpo.config import Config
from grpo.errors import LearningError
from grpo.train import train
from tests import runs
from tests.engines import Calling, Wrapped, opening


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Ten steps, windows of two, and a model that hardly ever ends: it runs out of room from the sixth step on."""
    monkeypatch.setattr("grpo.alarms.windows.STEPS", 2)
    runs.write_inputs(tmp_path)
    return runs.settings(tmp_path, tiny_model, run={"steps": 10, "save_every": 4}, eval={"every": 5})


def alarms_of(folder: Path) -> list[dict[str, Any]]:
    return runs.rows(folder / "alarms.jsonl")


def test_an_alarm_stops_a_run_that_asks_for_it_and_what_goes_on_is_the_run_that_was_not_stopped(
    config: Config, tmp_path: Path
) -> None:
    train(config, tmp_path / "whole")
    whole = alarms_of(tmp_path / "whole")
    assert (whole[0]["name"], whole[0]["step"]) == ("truncated", 6)
    stopping = config.with_changes(run={"on_alarm": "stop"})
    folder = tmp_path / "stopped"
    with pytest.raises(LearningError, match=r"stopped by the alarm of step 6, truncated .*alarms\.jsonl and report"):
        train(stopping, folder)
    assert (folder / "checkpoints" / "step-6").is_dir() and (folder / "report.html").exists()
    assert alarms_of(folder) == [row for row in whole if row["step"] == 6]
    later = {row["step"] for row in whole if row["step"] > 6 and not row["cleared"]}
    for step in sorted(later):  # others may follow, never the same
        with pytest.raises(LearningError, match=f"alarm of step {step},"):
            train(stopping, folder, resume=True)
    train(stopping, folder, resume=True)
    assert alarms_of(folder) == whole
    assert runs.rows(folder / "metrics.jsonl")[-1]["step"] == 10


def dying(at: int, error: BaseException, times: int = 1) -> Any:
    """An engine that raises in place of the sampling for step `at`."""
    left = [error] * times

    def before(engine: Wrapped, evaluating: bool) -> None:
        if engine.step == at - 1 and not evaluating and left:
            raise left.pop()

    return lambda inner, step: Calling(inner, step, before)


@pytest.mark.parametrize("at", [6, 8])
def test_ten_steps_say_what_some_steps_a_death_and_the_rest_say(config: Config, tmp_path: Path, at: int) -> None:
    train(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):  # of which nothing is saved: as by a kill, with the rows as they are
        train(config, tmp_path / "died", open_engine=opening(dying(at, KeyboardInterrupt())))
    train(config, tmp_path / "died", resume=True)
    assert alarms_of(tmp_path / "died") == alarms_of(tmp_path / "whole") != []
