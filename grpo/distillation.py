"""What there is around a training run that has a teacher: what the teacher solves, and what the student kept of it.

The step is that of `grpo.algorithm`; that a teacher is there is a matter of settings (`[distill]`).
"""

from __future__ import annotations

import gc
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from grpo import engines, estimates, opening
from grpo.assemble import ModelFiles, choose_place
from grpo.config import Config
from grpo.errors import DataError
from grpo.estimates import Estimate, Kept
from grpo.evaluate import evaluate, read_results, usual_columns, write
from grpo.interrupt import StopRequest
from grpo.opening import Rendered
from grpo.run.checkpoints import write_whole
from grpo.run.console import Console
from grpo.run.wording import percent, plural
from grpo.scoring import Scorer
from grpo.sizes import sampling_alone
from grpo.source import sampling_seed
from grpo.types import Problem

TEACHER, SHARES = "teacher", "distill.json"  # under eval/
Say = Callable[[str], None]


def evaluate_teacher(
    config: Config,
    teacher: ModelFiles,
    rendered: Rendered,
    scorer: Scorer,
    folder: Path,
    console: Console,
    stop: StopRequest,
) -> None:
    """What the teacher solves of the held-out problems, asked as the student is, into eval/teacher; once in a run.

    Its sampler is closed before the student's is opened: a device may not have room for both.
    """
    target, place = folder / TEACHER, choose_place(config.model)
    if target.exists():
        return
    if not rendered.held_out:
        console.note("teacher: without eval.source nobody sees what the student keeps of it")
        return
    if config.cluster.learners and place.device == "cuda":  # which are for actors, and perhaps on other machines
        console.note(
            f"teacher: is not evaluated on a cluster's GPUs; grpo eval {teacher.name} with --out {target}, and then "
            "--resume, add what the student kept of it"
        )
        return

    def arrived(done: int, total: int) -> None:
        console.phase("teacher sampling", done, total)
        stop.check()

    seed = config.run.seed
    sampling, params = (
        sampling_alone(config.sampling, place.device),
        opening.eval_params(config, sampling_seed(seed, 0)),
    )
    opened = engines.open_sampler(sampling, teacher, place, context=rendered.context, seed=seed)
    with closing(opened) as sampler:
        result = evaluate(sampler, scorer, rendered.held_out, config.eval.n, params, arrived=arrived)
    recipe = {"config": config.model_dump(mode="json"), "model": teacher.name, "sampler": sampler.name}
    texts = opening.texts_of(rendered.held_out, teacher)
    write_whole(target, lambda whole: write(result, whole, recipe, texts))
    console.evaluation(TEACHER, result.row(0))
    del opened, sampler
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def conclude(folder: Path, problems: Sequence[Problem], say: Say) -> None:
    """Say what the student kept of its teacher, in all and by the columns of the data, and write it down: distill.json.

    `folder` is the run's eval/.  Where an evaluation is missing there is nothing to say.
    """
    labels = (TEACHER, "before", "after")
    if not all((folder / label / "results.json").is_file() for label in labels):
        return
    solved = [read_results(str(folder / label))["solved"] for label in labels]
    shares = estimates.kept(*solved)
    by = {
        column: {
            value: estimates.kept(*({key: of[key] for key in keys if key in of} for of in solved))
            for value, keys in sorted(values.items())
            if all(keys & of.keys() for of in solved)
        }
        for column, values in _values(problems).items()
    }
    tree = {**asdict(shares), "by": {c: {v: asdict(one) for v, one in table.items()} for c, table in by.items()}}
    try:
        (folder / SHARES).write_text(json.dumps(_finite(tree), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{folder / SHARES}: cannot be written ({error.strerror}); make room and --resume") from None
    for line in lines(shares, by):
        say(line)


def _values(problems: Sequence[Problem]) -> dict[str, dict[str, set[str]]]:
    """Problem ids by the values of the columns that an evaluation is broken down by."""
    columns = {column: defaultdict[str, set[str]](set) for column in usual_columns(p.facts for p in problems)}
    for problem in problems:
        for column, values in columns.items():
            values[str(problem.facts.get(column, "(none)"))].add(problem.id)
    return {column: dict(values) for column, values in columns.items()}


def lines(shares: Kept, by: Mapping[str, Mapping[str, Kept]]) -> Iterator[str]:
    """For the console."""
    before, after, teacher = percent(shares.before), percent(shares.after), percent(shares.teacher)
    yield f"student: {before} before, {after} after, teacher {teacher} of {plural(shares.problems, 'held-out problem')}"
    yield f"kept: {_ratios(shares)}"
    for column, table in by.items():
        for value, one in table.items():
            yield f"kept: {column} {value} ({plural(one.problems, 'problem')}): {_ratios(one)}"


def _ratios(shares: Kept) -> str:
    return f"{_ratio(shares.kept)} of the teacher, {_ratio(shares.gap_closed)} of the gap closed"


def _ratio(ratio: Estimate | None) -> str:
    if ratio is None:
        return "–"
    high = percent(ratio.high) if math.isfinite(ratio.high) else "–"
    return f"{percent(ratio.mean)} [{percent(ratio.low)}, {high}]"


def _finite(value: Any) -> Any:
    """JSON has no infinity."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
