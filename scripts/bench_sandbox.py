"""How fast the sandbox runs programs, beside what one would use without it.  `scripts/bench sandbox [SECONDS]`

On one pinned core, in rounds that alternate, because neighbours come and go: read the ratios.  "Prelude" is the
standard library's modules that a keeper has loaded and that programs usually import.  Then: two cores against one,
what the confinement costs over a bare fork, a call in lock step, and how late a kill comes.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rewards.sandbox import Limits, Sandbox
from rewards.sandbox.client import interpreter
from rewards.sandbox.keeper import PRELUDE

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0  # for each contender
ROUNDS = 10
IMPORTS = "import " + ", ".join(PRELUDE.split())
PYTHON = [interpreter(), "-I", "-S", "-c"]
BUBBLE = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--die-with-parent"]


def by_command(*command: str) -> Callable[[], None]:
    def run() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={})

    return run


def by_fork(loaded: subprocess.Popen[bytes]) -> Callable[[], None]:
    """A fork per run of a process with the prelude loaded, and nothing else: what the confinement is added to."""

    def run() -> None:
        assert loaded.stdin is not None
        assert loaded.stdout is not None
        loaded.stdin.write(b"x")
        loaded.stdin.flush()
        loaded.stdout.read(1)

    return run


FORKING = f"""
{IMPORTS}
import gc, os, random, sys, types
gc.collect(); gc.freeze()
while os.read(0, 1):
    out = os.memfd_create('out')
    program = os.memfd_create('program')
    os.pwrite(program, b'print(1)', 0)
    pid = os.fork()
    if pid == 0:
        os.dup2(out, 1)
        source = os.pread(program, 100, 0)
        module = types.ModuleType('__main__')
        random.seed(0)
        exec(compile(source, 'x', 'exec'), module.__dict__)
        sys.stdout.flush()
        os._exit(0)
    os.wait4(pid, 0)
    os.pread(out, 100, 0)
    os.close(out); os.close(program)
    os.write(2, b'x')
"""


def in_turns(contenders: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Seconds of each run."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            end = time.perf_counter() + SECONDS / ROUNDS
            while (started := time.perf_counter()) < end:
                run()
                times[name].append(time.perf_counter() - started)
    return times


def per_second(box: Sandbox, threads: int) -> float:
    end = time.perf_counter() + SECONDS

    def work(_: int) -> int:
        done = 0
        while time.perf_counter() < end:
            done += box.run_stdin("print(1)", b"").reason == "ok"
        return done

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, range(threads))) / SECONDS


def table(times: dict[str, list[float]]) -> None:
    print("| one core | runs/s | median ms | p99 ms |\n|---|---:|---:|---:|")
    for name, seconds in times.items():
        rate = len(seconds) / sum(seconds)
        p99 = statistics.quantiles(seconds, n=100)[98] if len(seconds) > 1 else seconds[0]
        print(f"| {name} | {rate:.0f} | {statistics.median(seconds) * 1e3:.1f} | {p99 * 1e3:.1f} |")


def late(box: Sandbox) -> tuple[float, float]:
    """By how many seconds a CPU limit and a wall limit are overrun, at worst of five."""
    cpu = [box.run_stdin("while 1: pass", b"", Limits(cpu=0.3, wall=60)).cpu - 0.3 for _ in range(5)]
    wall = [box.run_stdin("import time; time.sleep(9)", b"", Limits(wall=0.3)).wall - 0.3 for _ in range(5)]
    return max(cpu), max(wall)


def main() -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    forking = subprocess.Popen(
        [*PYTHON, FORKING], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    forking.stdout = forking.stderr
    with Sandbox(1) as box:
        print("\n".join(box.grants.lines()), "\n")
        contenders = {
            "sandbox, prelude loaded": lambda: box.run_stdin("print(1)", b"") and None,
            "fork of the same, unconfined": by_fork(forking),
            "python -I -S": by_command(*PYTHON, "print(1)"),
            "python -I -S, prelude": by_command(*PYTHON, f"{IMPORTS}\nprint(1)"),
        }
        if shutil.which("bwrap"):
            contenders["bubblewrap, prelude"] = by_command(*BUBBLE, *PYTHON, f"{IMPORTS}\nprint(1)")
        table(in_turns(contenders))
        started = time.perf_counter()
        calls = list(box.call_functions("def f(x): return x", "f", [[1]] * 5000))
        call = (time.perf_counter() - started) / len(calls)
        cpu, wall = late(box)
        print(f"\na call in lock step: {call * 1e6:.0f} µs; a kill comes at most {max(cpu, wall) * 1e3:.0f} ms late")
        one = per_second(box, 1)
    forking.kill()
    os.sched_setaffinity(0, cores)
    if len(cores) > 1:
        with Sandbox(2) as box:
            two = per_second(box, 2)
        print(f"two cores: {two:.0f} runs/s, {two / one:.2f} × one ({one:.0f})")


if __name__ == "__main__":
    main()
