"""Memory and time of a collection, all but the sampling: through shards into parts, joined, and read back.

    python scripts/bench_collect.py 100000        # completions, of 2,000 characters and 500 tokens each

Whoever samples and scores is made up, and its texts are too: digits, which no compression makes much of.  Prints the
process's memory at its highest: as it begins, with all problems in it, and after each phase.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from grpo import completions
from grpo.collect import Collector, Progress
from grpo.config import CollectConfig
from grpo.config_file import validate
from grpo.interrupt import StopRequest
from grpo.metrics import process_memory
from grpo.parts import Parts, Record
from grpo.run.console import Console
from grpo.types import Completion, Group, Problem, Prompt, SamplingParams, ScoredGroup
from rewards import Score

CHARACTERS, TOKENS, N = 2000, 500, 8


class Sampler:
    name = "made up"

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> Iterator[tuple[int, Group]]:
        random = Random(params.seed)
        ids, logprobs = np.zeros(TOKENS, np.int32), np.zeros(TOKENS, np.float32)
        for index, prompt in enumerate(prompts):
            texts = (str(random.getrandbits(7000))[:CHARACTERS] for _ in range(n))
            yield index, Group(prompt, tuple(Completion(ids, logprobs, text, "stop") for text in texts), 0)


class Scorer:
    def submit(self, group: Group) -> Future[ScoredGroup]:
        future: Future[ScoredGroup] = Future()
        scores = tuple({"math": Score(float(g == 0), answer=str(g), why="equal as text")} for g in range(N))
        future.set_result(ScoredGroup(group, scores, tuple(score["math"].value for score in scores)))
        return future


def main() -> None:
    wanted, began = int(sys.argv[1]), time.monotonic()

    def say(phase: str) -> None:
        print(f"{phase:<44} {process_memory():6.2f} GiB at the highest, {time.monotonic() - began:6.0f} s")

    say("begun")
    asked = ({"role": "user", "content": "?" * 300},)
    problems = [Problem(f"p{i}", asked, {"problem": "?" * 300, "answer": str(i)}) for i in range(wanted // N)]
    say(f"{len(problems):,} problems")
    tree = {"model": {"name": "x"}, "data": {"source": "x"}, "sampling": {"group_size": N, "max_tokens": TOKENS}}
    config = validate(tree, place="bench", kind=CollectConfig)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = Parts(folder, problems=len(problems), size=config.sampling.problems_per_step)
        record = Record.begin(folder / "collect.json", "x", problems, resume=False)
        progress = Progress(parts, record, Console(0), StopRequest())
        progress.begin()
        scorer: Any = Scorer()
        Collector(config, problems, prompts, Sampler(), scorer, progress).run(1)
        say(f"{len(parts.shards):,} parts")
        parts.join()
        say(f"joined, {parts.table.stat().st_size / 2**30:.2f} GiB")
        tally = parts.tally()
        say(f"counted, {tally.completions:,} completions")
        read = sum(len(group.rows) for group in completions.groups(folder))
        say(f"read back, {read:,} completions")


def prompts(problems: Sequence[Problem]) -> list[Prompt]:
    return [Prompt(problem, (1, 2, 3)) for problem in problems]


if __name__ == "__main__":
    main()
