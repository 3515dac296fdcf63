"""`grpo replay`: a step that was recorded, run again and held against the record.

Every draw is a function of the seed and the step, so a step can be repeated from the checkpoint before it: problems,
completions, scores, advantages, loss and gradient norm, to the last bit on a CPU.  It is how a bad step is looked into,
and the proof of what happened.  Where the checkpoint is some steps older, the steps between are run again as well, and
each is held against the record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

from grpo import assemble, engines, opening
from grpo.algorithm import StepResult, Trainer
from grpo.assemble import ModelFiles
from grpo.config import Config, Reward
from grpo.config_file import load_config
from grpo.engine import Engine
from grpo.errors import DataError
from grpo.interrupt import StopRequest
from grpo.learning.optimizer import learning_rate
from grpo.metrics import Row, Stopwatch, sample_rows, step_row
from grpo.problems import load_problems
from grpo.run import checkpoints, rollouts
from grpo.run.checkpoints import Progress
from grpo.run.console import Console
from grpo.run.folder import as_line
from grpo.run.samples_page import rows_of
from grpo.scoring import Scorer
from grpo.signs import signs_of, signs_row
from grpo.source import StepSource
from grpo.train import advanced
from grpo.types import Problem, Prompt
from rewards import Score

Say = Callable[[str], None]
OF_THE_CLOCK = ("time/", "speed/", "memory/")  # metrics that no two runs share


@dataclass
class OpenStep:
    """A recorded run that was opened again; it stands before the step that is next."""

    config: Config
    engine: Engine
    scorer: Scorer
    trainer: Trainer
    prompts: Sequence[Prompt]
    files: ModelFiles
    progress: Progress

    @property
    def next(self) -> int:
        return self.progress.step + 1

    @property
    def lr(self) -> float:
        return learning_rate(self.config.optim, self.progress.step, self.config.run.steps)

    def source(self) -> StepSource:
        return opening.make_source(self.config, self.prompts, self.progress, self.next)

    def run(self) -> StepResult:
        """The next step; afterwards the run stands behind it."""
        step, source = self.next, self.source()
        result = self.trainer.step(step, source, lr=self.lr)
        headline, curriculum = self.scorer.names[0], self.config.curriculum
        self.progress = advanced(self.progress, result, drawn=source.drawn, curriculum=curriculum, headline=headline)
        return result

    def rows(self, step: int, result: StepResult) -> tuple[list[Row], Row]:
        """As the run would have recorded them: one per completion, and the step's metrics."""
        texts = opening.texts_of([group.scored.group.prompt for group in result.groups], self.files)
        samples = rollouts.as_recorded(sample_rows(step, result.groups, texts))
        scored = [group.scored for group in result.groups]
        of_signs = signs_row(signs_of(step, scored, self.scorer), scored, self.scorer)
        return samples, _as_recorded(step_row(step, result, reward_names=self.scorer.names) | of_signs)


def _as_recorded(row: Mapping[str, Any]) -> Row:
    """`row` after a journey through the file, in which NaN becomes null."""
    read: Row = json.loads(as_line(row))
    return read


def recorded_config(run: Path) -> Config:
    if not (run / "config.toml").is_file():
        raise DataError(f"{run}: holds no run (no config.toml); give the folder that `grpo train` wrote")
    return load_config(str(run / "config.toml"))


