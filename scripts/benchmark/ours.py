"""Our side: `python -m scripts.benchmark.ours SPEC`.  SPEC is the JSON of a `Job`; one line of JSON per step.

A user's step, through the same door as `grpo train`: settings, sampler, reward workers, `Trainer.step`.  The only thing
changed is that completions do not end before their last token.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from grpo import assemble, engines, opening
from grpo.algorithm import StepResult, Trainer
from grpo.config import Config
from grpo.metrics import Stopwatch
from grpo.products import fast_products
from grpo.sampling import Sampler
from grpo.types import Problem, Prompt
from scripts.benchmark.memory import Gauge
from scripts.benchmark.workloads import LEARNING_RATE, Workload, make_prompts

REWARD = Path(__file__).with_name("rewards.py")


class Clock:
    """The step's stopwatch; where the update begins and ends, memory is read too."""

    def __init__(self) -> None:
        self.watch = Stopwatch()
        self.gauge = Gauge()
        self.trimmed = False

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        if phase == "update":
            self.gauge.update_starts(trimmed=self.trimmed)
        with self.watch(phase):
            yield
        if phase == "update":
            self.gauge.update_ends()


def settings(work: Workload, folder: str, choices: dict[str, Any]) -> Config:
    """Defaults, but for the size of the work and what the job chooses."""
    base = Config.model_validate(
        {
            "model": {"name": folder},
            "data": {"source": "builtin:arithmetic"},  # never read: the prompts are given
            "sampling": {"problems_per_step": work.problems, "group_size": work.group, "max_tokens": work.new},
            "reward": [{"use": f"{REWARD}:judge"}],
            "optim": {"lr": LEARNING_RATE},
        }
    )
    return assemble.resolved(base.with_changes(**{k: v for k, v in choices.items() if isinstance(v, dict)}))


@dataclass(frozen=True)
class EveryStepTheSame:
    """Where a step gets its problems: all there are, in every step."""

    everything: Sequence[Prompt]
    step: int

    def prompts(self, count: int) -> Sequence[Prompt]:
        return self.everything

    def seed(self, round: int) -> int:
        return self.step


def never_end(sampler: Sampler) -> None:
    """To this sampler no token is an end token any more."""
    opened: Any = sampler
    opened._vocabulary.end_tokens = frozenset()
    if hasattr(opened, "_run"):  # vLLM has end tokens of its own
        opened._run = partial(_ignoring_the_end, opened._run)


def _ignoring_the_end(run: Any, prompts: Any, request: Any, seed: int) -> Any:
    request.ignore_eos = True
    return run(prompts, request, seed)


def row(step: int, result: StepResult, times: dict[str, float]) -> dict[str, Any]:
    completions = [c for group in result.groups for c in group.scored.group.completions]
    return {
        "step": step,
        "seconds": times["time/step"],
        **{phase: times.get(f"time/{phase}", 0.0) for phase in ("sample", "score", "update", "sync")},
        "tokens": sum(len(completion.token_ids) for completion in completions),
        "learned": sum(update.batch.n_tokens for update in result.updates),
    }


def main(spec: dict[str, Any]) -> None:
    work = Workload(**spec["work"])
    config = settings(work, spec["folder"], spec["choices"])
    files = assemble.open_model(spec["folder"])
    problems = [Problem(f"p{i}", ({"role": "user", "content": "?"},), {}) for i in range(work.problems)]
    prompts = [Prompt(p, tuple(ids)) for p, ids in zip(problems, make_prompts(work), strict=True)]
    context = work.prompt + work.new
    with (
        assemble.open_scorer(config) as scorer,
        closing(engines.open_local_engine(config, files, files, context=context, step=0, checkpoint=None)) as engine,
    ):
        never_end(engine.sampler)
        if "threads" in spec["choices"]:
            torch.set_num_threads(spec["choices"]["threads"])
        gc.collect()
        gc.freeze()  # as `grpo train` does
        clock = Clock()
        trainer = opening.make_trainer(config, engine, scorer, clock, lambda done, total: None)
        run(trainer, clock, prompts, spec["steps"])
        facts = {"sampler": engine.name, "threads": torch.get_num_threads(), **clock.gauge.row()}
        dtype = config.model.dtype
        say({**facts, "dtype": dtype, "matrix_rate": matrix_rate(spec["cores"], dtype)})


def run(trainer: Trainer, clock: Clock, prompts: Sequence[Prompt], steps: int) -> None:
    """A step to warm up, `steps` that are timed, and one in which the update's memory is measured."""
    for step in range(steps + 2):
        clock.trimmed = step == steps + 1
        clock.watch.restart()
        result = trainer.step(step + 1, EveryStepTheSame(prompts, step), lr=LEARNING_RATE)
        say(row(step, result, clock.watch.row()))


def matrix_rate(threads: int, dtype: str) -> float:
    """Operations per second of a matrix product in `dtype` here and now: the best of several sizes, by PyTorch's own
    choice of library and by ours."""
    torch.set_num_threads(threads)
    best = 0.0
    for size, times in ((512, 40), (1024, 10), (2048, 3), (4096, 1)):
        left, right = (torch.randn(size, size).to(getattr(torch, dtype)) for _ in range(2))
        for library in (nullcontext, partial(fast_products, left.device)):
            with library():
                best = max(best, *(2 * size**3 / seconds(left, right, times) for _ in range(3)))
    return best


def seconds(left: torch.Tensor, right: torch.Tensor, times: int) -> float:
    """Of one product, after one to warm up."""
    torch.mm(left, right)
    started = time.perf_counter()
    for _ in range(times):
        torch.mm(left, right)
    return (time.perf_counter() - started) / times


def say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
