"""A run that hangs ends by itself, says where, and goes on to the same end.

A hang is real here, so each is in a process of its own, with bounds of seconds.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from grpo import stacks
from grpo.config import Config
from grpo.errors import EXIT_HUNG
from grpo.scoring.process import BOOT
from grpo.train import train
from grpo.watchdog import Watchdog
from tests import runs
from tests.conftest import ROOT

HANGING = """
import ctypes, sys, threading, time, tomllib
from functools import partial
from pathlib import Path
from grpo import care
from grpo.config_file import validate
from grpo.train import train
from grpo.watchdog import Watchdog
from tests import engines

how, settings, out = sys.argv[1:]
HANGS = {
    "sleep": lambda: time.sleep(1000),
    "lock": lambda: [lock := threading.Lock(), lock.acquire(), lock.acquire()],
    "GIL": lambda: ctypes.PyDLL(None).sleep(1000),
}

def before(engine, is_evaluation):
    if engine.step == 4 and not is_evaluation:
        HANGS[how]()

care.Watchdog = partial(Watchdog, least=3, factor=2, first=20)
engine = engines.opening(partial(engines.Calling, before=before))
train(validate(tomllib.loads(settings), place="test"), Path(out), open_engine=engine)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Config, Path]:
    """A run that never hung."""
    folder = tmp_path_factory.mktemp("whole")
    runs.write_inputs(folder)
    config = runs.settings(folder, tiny_model, eval={"source": None, "every": 0})
    train(config, folder / "run")
    return config, folder / "run"


def hang(config: Config, out: Path, how: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HANGING, how, config.to_toml(), str(out)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=500)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["sleep", "lock"])
def test_a_run_that_hangs_ends_says_where_and_goes_on(whole: tuple[Config, Path], tmp_path: Path, how: str) -> None:
    config, uninterrupted = whole
    ended = hang(config, tmp_path / "run", how)
    assert ended.returncode == EXIT_HUNG == 70, ended.stderr
    (file,) = (tmp_path / "run").glob("stall-*.txt")
    said = re.search(
        r"^grpo: hangs: no progress for (\d+) s \(run.watchdog allows (\d+)\) after step 4, in phase sample, at "
        r"grpo/algorithm.py:\d+ \(Trainer.sample\); the stacks of all processes are in (\S+); .*--resume$",
        ended.stderr,
        re.MULTILINE,
    )
    assert said
    assert Path(said[3]) == file
    text = file.read_text()
    assert text.startswith(said[0].removeprefix("grpo: "))
    assert "in <lambda>" in text  # where the main thread is
    assert re.search(r"process \d+, python.*\n.*(Current t|T)hread .*\n(.*\n)*.*worker.py\", line \d+ in _serve", text)
    children = [int(pid) for pid in re.findall(r"^process (\d+), python.*: ", text, re.MULTILINE)]
    assert children
    assert not [pid for pid in children if _is_worker(pid)]
    train(config, tmp_path / "run", resume=True)
    assert runs.rows(tmp_path / "run" / "metrics.jsonl") == runs.rows(uninterrupted / "metrics.jsonl")


@pytest.mark.slow
def test_one_that_never_gives_the_interpreter_back_is_ended_too(whole: tuple[Config, Path], tmp_path: Path) -> None:
    config, uninterrupted = whole
    ended = hang(config, tmp_path / "run", "GIL")
    assert ended.returncode == 1  # by the timer in C, which knows no other code
    (file,) = (tmp_path / "run").glob("stall-*.txt")
    assert "in <lambda>" in file.read_text()
    train(config, tmp_path / "run", resume=True)
    assert runs.rows(tmp_path / "run" / "metrics.jsonl") == runs.rows(uninterrupted / "metrics.jsonl")


def test_a_run_that_ends_leaves_no_file_of_stacks_behind(whole: tuple[Config, Path]) -> None:
    assert list(whole[1].glob("stall-*")) == []


def test_it_is_turned_off_by_a_setting(whole: tuple[Config, Path], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(Watchdog, "_begin", lambda *_: pytest.fail("somebody watches"))
    train(whole[0].with_changes(run={"steps": 1, "watchdog": False}), tmp_path / "run")


# --- The limit ----------------------------------------------------------------------------------------------------


def test_the_limit_is_ten_times_the_longest_pause_and_ten_minutes_at_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("grpo.watchdog.time.monotonic", lambda: now[0])
    monkeypatch.setattr(Watchdog, "_begin", lambda self, folder: setattr(self, "_thread", _Nobody()))
    dog = Watchdog(tmp_path)
    dog.mark("sample")
    assert dog.limit == 3600  # for the first time
    for seconds in (20.0, 30.0):
        now[0] += seconds
        dog.mark()
    dog.mark("score")
    assert dog.limit == 3600
    dog.mark("sample")
    assert dog.limit == 3600  # what came before the first step was no step
    dog.step = 1
    assert dog.limit == 600
    now[0] += 90
    dog.mark()
    assert dog.limit == 900  # 10 × 90


class _Nobody:
    def join(self) -> None:
        pass


def test_an_empty_file_that_a_kill_left_goes_and_one_with_stacks_stays(tmp_path: Path) -> None:
    (tmp_path / "stall-1.txt").touch()
    (tmp_path / "stall-2.txt").write_text("hangs")
    with Watchdog(tmp_path) as dog:
        dog.mark()
    assert [path.name for path in tmp_path.iterdir()] == ["stall-2.txt"]


# --- What processes say -------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="files in memory and /proc")
def test_processes_of_ours_tell_their_stacks_and_others_are_not_harmed() -> None:
    ours = "from grpo import stacks; stacks.answer(); import time; print(flush=True); time.sleep(100)"
    others = "import time; print(flush=True); time.sleep(100)"
    children = [subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) for text in (ours, others)]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    told, other = stacks.of_processes([psutil.Process(child.pid) for child in children])
    assert 'File "<string>", line 1 in <module>' in told
    again, _ = stacks.of_processes([psutil.Process(child.pid) for child in children])
    assert again.count('File "<string>"') == 1  # the first answer is not told twice
    assert other.startswith(f"process {children[1].pid}, python")
    assert f"thread {children[1].pid} python" in other
    for child in children:
        assert child.poll() is None
        child.send_signal(signal.SIGKILL)
        child.communicate()


def _is_worker(pid: int) -> bool:
    try:
        return BOOT in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
