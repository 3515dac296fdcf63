"""What a run does around its steps, whatever these are: evaluate where due, save, keep the best, go back where learners
are lost, stop.

What a step is say `grpo.train` (GRPO) and `grpo.tune` (fine-tuning).  Everything random in step N is a function of
`run.seed`, N and what a checkpoint holds, so a resumed run goes on bit for bit.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, Protocol

from grpo import cost, opening
from grpo.assemble import ModelFiles
from grpo.care import Care
from grpo.config import Config
from grpo.engine import Engine
from grpo.errors import EXIT_AGAIN, CheckpointError, GrpoError, Interrupted, LearnerLost, LearningError
from grpo.evaluate import Evaluation, evaluate, write
from grpo.learning.rehearsal import Worst
from grpo.memory import Shape
from grpo.metrics import Row, Stopwatch
from grpo.opening import Settled, Stand
from grpo.push import Pusher
from grpo.run import checkpoints, control_page
from grpo.run.checkpoints import Progress
from grpo.run.console import Console
from grpo.run.folder import RunFolder
from grpo.run.report import write_report
from grpo.run.trackers import Tracker
from grpo.scoring import Scorer
from grpo.source import sampling_seed
from grpo.types import Alarm, Prompt


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


OpenTrackers = Callable[[Sequence[str], str, dict[str, Any], Path], Sequence[Tracker]]


def as_begun(config: Config, path: Path) -> Config:
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
def open_folder(config: Config, path: Path, *, resume: bool, dry_run: bool) -> Iterator[RunFolder]:
    """The run folder `path`, or for a dry run one that nothing is left of."""
    with ExitStack() as stack:
        if dry_run:
            shared = path.parent if config.cluster.learners else None  # where all machines see it
            if shared:
                shared.mkdir(parents=True, exist_ok=True)
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="grpo-dry-run-", dir=shared)))
        opened = RunFolder.resume(path, config.to_toml()) if resume else RunFolder.create(path, config.to_toml())
        yield stack.enter_context(opened)


@contextmanager
def opened_trackers(
    config: Config, folder: RunFolder, open_trackers: OpenTrackers, *, dry_run: bool
) -> Iterator[list[Tracker]]:
    """Those that the settings name; of a dry run nobody hears."""
    names, settings = () if dry_run else config.run.trackers, config.model_dump(mode="json")
    settings["run"].pop("notify", None)  # whose address may be a secret
    with ExitStack() as stack:
        opened = open_trackers(names, folder.path.name, settings, folder.path)
        yield [stack.enter_context(closing(tracker)) for tracker in opened]


@contextmanager
def opened_engine(
    config: Config,
    open_engine: OpenEngine,
    stand: Stand,
    start: ModelFiles,
    folder: RunFolder,
    *,
    context: int,
    worst: Worst,
) -> Iterator[Engine]:
    """The engine with the model where the run stands."""
    step, checkpoint = stand.progress.step, stand.checkpoint
    engine = open_engine(
        config, stand.files, start, context=context, step=step, checkpoint=checkpoint, folder=folder.path, worst=worst
    )
    with closing(engine):
        yield engine


def as_it_runs(settled: Settled, engine: Engine, folder: RunFolder, console: Console) -> Config:
    """The settings with what the engine has seen of the device, as the folder keeps them; what it remarks is said."""
    config = opening.as_seen(settled, engine.seen, console)
    folder.write_config(config.to_toml())
    for remark in engine.remarks:
        console.warn(f"{config.model.name}: {remark}")
    return config


@contextmanager
def spared_by_the_collector() -> Iterator[None]:
    """What is open by now stays open.  Python's collector would walk its hundreds of thousands of objects again and
    again, which can be a fifth of a small model's update."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@dataclass(frozen=True)
class HeldOut:
    """What a run is evaluated on: prompts, their texts by problem id, and who scores what is answered."""

    prompts: list[Prompt]
    texts: Mapping[str, str]
    scorer: Scorer


@dataclass(frozen=True)
class Parts:
    """What a run works with, all of it open.  `held_out` is None where nothing is evaluated."""

    folder: RunFolder
    console: Console
    care: Care
    engine: Engine
    held_out: HeldOut | None
    trackers: list[Tracker]
    start: ModelFiles
    pusher: Pusher | None = None


