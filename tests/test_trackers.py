from __future__ import annotations

import importlib
import importlib.util
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

from grpo.config import Run
from grpo.errors import ConfigError
from grpo.run.trackers import _TRACKERS, open_trackers
from grpo.types import Alarm

ROW = {
    "step": 7,
    "reward/mean": 0.5,
    "policy/loss": float("nan"),
    "policy/kl": None,
    "note": "text",
    "tokens/sample": 12,
}
NUMBERS = {"reward/mean": 0.5, "tokens/sample": 12}


class Recorder:
    """Stands in for all three packages: remembers every call by name."""

    def __init__(self, calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]]) -> None:
        self.calls = calls

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Recorder:
            self.calls.append((name, args, kwargs))
            return self

        return call


def install(monkeypatch: pytest.MonkeyPatch, name: str, **attributes: Any) -> None:
    module = ModuleType(name)
    module.__dict__.update(attributes)
    monkeypatch.setitem(sys.modules, name, module)


def test_every_tracker_that_a_setting_may_name_exists() -> None:
    annotation = Run.model_fields["trackers"].annotation
    assert set(get_args(get_args(annotation)[0])) == set(_TRACKERS)


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb"), ("trackio", "trackio")]
)
def test_a_missing_package_is_answered_with_what_to_install(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # what Python keeps for "import is forbidden"
    with pytest.raises(ConfigError, match=rf"run\.trackers: {name} is not installed .* `pip install {name}`"):
        open_trackers([name], "quickstart", {}, tmp_path)


def test_tensorboard_hides_the_steps_that_a_resumed_run_makes_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[Any] = []
    install(monkeypatch, "torch.utils.tensorboard", SummaryWriter=Recorder(calls).SummaryWriter)
    (tracker,) = open_trackers(["tensorboard"], "quickstart", {"run": {"seed": 1}}, tmp_path)
    assert calls == []
    tracker.log(ROW, 7)
    tracker.log(ROW, 8)
    tracker.close()
    writers = [kwargs for name, _, kwargs in calls if name == "SummaryWriter"]
    assert writers == [{"log_dir": str(tmp_path / "tensorboard"), "purge_step": 7}]
    scalars = [(args[0], args[1], kwargs["global_step"]) for name, args, kwargs in calls if name == "add_scalar"]
    assert scalars == [(name, value, step) for step in (7, 8) for name, value in NUMBERS.items()]
    assert calls[-1][0] == "close"


def test_wandb_resumes_the_same_run_and_counts_our_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ids = []
    for _ in range(2):
        calls: list[Any] = []
        install(monkeypatch, "wandb", init=Recorder(calls).init, Error=RuntimeError)
        (tracker,) = open_trackers(["wandb"], "quickstart", {"run": {"seed": 1}}, tmp_path)
        tracker.log(ROW, 7)
        tracker.close()
        init, define, log, finish = calls
        assert init[2]["name"] == "quickstart" and init[2]["config"] == {"run": {"seed": 1}}
        assert init[2]["resume"] == "allow"
        assert define == ("define_metric", ("*",), {"step_metric": "step"})
        assert log == ("log", (NUMBERS | {"step": 7},), {})
        assert finish[0] == "finish"
        ids.append(init[2]["id"])
    assert ids[0] == ids[1]


ALARM = Alarm("loops", 7, "it repeats")
SAMPLE = {
    "problem": "p1",
    "prompt": "1+1",
    "completion": "| **2** |\n" + 3000 * "x",
    "reward": 1.0,
    "scores": {"math": 1},
}


def test_tensorboard_gets_samples_alarms_and_summary_as_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Any] = []
    install(monkeypatch, "torch.utils.tensorboard", SummaryWriter=Recorder(calls).SummaryWriter)
    (tracker,) = open_trackers(["tensorboard"], "quickstart", {}, tmp_path)
    tracker.samples([SAMPLE] * 100, 7)
    tracker.alarm(ALARM)
    tracker.alarm(replace(ALARM, step=9, cleared=True))
    tracker.summary({"after": 0.5})
    texts = [(args, kwargs) for name, args, kwargs in calls if name == "add_text"][1:]
    assert [args[0] for args, _ in texts] == ["samples", "alarms", "alarms", "summary"]
    table = texts[0][0][1].splitlines()
    assert len(table) == 2 + 32 and r"\| \*\*2\*\* \|" in table[2]  # its own mark-up is not the page's
    assert len(table[2]) < 2200 and "more characters" in table[2]
    assert texts[1] == (("alarms", "loops: it repeats"), {"global_step": 7})
    assert texts[2] == (("alarms", "loops is over"), {"global_step": 9})
    assert '"after": 0.5' in texts[3][0][1]


