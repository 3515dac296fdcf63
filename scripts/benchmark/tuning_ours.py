"""Our side of `scripts/bench sft`: `python -m scripts.benchmark.tuning_ours SPEC`; one line of JSON per step.

The step is that of `grpo sft`, books and metrics.jsonl included; only the rows are given as token ids.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from grpo import assemble, engines
from grpo.config import Config
from grpo.interrupt import StopRequest
from grpo.problems import Example
from grpo.run.checkpoints import Progress
from grpo.run.console import FINE_TUNING, Console
from grpo.run.folder import RunFolder
from grpo.running import Parts, spared_by_the_collector
from grpo.sft import Schedule
from grpo.tune import FineTuning
from scripts.benchmark.tuning import LEARNING_RATE, Tuning
from scripts.benchmark.workloads import Workload


def settings(work: Tuning, folder: str, dtype: str) -> Config:
    return Config.model_validate(
        {
            "model": {"name": folder, "dtype": dtype, "device": "cpu"},
            "data": {"source": "given"},  # never read
            "sft": {"source": "given", "epochs": 1, "batch_size": work.batch, "lr": LEARNING_RATE},
            "cluster": {"learners": 0, "samplers": 0},
        }
    )


def main(spec: dict[str, Any]) -> None:
    work = Tuning(**{**spec["work"], "model": Workload(**spec["work"]["model"])})
    torch.set_num_threads(spec["threads"])
    config = settings(work, spec["folder"], spec["dtype"])
    files = assemble.open_model(spec["folder"])
    examples = [Example.of(str(index), *pair) for index, pair in enumerate(work.tokens())]
    with tempfile.TemporaryDirectory() as place, StopRequest() as stop:
        options: dict[str, Any] = {"context": 0, "step": 0, "checkpoint": None}
        console = Console(1, columns=FINE_TUNING, file=io.StringIO())
        with (
            RunFolder.create(Path(place) / "run", config.to_toml()) as folder,
            closing(engines.open_local_engine(config, files, files, **options)) as engine,
            spared_by_the_collector(),
        ):
            parts = Parts(folder, console, stop, engine, None, [], files)
            schedule = Schedule(config.sft, examples, config.run.seed)
            run = FineTuning(config, parts, Progress(step=0, drawn=0), schedule, "")
            for step in range(run.steps):
                row = run.step()
                line = {
                    "step": step,
                    "seconds": row["time/step"],
                    "tokens": row["tokens/shown"],
                    "loss": row["sft/loss"],
                }
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
