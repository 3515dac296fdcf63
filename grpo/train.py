"""The clock around GRPO: open the run, resume, step, evaluate, save, stop.

What a step does is in `grpo.algorithm`, how a run is opened in `grpo.opening`.  Everything random in step N is a
function of `run.seed`, N and what a checkpoint holds, so a resumed run goes on bit for bit.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Protocol

from grpo import assemble, distillation, engines, opening, preflight, sizes
from grpo.algorithm import StepResult
from grpo.assemble import ModelFiles
from grpo.asynchronous import Ahead, ByTurns, Finished, Pace
from grpo.config import Config, Curriculum
from grpo.engine import Engine
from grpo.errors import GrpoError, Interrupted, LearnerLost
from grpo.evaluate import evaluate, write
from grpo.interrupt import StopRequest
from grpo.learning.optimizer import learning_rate
from grpo.learning.rehearsal import Worst
from grpo.metrics import Row, Stopwatch, sample_rows, solved_share, step_row
from grpo.opening import Rendered
from grpo.problems import SolveRates
from grpo.run import checkpoints
from grpo.run.checkpoints import Progress
from grpo.run.console import Console
from grpo.run.folder import RunFolder
from grpo.run.report import write_report
from grpo.run.trackers import Tracker, open_trackers
from grpo.run.wording import duration, percent, plural, seconds
from grpo.scoring import Scorer
from grpo.source import sampling_seed
from grpo.types import Prompt
from grpo.watch import Watch


class OpenEngine(Protocol):
    def __call__(
        self,
        config: Config,
        files: ModelFiles,
        start: ModelFiles,
        *,
        context: int,
        step: int,
        checkpoint: Path | None,
        folder: Path,
        worst: Worst,
    ) -> Engine: ...


# What a dry run says, in the words of the step lines.
ASKED = {"solved": "solved", "useful": "groups/useful", "truncated": "completions/truncated"}

OpenTrackers = Callable[[Sequence[str], str, dict[str, Any], Path], Sequence[Tracker]]


def train(
    config: Config,
    path: Path,
    *,
    resume: bool = False,
    dry_run: bool = False,
    open_engine: OpenEngine = engines.open_engine,
    open_trackers: OpenTrackers = open_trackers,
) -> None:
    """Run GRPO as `config` says, in the run folder `path`.  A dry run takes one step and leaves nothing."""
    division = assemble.division(config)
    config = _as_begun(config, path) if resume else config
    config = assemble.pinned(assemble.resolved_for(config, division))
    kept = sizes.kept(config, path / "config.toml") if resume else config
    with ExitStack() as stack:
        folder = stack.enter_context(_folder(kept, path, resume=resume, dry_run=dry_run))
        console = stack.enter_context(closing(Console(config.run.steps)))
        console.note(f"sampler: {config.sampling.backend} on {config.model.device}, {config.model.dtype}")
        if division is not None:
            console.note(f"cluster: {division}")
        inputs = opening.inputs(config, console)
        stop = stack.enter_context(StopRequest())
        teacher = opening.teacher(config, inputs, folder.path, console)
        start = opening.starting_model(config, folder.path, console, stop)
        stand = opening.stand(checkpoints.latest(folder.checkpoints), start)
        # Rows after the checkpoint are forgotten; without one not even the first evaluation stands.
        folder.rewind(stand.progress.step if stand.checkpoint else -1)
        if stand.checkpoint:
            console.note(f"resumed: after step {stand.progress.step}, from {stand.checkpoint}")
        rendered = opening.rendered(config, inputs, stand.files, teacher)
        settled = opening.settle(config, kept, stand.files, rendered, console, path / "checkpoints", teacher)
        settings = settled.config.model_dump(mode="json")
        opened = open_trackers(() if dry_run else config.run.trackers, folder.path.name, settings, folder.path)
        trackers = [stack.enter_context(closing(tracker)) for tracker in opened]
        failed = folder.path / "failed.json"
        scorer = stack.enter_context(
            assemble.open_scorer(config.reward, chat=config.data.chat, workers=config.run.reward_workers, failed=failed)
        )
        if teacher is not None and not dry_run:
            distillation.evaluate_teacher(config, teacher, rendered, scorer, folder.eval, console, stop)
        engine = open_engine(
            settled.config,
            stand.files,
            start,
            context=rendered.context,
            step=stand.progress.step,
            checkpoint=stand.checkpoint,
            folder=folder.path,
            worst=settled.worst,
        )
        stack.enter_context(closing(engine))
        config = opening.as_seen(settled, engine.seen, console)
        folder.write_config(config.to_toml())
        for remark in engine.remarks:
            console.warn(f"{config.model.name}: {remark}")
        parts = Parts(folder, console, stop, engine, scorer, rendered, trackers, start)
        run = TrainingRun(config, parts, stand.progress, lambda prompts: opening.texts_of(prompts, stand.files))
        stack.enter_context(_spared_by_the_collector())
        run.preflight()
        run.try_one_step() if dry_run else run.to_the_end()


def _as_begun(config: Config, path: Path) -> Config:
    """With the commits that the run in `path` began with, where the settings name none: a branch may have moved on."""
    model, distill = config.model, config.distill
    if model.revision is None:
        revision = RunFolder.recorded_revision(path, "model", model.name)
        config = config.with_changes(model={"revision": revision})
    if distill.teacher is not None and distill.revision is None:
        revision = RunFolder.recorded_revision(path, "distill", distill.teacher)
        config = config.with_changes(distill={"revision": revision})
    return config


@contextmanager
def _folder(config: Config, path: Path, *, resume: bool, dry_run: bool) -> Iterator[RunFolder]:
    with ExitStack() as stack:
        if dry_run:
            shared = path.parent if config.cluster.learners else None  # where all machines see it
            if shared:
                shared.mkdir(parents=True, exist_ok=True)
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="grpo-dry-run-", dir=shared)))
        opened = RunFolder.resume(path, config.to_toml()) if resume else RunFolder.create(path, config.to_toml())
        yield stack.enter_context(opened)


@contextmanager
def _spared_by_the_collector() -> Iterator[None]:
    """What is open by now stays open.  Python's collector would walk its hundreds of thousands of objects again and
    again, which can be a fifth of a small model's update."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@dataclass(frozen=True)