def test_wandb_gets_a_table_an_alert_and_a_summary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Any] = []
    recorder = Recorder(calls)
    recorder.__dict__["summary"] = values = {}
    install(monkeypatch, "wandb", init=recorder.init, Error=RuntimeError, Table=lambda **kwargs: kwargs)
    (tracker,) = open_trackers(["wandb"], "quickstart", {}, tmp_path)
    tracker.samples([SAMPLE], 7)
    tracker.alarm(ALARM)
    tracker.alarm(replace(ALARM, cleared=True))
    tracker.summary({"after": 0.5})
    log, alert = calls[2:]
    table = log[1][0]["samples"]
    assert log[1][0]["step"] == 7 and table["columns"][:2] == ["problem", "prompt"]
    assert table["data"][0][:3] == ["p1", "1+1", None] and len(table["data"][0]) == len(table["columns"])
    assert alert == ("alert", (), {"title": "loops, step 7", "text": "it repeats"})
    assert values == {"run/after": 0.5}


@pytest.mark.parametrize("old", [False, True])
def test_trackio_gets_a_table_and_where_it_has_them_alerts(
    old: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[Any] = []
    recorder = Recorder(calls)
    newer = {} if old else {"alert": recorder.alert}
    install(monkeypatch, "trackio", init=recorder.init, Table=lambda dataframe: dataframe.to_dict("records"), **newer)
    (tracker,) = open_trackers(["trackio"], "quickstart", {}, tmp_path)
    tracker.log(ROW, 7)
    tracker.samples([SAMPLE], 7)
    tracker.alarm(ALARM)
    tracker.summary({"after": 0.5, "hardware": "2 cores"})
    assert [name for name, _, _ in calls] == ["init", "log", "log", *([] if old else ["alert"]), "log"]
    assert calls[2][1][0]["samples"][0]["problem"] == "p1" and calls[2][2] == {"step": 7}
    assert calls[-1][1:] == (({"run/after": 0.5},), {"step": 7})


def test_wandb_without_a_login_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def init(**_: Any) -> None:
        raise RuntimeError("api_key not configured (no-tty)")

    install(monkeypatch, "wandb", init=init, Error=RuntimeError)
    with pytest.raises(ConfigError, match=r"wandb does not start \(api_key not configured.*wandb login"):
        open_trackers(["wandb"], "quickstart", {}, tmp_path)


def test_trackio_gets_a_name_that_belongs_to_this_folder_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = []
    for folder in (tmp_path / "a", tmp_path / "b", tmp_path / "a"):
        folder.mkdir(exist_ok=True)
        calls: list[Any] = []
        install(monkeypatch, "trackio", init=Recorder(calls).init)
        (tracker,) = open_trackers(["trackio"], "quickstart", {}, folder)
        tracker.log(ROW, 7)
        tracker.close()
        assert [name for name, _, _ in calls] == ["init", "log", "finish"]
        assert calls[1][1:] == ((NUMBERS,), {"step": 7})
        names.append(calls[0][2]["name"])
    assert names[0] == names[2] != names[1]
    assert all(name.startswith("quickstart-") for name in names)


def test_when_one_tracker_fails_to_open_the_others_are_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Any] = []
    install(monkeypatch, "trackio", init=Recorder(calls).init)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError):
        open_trackers(["trackio", "wandb"], "quickstart", {}, tmp_path)
    assert [name for name, _, _ in calls] == ["init", "finish"]


@pytest.mark.skipif(not importlib.util.find_spec("tensorboard"), reason="tensorboard is not installed")
def test_the_real_tensorboard_reads_back_what_was_logged(tmp_path: Path) -> None:
    for steps in ((1, 2, 3), (2, 3)):  # killed after step 3, resumed from the checkpoint of step 1
        (tracker,) = open_trackers(["tensorboard"], "quickstart", {"run": {"seed": 1}}, tmp_path)
        for step in steps:
            tracker.log({"reward/mean": step / 2 + len(steps)}, step)
        tracker.close()
    reader = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("reward/mean")] == [(1, 3.5), (2, 3.0), (3, 3.5)]


@pytest.mark.skipif(not importlib.util.find_spec("trackio"), reason="trackio is not installed")
def test_the_real_trackio_accepts_a_run_and_its_continuation(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from grpo.run.trackers import open_trackers\n"
        "(t,) = open_trackers(['trackio'], 'quickstart', {'run': {'seed': 1}}, Path(sys.argv[1]))\n"
        "t.log({'reward/mean': 0.5}, int(sys.argv[2])); t.close()"
    )
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio"), "PYTHONPATH": os.pathsep.join(sys.path)}
    for step in ("1", "2"):
        command = [sys.executable, "-c", code, str(tmp_path), step]
        subprocess.run(command, env=environment, check=True, timeout=120, capture_output=True)
    files = list((tmp_path / "trackio").rglob("*.db"))
    assert len(files) == 1
    with sqlite3.connect(files[0]) as database:
        assert [row[0] for row in database.execute("select step from metrics order by step")] == [1, 2]


def test_no_tracker_is_loaded_unless_it_is_asked_for(tmp_path: Path) -> None:
    assert open_trackers([], "quickstart", {}, tmp_path) == []
    assert list(tmp_path.iterdir()) == []
