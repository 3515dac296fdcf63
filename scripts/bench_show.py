"""How quick `grpo show` is over a long run: one made of 1,000 steps × 1,000 completions of about 1,000 characters.

    scripts/bench show                      # --steps 1000 --completions 1000 --characters 1000
    scripts/bench show --keep /tmp/run      # leaves the run there, and takes it as it is where it is there

It goes through the server's own application, token and all; only the socket is left out.  Prints the seconds of the
first click, which makes the index, and of each kind of click after it the median of seven, all of them with the
processor's seconds over all cores, which tell more on a machine with neighbours; and the process's memory.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from starlette.testclient import TestClient

from grpo.config_file import validate
from grpo.run.rollouts import PER_TOKEN, SCHEMA
from grpo.show.catalogue import Catalogue
from grpo.show.server import application

GROUP = 16  # completions of a problem in a step
PROBLEMS = 5_000  # of the data set
SHOWN = 4  # groups of a step whose tokens are kept
RARE = "quokka"  # in one completion of the whole run, in its second step
TIMES = 7


def make_run(folder: Path, steps: int, completions: int, characters: int) -> None:
    draw = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    tree = {"model": {"name": "made/up"}, "data": {"source": "made-up.jsonl"}, "run": {"steps": steps}}
    (folder / "config.toml").write_text(validate(tree, place="bench").to_toml())
    (folder / "rollouts").mkdir(exist_ok=True)
    pool = _text(draw, 20_000_000)
    with (folder / "metrics.jsonl").open("w") as metrics:
        for step in range(1, steps + 1):
            table = _step(draw, pool, step, completions, characters)
            path = folder / "rollouts" / f"step-{step:06}.parquet"
            pq.write_table(table, path, compression="zstd", use_dictionary=["problem", "prompt", "finish"])
            metrics.write(json.dumps(_metrics(draw, step, completions)) + "\n")


def _text(draw: np.random.Generator, characters: int) -> str:
    """Made-up words, as often as words of a language are: they compress as text does."""
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    words = np.array(["".join(draw.choice(letters, size)) for size in draw.integers(2, 10, 5_000)])
    often = 1 / np.arange(1, len(words) + 1)
    return " ".join(draw.choice(words, characters // 6, p=often / often.sum()))[:characters]


def _step(draw: np.random.Generator, pool: str, step: int, completions: int, characters: int) -> pa.Table:
    starts, lengths = draw.integers(0, len(pool) // 2, completions), draw.poisson(characters, completions)
    texts = [pool[a : a + length] for a, length in zip(starts.tolist(), lengths.tolist(), strict=True)]
    if step == 2:
        texts[completions // 2] += f" {RARE}"
    groups = draw.choice(PROBLEMS, -(-completions // GROUP), replace=False).repeat(GROUP)[:completions]
    problems = [f"problem-{number}" for number in groups.tolist()]
    right = draw.random(completions) < 0.2 + 0.6 * step / 1000
    columns: dict[str, Any] = {
        "step": np.full(completions, step),
        "problem": problems,
        "index": np.arange(completions) % GROUP,
        "prompt": [f"What is {name}?" for name in problems],
        "gold": problems,
        "completion": texts,
        "reward": right.astype(float) - 0.001 * (lengths // 100),
        "advantage": right - 0.5,
        "finish": np.where(draw.random(completions) < 0.1, "length", "stop"),
        "tokens": lengths // 4,
        "dropped": np.zeros(completions, bool),
        "scores": [_scores(good, failed) for good, failed in zip(right, draw.random(completions) < 0.01, strict=True)],
    }
    shown = [row < SHOWN * GROUP for row in range(completions)]
    per_token = {
        "pieces": lambda n: ["word"] * n,
        "token_ids": lambda n: [7] * n,
        **dict.fromkeys(("sampler_logprobs", "policy_logprobs", "entropies"), lambda n: [0.5] * n),
    }
    columns |= {
        name: [per_token[name](n // 4) if kept else None for kept, n in zip(shown, lengths, strict=True)]
        for name in PER_TOKEN
    }
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in SCHEMA}, schema=SCHEMA)


def _scores(right: bool, failed: bool) -> list[dict[str, Any]]:
    why = "equal to the gold answer" if right else "another number"
    failure = "timeout" if failed else None
    return [{"reward": "math", "value": float(right), "answer": "42", "why": why, "failure": failure}]


def _metrics(draw: np.random.Generator, step: int, completions: int) -> dict[str, Any]:
    others = {f"policy/made_up_{number}": value for number, value in enumerate(draw.random(60).tolist())}
    return {"step": step, "solved": draw.random(), "tokens/sample": 250 * completions, "time/step": 60.0, **others}


CLICKS = {
    "list of runs": "runs",
    "overview": "runs/RUN",
    "names of metrics": "metrics?runs=RUN",
    "a curve": "curves?runs=RUN&metric=solved&smooth=0.9",
    "newest completions": "runs/RUN/rollouts?limit=100",
    "by reward, finish and failure": "runs/RUN/rollouts?reward_min=0.5&finish=length&failure=timeout&limit=100",
    "by problem": "runs/RUN/rollouts?problem=problem-77&limit=100",
    "page 100": "runs/RUN/rollouts?limit=100&offset=9900",
    "longest first": "runs/RUN/rollouts?sort=-tokens&limit=100",
    "page 100 of the worst": "runs/RUN/rollouts?sort=reward&limit=100&offset=9900",
    "a group": "runs/RUN/group?step=STEP&problem=OTHER",
    "a group with its tokens": "runs/RUN/group?step=STEP&problem=SHOWN",
    "a problem's history": "runs/RUN/problem?problem=SHOWN",
    "a frequent word": "runs/RUN/rollouts?text=WORD&limit=100",
}
SLOW = {"a word of one completion": f"runs/RUN/rollouts?text={RARE}&limit=100"}


def measure(folder: Path, steps: int) -> None:
    client = TestClient(application(Catalogue([folder]), "token", 1), base_url="http://127.0.0.1:1")
    client.get("/?token=token")
    first = pq.read_table(folder / "rollouts" / f"step-{steps // 2:06}.parquet", columns=["problem", "completion"])
    names, texts = (first[column].to_pylist() for column in ("problem", "completion"))
    filled = {"RUN": folder.name, "STEP": str(steps // 2), "SHOWN": names[0], "OTHER": names[-1]}
    filled["WORD"] = texts[0].split()[1]

    def click(path: str) -> tuple[float, float, Any]:
        for name, value in filled.items():
            path = path.replace(name, value)
        began, worked = time.perf_counter(), time.process_time()
        answer = client.get(f"/api/{path}")
        assert answer.status_code == 200, answer.text
        return time.perf_counter() - began, time.process_time() - worked, answer.json()

    def memory() -> float:
        return psutil.Process().memory_info().rss / 2**20

    before = memory()
    seconds, worked, _ = click(CLICKS["newest completions"])
    print(f"{'first click (makes the index)':<34} {seconds:8.2f} s, processor {worked:6.2f} s")
    print(f"{'memory for it':<34} {memory() - before:8.0f} MiB")
    for name, path in CLICKS.items():
        taken = [click(path) for _ in range(TIMES)]
        seconds, worked = (median(one[column] for one in taken) for column in (0, 1))
        print(f"{name:<34} {seconds:8.3f} s, processor {worked:6.3f} s")
    for name, path in SLOW.items():
        seconds, worked, answer = click(path)
        reached = f"stopped at step {answer['back_to']}" if answer["back_to"] else "all of it"
        print(f"{name:<34} {seconds:8.2f} s, processor {worked:6.2f} s, {reached}")
    print(f"{'memory of the process':<34} {memory():8.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("steps", "completions", "characters"):
        parser.add_argument(f"--{name}", type=int, default=1000)
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = (options.keep or Path(made) / "run").resolve()
        if not (folder / "metrics.jsonl").exists():
            make_run(folder, options.steps, options.completions, options.characters)
        size = sum(path.stat().st_size for path in (folder / "rollouts").iterdir())
        print(f"{options.steps:,} steps of {options.completions:,} completions: {size / 2**20:,.0f} MiB in rollouts/")
        measure(folder, options.steps)


if __name__ == "__main__":
    main()
