"""A run ends in time, with everything saved, and its exit code asks for another go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from grpo.config import Config
from grpo.config_file import validate
from grpo.deadline import BEGAN, Deadline, began, parse
from grpo.errors import EXIT_AGAIN, ConfigError, Interrupted
from grpo.interrupt import StopRequest
from grpo.pipeline.plan import make_plan
from grpo.pipeline.process import Forwarding
from grpo.run import checkpoints
from grpo.train import train
from grpo.tune import tune
from tests import engines, runs
from tests.conftest import ROOT


class Clock:
    """Seconds since the command began."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path) -> Config:
    runs.write_inputs(tmp_path)
    return runs.settings(tmp_path, tiny_model, eval={"every": 0, "source": None})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("11h45m", 11 * 3600 + 45 * 60),
        ("90m", 5400),
        ("1d 30s", 86_430),
        ("1.5h", 5400),
        (" 20 s ", 20),
    ],
)
def test_a_time_is_written_as_people_write_it(text: str, seconds: float) -> None:
    assert parse(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "12", "12:00", "0h", "-1h", "5m1h", "h"])
def test_nonsense_is_refused_in_one_sentence(text: str, config: Config) -> None:
    tree = config.model_dump(exclude_none=True)
    tree["run"]["deadline"] = text
    with pytest.raises(ConfigError, match=r'^recipe: run.deadline = .*: must be a time such as "11h45m", "90m"'):
        validate(tree, place="recipe")


def test_what_is_ahead_takes_as_long_as_the_longest_of_its_kind_and_a_save_half_as_long_again() -> None:
    clock = Clock()
    deadline = Deadline("1000s", clock)
    for seconds in (80.0, 100.0, 90.0):
        with deadline.takes("step"):
            clock.now += seconds
    with deadline.takes("save"):
        clock.now += 40
    clock.now = 830  # 170 = 10 to spare + 100 + 1.5 × 40
    deadline.check("step", "save")
    clock.now = 831
    deadline.check("save")
    with pytest.raises(
        Interrupted, match=r"run.deadline = 1000s \(169 s left, and step and save may take 170 s\)"
    ) as e:
        deadline.check("step", "save")
    assert e.value.exit_code == EXIT_AGAIN == 75


@pytest.mark.parametrize(("text", "last"), [("12h", 12 * 3600 - 310), ("100s", 100 - 20 - 5)])
def test_a_save_that_was_never_timed_gets_five_minutes_or_a_fifth_of_all_the_time(text: str, last: float) -> None:
    clock = Clock()
    deadline = Deadline(text, clock)
    clock.now = last
    deadline.check("save")
    clock.now = last + 1
    with pytest.raises(Interrupted):
        deadline.check("save")


def test_what_fails_says_nothing_of_how_long_it_takes() -> None:
    clock = Clock()
    deadline = Deadline("100s", clock)
    with pytest.raises(ZeroDivisionError), deadline.takes("step"):
        clock.now += 90
        raise ZeroDivisionError
    deadline.check("step")


def test_without_a_deadline_there_is_time_for_ever() -> None:
    clock = Clock()
    clock.now = 1e12
    Deadline(None, clock).check("step", "save")


def slow(clock: Clock, seconds: float) -> Any:
    """An engine whose every sampling takes so long, by that clock."""

    def before(engine: engines.Wrapped, is_evaluation: bool) -> None:
        clock.now += seconds

    return engines.opening(partial(engines.Calling, before=before))


def test_no_step_begins_that_would_not_end_in_time_and_the_run_goes_on_to_the_same_end(
    config: Config, tmp_path: Path
) -> None:
    train(config, tmp_path / "whole")
    timed = config.with_changes(run={"deadline": "600s"})
    with pytest.raises(Interrupted, match=r"run.deadline = 600s .*; step 4 is saved in .*--resume") as stopped:
        # The preflight and each step take 100 s.  After step 2 there are 300 for a step and the first save:
        # 10 + 100 + 600 / 5.  That of step 3 takes none, by this clock.  After it there are 200 for 10 + 100, then 100.
        train(timed, tmp_path / "run", open_engine=slow(clock := Clock(), 100), elapsed=clock)
    assert stopped.value.exit_code == 75
    assert clock.now == 500
    train(timed, tmp_path / "run", resume=True)
    assert runs.rows(tmp_path / "run" / "metrics.jsonl") == runs.rows(tmp_path / "whole" / "metrics.jsonl")


def test_sampling_under_way_is_given_up_when_time_gets_short(config: Config, tmp_path: Path) -> None:
    timed = config.with_changes(run={"deadline": "500s", "save_every": 1})
    clock, times = (
        Clock(),
        iter([50.0, 50.0, 50.0, 345.0]),
    )  # the preflight, and three steps, of which the last leaves 5 s of 500
    engine = engines.opening(partial(engines.Calling, before=lambda *_: _advance(clock, next(times))))
    with pytest.raises(Interrupted, match=r"learning and save may take .*; step 2 is saved"):
        train(timed, tmp_path / "run", open_engine=engine, elapsed=clock)
    assert [row["step"] for row in runs.rows(tmp_path / "run" / "metrics.jsonl")] == [1, 2]


def _advance(clock: Clock, seconds: float) -> None:
    clock.now += seconds


