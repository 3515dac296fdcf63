"""`grpo sft`, from its settings to its last step: an ordinary run whose steps are fine-tuning's.

What is learned, and how, is in `grpo.sft`; what happens around steps in `grpo.running`.  The engine is that of GRPO, so
several processes learn together as they do there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

from grpo import assemble, engines, opening, sizes
from grpo.assemble import ModelFiles
from grpo.care import looked_after
from grpo.config import Config
from grpo.deadline import Elapsed
from grpo.engine import Update
from grpo.errors import CheckpointError, ConfigError
from grpo.evaluate import Evaluation
from grpo.memory import Shape, Work, shape_of
from grpo.metrics import Row
from grpo.problems import Example
from grpo.push import open_pusher
from grpo.run import checkpoints
from grpo.run.checkpoints import Progress
from grpo.run.console import FINE_TUNING, Console
from grpo.run.folder import RunFolder
from grpo.run.trackers import open_trackers
from grpo.run.wording import plural, seconds
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
from grpo.scoring import declarations
from grpo.sft import Schedule, batch_of, cross_entropy, digest, load_examples, refuse_unfinite
from grpo.types import Prompt

STEP_LINES = 50  # on the console; steps are short here, and many


def tune(
    config: Config,
    path: Path,
    *,
    resume: bool = False,
    dry_run: bool = False,
    open_engine: OpenEngine = engines.open_engine,
    open_trackers: OpenTrackers = open_trackers,
    elapsed: Elapsed | None = None,
) -> None:
    """Fine-tune as `config` says, in the run folder `path`.  A dry run takes two steps and leaves nothing."""
    if not config.sft.is_on:
        raise ConfigError("sft.steps = 0: nothing to do; set it, or the epochs, as in --set sft.epochs=2")
    if config.run.control:
        raise ConfigError(f'run.control = "{config.run.control}": fine-tuning reads no rewards; leave it out')
    division = assemble.division(config, groups=config.sft.batch_size)
    config = as_begun(config, path) if resume else config
    config = assemble.pinned(assemble.placed(config, division))
    kept = sizes.kept(config, path / "config.toml") if resume else config
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder(kept, path, resume=resume, dry_run=dry_run))
        console = stack.enter_context(closing(Console(config.sft.steps, columns=FINE_TUNING, most_lines=STEP_LINES)))
        console.note(f"learner: {config.model.device}, {config.model.dtype}")
        if division is not None:
            console.note(f"cluster: {division}")
        care = stack.enter_context(looked_after(config.run, folder.path, console, dry_run=dry_run, elapsed=elapsed))
        pusher = None if dry_run else open_pusher(config.run.push_to_hub, folder.path, console.warn)
        start = assemble.find_model(config.model, folder.path / "model", seed=config.run.seed)
        examples = load_examples(config.data, config.sft, start, console.note)
        schedule = Schedule(config.sft, examples, config.run.seed)
        console.total = schedule.steps
        console.note(f"examples: {_described(examples)}, {plural(schedule.steps, 'step')}")
        stand, shown = _stand(folder, start, examples)
        if stand.checkpoint:
            console.note(f"resumed: after step {stand.progress.step}, from {stand.checkpoint}")
        prompts = _held_out(config, start, console)
        settled = _settle(config, kept, start, schedule, prompts, console, path / "checkpoints")
        trackers = stack.enter_context(opened_trackers(settled.config, folder, open_trackers, dry_run=dry_run))
        held_out = stack.enter_context(_scored(config, prompts, start, folder)) if prompts else None
        engine = stack.enter_context(
            opened_engine(
                _as_shown(settled.config),
                open_engine,
                stand,
                start,
                folder,
                context=_room(config, prompts),
                worst=settled.worst,
            )
        )
        config = as_it_runs(settled, engine, folder, console)
        parts = Parts(folder, console, care, engine, held_out, trackers, start, pusher)
        run = FineTuning(config, parts, stand.progress, schedule, shown)
        stack.enter_context(spared_by_the_collector())
        run.try_one_step(shape_of(start, config.model)) if dry_run else run.to_the_end()


def _described(examples: Sequence[Example]) -> str:
    learned = sum(int(example.learned.sum()) for example in examples)
    whole, longest = sum(map(len, examples)), max(map(len, examples))
    return f"{len(examples):,}, {whole:,} tokens, {learned:,} of them to be learned, the longest {longest:,}"


def _stand(folder: RunFolder, start: ModelFiles, examples: Sequence[Example]) -> tuple[opening.Stand, str]:
    """Where the run in `folder` stands, and the sum of all that it shows, which must be what it has shown so far."""
    stand, shown = opening.stand(checkpoints.latest(folder.checkpoints), start), digest(examples)
    if stand.checkpoint and stand.progress.examples != shown:
        raise CheckpointError(
            f"{stand.checkpoint}: was made from other examples than sft.source has now; put back the data that the run "
            "began with, or start another with --out",
            exit_code=2,
        )
    folder.rewind(stand.progress.step if stand.checkpoint else -1)
    return stand, shown


def _held_out(config: Config, files: ModelFiles, console: Console) -> list[Prompt]:
    of_eval = assemble.held_out(config.data, config.eval)
    if of_eval is None:
        return []
    problems = assemble.load_judgeable(of_eval, config.reward, declarations(config.reward), console.warn)
    console.note(f"problems: {len(problems)} held out, from {of_eval.source}")
    tokens = opening.eval_max_tokens(config.eval, config.sampling)
    return assemble.prompts_for(problems, files, config.data, max_tokens=tokens)


@contextmanager
def _scored(config: Config, prompts: list[Prompt], files: ModelFiles, folder: RunFolder) -> Iterator[HeldOut]:
    """With the processes that score what is answered to `prompts`."""
    with assemble.open_scorer(config, folder.path / "failed.json") as scorer:
        yield HeldOut(prompts, opening.texts_of(prompts, files), scorer)


def _room(config: Config, prompts: Sequence[Prompt]) -> int:
    """Tokens of the longest prompt with its answer; 0 where nothing is sampled."""
    return assemble.longest(prompts) + opening.eval_max_tokens(config.eval, config.sampling) if prompts else 0


def _as_shown(config: Config) -> Config:
    """An engine for log-probabilities at temperature 1, whatever the model is sampled with later; no reference, and no
    teacher, whose divergence would come in the place of log-probabilities."""
    return config.with_changes(
        sampling={"temperature": 1.0}, objective={"kl_coef": 0.0}, distill={"teacher": None, "revision": None}
    )


def _settle(
    config: Config,
    kept: Config,
    files: ModelFiles,
    schedule: Schedule,
    prompts: Sequence[Prompt],
    console: Console,
    checkpoints: Path,
) -> opening.Settled:
    longest = max(schedule.examples, key=len)
    work = Work(
        shape_of(files, config.model),
        assemble.choose_place(config.model),
        longest_row=len(longest),
        context=_room(config, prompts),
        completions=len(prompts) * config.eval.n,
        backend=config.sampling.backend if prompts else None,
        cluster=config.cluster,
        load_in_4bit=config.model.load_in_4bit,
    )
    row, run = (len(longest.prompt), len(longest.tokens)), {"steps": schedule.steps}
    settled = opening.settle_for(
        work, config.with_changes(run=run), kept.with_changes(run=run), row, console, checkpoints
    )
    return replace(settled, config=settled.config.with_changes(run={"steps": config.run.steps}))


class FineTuning(Run):
    """A run whose steps show examples, whose sum is `shown`.  Samplers get the weights when they are to be evaluated,
    and not before."""

    def __init__(self, config: Config, parts: Parts, progress: Progress, schedule: Schedule, shown: str) -> None:
        super().__init__(config, parts, progress, steps=schedule.steps)
        self.schedule, self.shown = schedule, shown

    def try_one_step(self, shape: Shape) -> None:
        """The first steps as they would be, and what a person asks before a long run."""
        row = self.step()
        self.console.note(f"dry run: loss {row['sft/loss']:.4f}, {seconds(row['time/step'])} per step")
        self.foretell(row, shape)

    def step(self) -> Row:
        self.stopwatch.restart()
        done, lr = self.progress.step, self.schedule.lr(self.progress.step)
        with self.stopwatch("batch"):
            examples = self.schedule.batch(done)
            batch = batch_of(examples)
        with self.stopwatch("update"):
            update = self.engine.update(batch, cross_entropy, lr)
            refuse_unfinite(done, update.totals["loss"], update.grad_norm, self.config.sft)
        # Until the books are closed the weights are those of this step and `progress` is that of the one before.
        with self.stopwatch("books"):
            return self._close_books(examples, update)

    def _close_books(self, examples: Sequence[Example], update: Update) -> Row:
        step, tokens = self.progress.step + 1, sum(map(len, examples))
        drawn = self.schedule.drawn(step)
        row: Row = {
            "step": step,
            "sft/loss": update.totals["loss"],
            "sft/epoch": drawn / len(self.schedule.examples),
            "sft/examples": len(examples),
            "policy/grad_norm": update.grad_norm,
            "policy/lr": update.lr,
            "tokens/shown": tokens,
            "tokens/learned": update.batch.n_tokens,
            "tokens/update": int(update.totals["tokens/update"]),
            "update/padded": update.totals["tokens/padding"] / update.totals["tokens/update"],
        }
        row |= {**self.engine.row(), **self.stopwatch.row(), **self.stopwatch.memory()}
        row["speed/tokens_per_second"] = tokens / row["time/step"]
        self.log(row, step)
        self.console.step(row)
        tokens += self.progress.tokens
        self.progress = replace(self.progress, step=step, drawn=drawn, tokens=tokens, examples=self.shown)
        return row

    def answers(self, held_out: HeldOut) -> Evaluation:
        """Of the policy as it is now: what it writes proves that its weights arrived, before anybody reads of it."""
        self.engine.publish(self.progress.step)
        result = super().answers(held_out)
        self.engine.publish(self.progress.step)
        return result
