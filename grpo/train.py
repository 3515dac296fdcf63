"""GRPO from its settings to its last step: open the run, sample and learn step by step, keep the books.

What a step does is in `grpo.algorithm`, how a run is opened in `grpo.opening`, what happens around steps in
`grpo.running`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from grpo import assemble, distillation, engines, opening, preflight, sizes
from grpo.alarms import Alarms, evaluated
from grpo.algorithm import StepResult
from grpo.asynchronous import Ahead, ByTurns, Finished, Pace
from grpo.care import looked_after
from grpo.config import Config, Curriculum
from grpo.deadline import Elapsed
from grpo.learning.optimizer import learning_rate
from grpo.memory import Shape, shape_of
from grpo.metrics import Row, sample_rows, solved_share, step_row, token_rows
from grpo.problems import SolveRates
from grpo.push import open_pusher
from grpo.run import checkpoints
from grpo.run.checkpoints import Progress
from grpo.run.console import Console
from grpo.run.trackers import open_trackers
from grpo.run.wording import percent, seconds
from grpo.running import (
    HeldOut,
    OpenEngine,
    OpenTrackers,
    Parts,
    Run,
    as_begun,
    as_it_runs,
    open_folder,
    opened_engine,
    opened_trackers,
    spared_by_the_collector,
)
from grpo.scoring import Scorer
from grpo.signs import signs_of, signs_row
from grpo.types import Prompt
from grpo.watch import Watch

TABLES = 10  # of samples that a tracker gets in a run

# What a dry run says, in the words of the step lines.
ASKED = {"solved": "solved", "useful": "groups/useful", "truncated": "completions/truncated"}


def train(
    config: Config,
    path: Path,
    *,
    resume: bool = False,
    dry_run: bool = False,
    open_engine: OpenEngine = engines.open_engine,
    open_trackers: OpenTrackers = open_trackers,
    elapsed: Elapsed | None = None,
) -> None:
    """Run GRPO as `config` says, in the run folder `path`.  A dry run takes two steps and leaves nothing.  A
    deadline counts by `elapsed`, by default from here."""
    division = assemble.division(config)
    config = as_begun(config, path) if resume else config
    config = assemble.pinned(assemble.resolved_for(config, division))
    kept = sizes.kept(config, path / "config.toml") if resume else config
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder(kept, path, resume=resume, dry_run=dry_run))
        console = stack.enter_context(closing(Console(config.run.steps)))
        console.note(f"sampler: {config.sampling.backend} on {config.model.device}, {config.model.dtype}")
        if division is not None:
            console.note(f"cluster: {division}")
        if config.run.control:
            console.note(
                "control: each step's rewards are shuffled among its completions; what it solves is told as it is"
            )
        inputs = opening.inputs(config, console)
        care = stack.enter_context(looked_after(config.run, folder.path, console, dry_run=dry_run, elapsed=elapsed))
        pusher = None if dry_run else open_pusher(config.run.push_to_hub, folder.path, console.warn)
        teacher = opening.teacher(config, inputs, folder.path, console)
        start = opening.starting_model(config, folder.path, console, care.stop)
        stand = opening.stand(checkpoints.latest(folder.checkpoints), start)
        # Rows after the checkpoint are forgotten; without one not even the first evaluation stands.
        folder.rewind(stand.progress.step if stand.checkpoint else -1)
        if stand.checkpoint:
            console.note(f"resumed: after step {stand.progress.step}, from {stand.checkpoint}")
        rendered = opening.rendered(config, inputs, stand.files, teacher)
        settled = opening.settle(config, kept, stand.files, rendered, console, path / "checkpoints", teacher)
        trackers = stack.enter_context(opened_trackers(settled.config, folder, open_trackers, dry_run=dry_run))
        scorer = stack.enter_context(assemble.open_scorer(config, folder.path / "failed.json"))
        if teacher is not None and not dry_run:
            distillation.evaluate_teacher(config, teacher, rendered, scorer, folder.eval, console, care.stop)
        engine = stack.enter_context(
            opened_engine(
                settled.config, open_engine, stand, start, folder, context=rendered.context, worst=settled.worst
            )
        )
        config = as_it_runs(settled, engine, folder, console)
        texts = partial(opening.texts_of, files=stand.files)
        pieces = partial(opening.pieces_of, files=stand.files)
        held_out = HeldOut(rendered.held_out, texts(rendered.held_out), scorer) if rendered.held_out else None
        parts = Parts(folder, console, care, engine, held_out, trackers, start, pusher)
        run = TrainingRun(config, parts, stand.progress, scorer, rendered.prompts, texts, pieces)
        stack.enter_context(spared_by_the_collector())
        run.preflight()
        run.try_one_step(shape_of(start, config.model)) if dry_run else run.to_the_end()


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


class TrainingRun(Run):
    """A run whose steps are GRPO's, on `prompts`.  `texts` reads them, `pieces` their completions token by token."""

    def __init__(
        self,
        config: Config,
        parts: Parts,
        progress: Progress,
        scorer: Scorer,
        prompts: Sequence[Prompt],
        texts: Callable[[Sequence[Prompt]], dict[str, str]],
        pieces: Callable[[Sequence[int]], list[str]],
    ) -> None:
        super().__init__(config, parts, progress, steps=config.run.steps)
        self.scorer, self.texts, self.pieces = scorer, texts, pieces
        self.alarms = Alarms(*self.folder.recorded())
        self.watch = Watch(self.console.warn, self.folder.path / "failed-batch.pt")
        self.trainer = opening.make_trainer(config, self.engine, scorer, self.stopwatch, self.arrived)
        self.make_source = partial(opening.make_source, config, prompts)
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

    def try_one_step(self, shape: Shape) -> None:
        """The first steps as they would be, and what a person asks before a long run."""
        row = self.step()
        shares = [f"{name} {percent(row[key])}" for name, key in ASKED.items()]
        self.console.note(f"dry run: {', '.join(shares)}, {seconds(row['time/step'])} per step")
        self.foretell(row, shape)

    def to_the_end(self) -> None:
        if staleness := self.config.cluster.max_staleness:
            self.pace = Ahead(self.trainer, self.make_source, max_staleness=staleness, steps=self.steps)
        try:
            super().to_the_end()
        finally:
            self.pace.close()

    def conclude(self) -> None:
        super().conclude()
        if self.config.distill.is_on:
            held_out = self.parts.held_out.prompts if self.parts.held_out else []
            distillation.conclude(self.folder.eval, [prompt.problem for prompt in held_out], self.console.note)

    def after_evaluation(self) -> None:
        for alarm in self.alarms.evaluated(self.progress.step, evaluated(self.folder.eval, self.progress.step)):
            self.alarm(alarm)

    def abandon(self) -> None:
        self.pace.abandon()

    def went_back(self) -> None:
        self.alarms = Alarms(*self.folder.recorded())

    def step(self) -> Row:
        self.stopwatch.restart()
        finished = self.pace.step(self.progress, learning_rate(self.config.optim, self.progress.step, self.steps))
        # Until the books are closed the weights are those of this step and `progress` is that of the one before.
        with self.stopwatch("books"):
            row = self._close_books(finished)
        self.pace.start(self.progress)
        return row

    def _close_books(self, finished: Finished) -> Row:
        """Returns the step's row of metrics."""
        step, result = self.progress.step + 1, finished.result
        texts = self.texts([group.scored.group.prompt for group in result.groups])
        samples = list(sample_rows(step, result.groups, texts))
        tokens = list(token_rows(result.groups, self.pieces))
        self.folder.write_rollouts(step, [row | of_tokens for row, of_tokens in zip(samples, tokens, strict=True)])
        shown = [row for row, of_tokens in zip(samples, tokens, strict=True) if of_tokens]
        self.folder.append_samples(shown)
        if shown and step % max(1, self.steps // TABLES) == 0:
            self.tell(lambda tracker: tracker.samples(shown, step))
        scored = [group.scored for group in result.groups]
        signs = signs_of(step, scored, self.scorer)
        row = step_row(step, result, reward_names=self.scorer.names) | finished.row
        row |= signs_row(signs, scored, self.scorer)
        row |= {**self.engine.row(), **self.stopwatch.row(), **self.stopwatch.memory()}
        row["speed/tokens_per_second"] = row["tokens/sample"] / row["time/step"]
        self.log(row, step)
        self.console.step(row)
        self.watch.rewards(row)
        for alarm in self.alarms.step(row, signs):
            self.alarm(alarm)
        bad_steps = self.watch.updates(result, self.progress.bad_steps)
        headline, curriculum = self.scorer.names[0], self.config.curriculum
        progress = advanced(self.progress, result, drawn=finished.drawn, curriculum=curriculum, headline=headline)
        self.progress = replace(progress, bad_steps=bad_steps)
        return row
