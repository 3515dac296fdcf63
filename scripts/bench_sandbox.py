"""How fast the sandbox runs programs, beside what one would use without it.  `scripts/bench sandbox [SECONDS]`

On one pinned core, in rounds that alternate, because neighbours come and go: read the ratios, and the CPU time of a
run over all processes, which neighbours change least.  "Prelude" is the standard library's modules that a keeper has
loaded and that programs usually import.  Then: two cores against one,
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
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rewards.sandbox import Limits, Sandbox
from rewards.sandbox import client as client_module
from rewards.sandbox.client import Client, interpreter
from rewards.sandbox.job import Job
from rewards.sandbox.keeper import PRELUDE, Orders
from tests.sandbox.host import descendants

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0  # for each contender
ROUNDS = 10
IMPORTS = "import " + ", ".join(PRELUDE.split())
PYTHON = [interpreter(), "-I", "-S", "-c"]
BUBBLE = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--die-with-parent"]


def by_command(*command: str) -> Callable[[], None]:
    def run() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={})

    return run


def unconfined(client: Client) -> Callable[[], None]:
    """The same path without a confinement: what that adds is the difference."""

    def run() -> None:
        with closing(Job(client, "program", Limits(), "", b"print(1)")) as job:
            assert job.ran().stdout == b"1\n"

    return run


def keeper_without_confinement() -> Client:
    """Only here: a keeper in which the step that confines a job is replaced by nothing."""
    nothing = "confine.Confinement.enter = lambda self, allowance, parent, keep_below: None"
    boot = client_module._BOOT
    client_module._BOOT = boot.replace(
        "\nkeeper.main", f"\nfrom rewards.sandbox import confine\n{nothing}\nkeeper.main"
    )
    try:
        return Client(Orders(namespaces=False, user=None, abi=0, packages=(), package_path=()), interpreter())
    finally:
        client_module._BOOT = boot


def cpu_seconds() -> float:
    """Of this process, of its children and theirs, living and dead."""
    family = [os.getpid(), *descendants(os.getpid())]
    fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split() for pid in family]
    return sum(int(ticks) for one in fields for ticks in one[11:15]) / os.sysconf("SC_CLK_TCK")


def in_turns(contenders: dict[str, Callable[[], object]]) -> dict[str, tuple[list[float], float]]:
    """Seconds of each run, and the CPU seconds of all of them."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    cpu = dict.fromkeys(contenders, 0.0)
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            end = time.perf_counter() + SECONDS / ROUNDS
            before = cpu_seconds()
            while (started := time.perf_counter()) < end:
                run()
                times[name].append(time.perf_counter() - started)
            cpu[name] += cpu_seconds() - before
    return {name: (times[name], cpu[name]) for name in contenders}


def per_second(box: Sandbox, threads: int) -> float:
    end = time.perf_counter() + SECONDS

    def work(_: int) -> int:
        done = 0
        while time.perf_counter() < end:
            done += box.run_stdin("print(1)", b"").reason == "ok"
        return done

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, range(threads))) / SECONDS


def table(measured: dict[str, tuple[list[float], float]]) -> None:
    print("| one core | runs/s | median ms | p99 ms | CPU ms |\n|---|---:|---:|---:|---:|")
    for name, (seconds, cpu) in measured.items():
        rate = len(seconds) / sum(seconds)
        p99 = statistics.quantiles(seconds, n=100)[98] if len(seconds) > 1 else seconds[0]
        spread = f"{statistics.median(seconds) * 1e3:.1f} | {p99 * 1e3:.1f}"
        print(f"| {name} | {rate:.0f} | {spread} | {cpu / len(seconds) * 1e3:.1f} |")


def late(box: Sandbox) -> tuple[float, float]:
    """By how many seconds a CPU limit and a wall limit are overrun, at worst of five."""
    cpu = [box.run_stdin("while 1: pass", b"", Limits(cpu=0.3, wall=60)).cpu - 0.3 for _ in range(5)]
    wall = [box.run_stdin("import time; time.sleep(9)", b"", Limits(wall=0.3)).wall - 0.3 for _ in range(5)]
    return max(cpu), max(wall)


def main() -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    with Sandbox(1) as box, closing(keeper_without_confinement()) as client:
        print("\n".join(box.grants.lines()), "\n")
        contenders = {
            "sandbox, prelude loaded": lambda: box.run_stdin("print(1)", b""),
            "the same, unconfined": unconfined(client),
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
    os.sched_setaffinity(0, cores)
    if len(cores) > 1:
        with Sandbox(2) as box:
            two = per_second(box, 2)
        print(f"two cores: {two:.0f} runs/s, {two / one:.2f} × one ({one:.0f})")


if __name__ == "__main__":
    main()
