"""What the parts of a step take here: `python -m scripts.benchmark.parts SPEC`; a line of JSON per step.

SPEC is a file with the JSON of {"folder": a model's, "settings": groups of settings, "asked": a list of [problems,
completions per problem, prompt tokens, longest completion]}.  Each of `asked` is a step of `Trainer.step`, through the
door that `grpo train` takes, so with [cluster] settings it is Ray that takes it.  A line has the step's phases, in
seconds of the clock and of the processor, and every completion's length.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from grpo import assemble, engines, opening
from grpo.algorithm import JudgedGroup
from grpo.config import Config
from grpo.types import Problem, Prompt
from scripts.benchmark.ours import REWARD, EveryStepTheSame, say
from scripts.benchmark.workloads import LEARNING_RATE

FIRST_WORD = 3  # before it are the entries that no prompt has: padding, the end token, the unknown word


class Clock:
    """Seconds per phase of one step: those of the clock under "wall", those of this process's threads under "cpu"."""

    def __init__(self) -> None:
        self.seconds = {"wall": defaultdict[str, float](float), "cpu": defaultdict[str, float](float)}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds["wall"][phase] += time.perf_counter() - wall
        self.seconds["cpu"][phase] += time.process_time() - cpu


def settings(spec: dict[str, Any]) -> Config:
    base = Config.model_validate(
        {
            "model": {"name": spec["folder"]},
            "data": {"source": "builtin:arithmetic"},  # never read: the prompts are given
            "reward": [{"use": f"{REWARD}:judge"}],
            "optim": {"lr": LEARNING_RATE},
            "run": {"reward_workers": 1},
        }
    )
    return assemble.resolved(base.with_changes(**spec["settings"]))


def make_prompts(count: int, length: int, vocabulary: int, seed: int) -> list[Prompt]:
    draw = random.Random(seed)
    problems = [Problem(f"p{seed}-{i}", ({"role": "user", "content": "?"},), {}) for i in range(count)]
    return [Prompt(p, tuple(draw.randrange(FIRST_WORD, vocabulary) for _ in range(length))) for p in problems]


def main(spec: dict[str, Any]) -> None:
    config = settings(spec)
    files = assemble.open_model(spec["folder"])
    context = max(prompt + new for _, _, prompt, new in spec["asked"])
    with (
        assemble.open_scorer(config) as scorer,
        closing(
            engines.open_engine(
                config, files, files, context=context, step=0, checkpoint=None, folder=Path(spec["folder"])
            )
        ) as engine,
    ):
        gc.collect()
        gc.freeze()  # as `grpo train` does
        trainer = opening.make_trainer(config, engine, scorer, Clock(), lambda done, total: None)
        for step, (problems, group, prompt, new) in enumerate(spec["asked"], start=1):
            prompts = make_prompts(problems, prompt, files.vocabulary, seed=step)
            sizes = {"problems_per_step": problems, "group_size": group, "max_tokens": new}
            clock = Clock()
            sized = replace(trainer, sampling=trainer.sampling.model_copy(update=sizes), clock=clock)
            result = sized.step(step, EveryStepTheSame(prompts, step), lr=LEARNING_RATE)
            say({"asked": [problems, group, prompt, new], "lengths": lengths(result.groups), **clock.seconds})


def lengths(groups: Sequence[JudgedGroup]) -> list[list[int]]:
    return [[len(completion.token_ids) for completion in one.scored.group.completions] for one in groups]


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
