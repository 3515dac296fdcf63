"""What right programs and their callers are promised, whatever happens to the keeper; each is tried in every world.

A promise is a function of a fresh sandbox with one worker that returns all that is wrong, as texts.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

from rewards.sandbox import Limits, Sandbox
from rewards.sandbox import client as client_module
from rewards.sandbox import job as job_module
from tests.sandbox.host import descendants

SHORT = 0.5  # seconds for a keeper that is silent
QUICK = Limits(wall=0.5)
RIGHT = {
    "stdin by name": "print(int(open('/dev/stdin').read()) * 2)",
    "stdin by path": "from pathlib import Path\nprint(int(Path('/dev/stdin').read_text()) * 2)",
    "a default pool on 28 cores": "import os, threading\nos.cpu_count = lambda: 28\n"
    "from concurrent.futures import ThreadPoolExecutor\n"
    "together = threading.Barrier(32, timeout=20)\n"
    "with ThreadPoolExecutor() as pool: list(pool.map(lambda _: together.wait(), range(32)))\n"
    "print(42)",
    "debug prints of 8 MiB": "import sys\nfor _ in range(8): print('x' * (1 << 20), file=sys.stderr)\nprint(42)",
}
CHATTY = (
    "import sys\ndef f(n):\n    for _ in range(20): print('x' * (1 << 20))\n    sys.stderr.write('x' * n)\n    return n"
)
WORDS = """
import os, struct, sys
def f(size):
    if size < 10**6: raise ValueError('x' * size)
    frame = sys._getframe()
    while 'call' not in frame.f_locals: frame = frame.f_back
    body = b'l2:s10:ValueErrors%d:' % size + b'x' * size
    data = struct.pack('!IQc', len(body), frame.f_locals['call'], b'X') + body
    while data: data = data[os.write(4, data):]
    os._exit(0)
"""


@contextmanager
def short_of_patience() -> Iterator[None]:
    before = job_module.GRACE, job_module.PATIENCE, client_module.CLOSE
    job_module.GRACE, job_module.PATIENCE, client_module.CLOSE = SHORT, 1, SHORT
    try:
        yield
    finally:
        job_module.GRACE, job_module.PATIENCE, client_module.CLOSE = before


def signal_keeper(sandbox: Sandbox, number: int) -> None:
    """To all processes of the one keeper; the inner first, so that none is seen to die by the other."""
    for keeper in [one for slot in sandbox._slots for one in slot.keepers.values()]:
        for pid in [*reversed(descendants(keeper._process.pid)), keeper._process.pid]:
            os.kill(pid, number)


def right_programs_pass(sandbox: Sandbox) -> list[str]:
    runs = {name: sandbox.run_stdin(source, b"21\n") for name, source in RIGHT.items()}
    return [f"{name}: {ran}" for name, ran in runs.items() if (ran.reason, ran.stdout) != ("ok", b"42\n")]


def functions_may_print_and_return_much(sandbox: Sandbox) -> list[str]:
    wrong = [str(one)[:200] for one in sandbox.call_functions(CHATTY, "f", [[8 << 20]]) if one.value != 8 << 20]
    for value in ("'x' * (12 << 20)", "list(range(10**9, 10**9 + 300_000))"):
        (one,) = sandbox.call_functions(f"def f(): return {value}", "f", [[]])
        wrong += [] if one.reason == "ok" and one.value == eval(value) else [f"{value}: {one.reason} {one.error}"]
    return wrong


def limit_on_files_does_not_tell_what_is_expected(sandbox: Sandbox) -> list[str]:
    source = "import resource\nprint(resource.getrlimit(resource.RLIMIT_FSIZE))"
    seen = {sandbox.run_stdin(source, b"", Limits(output=size)).stdout for size in (1000, 1 << 20, 3 << 20, 16 << 20)}
    long = {sandbox.run_stdin(source, b"", Limits(output=size)).stdout for size in (20 << 20, 60 << 20)}
    return [] if (len(seen), len(long)) == (1, 1) else [f"{seen} {long}"]


def words_of_a_verdict_are_few(sandbox: Sandbox) -> list[str]:
    short, long = sandbox.call_functions(WORDS, "f", [[900_000], [9_000_000]])
    checked = sandbox.check_asserts(WORDS, "f", "candidate(900_000)")
    lengths = [len(short.error), len(long.error), len(checked.error)]
    return [f"{lengths}"] if max(lengths) > 5000 or not all(lengths) else []


def calls_are_counted_however_many_while_the_keeper_sleeps(sandbox: Sandbox) -> list[str]:
    limits = Limits(cpu=5, wall=1)
    with closing(sandbox.call_functions("def f(x): return x", "f", [[i] for i in range(3000)], limits)) as calls:
        found = [next(calls).value]
        signal_keeper(sandbox, signal.SIGSTOP)
        _stop_but_not_the_job(sandbox)
        found += [next(calls).value for _ in range(2900)]
        signal_keeper(sandbox, signal.SIGCONT)
        time.sleep(1.5)  # longer than the wall limit, which must stand still between calls
        found += [one.value for one in calls]
    return [] if found == list(range(3000)) else [f"{len(found)} calls, the last {found[-1]}"]


def _stop_but_not_the_job(sandbox: Sandbox) -> None:
    """The job is the youngest of the keeper's family."""
    keeper = sandbox._slots[0].keepers["program"]
    os.kill(max(descendants(keeper._process.pid)), signal.SIGCONT)


