"""A reward may hang, crash, print, fork, return or raise anything: the answer is a score with a reason or a fault."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from grpo.config import Reward
from grpo.errors import RewardError
from grpo.scoring import process as module
from grpo.scoring.adapters import LONGEST_TEXT
from grpo.scoring.process import Fault, RewardProcess
from rewards import Score

HERE = Path(__file__).with_name("rewards_for_tests.py")
SHORT = 1.0  # seconds, for rewards that hang; others have time enough for a busy machine


def started(*specs: Reward, chat: bool = True) -> RewardProcess:
    process = RewardProcess(specs, chat=chat)
    process.wait_until_loaded()
    return process


def a(function: str, **settings: object) -> Reward:
    return Reward(use=f"{HERE}:{function}", **settings)


@pytest.fixture
def evil(request):
    process = started(a("evil", timeout=getattr(request, "param", 60.0)))
    yield process
    process.kill()


def runs(pid: int) -> bool:
    """Whether the process does anything yet: it may stay as a zombie where nobody reaps orphans."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends(pid: int) -> bool:
    give_up = time.monotonic() + 10
    while runs(pid) and time.monotonic() < give_up:
        time.sleep(0.02)
    return not runs(pid)


def marked(mark: str) -> list[int]:
    """The processes whose command line holds `mark`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark in entry.read_text() and runs(int(entry.parent.name)):
                found.append(int(entry.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def test_several_rewards_live_in_one_worker_and_are_asked_by_index():
    process = started(a("exact"), a("brief", options={"most": 1}))
    assert process.call(0, "<answer>4</answer>", {"answer": 4}) == Score(1.0)
    assert process.call(1, "a b", {}) == Score(0.0, answer="a b", why="2 words", parsed=True)
    assert process.is_alive()
    process.kill()
    assert not process.is_alive()


@pytest.mark.parametrize(
    "text",
    ["", "é∀🎉", "\ud800 half a character", "\0\n\r", "x" * 3_000_000],
    ids=["empty", "unicode", "half a character", "control", "long"],  # pytest puts them into the environment
)
def test_any_text_gets_to_a_reward(text):
    process = started(a("brief"))
    assert process.call(0, text, {}).answer == (text if len(text) <= LONGEST_TEXT else "x" * (LONGEST_TEXT - 1) + "…")
    process.kill()


def test_columns_of_any_type_get_to_a_reward():
    import datetime

    process = started(a("meddles"))
    row = {"numbers": [3, 4], "when": datetime.date(2026, 1, 2), "raw": b"\0", "nested": {"a": (1, None)}}
    assert process.call(0, "", row) == Score(3.0)
    assert process.call(0, "", row) == Score(3.0), "what a reward does to its row is gone with the call"
    process.kill()


def test_workers_import_nothing_heavy_and_do_not_run_the_main_script():
    process = started(a("heavy_modules"))
    assert process.call(0, "", {}) == Score(0.0, why="[], main is None")
    process.kill()


@pytest.mark.parametrize("evil", [SHORT], indirect=True)
@pytest.mark.parametrize("act", ["sleep", "backtrack", "ignore every signal"])
def test_a_reward_that_hangs_is_killed_at_its_timeout(evil, act):
    begin = time.monotonic()
    assert evil.call(0, act, {}) == Score(0.0, why="no answer within 1 s", failure="timeout")
    assert SHORT <= time.monotonic() - begin < 10
    assert not evil.is_alive()
    assert ends(evil._process.pid)


@pytest.mark.parametrize(
    ("act", "end"), [("os._exit", "exit code 7"), ("segfault", "SIGSEGV"), ("kill", "SIGKILL"), ("close all", "")]
)
def test_a_reward_that_takes_its_process_down_scores_0_and_says_how(evil, act, end):
    score = evil.call(0, act, {})
    assert (score.value, score.failure) == (0.0, "crash")
    assert score.why.startswith(f"the reward's process died ({end}")
    assert not evil.is_alive()


@pytest.mark.parametrize(
    ("act", "what"),
    [
        ("raise", "raised KeyError('answer')"),
        ("raise unprintable", "raised Unprintable"),
        ("sys.exit", "raised SystemExit(1)"),
        ("interrupt", "raised KeyboardInterrupt()"),
        ("recurse", "raised RecursionError('maximum recursion depth exceeded')"),
        ("input", "raised EOFError('EOF when reading a line')"),
    ],
)
def test_a_reward_that_raises_is_a_fault_and_its_worker_goes_on(evil, act, what):
    fault = evil.call(0, act, {})
    assert isinstance(fault, Fault)
    assert fault.what == what
    assert "rewards_for_tests.py" in fault.traceback
    assert evil.call(0, "fine", {}) == Score(1.0)


@pytest.mark.parametrize("act", ["print", "read", "fork"])
def test_a_reward_that_prints_reads_or_forks_does_not_disturb_the_answers(evil, act):
    assert evil.call(0, act, {}) == Score(1.0)
    assert isinstance(evil.call(0, "raise", {}), Fault), "the answer is to this question"
    assert evil.call(0, "fine", {}) == Score(1.0)
    assert evil.is_alive()


def test_what_a_reward_prints_goes_to_stderr(capfd):
    process = started(a("evil"))
    process.call(0, "print", {})
    process.kill()
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("noise noise")


@pytest.mark.parametrize(
    "value", ["nan", "inf", "text", "none", "list", "huge", "lambda", "complex", "score of text", "unnamed"]
)
def test_what_is_neither_number_nor_score_is_a_fault_with_advice(value):
    process = started(a("returns"))
    fault = process.call(0, value, {})
    assert isinstance(fault, Fault)
    assert fault.what.startswith("returned ")
    assert fault.advice
    assert process.call(0, "fine", {}) == Score(0.5)
    process.kill()


def test_fifty_megabytes_of_reason_are_clipped_in_the_worker():
    process = started(a("long_reason"))
    score = process.call(0, "", {})
    assert (score.value, len(score.why)) == (1.0, LONGEST_TEXT)
    process.kill()


@linux
def test_a_kill_takes_along_what_the_reward_started(monkeypatch):
    mark = f"left-by-{os.getpid()}"
    monkeypatch.setenv("CHILD_MARK", mark)
    process = started(a("evil", timeout=SHORT))
    assert process.call(0, "leave a child", {}).failure == "timeout"
    give_up = time.monotonic() + 10
    while marked(mark) and time.monotonic() < give_up:
        time.sleep(0.02)
    assert marked(mark) == []


@linux
@pytest.mark.parametrize("act", ["sleep", "backtrack", "ignore every signal", "nothing"])
def test_workers_die_with_a_parent_that_is_killed(act):
    script = (
        "import sys, time\nfrom grpo.config import Reward\nfrom grpo.scoring.process import RewardProcess\n"
        f"process = RewardProcess([Reward(use={str(HERE)!r} + ':evil', timeout=100)], chat=True)\n"
        "process.wait_until_loaded()\nprint(process._process.pid, flush=True)\n"
        f"process.call(0, {act!r}, {{}})\ntime.sleep(100)\n"
    )
    checkout = HERE.parents[1]
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=checkout)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    time.sleep(0.3)  # let it get stuck
    assert runs(worker)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    ended = ends(worker)
    with suppress(ProcessLookupError):
        os.kill(worker, signal.SIGKILL)  # should this test fail, it leaves nothing behind either
    assert ended


@linux
def test_ctrl_c_is_not_for_the_workers(evil):
    os.kill(evil._process.pid, signal.SIGINT)
    assert evil.call(0, "fine", {}) == Score(1.0)
    assert os.getsid(evil._process.pid) == evil._process.pid != os.getsid(0)


def test_a_worker_that_dies_between_calls_is_seen(evil):
    os.kill(evil._process.pid, signal.SIGKILL)
    give_up = time.monotonic() + 10
    while evil.is_alive() and time.monotonic() < give_up:
        time.sleep(0.02)
    assert not evil.is_alive()


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import time; time.sleep(60)", "still importing after 1 s; move slow work out of the module's top level"),
        ("import os; os._exit(3)", r"its process died while it was imported \(exit code 3\)"),
        ("x = 1 / 0", r"cannot be imported: ZeroDivisionError: division by zero \(my.py, line 1\)"),
        ("print('noise')", "has no function 'f'"),
    ],
)
def test_a_reward_that_cannot_be_loaded_is_one_sentence_that_names_it(tmp_path, monkeypatch, code, sentence):
    monkeypatch.setattr(module, "LOAD_TIMEOUT", 1.0)
    (tmp_path / "my.py").write_text(code)
    process = RewardProcess([a("exact"), Reward(use=f"{tmp_path}/my.py:f")], chat=True)
    with pytest.raises(RewardError, match=rf"^{tmp_path}/my.py(:f)?: {sentence}") as refusal:
        process.wait_until_loaded()
    assert refusal.value.exit_code == 2
    assert not process.is_alive()
    assert ends(process._process.pid)