@contextmanager
def opened(run: Path, step: int, say: Say) -> Iterator[OpenStep]:
    """The run in the folder `run`, as it stood at the last checkpoint before `step`.  Nothing is written into it."""
    config = recorded_config(run)
    if staleness := config.cluster.max_staleness:
        raise DataError(
            f"{run}: sampled ahead of learning (cluster.max_staleness = {staleness}); which weights drew a token is "
            "a matter of time and cannot be repeated, but grpo replay --rescore judges its completions again"
        )
    config = assemble.resolved(config)
    last = max((row["step"] for row in rows_of(run / "metrics.jsonl") if "groups/useful" in row), default=0)
    if not 1 <= step <= last:
        known = f"the steps 1 to {last}" if last else "no step yet"
        raise DataError(f"--step {step}: {run} has recorded {known}")
    for made, needed in (
        ("cold-start", config.sft.is_on),
        ("model", config.model.name.startswith(assemble.BUILT_IN)),
    ):
        if needed and not (run / made).is_dir():
            raise DataError(f"{run}/{made}: is missing, and the run started from it; copy it back from the run")
    with ExitStack() as stack:
        console = stack.enter_context(closing(Console(config.run.steps)))
        stop = stack.enter_context(StopRequest())
        inputs = opening.inputs(config, console)
        opening.teacher(config, inputs, run, console)
        start = opening.starting_model(config, run, console, stop)
        stand = opening.stand(checkpoints.before(run / "checkpoints", step), start)
        rendered = opening.rendered(config, inputs, stand.files)
        scorer = stack.enter_context(assemble.open_scorer(config))
        engine = engines.open_engine(
            config,
            stand.files,
            start,
            context=rendered.context,
            step=stand.progress.step,
            checkpoint=stand.checkpoint,
            folder=run,
        )
        stack.enter_context(closing(engine))
        trainer = opening.make_trainer(config, engine, scorer, Stopwatch(), lambda done, total: stop.check())
        say(f"from {stand.checkpoint or start.name}, after step {stand.progress.step}")
        yield OpenStep(config, engine, scorer, trainer, rendered.prompts, stand.files, stand.progress)


def replay(run: Path, step: int, say: Say) -> bool:
    """Run step `step` again and say how it compares; whether all is as recorded."""
    with opened(run, step, say) as again:
        while again.next <= step:
            number = again.next
            samples, metrics = again.rows(number, again.run())
            found = differences(recorded_samples(run, number), samples, _recorded_metrics(run, number), metrics)
            if found:
                say(f"step {number}: differs from what was recorded, first in {found[0]}")
                for line in found[1:]:
                    say(f"  then in {line}")
                say("numbers are equal to the last bit on a CPU, with the settings of speed and memory as they were")
                return False
            say(f"step {number}: {len(samples)} completions, their scores and advantages, loss {metrics_of(metrics)}")
    return True


def metrics_of(row: Row) -> str:
    if "policy/loss" not in row:
        return "of no update: all as recorded"
    return f"{row['policy/loss']:.6g}, gradient norm {row['policy/grad_norm']:.6g}: all as recorded"


def recorded_samples(run: Path, step: int) -> list[Row]:
    """All completions of the step, or those that samples.jsonl has, in which older runs kept all."""
    if step in (files := rollouts.files(run)):
        return rollouts.read_step(files[step])
    rows = [dict(row) for row in rows_of(run / "samples.jsonl") if row["step"] == step]
    if not rows or files:
        raise DataError(f"{run}/rollouts: has no completions of step {step}")
    return rows


def _recorded_metrics(run: Path, step: int) -> Row:
    rows = (row for row in rows_of(run / "metrics.jsonl") if row["step"] == step and "groups/useful" in row)
    found = next(rows, None)
    if found is None:
        raise DataError(f"{run}/metrics.jsonl: has no row of step {step}")
    return dict(found)


# What a completion's row holds, in the order in which a step makes it: what differs first is the cause of the rest.
STAGES: Mapping[str, tuple[str, ...]] = {
    "problems": ("problem", "prompt", "gold"),
    "completions": ("completion", "finish", "tokens"),
    "scores": ("scores", "reward"),
    "advantages": ("advantage",),
}


