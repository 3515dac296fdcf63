"""A webhook hears what becomes of a run, and can do it no harm."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from grpo import notify
from grpo.config import Config
from grpo.errors import ConfigError, Interrupted, LearningError
from grpo.notify import Notifier, url_of
from grpo.train import train
from grpo.types import Alarm
from tests import engines, runs


class Hook:
    """A server on this machine; `status` is what it answers with, and `heard` what was posted."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.status = 200
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                hook.paths.append(self.path)
                self.send_response(hook.status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def do_GET(self) -> None:
                hook.heard.append({"event": "a GET, which says nothing"})
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/secret-token"

    @property
    def events(self) -> list[str]:
        return [content["event"] for content in self.heard]


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    thread = threading.Thread(target=partial(made.server.serve_forever, poll_interval=0.01))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path) -> Config:
    runs.write_inputs(tmp_path)
    return runs.settings(tmp_path, tiny_model, eval={"source": None, "every": 0}, run={"steps": 2})


def test_what_is_posted_says_which_run_which_step_and_where(hook: Hook) -> None:
    said: list[str] = []
    notifier = Notifier(hook.url, "7", said.append)
    notifier("alarm", "entropy: fell", 12)
    notifier.step = 30
    notifier("end", "finished")
    notifier.close()
    host = socket.gethostname()
    assert hook.heard == [
        {"event": "alarm", "run": "7", "step": 12, "text": "entropy: fell", "host": host},
        {"event": "end", "run": "7", "step": 30, "text": "finished", "host": host},
    ]
    assert said == []


def test_a_run_tells_of_its_end_and_no_file_of_it_has_the_url(
    config: Config, tmp_path: Path, hook: Hook, capfd: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []
    told = config.with_changes(run={"notify": hook.url})
    train(told, tmp_path / "run", open_trackers=lambda *arguments: seen.append(arguments) or [])
    assert [(one["event"], one["run"], one["step"]) for one in hook.heard] == [("end", "run", 2)]
    assert "secret-token" not in str(seen) + "".join(capfd.readouterr()) + repr(told)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if b"secret-token" in path.read_bytes()]


def test_the_name_of_a_variable_stands_in_the_settings_and_the_run_goes_on_with_it(
    config: Config, tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_HOOK", hook.url)
    train(config.with_changes(run={"notify": "env:MY_HOOK"}), tmp_path / "run")
    assert 'notify = "env:MY_HOOK"' in (tmp_path / "run" / "config.toml").read_text()
    assert hook.events == ["end"]


def test_of_a_dry_run_nobody_hears(config: Config, tmp_path: Path, hook: Hook) -> None:
    train(config.with_changes(run={"notify": hook.url}), tmp_path / "run", dry_run=True)
    assert hook.heard == []


@pytest.mark.parametrize(
    ("error", "event", "text"),
    [
        (LearningError("no signal"), "crash", "LearningError: no signal"),
        (ZeroDivisionError("a bug"), "crash", "ZeroDivisionError: a bug"),
        (Interrupted("stopped by SIGTERM", exit_code=143), "end", "stopped by SIGTERM; no step was finished"),
        (Interrupted("stopped in time", exit_code=75), "crash", "LearningError: stopped in time; no step was finished"),
        (KeyboardInterrupt(), "end", "stopped by SIGINT"),
    ],
)
def test_whatever_leaves_a_run_is_told(
    config: Config, tmp_path: Path, hook: Hook, error: BaseException, event: str, text: str
) -> None:
    def fail(engine: engines.Wrapped, is_evaluation: bool) -> None:
        if engine.__dict__.setdefault("asked", 0):
            raise error
        engine.asked = 1  # by the preflight

    failing = engines.opening(partial(engines.Calling, before=fail))
    with pytest.raises((type(error), LearningError)):
        train(config.with_changes(run={"notify": hook.url}), tmp_path / "run", open_engine=failing)
    assert hook.events == [event]
    assert hook.heard[0]["text"].startswith(text)


def test_an_alarm_is_told_when_it_is_raised_and_not_when_it_is_over(
    config: Config, tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    from grpo.train import Alarms

    raised = Alarm("entropy", 1, "fell by half"), Alarm("entropy", 2, "", cleared=True)
    monkeypatch.setattr(Alarms, "step", lambda self, row, signs: [a for a in raised if a.step == row["step"]])
    train(config.with_changes(run={"notify": hook.url}), tmp_path / "run")
    assert [(one["event"], one["step"], one["text"]) for one in hook.heard] == [
        ("alarm", 1, "entropy: fell by half"),
        ("end", 2, "finished"),
    ]


def test_a_server_that_refuses_is_said_once_and_the_run_ends_well(
    config: Config, tmp_path: Path, hook: Hook, capsys: pytest.CaptureFixture[str]
) -> None:
    hook.status = 404
    train(config.with_changes(run={"notify": hook.url}), tmp_path / "run")
    assert capsys.readouterr().out.count("run.notify: was answered with status 404; the run goes on") == 1


def test_a_redirect_which_would_lose_the_content_is_not_followed(hook: Hook) -> None:
    hook.status = 302
    assert notify.post(hook.url, b"{}") == "was answered with status 302"
    assert hook.heard == [{}]


def test_what_cannot_be_reached_is_said_once_without_the_url() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said: list[str] = []
    notifier = Notifier(f"http://127.0.0.1:{port}/secret-token", "7", said.append)
    for _ in range(3):
        notifier("alarm", "…", 1)
    notifier.close()
    assert len(said) == 1
    assert said[0].startswith("run.notify: cannot be reached (")
    assert "secret" not in said[0]


def test_a_server_that_hangs_delays_the_end_by_no_more_than_the_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "PATIENCE", 0.2)
    said: list[str] = []
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()  # and never answers
        notifier = Notifier(f"http://127.0.0.1:{mute.getsockname()[1]}/", "7", said.append)
        for _ in range(100):  # 100 × 0.2 s, if anybody waited for all of them
            notifier("alarm", "…", 1)
        began = time.monotonic()
        notifier.close()
        assert time.monotonic() - began < 5
    assert len(said) == 1


@pytest.mark.parametrize(
    "setting",
    [
        "ftp://host/secret",
        "secret",
        "http://",
        "https://:80",
        "http://host:secret/",
        "http://a b/secret",
        "file:///etc",
    ],
)
def test_only_webhooks_are_taken_and_the_refusal_does_not_repeat_them(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"^run.notify: must be the URL of a webhook") as refused:
        url_of(setting)
    assert "secret" not in str(refused.value)


def test_a_variable_that_is_not_there_is_said_at_the_start(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run.notify = env:NO_SUCH: the environment has no NO_SUCH"):
        train(config.with_changes(run={"notify": "env:NO_SUCH"}), tmp_path / "run")
