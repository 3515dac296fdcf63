"""A run on a cluster of this machine, parts of which are killed at random moments, held against the undisturbed run.

    scripts/soak --kills 30 --seed 0 [--staleness 0]

Victims are samplers, learners, reward workers, the driver and Ray's head (all by SIGKILL), and samplers and learners
that are stopped (SIGSTOP) until they are found out.  A driver that died is started again with --resume, as a user
would.  At the end every step must be there once, with the problems of the undisturbed run and as many completions as
were asked for; and, where sampling and learning take turns, with its very numbers.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from grpo.run import rollouts  # noqa: E402
from tests import runs, tiny  # noqa: E402

VICTIMS = {
    "sampler": ("ray::SamplerActor", signal.SIGKILL),
    "learner": ("ray::LearnerActor", signal.SIGKILL),
    "reward worker": ("grpo.scoring.worker", signal.SIGKILL),
    "driver": ("", signal.SIGKILL),
    "Ray head": ("gcs_server", signal.SIGKILL),
    "frozen sampler": ("ray::SamplerActor", signal.SIGSTOP),
    "frozen learner": ("ray::LearnerActor", signal.SIGSTOP),
}
ODDS = {
    "sampler": 6,
    "learner": 4,
    "reward worker": 4,
    "driver": 2,
    "Ray head": 1,
    "frozen sampler": 2,
    "frozen learner": 1,
}
PAUSE = 2.0  # seconds at most from the end of a step to a kill


def write_config(folder: Path, steps: int, staleness: int) -> Path:
    runs.write_inputs(folder)
    config = runs.settings(
        folder,
        tiny.save_model(folder / "model"),
        data={"source": str(folder / "problems.jsonl"), "chat": False, "template": "{problem}="},
        cluster={
            "address": "local",
            "learners": 2,
            "samplers": 2,
            "restarts": 1000,
            "timeout": 20.0,
            "max_staleness": staleness,
        },
        eval={"source": None, "every": 0},
        run={"steps": steps, "save_every": 2, "reward_workers": 2},
    )
    path = folder / "soak.toml"
    path.write_text(config.to_toml())
    return path


class Driver:
    """`grpo train`, started again with --resume as often as it dies."""

    def __init__(self, config: Path, out: Path) -> None:
        self.config, self.out, self.starts = config, out, 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-c", "from grpo.cli import main; main()", "train", str(self.config)]
        command += ["--out", str(self.out)] + (["--resume"] if (self.out / "config.toml").exists() else [])
        with (self.out.parent / f"{self.out.name}.log").open("a") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        self.starts += 1

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def steps_done(out: Path) -> int:
    metrics = out / "metrics.jsonl"
    return len(metrics.read_text().splitlines()) if metrics.exists() else 0


def family(driver: Driver) -> list[psutil.Process]:
    try:
        return psutil.Process(driver.process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def victims(driver: Driver, kind: str) -> list[psutil.Process]:
    title, _ = VICTIMS[kind]
    if not title:
        return [psutil.Process(driver.process.pid)]
    return [process for process in family(driver) if title in _title(process)]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def disturb(driver: Driver, kills: int, draw: random.Random) -> Iterator[str]:
    """Kill somebody, again and again; the name of each victim."""
    kinds = draw.sample(list(ODDS), len(ODDS))  # each of them once, then by their odds
    kinds += draw.choices(list(ODDS), list(ODDS.values()), k=max(0, kills - len(kinds)))
    for kind in kinds[:kills]:
        yield from _disturb_once(driver, kind, draw)
        if driver.process.poll() is not None:
            return


def _disturb_once(driver: Driver, kind: str, draw: random.Random) -> Iterator[str]:
    """A random moment after the next step: while it opens, a run has nothing to lose yet."""
    before = steps_done(driver.out)
    while driver.process.poll() is None and (done := steps_done(driver.out)) <= before:
        before = min(before, done)  # a run that resumes begins by forgetting steps that no checkpoint has
        time.sleep(0.1)
    until = time.monotonic() + draw.uniform(0, PAUSE)
    while driver.process.poll() is None:
        relatives, found = family(driver), victims(driver, kind)
        if time.monotonic() < until or not found:  # not found: being replaced just now
            time.sleep(0.1)
            continue
        try:
            draw.choice(found).send_signal(VICTIMS[kind][1])
        except psutil.NoSuchProcess:
            continue
        yield kind
        if kind in ("driver", "Ray head"):
            wait_for_end(driver, relatives)
            driver.start()
        return


def wait_for_end(driver: Driver, relatives: list[psutil.Process]) -> None:
    """A driver that was killed, or whose cluster was, ends, and leaves nobody behind."""
    try:
        driver.process.wait(timeout=180)
    except subprocess.TimeoutExpired:
        raise SystemExit("soak: the driver did not end within 180 seconds of losing Ray") from None
    actors = [process for process in relatives if "Actor" in _title(process)]
    _, alive = psutil.wait_procs(actors, timeout=60)
    if left := [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]:
        raise SystemExit(f"soak: left behind: {[(p.pid, _title(p)[:60]) for p in left]}")


def finish(driver: Driver, steps: int) -> None:
    """Undisturbed to the end."""
    while driver.process.wait() != 0:
        if driver.starts > 1000 or steps_done(driver.out) >= steps:
            raise SystemExit(f"soak: the run ends with an error; see {driver.out}.log")
        driver.start()


def account(calm: Path, disturbed: Path, steps: int, *, same_numbers: bool) -> list[str]:
    """What is wrong with the disturbed run; each line one thing."""
    wrong = []
    ours, theirs = runs.rows(calm / "metrics.jsonl"), runs.rows(disturbed / "metrics.jsonl")
    if [row["step"] for row in theirs] != list(range(1, steps + 1)):
        wrong.append(f"steps: {[row['step'] for row in theirs]}")
    asked, got = (_problems(run) for run in (calm, disturbed))
    for step in range(1, steps + 1):
        if asked[step] != got[step]:
            wrong.append(f"step {step}: problems and completions {got[step]} instead of {asked[step]}")
    if same_numbers:
        wrong += [
            f"step {a['step']}: {_first_difference(a, b)}"
            for a, b in zip(ours, theirs, strict=False)
            if _first_difference(a, b)
        ]
    return wrong


def _problems(run: Path) -> dict[int, Counter[str]]:
    found: dict[int, Counter[str]] = {}
    for step, path in rollouts.files(run).items():
        found[step] = Counter(row["problem"] for row in rollouts.read_step(path))
    return found


def _first_difference(a: dict[str, Any], b: dict[str, Any]) -> str:
    """Apart from what tells of the disturbance itself."""
    names = [name for name in a if not name.startswith(("samplers/", "learners/", "completions/crash"))]
    return next((f"{name} is {b.get(name)} instead of {a[name]}" for name in names if a[name] != b.get(name)), "")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--kills", type=int, default=30)
    options.add_argument("--steps", type=int, default=0, help="default: ten per kill")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--staleness", type=int, default=0)
    given = options.parse_args()
    steps = given.steps or 10 * given.kills
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    config = write_config(folder, steps, given.staleness)
    calm = Driver(config, folder / "calm")
    finish(calm, steps)
    driver, counts = Driver(config, folder / "disturbed"), Counter[str]()
    started = time.monotonic()
    for kind in disturb(driver, given.kills, random.Random(given.seed)):
        counts[kind] += 1
        print(f"{time.monotonic() - started:7.1f} s  step {steps_done(driver.out):4}  {kind}", flush=True)
    finish(driver, steps)
    explained = 1 + counts["driver"] + counts["Ray head"]
    wrong = account(calm.out, driver.out, steps, same_numbers=given.staleness == 0)
    if driver.starts != explained:
        wrong.append(f"{driver.starts} starts, of which {explained} are explained; see {driver.out}.log")
    if sum(counts.values()) < given.kills:
        wrong.append(f"{sum(counts.values())} kills instead of {given.kills}: the run was over; give it more --steps")
    print(f"{sum(counts.values())} kills ({dict(counts)}), {steps} steps, {driver.starts} starts, {folder}")
    for line in wrong:
        print(f"wrong: {line}")
    if not wrong:
        print("every step once, every group asked, scored and learned from or filtered as in the undisturbed run")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