class Parts:
    """What a run works with, all of it open."""

    folder: RunFolder
    console: Console
    stop: StopRequest
    engine: Engine
    scorer: Scorer
    rendered: Rendered
    trackers: list[Tracker]
    start: ModelFiles


def advanced(progress: Progress, result: StepResult, *, drawn: int, curriculum: Curriculum, headline: str) -> Progress:
    """Where a run stands after the step whose `result` this is; `headline` names the reward that says whether a problem
    was solved.  That is kept where a curriculum reads it, but not of a group that nothing was learned from."""
    step, rates = progress.step + 1, SolveRates(progress.solve_rates)
    for group in result.groups:
        if curriculum.is_on and not group.dropped:
            rates.record(group.scored.group.prompt.problem.id, solved_share([group.scored], headline), step)
    completions = [completion for group in result.groups for completion in group.scored.group.completions]
    tokens = progress.tokens + sum(len(completion.token_ids) for completion in completions)
    return replace(progress, step=step, drawn=drawn, tokens=tokens, solve_rates=rates.state())


class TrainingRun:
    """One run: where it stands, and what happens around each step."""

    def __init__(
        self, config: Config, parts: Parts, progress: Progress, texts: Callable[[Sequence[Prompt]], dict[str, str]]
    ) -> None:
        self.config, self.parts, self.texts = config, parts, texts
        self.folder, self.console, self.engine = parts.folder, parts.console, parts.engine
        self.progress = self.saved = progress
        self.restarts = 0
        self.stopwatch = Stopwatch()
        self.watch = Watch(self.console.warn, self.folder.path / "failed-batch.pt")
        self.trainer = opening.make_trainer(config, parts.engine, parts.scorer, self.stopwatch, self._arrived)
        self.make_source = partial(opening.make_source, config, parts.rendered.prompts)
        self.pace: Pace = ByTurns(self.trainer, self.make_source)

    def preflight(self) -> None:
        """Sample and score real groups, say what they show, and check the weight transfer for the first time."""
        if self.progress.step:
            return
        source = self.make_source(self.progress, 0)
        prompts = source.prompts(self.config.sampling.problems_per_step)[: preflight.GROUPS]
        scored = self.trainer.sample(prompts, source.seed(0))
        self.console.note(preflight.show_one(scored))
        tokens, taught = self.config.sampling.max_tokens, self.config.distill.is_on
        findings = preflight.check_groups(scored, max_tokens=tokens, taught=taught)
        preflight.settle(findings, self.config.run, self.console.warn)
        self.engine.publish(0)

    def try_one_step(self) -> None:
        """The first step as it would be, and what a person asks before a long run."""
        row, steps = self._step(), self.config.run.steps
        shares = [f"{name} {percent(row[key])}" for name, key in ASKED.items()]
        self.console.note(f"dry run: {', '.join(shares)}, {seconds(row['time/step'])} per step")
        whole = duration(row["time/step"] * steps)
        self.console.note(f"dry run: {whole} for {plural(steps, 'step')}, evaluations apart; nothing was kept")

    def to_the_end(self) -> None:
        staleness, steps = self.config.cluster.max_staleness, self.config.run.steps
        if staleness:
            self.pace = Ahead(self.trainer, self.make_source, max_staleness=staleness, steps=steps)
        try:
            self._go_on_from_losses()
            self._say_best()
            if self.config.distill.is_on:
                held_out = [prompt.problem for prompt in self.parts.rendered.held_out]
                distillation.conclude(self.folder.eval, held_out, self.console.note)
        except GrpoError as error:
            self._end_early(error)
        finally:
            self.pace.close()
            self.console.note(f"report: {write_report(self.folder.path)}")

    def _go_on_from_losses(self) -> None:
        """To the last step, by way of the last checkpoint where learners are lost, `cluster.restarts` times at most."""
        lost: LearnerLost | None = None
        while True:
            try:
                if lost is not None:
                    self._go_back(lost)
                self._go_on()
                return
            except LearnerLost as error:
                if self.restarts == self.config.cluster.restarts:
                    raise
                self.restarts, lost = self.restarts + 1, error

    def _go_on(self) -> None:
        self._evaluate_where_due()
        while self.progress.step < self.config.run.steps:
            self.parts.stop.check()
            self._step()
            self._evaluate_where_due()
            if self.progress.step % self.config.run.save_every == 0:
                self._save()
        self._save()

    def _go_back(self, lost: LearnerLost) -> None:
        """To the last checkpoint, and new learners that stand there."""
        self.pace.abandon()
        stand = opening.stand(checkpoints.latest(self.folder.checkpoints), self.parts.start)
        step, limit = stand.progress.step, self.config.cluster.restarts
        self.console.warn(f"{lost}; going on from step {step} (restart {self.restarts} of {limit})")
        self.engine.restart(step, stand.checkpoint)
        self.folder.rewind(step if stand.checkpoint else -1)
        self.progress = self.saved = stand.progress

    def _say_best(self) -> None:
        progress = self.progress
        if progress.best_step:
            place = self.folder.checkpoints / "best"
            self.console.note(f"best: {progress.best_score:.1%} solved at step {progress.best_step}, kept in {place}")
        elif self.parts.rendered.held_out:
            self.console.note("best: no step did better on the held-out problems than the model before the first")

    def _end_early(self, error: GrpoError) -> NoReturn:
        """Save what has been learned, unless a step is half done: then the last checkpoint is what there is."""
        if self.stopwatch.phase in ("", "sample", "score"):
            with suppress(LearnerLost):  # whatever the error was, it may have taken the learners with it
                self._save()
        where = f"step {self.saved.step} is saved in {self.folder.path}; go on with --resume"
        if not self.saved.step:
            where = "no step was finished, so nothing is saved"
        if isinstance(error, Interrupted):
            raise Interrupted(f"{error}; {where}", exit_code=error.exit_code) from None
        self.console.note(where)
        raise error

    def _step(self) -> Row:
        self.stopwatch.restart()
        finished = self.pace.step(
            self.progress, learning_rate(self.config.optim, self.progress.step, self.config.run.steps)
        )
        # Until the books are closed the weights are those of this step and `progress` is that of the one before.
        with self.stopwatch("books"):
            row = self._close_books(finished)
        self.pace.start(self.progress)
        return row

    def _close_books(self, finished: Finished) -> Row:
        """Returns the step's row of metrics."""
        step, result = self.progress.step + 1, finished.result
        texts = self.texts([group.scored.group.prompt for group in result.groups])
        self.folder.append_samples(sample_rows(step, result.groups, texts))
        row = step_row(step, result, reward_names=self.parts.scorer.names) | finished.row
        row |= {**self.engine.row(), **self.stopwatch.row(), **self.stopwatch.memory()}
        row["speed/tokens_per_second"] = row["tokens/sample"] / row["time/step"]
        self._log(row, step)
        self.console.step(row)
        self.watch.rewards(row)
        bad_steps = self.watch.updates(result, self.progress.bad_steps)
        headline, curriculum = self.parts.scorer.names[0], self.config.curriculum
        progress = advanced(self.progress, result, drawn=finished.drawn, curriculum=curriculum, headline=headline)
        self.progress = replace(progress, bad_steps=bad_steps)
        return row

    def _log(self, row: Row, step: int) -> None:
        """Into metrics.jsonl, and to the trackers.  A dashboard that fails must not end a run."""
        self.folder.append_metrics(row)
        for tracker in list(self.parts.trackers):
            try:
                tracker.log(row, step)
            except Exception as error:  # noqa: BLE001  other people's network code, any exception
                self.parts.trackers.remove(tracker)
                self.console.warn(f"{type(tracker).__name__.strip('_')} failed ({error}) and gets no more metrics")

    def _evaluate_where_due(self) -> None:
        """Before the first step, after the last, and every so many between; one that was cut short is made up."""
        step, every = self.progress.step, self.config.eval.every
        if not self.parts.rendered.held_out or self.progress.evaluated_step == step:
            return
        if step == 0:
            self._evaluate("before")
        elif step >= self.config.run.steps:
            self._evaluate("after")
        elif every and step % every == 0:
            self._evaluate(f"step-{step}")

    def _evaluate(self, label: str) -> None:
        """On the held-out problems; the best so far after the start is kept apart."""
        held_out, step = self.parts.rendered.held_out, self.progress.step
        params = opening.eval_params(self.config, sampling_seed(self.config.run.seed, 0))
        result = evaluate(self.engine, self.parts.scorer, held_out, self.config.eval.n, params, arrived=self._arrived)
        recipe = {"config": self.config.model_dump(mode="json"), "step": step, "sampler": self.engine.name}
        write(result, self.folder.eval / label, recipe, self.texts(held_out))
        progress = replace(self.progress, evaluated_step=step)
        score = result.measures["pass@1"].mean
        if score > progress.best_score:
            if step:
                checkpoints.save_best(self.folder.checkpoints, lambda target: self.engine.save(target, resumable=False))
            progress = replace(progress, best_step=step, best_score=score)
        self._log(result.row(step), step)
        self.console.evaluation(label, result.row(step))
        self.progress = progress

    def _save(self) -> None:
        if self.progress.step and self.progress != self.saved:
            folder, keep = self.folder.checkpoints, self.config.run.keep
            checkpoints.save(folder, self.progress, lambda target: self.engine.save(target, resumable=True), keep=keep)
            self.saved = self.progress

    def _arrived(self, done: int, total: int) -> None:
        self.console.phase("sampling", done, total)
        self.parts.stop.check()
