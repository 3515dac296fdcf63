"""What the sandbox promises, a test for each: programs run, limits hold, ends are told, nothing stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest

from rewards.sandbox import Limits, Sandbox, SandboxError
from rewards.sandbox.clocks import TICK
from tests.sandbox.host import descendants

HONEST = {
    "input": "n = int(input())\nprint(n * 2)",
    "stdin as a file": "import sys\nprint(sum(int(line) for line in sys.stdin) * 2)",
    "stdin as bytes": "import sys, os\nprint(int(sys.stdin.buffer.read()) * 2)",
    "open(0)": "print(int(open(0).read()) * 2)",
    "os.read": "import os\nos.write(1, b'%d\\n' % (int(os.read(0, 100)) * 2))",
    "a global at the top": "global n\nn = int(input())\nprint(n * 2)",
    "bytes out": "import sys\nsys.stdout.buffer.write(b'42\\n')",
    "recursion in a thread": "import sys, threading\n"
    "sys.setrecursionlimit(300000)\nthreading.stack_size(256 << 20)\n"
    "def f(n): return 0 if n == 0 else 1 + f(n - 1)\n"
    "t = threading.Thread(target=lambda: print(f(200000) * 0 + 42))\nt.start()\nt.join()",
    "a pool of threads": "from concurrent.futures import ThreadPoolExecutor\n"
    "with ThreadPoolExecutor(4) as pool: print(sum(pool.map(int, ['10', '11'])) * 2)",
    "asyncio": "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    print(42)\nasyncio.run(f())",
    "a module of C": "import sqlite3\nprint(sqlite3.connect(':memory:').execute('select 6 * 7').fetchone()[0])",
    "lazy modules": "import lzma, zoneinfo, colorsys, xml.dom\nprint(len(lzma.decompress(lzma.compress(b'x' * 42))))",
    "unittest": "import unittest, io\n"
    "class T(unittest.TestCase):\n    def test(self): self.assertEqual(1, 1)\n"
    "unittest.main(exit=False, testRunner=unittest.TextTestRunner(io.StringIO()))\nprint(42)",
    "nowhere to write": "import os\nprint('x', file=open(os.devnull, 'w'))\nprint(42)",
    "much memory": "print(len([0] * 30_000_000) // 30_000_000 * 42)",
    "limits of its own": "import resource\nresource.setrlimit(resource.RLIMIT_STACK, (1 << 28, 1 << 28))\nprint(42)",
    "an alarm": "import signal\nsignal.alarm(5)\nprint(42)",
    "exit": "print(42)\nexit()\nprint('never')",
    "main": "if __name__ == '__main__': print(42)",
    "a pickle of its own class": "import pickle\nclass A: x = 42\nprint(pickle.loads(pickle.dumps(A())).x)",
    "a dataclass": "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\nprint(A(42).x)",
    "another stdout": "import io, sys\nsys.stdout = io.StringIO()\nprint(42)\n"
    "sys.__stdout__.write(sys.stdout.getvalue())",
    "stdout detached": "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.detach())\nprint(42)",
    "what exits print": "import atexit\natexit.register(print, 42)",
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_program_runs_as_it_would_outside(sandbox: Sandbox, name: str) -> None:
    ran = sandbox.run_stdin(HONEST[name], b"21\n")
    assert (ran.reason, ran.stdout, ran.exit_code) == ("ok", b"42\n", 0), ran.stderr


@pytest.mark.skipif(find_spec("numpy") is None, reason="numpy is not installed")
def test_package_is_there_if_it_is_named_and_only_then(sandbox: Sandbox) -> None:
    program = "import numpy as np\nprint(int(np.linalg.det(np.eye(2)) * 42))"
    assert "ModuleNotFoundError" in sandbox.run_stdin(program, b"").stderr
    with Sandbox(1, packages=["numpy"]) as other:
        assert other.run_stdin(program, b"").stdout == b"42\n"
        assert "ModuleNotFoundError" in other.run_stdin("import pytest", b"").stderr


@pytest.mark.parametrize(
    ("source", "reason", "exit_code"),
    [
        ("print(1)", "ok", 0),
        ("import sys\nsys.exit(3)", "ok", 3),
        ("import sys\nsys.exit('no')", "ok", 1),
        ("1 / 0", "runtime_error", 117),
        ("def f(:", "compile_error", 118),
        ("x = '\0'", "compile_error", 118),
        ("\ud800 = 1", "compile_error", 118),
        ("import os\nos.kill(os.getpid(), 11)", "signal", None),
        ("import ctypes\nctypes.CDLL(None).ptrace(0, 0, 0, 0)", "blocked_syscall", None),
        ("raise MemoryError", "memory", 119),
        ("class E(Exception):\n    def __str__(self): raise self\nraise E", "runtime_error", 117),
    ],
)
def test_every_end_has_its_reason(sandbox: Sandbox, source: str, reason: str, exit_code: int | None) -> None:
    ran = sandbox.run_stdin(source, b"")
    assert (ran.reason, ran.exit_code) == (reason, exit_code)


def test_output_up_to_the_limit_is_kept_and_one_byte_more_is_too_much(sandbox: Sandbox) -> None:
    limits = Limits(output=5000)
    full = sandbox.run_stdin("import os\nos.write(1, b'x' * 5000)", b"", limits)
    assert (full.reason, full.stdout) == ("ok", b"x" * 5000)
    more = sandbox.run_stdin("import os\nos.write(1, b'x' * 5001)", b"", limits)
    assert (more.reason, len(more.stdout)) == ("output_limit", 5000)


def test_source_and_stdin_have_limits(sandbox: Sandbox) -> None:
    assert sandbox.run_stdin("#" * 300_000, b"").reason == "source_too_large"
    assert [one.reason for one in sandbox.call_functions("#" * 300_000, "f", [[1]])] == ["source_too_large"]
    assert sandbox.check_asserts("#" * 300_000, "f", "f(1)").reason == "source_too_large"
    with pytest.raises(ValueError, match=r"Limits\.stdin allows 10"):
        sandbox.run_stdin("print(1)", bytes(11), Limits(stdin=10))


@pytest.mark.parametrize("setting", [{"cpu": 0}, {"wall": -1}, {"memory": 0}, {"output": -5}])
def test_limits_must_be_above_zero(setting: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        Limits(**setting)  # type: ignore[arg-type]


def test_cpu_limit_is_overrun_by_few_looks_at_the_clock(sandbox: Sandbox) -> None:
    over = [sandbox.run_stdin("while 1: pass", b"", Limits(cpu=0.2)).cpu - 0.2 for _ in range(3)]
    assert min(over) <= 5 * TICK


def test_cpu_limit_counts_every_thread(sandbox: Sandbox) -> None:
    source = "import threading\ndef f():\n    while 1: pass\nfor _ in range(4): threading.Thread(target=f).start()"
    ran = sandbox.run_stdin(source, b"", Limits(cpu=0.3, wall=30))
    assert ran.reason == "timeout_cpu"


def test_wall_limit_is_twice_the_cpu_limit_and_two_seconds_if_nothing_is_said() -> None:
    assert (Limits(cpu=6).wall_seconds, Limits(cpu=6, wall=1).wall_seconds) == (14.0, 1)


# Function calls


def test_calls_are_made_one_by_one_as_they_are_asked_for(sandbox: Sandbox) -> None:
    source = "import time\nseen = []\ndef f(x):\n    seen.append(time.monotonic())\n    return seen"
    with closing(sandbox.call_functions(source, "f", [[1], [2]])) as results:
        next(results)
        time.sleep(0.1)
        first, second = next(results).value
    assert second - first >= 0.1


def test_stopping_at_the_first_failure_ends_the_job_and_frees_the_slot(sandbox: Sandbox) -> None:
    for _ in range(4):
        results = sandbox.call_functions("def f(x):\n    return x", "f", [[1]] * 10)
        assert next(results).value == 1
        results.close()
    stubborn = (
        "import threading\ndef spin():\n    while 1: pass\nthreading.Thread(target=spin).start()\ndef f(x): return x"
    )
    started = time.monotonic()
    for _ in range(3):
        with closing(sandbox.call_functions(stubborn, "f", [[1]] * 10)) as results:
            next(results)
    assert time.monotonic() - started < 5  # its own limit would be 14 s each


def test_each_call_has_clocks_of_its_own(sandbox: Sandbox) -> None:
    busy = "from time import process_time as t\ndef f(s):\n    end = t() + s\n    while t() < end: pass\n    return s"
    limits = Limits(cpu=0.4, wall=20)
    reasons = [one.reason for one in sandbox.call_functions(busy, "f", [[0.25]] * 4 + [[9], [0]], limits)]
    assert reasons == ["ok"] * 4 + ["timeout_cpu"]


def test_time_that_the_caller_takes_between_calls_does_not_count(sandbox: Sandbox) -> None:
    found = []
    for returned in sandbox.call_functions("def f(x): return x", "f", [[1], [2], [3]], Limits(wall=0.3)):
        time.sleep(0.5)
        found.append(returned.value)
    assert found == [1, 2, 3]


def test_after_an_exception_the_next_call_is_made(sandbox: Sandbox) -> None:
    results = list(sandbox.call_functions("def f(x): return 1 / x", "f", [[0], [2]]))
    assert [(one.reason, one.raised, one.value) for one in results] == [
        ("runtime_error", "ZeroDivisionError", None),
        ("ok", "", 0.5),
    ]


def test_method_of_class_solution_is_called_on_a_fresh_object(sandbox: Sandbox) -> None:
    source = "class Solution:\n    n = 0\n    def f(self, x):\n        self.n += x\n        return self.n"
    assert [one.value for one in sandbox.call_functions(source, "f", [[1], [2]])] == [1, 2]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def g(x): pass", "runtime_error"),
        ("def f(", "compile_error"),
        ("1/0", "runtime_error"),
        ("exit()", "runtime_error"),
    ],
)
def test_program_that_does_not_load_gives_one_result_that_says_so(sandbox: Sandbox, source: str, reason: str) -> None:
    assert [one.reason for one in sandbox.call_functions(source, "f", [[1], [2]])] == [reason]


def test_reply_above_the_limit_is_a_failure_of_the_program(sandbox: Sandbox) -> None:
    (returned,) = sandbox.call_functions("def f(): return 'x' * 10000", "f", [[]], Limits(value=5000))
    assert returned.reason == "protocol"


def test_large_arguments_reach_the_program(sandbox: Sandbox) -> None:
    (returned,) = sandbox.call_functions("def f(a): return sum(a)", "f", [[list(range(1_000_000))]], Limits(cpu=30))
    assert returned.value == sum(range(1_000_000))


# The pool


def test_threads_share_the_pool_and_each_gets_its_own_answer(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda n: sandbox.run_stdin("print(int(input()))", b"%d" % n).stdout, range(40)))
    assert answers == [b"%d\n" % n for n in range(40)]


def test_same_program_gets_the_same_verdict_under_load(sandbox: Sandbox) -> None:
    program = "import random\nprint(random.random(), hash('text'), {'a', 'b', 'c'})"
    slow = "n = 0\nwhile n < 300000: n += 1\nprint(n)"
    hogs = [subprocess.Popen([sys.executable, "-c", "while 1: pass"]) for _ in range(6)]
    try:
        outputs = Counter(sandbox.run_stdin(program, b"").stdout for _ in range(50))
        reasons = Counter(sandbox.run_stdin(slow, b"", Limits(cpu=2, wall=60)).reason for _ in range(10))
        wrong = Counter(sandbox.run_stdin("while 1: pass", b"", Limits(cpu=0.1, wall=60)).reason for _ in range(3))
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    assert (len(outputs), reasons, wrong) == (1, {"ok": 10}, {"timeout_cpu": 3})


def test_batch_of_sleepers_ends_within_its_walls_and_holds_nobody_up_for_longer(sandbox: Sandbox) -> None:
    started = time.monotonic()
    with ThreadPoolExecutor(5) as threads:
        sleepers = [
            threads.submit(sandbox.run_stdin, "import time\ntime.sleep(99)", b"", Limits(wall=0.3)) for _ in "1234"
        ]
        last = threads.submit(sandbox.run_stdin, "print(42)", b"")
        assert last.result().stdout == b"42\n"
        assert {one.result().reason for one in sleepers} == {"timeout_wall"}
    assert time.monotonic() - started < 5  # two rounds of 0.3 s on two workers


def test_nothing_is_left_after_close() -> None:
    before = set(descendants(os.getpid()))
    files = len(os.listdir("/proc/self/fd"))
    with Sandbox(2) as box:
        box.run_stdin("print(1)", b"")
        box.check_asserts("def f(): return 1", "f", "assert f() == 1")
    assert set(descendants(os.getpid())) <= before
    assert len(os.listdir("/proc/self/fd")) == files
    with pytest.raises(SandboxError, match="after close"):
        box.run_stdin("print(1)", b"")
    box.close()


def test_close_ends_what_other_threads_are_running() -> None:
    box = Sandbox(1)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(box.run_stdin, "while 1: pass", b"")
        time.sleep(0.3)
        box.close()
        with pytest.raises(SandboxError, match="closed"):
            running.result(10)


def test_sandbox_is_refused_in_a_fork_of_its_creator(sandbox: Sandbox) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            sandbox.run_stdin("print(1)", b"")
        except SandboxError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def wait_until(true: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    "kill", [lambda p: os.killpg(p, 9), lambda p: os.kill(p, 9), lambda p: os.kill(p, signal.SIGINT)]
)
def test_killed_client_takes_keepers_and_jobs_along(kill: Callable[[int], None]) -> None:
    # A shell that starts the tests behind it has them ignore Ctrl-C.
    script = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    script += "from rewards.sandbox import *\nSandbox(1).run_stdin('while 1: pass', b'', Limits(cpu=600))"
    client = subprocess.Popen([sys.executable, "-c", script], start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        assert wait_until(lambda: any(_spins(pid) for pid in descendants(client.pid)), 60)
        family = descendants(client.pid)
        kill(client.pid)
        client.wait(20)
    finally:
        client.kill()
    assert wait_until(lambda: not any(_lives(pid) for pid in family))


_WITH_A_FORK = """
import os, sys, time
from rewards.sandbox import Sandbox
from rewards.sandbox.levels import Forced
box = Sandbox(1, _forced=Forced(sys.argv[1]))
print(os.fork(), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("level", ["L2", "L1", "L0"])
def test_killed_client_takes_keepers_along_though_a_fork_of_it_holds_their_sockets(level: str) -> None:
    command = [sys.executable, "-c", _WITH_A_FORK, level]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert client.stdout and client.stderr
    try:
        lines = {client.stdout.readline(), client.stdout.readline()} - {"0\n"}
        if lines == {""}:
            pytest.skip(client.stderr.read().splitlines()[-1])
        fork = int(lines.pop())
        keepers = set(descendants(client.pid)) - {fork}
        assert keepers
        client.kill()
        client.wait(20)
        try:
            assert wait_until(lambda: not any(_lives(pid) for pid in keepers))
            assert _lives(fork)
        finally:
            os.kill(fork, signal.SIGKILL)
    finally:
        client.kill()


def test_killed_keeper_takes_its_job_along_and_is_replaced() -> None:
    with Sandbox(1) as box:
        keeper = box._slots[0].keepers["program"]._process
        with ThreadPoolExecutor(1) as threads:
            running = threads.submit(box.run_stdin, "while 1: pass", b"", Limits(cpu=600))
            assert wait_until(lambda: any(_spins(pid) for pid in descendants(keeper.pid)))
            family = descendants(keeper.pid)
            keeper.kill()
            assert running.result(10).reason == "died"
        assert wait_until(lambda: not any(_lives(pid) for pid in family))
        assert box.deaths == 1
        assert box.run_stdin("print(42)", b"").stdout == b"42\n"


def test_keeper_that_died_between_jobs_costs_no_program_its_verdict() -> None:
    with Sandbox(1) as box:
        keeper = box._slots[0].keepers["program"]._process
        keeper.kill()
        keeper.wait()
        time.sleep(0.2)  # at L2 the keeper proper ends with the process that is killed here
        assert box.run_stdin("print(42)", b"").stdout == b"42\n"
        assert box.deaths == 0


def test_keeper_is_replaced_after_many_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rewards.sandbox.pool.MOST_JOBS", 6)  # the self-test is three
    with Sandbox(1) as box:
        first = box._slots[0].keepers["program"]
        assert {box.run_stdin("print(42)", b"").stdout for _ in range(10)} == {b"42\n"}
        assert box._slots[0].keepers["program"] is not first


def test_kernel_short_of_memory_takes_a_job_before_the_trainer(sandbox: Sandbox) -> None:
    sandbox.run_stdin("print(1)", b"")
    keepers = [one._process.pid for slot in sandbox._slots for one in slot.keepers.values()]
    assert {Path(f"/proc/{pid}/oom_score_adj").read_text().strip() for pid in keepers} == {"1000"}


def test_keepers_have_an_empty_environment_and_no_descriptor_of_their_clients(sandbox: Sandbox) -> None:
    keeper = sandbox._slots[0].keepers["program"]._process.pid
    environment = Path(f"/proc/{keeper}/environ").read_bytes().split(b"\0")
    assert set(environment) <= {b"PYTHONHASHSEED=0", b"LANG=C.UTF-8", b""}
    assert len(os.listdir(f"/proc/{keeper}/fd")) <= 6


def test_sandbox_works_from_a_thread_that_ends(sandbox: Sandbox) -> None:
    boxes: list[Sandbox] = []
    thread = threading.Thread(target=lambda: boxes.append(Sandbox(1)))
    thread.start()
    thread.join()
    with boxes[0] as box:
        assert box.run_stdin("print(42)", b"").stdout == b"42\n"


def test_names_of_files_are_not_promised_to_be_secret() -> None:
    """Landlock does not see stat: at L0 and L1 a program can learn that a file exists.  Said in the documentation."""
    assert "stat" in (sys.modules["rewards.sandbox"].__doc__ or "")


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _spins(pid: int) -> bool:
    """Whether it has used CPU within a moment, as a keeper that waits does not."""

    def used() -> int:
        try:
            return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[11])
        except (FileNotFoundError, ProcessLookupError):
            return 0

    before = used()
    time.sleep(0.2)
    return used() - before >= 2