@short_of_patience()
def keeper_that_is_stopped_in_a_job_costs_a_verdict_and_no_more(sandbox: Sandbox) -> list[str]:
    keeper = sandbox._slots[0].keepers["program"]
    jobs = keeper.taken()
    with ThreadPoolExecutor(1) as aside:
        running = aside.submit(sandbox.run_stdin, "import time\ntime.sleep(60)", b"", Limits(wall=1))
        while keeper.taken() == jobs:
            time.sleep(0.01)
        signal_keeper(sandbox, signal.SIGSTOP)
        stopped = running.result(60).reason
    with closing(sandbox.call_functions("import time\ndef f(x): time.sleep(x)", "f", [[0], [60]], QUICK)) as calls:
        next(calls)
        signal_keeper(sandbox, signal.SIGSTOP)
        called = next(calls).reason
    after = sandbox.run_stdin("print(42)", b"").stdout
    return [] if (stopped, called, after) == ("died", "died", b"42\n") else [f"{stopped} {called} {after}"]


@short_of_patience()
def keeper_that_dies_before_it_takes_a_job_costs_nothing(sandbox: Sandbox) -> list[str]:
    wrong = []
    for number, run in ((signal.SIGKILL, _run_stdin), (signal.SIGKILL, _call), (signal.SIGKILL, _check), (0, _call)):
        deaths = sandbox.deaths
        signal_keeper(sandbox, signal.SIGSTOP)
        with ThreadPoolExecutor(1) as aside:
            running = aside.submit(run, sandbox)
            time.sleep(0.1)
            signal_keeper(sandbox, number)  # 0: never heard of again
            found = running.result(60)
        wrong += [] if (found, sandbox.deaths) == ("42", deaths) else [f"{number} {run.__name__}: {found}"]
    return wrong


@short_of_patience()
def keeper_that_is_lost_after_the_last_result_costs_neither_verdict_nor_slot(sandbox: Sandbox) -> list[str]:
    wrong = []
    for number in (signal.SIGKILL, signal.SIGSTOP):
        for results, how in ((1, "stops early"), (2, "takes all")):
            calls = sandbox.call_functions("def f(x): return x", "f", [[1], [2]], QUICK)
            found = [next(calls).reason for _ in range(results)]
            signal_keeper(sandbox, number)
            try:
                found += [one.reason for one in calls] if how == "takes all" else []
                calls.close()
            except RuntimeError as error:
                found.append(str(error))
            if found != ["ok"] * results or sandbox._free.qsize() != 1:  # a slot that is not there is waited for
                return [*wrong, f"{number}, {how}: {found}"]
            wrong += [] if _run_stdin(sandbox) == "42" else [f"{number}, {how}: what came next"]
    return wrong


def _run_stdin(sandbox: Sandbox) -> str:
    return sandbox.run_stdin("print(42)", b"", QUICK).stdout.decode().strip()


def _call(sandbox: Sandbox) -> str:
    return " ".join(str(one.value) for one in sandbox.call_functions("def f(): return 42", "f", [[]], QUICK))


def _check(sandbox: Sandbox) -> str:
    return sandbox.check_asserts("def f(): return 42", "f", "assert f() == 42", QUICK).reason.replace("pass", "42")


@short_of_patience()
def close_waits_for_no_keeper_that_is_stopped(sandbox: Sandbox) -> list[str]:
    signal_keeper(sandbox, signal.SIGSTOP)
    sandbox.close()
    return []


def waiting_for_a_processor_is_no_wall_time(sandbox: Sandbox) -> list[str]:
    """Three rivals of the same priority on each core: a program gets a fourth of it, or half."""
    burn = "from time import process_time as t\nend = t() + 0.3\nwhile t() < end: pass\nprint(42)"
    rival = "import os\nos.nice(10)\nwhile 1: pass"
    rivals = [subprocess.Popen([sys.executable, "-c", rival]) for _ in range(3 * len(os.sched_getaffinity(0)))]
    try:
        time.sleep(0.5)
        ran = sandbox.run_stdin(burn, b"", Limits(cpu=5, wall=0.4))
        asleep = sandbox.run_stdin("import time\ntime.sleep(60)", b"", Limits(cpu=5, wall=0.4))
    finally:
        for one in rivals:
            one.kill()
            one.wait()
    return [] if (ran.reason, asleep.reason) == ("ok", "timeout_wall") else [f"{ran} {asleep}"]


PROMISES: tuple[Callable[[Sandbox], list[str]], ...] = (
    right_programs_pass,
    functions_may_print_and_return_much,
    limit_on_files_does_not_tell_what_is_expected,
    words_of_a_verdict_are_few,
    calls_are_counted_however_many_while_the_keeper_sleeps,
    keeper_that_is_stopped_in_a_job_costs_a_verdict_and_no_more,
    keeper_that_dies_before_it_takes_a_job_costs_nothing,
    keeper_that_is_lost_after_the_last_result_costs_neither_verdict_nor_slot,
    waiting_for_a_processor_is_no_wall_time,
    close_waits_for_no_keeper_that_is_stopped,
)