def differences(recorded: Sequence[Row], again: Sequence[Row], metrics: Row, metrics_again: Row) -> list[str]:
    """What is not as recorded, in the order in which a step makes it; empty where all is."""
    if len(recorded) != len(again):
        return [f"the number of completions: {len(recorded)} recorded, {len(again)} now"]
    found = []
    for stage, keys in STAGES.items():
        odd = [index for index, pair in enumerate(zip(recorded, again, strict=True)) if _differ(*pair, keys)]
        if odd:
            was, now = recorded[odd[0]], again[odd[0]]
            key = next(key for key in keys if key in was and was[key] != now.get(key))
            place = f"the first is number {odd[0] + 1}, of {was['problem']}"
            found.append(f"{stage}: {len(odd)} of {len(again)}, {place}: {_side_by_side(was.get(key), now.get(key))}")
    names = ["policy/loss", "policy/grad_norm", *sorted(metrics.keys() | metrics_again.keys())]
    for name in dict.fromkeys(names):
        if not name.startswith(OF_THE_CLOCK) and metrics.get(name) != metrics_again.get(name):
            found.append(f"{name}: {_side_by_side(metrics.get(name), metrics_again.get(name))}")
    return found


def _differ(one: Row, other: Row, keys: Sequence[str]) -> bool:
    """What an older record does not have cannot differ."""
    return any(one[key] != other.get(key) for key in keys if key in one)


def _side_by_side(recorded: object, now: object) -> str:
    """Both, and of long texts the part around the first difference."""
    if isinstance(recorded, str) and isinstance(now, str):
        at = next(
            (i for i, (a, b) in enumerate(zip(recorded, now, strict=False)) if a != b), min(len(recorded), len(now))
        )
        start = max(0, at - 20)
        recorded, now = recorded[start : at + 40], now[start : at + 40]
    return f"{recorded!r} recorded, {now!r} now"


# --- Scores alone -------------------------------------------------------------------------------------------------


def rescore(run: Path, step: int, rewards: Sequence[str], say: Say) -> bool:
    """Score the recorded completions of `step` again, with the run's rewards or others; whether they come out the same.

    Needs no model and samples nothing.
    """
    config = recorded_config(run)
    if rewards:
        config = config.model_copy(update={"reward": tuple(Reward(use=use) for use in rewards)})
    recorded = recorded_samples(run, step)
    problems = {problem.id: problem for problem in load_problems(config.data, needs=())}
    if missing := sorted({row["problem"] for row in recorded} - problems.keys()):
        raise DataError(f"{config.data.source}: has no problem {missing[0]} any more ({len(missing)} of step {step})")
    again = _scored_again(config, problems, recorded)
    changed = [
        f"{row['problem']}: {row['reward']} recorded, {reward} now ({_reasons(scores)})"
        for row, (reward, scores) in zip(recorded, again, strict=True)
        if reward != row["reward"]
    ]
    for line in changed[:10]:
        say(line)
    before, now = [row["reward"] for row in recorded], [reward for reward, _ in again]
    say(f"step {step}: {len(recorded) - len(changed)} of {len(recorded)} completions get the reward that was recorded")
    say(f"mean reward {_mean(before)} recorded, {_mean(now)} now")
    return not changed


Rescored = tuple[float | None, Mapping[str, Score]]


def _scored_again(config: Config, problems: Mapping[str, Problem], recorded: Sequence[Row]) -> list[Rescored]:
    """In the order of `recorded`; the completions of a group are scored together, as in a step."""
    groups = [list(rows) for _, rows in groupby(recorded, key=lambda row: row["problem"])]
    with assemble.open_scorer(config) as scorer:
        futures = [
            scorer.score(problems[rows[0]["problem"]], [r["completion"] for r in rows], [r["tokens"] for r in rows])
            for rows in groups
        ]
        judged = [future.result() for future in futures]
    return [pair for one in judged for pair in zip(one.rewards, one.scores, strict=True)]


def _reasons(scores: Mapping[str, Score]) -> str:
    return "; ".join(f"{name}: {score.why}" for name, score in scores.items() if score.why)[:160]


def _mean(rewards: Sequence[float | None]) -> str:
    judged = [reward for reward in rewards if reward is not None]
    return f"{fmean(judged):.4f}" if judged else "of nothing"