class Run:
    """One run of `steps` steps: where it stands, and what happens around each."""

    def __init__(self, config: Config, parts: Parts, progress: Progress, *, steps: int) -> None:
        self.config, self.parts, self.steps = config, parts, steps
        self.folder, self.console, self.engine = parts.folder, parts.console, parts.engine
        self.care, self.deadline, self.watchdog = parts.care, parts.care.stop.deadline, parts.care.watchdog
        self.progress = self.saved = self.began = progress
        self.restarts = 0
        self.heeded: Alarm | None = None  # since the last time that it was asked
        self.stopwatch = Stopwatch(self.watchdog.mark)
        self.noted = self.folder.opened  # the last row's time; time.monotonic()
        self.asked: tuple[int, int] | None = None  # groups that had come, when last asked
        self.care.after(progress.step)
        self.watchdog.mark()

    def step(self) -> Row:
        """The next step, its books included; returns its row of metrics, and `progress` is one further."""
        raise NotImplementedError

    def foretell(self, first: Row, shape: Shape) -> None:
        """What the whole run will take, by its second step: the first, whose row is given, is slower."""
        row = self.step() if self.steps > 1 else first
        prompts = len(self.parts.held_out.prompts) if self.parts.held_out else 0
        for line in cost.foretold(self.config, row, shape, steps=self.steps, prompts=prompts):
            self.console.note(line)

    def abandon(self) -> None:
        """Forget what is under way beyond `progress`."""

    def to_the_end(self) -> None:
        finished = False
        try:
            self._go_on_from_losses()
            self.conclude()
            finished = True
        except GrpoError as error:
            self._end_early(error)
        finally:
            self.account()
            self.console.note(f"report: {write_report(self.folder.path)}")
            if self.config.run.control and (beside := control_page.partner(self.folder.path)):
                with suppress(CheckpointError):  # somebody else's folder
                    self.console.note(f"report: {write_report(beside)}, with this control in it")
            if self.parts.pusher:
                with self.watchdog("push"):
                    self.parts.pusher.conclude(self.folder.checkpoints, self.progress, finished=finished)

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
        while self.progress.step < self.steps:
            self.care.stop.check("step", "save")
            with self.deadline.takes("step"):
                row = self.step()
            self.deadline.took("learning", row["time/step"] - row.get("time/sample", 0.0))
            self._evaluate_where_due()
            self.heed()
            if self.progress.step % self.config.run.save_every == 0:
                self._save()
        self._save()

    def _go_back(self, lost: LearnerLost) -> None:
        """To the last checkpoint, and new learners that stand there."""
        self.abandon()
        stand = opening.stand(checkpoints.latest(self.folder.checkpoints), self.parts.start)
        step, limit = stand.progress.step, self.config.cluster.restarts
        self.console.warn(f"{lost}; going on from step {step} (restart {self.restarts} of {limit})")
        with self.watchdog("restart"):
            self.engine.restart(step, stand.checkpoint)
        self.folder.rewind(step if stand.checkpoint else -1)
        self.progress = self.saved = stand.progress
        self.heeded = None  # its step was not
        self.went_back()

    def went_back(self) -> None:
        """Read again what the folder says of the steps that stand."""

    def conclude(self) -> None:
        """What is to be said after the last step."""
        progress = self.progress
        if progress.best_step:
            place = self.folder.checkpoints / "best"
            self.console.note(f"best: {progress.best_score:.1%} solved at step {progress.best_step}, kept in {place}")
        elif self.parts.held_out:
            self.console.note("best: no step did better on the held-out problems than the model before the first")

    def account(self) -> None:
        """What the run has cost so far, resumed or not: into cost.json, and in three lines."""
        rows, _ = self.folder.recorded()
        devices, hardware = cost.devices_of(self.config), cost.hardware_of(self.config)
        spent = cost.cost_of(rows, devices, self.config.run.price, rest=time.monotonic() - self.noted)
        self.folder.write_cost({"hardware": hardware, **spent})
        values = cost.came_to(self.folder.path, self.progress, spent)
        self.tell(lambda tracker: tracker.summary(values))
        for line in cost.in_words(spent, hardware):
            self.console.note(line)

    def _end_early(self, error: GrpoError) -> NoReturn:
        """Save what has been learned, unless a step is half done: then the last checkpoint is what there is."""
        if self.stopwatch.phase in ("", "sample", "score"):
            with suppress(LearnerLost):  # whatever the error was, it may have taken the learners with it
                self._save()
        where = f"step {self.saved.step} is saved in {self.folder.path}; go on with --resume"
        if not self.saved.step:
            where = "no step was finished, so nothing is saved"
        if isinstance(error, Interrupted):
            again = error.exit_code == EXIT_AGAIN and self.care.stop.received is None  # for the deadline, by no signal
            if again and self.saved.step == self.began.step:
                raise LearningError(
                    f"{error}; {where}; it would end here again: give it a longer run.deadline"
                ) from None
            raise Interrupted(f"{error}; {where}", exit_code=error.exit_code) from None
        self.console.note(where)
        raise error

    def log(self, row: Row, step: int) -> None:
        """Into metrics.jsonl, and to the trackers."""
        now = time.monotonic()
        row["time/wall"], self.noted = now - self.noted, now
        self.folder.append_metrics(row)
        self.care.after(step)
        self.tell(lambda tracker: tracker.log(row, step))

    def tell(self, of: Callable[[Tracker], None]) -> None:
        """Each tracker, until it fails.  A dashboard that fails must not end a run."""
        for tracker in list(self.parts.trackers):
            try:
                of(tracker)
            except Exception as error:  # noqa: BLE001  other people's network code, any exception
                self.parts.trackers.remove(tracker)
                self.console.warn(f"{type(tracker).__name__.strip('_')} failed ({error}) and is told no more")

    def alarm(self, alarm: Alarm) -> None:
        """Into alarms.jsonl, and to whoever watches."""
        self.folder.append_alarm(asdict(alarm))
        self.tell(lambda tracker: tracker.alarm(alarm))
        if alarm.cleared:
            self.console.note(f"alarm of step {alarm.step} is over: {alarm.name}")
            return
        worst = ", ".join(f"{example.problem} number {example.index + 1}" for example in alarm.examples)
        self.console.warn(f"alarm, {alarm.name}: {alarm.text}" + (f"; see {worst}" if worst else ""))
        self.care.notify("alarm", f"{alarm.name}: {alarm.text}", alarm.step)
        self.heeded = self.heeded or alarm

    def heed(self) -> None:
        """End the run for an alarm, where that is wanted.  It stands, so the run that goes on is not ended for it."""
        if self.heeded and self.config.run.on_alarm == "stop":
            raise LearningError(
                f'stopped by the alarm of step {self.heeded.step}, {self.heeded.name} (run.on_alarm = "stop"): '
                f"{self.heeded.text}; alarms.jsonl and report.html have the evidence"
            )
        self.heeded = None

    def _evaluate_where_due(self) -> None:
        """Before the first step, after the last, and every so many between; one that was cut short is made up."""
        step, every = self.progress.step, self.config.eval.every
        if not self.parts.held_out or self.progress.evaluated_step == step:
            return
        if step == 0:
            self._evaluate("before", self.parts.held_out)
        elif step >= self.steps:
            self._evaluate("after", self.parts.held_out)
        elif every and step % every == 0:
            self._evaluate(f"step-{step}", self.parts.held_out)

    def _evaluate(self, label: str, held_out: HeldOut) -> None:
        """On the held-out problems; the best so far after the start is kept apart."""
        step, began = self.progress.step, time.monotonic()
        self.care.stop.check("evaluation", *self._unsaved)
        with self.deadline.takes("evaluation"), self.watchdog("evaluation"):
            result = self.answers(held_out)
        spent = {"time/evaluate": time.monotonic() - began, "tokens/evaluate": result.tokens}
        recipe = {"config": self.config.model_dump(mode="json"), "step": step, "sampler": self.engine.name}
        write(result, self.folder.eval / label, recipe, held_out.texts)
        progress = replace(self.progress, evaluated_step=step)
        score = result.measures["pass@1"].mean
        if score > progress.best_score:
            if step:
                checkpoints.save_best(self.folder.checkpoints, lambda target: self.engine.save(target, resumable=False))
            progress = replace(progress, best_step=step, best_score=score)
        self.log(result.row(step) | spent, step)
        self.console.evaluation(label, result.row(step))
        self.progress = progress
        self.after_evaluation()

    def after_evaluation(self) -> None:
        """What a kind of run has to say of it."""

    def answers(self, held_out: HeldOut) -> Evaluation:
        """What the policy makes of the held-out problems."""
        params = opening.eval_params(self.config, sampling_seed(self.config.run.seed, 0))
        prompts, n = held_out.prompts, self.config.eval.n

        def arrived(done: int, total: int) -> None:
            self._shown(done, total)
            self.care.stop.check(*self._unsaved)

        return evaluate(self.engine, held_out.scorer, prompts, n, params, arrived=arrived)

    def _save(self) -> None:
        if self.progress.step and self.progress != self.saved:
            folder, keep = self.folder.checkpoints, self.config.run.keep
            with self.deadline.takes("save"), self.watchdog("save"):
                saved = checkpoints.save(
                    folder, self.progress, lambda target: self.engine.save(target, resumable=True), keep=keep
                )
            self.saved = self.progress
            if self.parts.pusher:
                self.parts.pusher.take(saved, f"step {self.progress.step}")

    def arrived(self, done: int, total: int) -> None:
        """Of a step's groups so many are there.  What is not learned yet is given up where the rest takes too long."""
        self._shown(done, total)
        self.care.stop.check("learning", "save")

    def _shown(self, done: int, total: int) -> None:
        self.console.phase("sampling", done, total)
        if self.asked != (done, total):  # who samples ahead asks again and again
            self.watchdog.mark()
        self.asked = done, total

    @property
    def _unsaved(self) -> tuple[str, ...]:
        """What a stop would have to do here."""
        return ("save",) if self.progress.step and self.progress != self.saved else ()
