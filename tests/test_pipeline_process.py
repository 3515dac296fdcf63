"""A command in a process of its own: exit codes, signals, and what happens when the pipeline itself is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from grpo.pipeline import process
from grpo.pipeline.process import Forwarding, wait_for_leftover

# A command that says it is there, and on SIGTERM or Ctrl-C writes that it saved.
SAVES = """
import json, pathlib, signal, sys, time
place = pathlib.Path(sys.argv[2])
def save(number, frame):
    with place.joinpath("saved").open("a") as file:
        file.write(signal.Signals(number).name + " ")
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGINT, save)
place.joinpath("there").write_text("")
time.sleep(60)
"""


def until(happened):
    for _ in range(3000):
        if happened():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within 30 seconds")


@pytest.fixture
def command(monkeypatch):
    def command(text):
        monkeypatch.setattr(process, "BOOT", text)

    return command


@pytest.mark.parametrize(
    ("text", "code"), [("", 0), ("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_the_exit_code_is_the_commands(command, tmp_path, text, code):
    command(text)
    with Forwarding() as forwarding:
        assert forwarding.run([], tmp_path / "note") == code
    assert list(tmp_path.iterdir()) == []


def test_the_command_finds_what_we_find_and_is_called_grpo(tmp_path, capfd):
    with Forwarding() as forwarding:
        assert forwarding.run(["--version"], tmp_path / "note") == 0
        assert forwarding.run(["pipelin"], tmp_path / "note") == 2
    out = capfd.readouterr()
    assert out.out.startswith("grpo ")
    assert "Usage: grpo" in out.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_command_once_and_it_saves(command, tmp_path, number):
    command(SAVES)
    main = threading.main_thread().ident
    assert main is not None

    def stop():
        until((tmp_path / "there").exists)
        signal.pthread_kill(main, number)

    threading.Thread(target=stop).start()
    with Forwarding() as forwarding:
        assert forwarding.run([str(tmp_path)], tmp_path / "note") == 128 + number
        assert forwarding.received == number
    assert (tmp_path / "saved").read_text() == f"{number.name} "


PIPELINE = """
import sys, pathlib
from grpo.pipeline import process
process.BOOT = sys.argv[1]
with process.Forwarding() as forwarding:
    forwarding.run([sys.argv[2]], pathlib.Path(sys.argv[2], "note"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells children of their parent's end on Linux only")
def test_where_the_pipeline_is_killed_its_command_saves_and_the_next_one_waits_for_it(tmp_path):
    pipeline = subprocess.Popen([sys.executable, "-c", PIPELINE, SAVES, str(tmp_path)])
    until(lambda: (tmp_path / "there").exists() and (tmp_path / "note").exists())
    pid, _ = json.loads((tmp_path / "note").read_text())
    os.kill(pipeline.pid, signal.SIGKILL)
    pipeline.wait()
    wait_for_leftover(tmp_path / "note", lambda text: None)
    assert (tmp_path / "saved").read_text() == "SIGTERM "
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_it_waits_for_no_process_that_is_another_one_by_now(tmp_path):
    wait_for_leftover(tmp_path / "note", pytest.fail)
    (tmp_path / "note").write_text(json.dumps([os.getpid(), 1.0]))
    wait_for_leftover(tmp_path / "note", pytest.fail)
    (tmp_path / "note").write_text("[12")
    wait_for_leftover(tmp_path / "note", pytest.fail)