def test_an_evaluation_that_would_not_end_in_time_is_left_to_the_next_start(tmp_path: Path, tiny_model: Path) -> None:
    runs.write_inputs(tmp_path)
    config = runs.settings(tmp_path, tiny_model, run={"steps": 2, "deadline": "500s"}, eval={"every": 0})
    clock = Clock()

    def before(engine: engines.Wrapped, is_evaluation: bool) -> None:
        clock.now += 200 if is_evaluation else 60  # 60 and 200 before the steps, 120 for two: 120 are left

    opening = engines.opening(partial(engines.Calling, before=before))
    with pytest.raises(Interrupted, match=r"evaluation and save may take .*; step 2 is saved"):
        train(config, tmp_path / "run", open_engine=opening, elapsed=clock)
    assert not (tmp_path / "run" / "eval" / "after").exists()
    train(config, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "eval" / "after").exists()


def test_fine_tuning_has_a_deadline_too(tmp_path: Path, tiny_model: Path) -> None:
    rows = [{"problem": f"{i}+{i}=", "solution": f"{2 * i}"} for i in range(8)]
    (tmp_path / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    runs.write_inputs(tmp_path)
    sft = {"source": str(tmp_path / "examples.jsonl"), "steps": 6, "batch_size": 2}
    config = runs.settings(tmp_path, tiny_model, sft=sft, eval={"source": None, "every": 0}, run={"deadline": "500s"})
    clock = Clock()

    class Slow(engines.Wrapped):
        def update(self, *arguments: Any) -> Any:
            clock.now += 120
            return self.inner.update(*arguments)

    with pytest.raises(Interrupted, match="step 3 is saved") as stopped:  # 140 s are left, and 10 + 120 + 1.5 × 0 …
        clock.now = 15  # … but the command had begun before: 125
        tune(config, tmp_path / "run", open_engine=engines.opening(Slow), elapsed=clock)
    assert stopped.value.exit_code == 75


# --- Signals ------------------------------------------------------------------------------------------------------


def test_sigusr1_asks_to_be_run_again() -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(Interrupted, match="stopped by SIGUSR1") as stopped:
            stop.check()
    assert stopped.value.exit_code == 75


def started(config: Config, out: Path, *more: str) -> subprocess.Popen[str]:
    """`grpo train` in a process of its own."""
    recipe = out.parent / "settings.toml"
    recipe.write_text(config.to_toml())
    command = [
        sys.executable,
        "-c",
        "from grpo.cli import main; main()",
        "train",
        str(recipe),
        "--out",
        str(out),
        *more,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)


def until(file: Path, lines: int) -> None:
    for _ in range(30_000):
        if file.exists() and len(file.read_text().splitlines()) >= lines:
            return
        time.sleep(0.01)
    raise AssertionError(f"{file} does not get {lines} lines within five minutes")


@pytest.mark.slow
def test_a_real_run_that_slurm_warns_saves_exits_with_75_and_goes_on(config: Config, tmp_path: Path) -> None:
    train(config, tmp_path / "whole")
    process = started(config, tmp_path / "run")
    until(tmp_path / "run" / "metrics.jsonl", 1)
    process.send_signal(signal.SIGUSR1)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 75, said
    assert "grpo: stopped by SIGUSR1; step" in said
    assert checkpoints.latest(tmp_path / "run" / "checkpoints") is not None
    process = started(config, tmp_path / "run", "--resume")
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert runs.rows(tmp_path / "run" / "metrics.jsonl") == runs.rows(tmp_path / "whole" / "metrics.jsonl")


# --- Pipelines ----------------------------------------------------------------------------------------------------


def test_a_stage_counts_from_the_start_of_its_pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from grpo.pipeline import process

    monkeypatch.setattr(
        process, "BOOT", f"import os; print(os.environ['{BEGAN}'], file=open({str(tmp_path / 'x')!r}, 'w'))"
    )
    with Forwarding() as forwarding:
        forwarding.run([], tmp_path / "note")
    assert float((tmp_path / "x").read_text()) == began()


def test_a_webhook_of_a_pipeline_is_in_no_file_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRPO_NOTIFY_1", raising=False)
    tree = {
        "model": {"name": "m"},
        "data": {"source": "d.jsonl"},
        "run": {"notify": "https://hooks.example/secret"},
        "stage": [{"name": "rl", "command": "train"}],
    }
    (stage,) = make_plan(tree, place="test")
    assert stage.settings["run"]["notify"] == "env:GRPO_NOTIFY_1"
    assert os.environ["GRPO_NOTIFY_1"] == "https://hooks.example/secret"


FAKE_GRPO = """#!/bin/bash
echo "$@" >> calls
trap 'kill $nap; exit 75' USR1
sleep 100 &
nap=$!
touch there
wait
"""


def test_the_script_in_the_documentation_hands_the_signal_on_and_asks_to_be_run_again(tmp_path: Path) -> None:
    script = (ROOT / "docs" / "long-runs.md").read_text().partition("```bash\n")[2].partition("```")[0]
    for name, text in (("grpo", FAKE_GRPO), ("scontrol", '#!/bin/bash\necho "$@" > requeued\n')):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "42"}
    (tmp_path / "runs" / "7").mkdir(parents=True)
    for resumed in ("", " --resume"):
        job = subprocess.Popen(["bash", "-c", script], env=environment, cwd=tmp_path)
        until(tmp_path / "there", 0)
        job.send_signal(signal.SIGUSR1)  # as B:USR1 does, to the batch shell alone
        assert job.wait(timeout=60) == 75
        assert (tmp_path / "requeued").read_text() == "requeue 42\n"
        calls = (tmp_path / "calls").read_text().splitlines()
        assert calls[-1] == f"train recipe.toml --out runs/7 --set run.deadline=11h45m{resumed}"
        (tmp_path / "there").unlink()
        (tmp_path / "runs" / "7" / "config.toml").touch()
