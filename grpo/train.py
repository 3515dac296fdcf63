"""The clock around GRPO: open the run, resume, step, evaluate, save, stop.

What a step does is in `grpo.algorithm`.  Everything random in step N is a function of `run.seed` and N, so a resumed
run needs no more than weights, optimizer and N to go on bit for bit.
"""

from __future__ import annotations

import gc
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch

from grpo import assemble, preflight
from grpo.algorithm import Outcome, Trainer
from grpo.assemble import ModelFiles, Place
from grpo.config import Config
from grpo.errors import GrpoError, Interrupted, LearningError, RewardError
from grpo.evaluate import evaluate, write
from grpo.interrupt import StopRequest
from grpo.learning.loading import outline
from grpo.learning.optimizer import learning_rate
from grpo.memory import estimate_memory
from grpo.metrics import Row, Stopwatch, sample_rows, step_row
from grpo.problems import draw
from grpo.run import checkpoints
from grpo.run.checkpoints import Progress
from grpo.run.console import Console
from grpo.run.folder import RunFolder
from grpo.run.report import write_report
from grpo.run.trackers import open_trackers
from grpo.sampling import canary
from grpo.scoring import check_rewards, declarations
from grpo.sft import fine_tune
from grpo.types import Problem, Prompt, SamplingParams

BAD_STEPS = 3  # in a row without a usable gradient; then the run stops
IDLE_STEPS = 10  # in a row in which no group carried a signal; then the console says so


def train(config: Config, path: Path, *, resume: bool = False, dry_run: bool = False) -> None:
    """Run GRPO as `config` says, in the run folder `path`.  A dry run stops before step 1 and leaves nothing."""
    config = assemble.resolved(config)
    with ExitStack() as stack:
        folder = stack.enter_context(_folder(config, path, resume=resume, dry_run=dry_run))
        console = stack.enter_context(closing(Console(config.run.steps)))
        console.note(f"sampler: {config.sampling.backend} on {config.model.device}, {config.model.dtype}")
        # What is cheap to get wrong comes first: data and rewards are looked at before any model is opened.
        declared = declarations(config.reward)
        problems = assemble.load_judgeable(config.data, config.reward, declared, console.warn)
        held_out_data = assemble.held_out(config)
        held_out = (
            assemble.load_judgeable(held_out_data, config.reward, declared, console.warn) if held_out_data else []
        )
        console.note(f"problems: {len(problems)} from {config.data.source}, {len(held_out)} held out")
        _show_rewards(config, problems, console)
        golds = preflight.check_rejected_golds(config.reward[0], declared[0], problems, chat=config.data.chat)
        preflight.settle(golds, config.run, console.warn)
        run = Run(config, folder, console, problems, held_out, stack)
        stack.enter_context(_spared_by_the_collector())
        run.preflight()
        if dry_run:
            console.note("dry run: stopped before the first step")
            return
        run.to_the_end()


@contextmanager
def _folder(config: Config, path: Path, *, resume: bool, dry_run: bool) -> Iterator[RunFolder]:
    with ExitStack() as stack:
        if dry_run:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="grpo-dry-run-")))
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


def _show_rewards(config: Config, problems: Sequence[Problem], console: Console) -> None:
    for check in check_rewards(config.reward, problems[0], chat=config.data.chat):
        gold, empty = ("-" if score.value is None else f"{score.value:g}" for score in (check.gold, check.empty))
        console.note(f'reward: {check.name} gives the gold answer of {problems[0].id} {gold}, "" {empty}')


class Run:
    """One run: its parts, where it stands, and what happens around each step."""

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        console: Console,
        problems: Sequence[Problem],
        held_out: Sequence[Problem],
        stack: ExitStack,
    ) -> None:
        self.config, self.folder, self.console, self.stack = config, folder, console, stack
        self.stop, self.stopwatch = stack.enter_context(StopRequest()), Stopwatch()
        self.place = assemble.choose_place(config)
        trackers = open_trackers(config.run.trackers, folder.path.name, config.model_dump(mode="json"), folder.path)
        self.trackers = [stack.enter_context(closing(tracker)) for tracker in trackers]
        self.idle_steps = 0
        self.mishaps: dict[str, float] = {}  # shares that were said, by kind
        start = _starting_model(config, folder, self.place, console, self.stop)
        self.progress, self.files, optimizer = self._restore(start)
        self.saved = self.progress

        eval_tokens = config.eval.max_tokens or config.sampling.max_tokens
        self.prompts = assemble.prompts_for(problems, self.files, config.data, max_tokens=config.sampling.max_tokens)
        self.held_out = assemble.prompts_for(held_out, self.files, config.data, max_tokens=eval_tokens)
        room = [(self.prompts, config.sampling.max_tokens), (self.held_out, eval_tokens)]
        context = max(assemble.longest(prompts) + tokens for prompts, tokens in room if prompts)
        self._check_memory(context)
        self._open(start, optimizer, context)

    def _restore(self, start: ModelFiles) -> tuple[Progress, ModelFiles, dict[str, Any]]:
        """Where the run stands, the model of that step, and the optimizer's state; the rows after it are forgotten."""
        checkpoint = checkpoints.latest(self.folder.checkpoints)
        if checkpoint is None:
            self.folder.rewind(-1)  # not even the first evaluation stands
            return Progress(step=0), start, {}
        progress, optimizer = checkpoints.load(checkpoint)
        self.folder.rewind(progress.step)
        self.console.note(f"resumed: after step {progress.step}, from {checkpoint}")
        return progress, replace(start, name=str(checkpoint), revision=None), optimizer

    def _check_memory(self, context: int) -> None:
        shape = outline(self.files.name, self.files.revision, dtype=self.place.dtype)
        memory = estimate_memory(self.config, shape, self.place, context)
        self.console.note(f"policy: {_count(shape.num_parameters())} parameters, {self.place.dtype}")
        self.console.note(f"memory: {memory}")
        preflight.settle(preflight.check_memory(memory), self.config.run, self.console.warn)

    def _open(self, start: ModelFiles, optimizer: dict[str, Any], context: int) -> None:
        """Rewards, sampler and policy, in this order: vLLM measures what memory is free before the policy takes any."""
        config, files, place = self.config, self.files, self.place
        self.scorer = self.stack.enter_context(assemble.open_scorer(config, self.folder.path / "failed.json"))
        self.sampler = self.stack.enter_context(closing(assemble.open_sampler(config, files, place, context=context)))
        self.policy = assemble.make_policy(config, files, place)
        if reason := self.policy.computation.fallback:
            self.console.warn(
                f"{config.model.name}: computes each prompt once per completion, because {reason}; updates are slower "
                "and take more memory"
            )
        if optimizer:
            self.policy.load_state(optimizer)
        reference = assemble.make_reference(config, start, place) if config.objective.kl else self.policy
        self.trainer = Trainer(
            config, self.policy, self.sampler, self.scorer, reference.logprobs, self.stopwatch, self._arrived
        )
        self.sampler.load_weights(self.policy.weights(), self.progress.step)

    def preflight(self) -> None:
        """Sample and score real groups, say what they show, and let the canary sing for the first time."""
        if self.progress.step:
            return
        scored = self.trainer.rollout(self._drawn(0)[: preflight.GROUPS], self._seed(0))
        self.console.note(preflight.show_one(scored))
        findings = preflight.check_groups(scored, max_tokens=self.config.sampling.max_tokens)
        preflight.settle(findings, self.config.run, self.console.warn)
        self._check_canary(self.trainer.sync(0, scored), 0)

    def to_the_end(self) -> None:
        try:
            self._evaluate_where_due()
            while self.progress.step < self.config.run.steps:
                self.stop.check()
                self._step()
                self._evaluate_where_due()
                if self.progress.step % self.config.run.save_every == 0:
                    self._save()
            self._save()
            self._say_best()
        except GrpoError as error:
            self._end_early(error)
        finally:
            self.console.note(f"report: {write_report(self.folder.path)}")

    def _say_best(self) -> None:
        progress = self.progress
        if progress.best_step:
            place = self.folder.checkpoints / "best"
            self.console.note(f"best: {progress.best_score:.1%} solved at step {progress.best_step}, kept in {place}")
        elif self.held_out:
            self.console.note("best: no step did better on the held-out problems than the model before the first")

    def _end_early(self, error: GrpoError) -> NoReturn:
        """Save what has been learned, unless a step is half done: then the last checkpoint is what there is."""
        if self.stopwatch.phase in ("", "sample", "score"):
            self._save()
        where = f"step {self.saved.step} is saved in {self.folder.path}; go on with --resume"
        if not self.saved.step:
            where = "no step was finished, so nothing is saved"
        if isinstance(error, Interrupted):
            raise Interrupted(f"{error}; {where}", exit_code=error.exit_code) from None
        self.console.note(where)
        raise error

    def _step(self) -> None:
        step = self.progress.step + 1
        self.stopwatch.restart()
        lr = learning_rate(self.config.optim, step - 1, self.config.run.steps)
        outcome = self.trainer.step(step, self._drawn(step - 1), lr=lr, seed=self._seed(step))
        # Until the books are closed the weights are those of this step and `progress` is that of the one before.
        with self.stopwatch("books"):
            texts = self._texts([group.scored.group.prompt for group in outcome.groups])
            self.folder.append_samples(sample_rows(step, outcome.groups, texts))
            row = step_row(step, outcome, reward_names=self.scorer.names) | self.stopwatch.row()
            row["speed/tokens_per_second"] = row["tokens/sample"] / row["time/step"]
            self._log(row, step)
            self.console.step(row)
            self._check_rewards(row)
            self._check_updates(outcome)
            self._check_canary(outcome.gap, step)
            self.progress = replace(self.progress, step=step, tokens=self.progress.tokens + row["tokens/sample"])

    def _log(self, row: Row, step: int) -> None:
        """Into metrics.jsonl, and to the trackers.  A dashboard that fails must not end a run."""
        self.folder.append_metrics(row)
        for tracker in list(self.trackers):
            try:
                tracker.log(row, step)
            except Exception as error:  # noqa: BLE001  other people's network code, any exception
                self.trackers.remove(tracker)
                self.console.warn(f"{type(tracker).__name__.strip('_')} failed ({error}) and gets no more metrics")

    def _check_rewards(self, row: Row) -> None:
        """A reward that cannot answer looks like a model that cannot solve: it is said, and in full it ends the run."""
        for kind in ("timeout", "crash", "fault"):
            share = row[f"completions/{kind}"]
            if share >= 1:
                raise RewardError(
                    f"every call of every reward ended in a {kind} in step {row['step']}: nothing was judged; see the "
                    "reasons in samples.jsonl"
                )
            if share > self.mishaps.get(kind, 0.0):
                self.console.warn(f"{share:.1%} of the rewards' calls ended in a {kind}; see samples.jsonl")
                self.mishaps[kind] = 2 * share  # said again when it has doubled

    def _check_updates(self, outcome: Outcome) -> None:
        """Gradients that are not finite were not applied; a few in a row are a fault, not bad luck."""
        skipped = [update for update in outcome.updates if not update.moved]
        bad_steps = self.progress.bad_steps + 1 if skipped else 0 if outcome.updates else self.progress.bad_steps
        self.progress = replace(self.progress, bad_steps=bad_steps)
        if skipped and bad_steps >= BAD_STEPS:
            saved = self.folder.path / "failed-batch.pt"
            torch.save(skipped[0].batch, saved)
            raise LearningError(
                f"gradients were not finite in {bad_steps} steps in a row, so nothing was learned in them (loss of the "
                f"last: {skipped[0].totals['loss']}); its batch is in {saved}; lower optim.lr, or look at the batch"
            )
        self.idle_steps = 0 if outcome.updates else self.idle_steps + 1
        if self.idle_steps and self.idle_steps % IDLE_STEPS == 0:
            self.console.warn(
                f"no group carried a signal in {self.idle_steps} steps: all completions of each problem get the same "
                "reward, and nothing is learned; see the reasons in samples.jsonl"
            )

    def _check_canary(self, gap: float, step: int) -> None:
        allowed = canary.tolerance(self.place.dtype, self.config.sampling.canary)
        canary.check(gap, allowed, sampler=self.sampler.name, step=step)

    def _evaluate_where_due(self) -> None:
        """Before the first step, after the last, and every so many between; one that was cut short is made up."""
        step, every = self.progress.step, self.config.eval.every
        if not self.held_out or self.progress.evaluated_step == step:
            return
        if step == 0:
            self._evaluate("before")
        elif step >= self.config.run.steps:
            self._evaluate("after")
        elif every and step % every == 0:
            self._evaluate(f"step-{step}")

    def _evaluate(self, label: str) -> None:
        """On the held-out problems; the best so far after the start is kept apart."""
        settings, step = self.config.eval, self.progress.step
        params = SamplingParams(
            settings.max_tokens or self.config.sampling.max_tokens,
            settings.temperature,
            seed=self._seed(0),
            stop=self.config.sampling.stop,
        )
        result = evaluate(self.sampler, self.scorer, self.held_out, settings.n, params, arrived=self._arrived)
        recipe = {"config": self.config.model_dump(mode="json"), "step": step, "sampler": self.sampler.name}
        write(result, self.folder.eval / label, recipe, self._texts(self.held_out))
        progress = replace(self.progress, evaluated_step=step)
        score = result.measures["pass@1"].mean
        if score > progress.best_score:
            if step:
                checkpoints.save_best(self.folder.checkpoints, self._write_model)
            progress = replace(progress, best_step=step, best_score=score)
        self._log(result.row(step), step)
        self.console.evaluation(label, result.row(step))
        self.progress = progress

    def _save(self) -> None:
        if self.progress.step and self.progress != self.saved:
            keep = self.config.run.keep
            checkpoints.save(self.folder.checkpoints, self.progress, self.policy.state(), self._write_model, keep=keep)
            self.saved = self.progress

    def _write_model(self, folder: Path) -> None:
        self.policy.save(folder)
        self.files.tokenizer.save_pretrained(folder)

    def _arrived(self, done: int, total: int) -> None:
        self.console.phase("sampling", done, total)
        self.stop.check()

    def _drawn(self, step: int) -> list[Prompt]:
        count, shuffle = self.config.sampling.problems_per_step, self.config.data.shuffle
        return draw(self.prompts, step, count, seed=self.config.run.seed, shuffle=shuffle)

    def _seed(self, step: int) -> int:
        return random.Random(f"{self.config.run.seed}/sampling/{step}").getrandbits(32)

    def _texts(self, prompts: Sequence[Prompt]) -> dict[str, str]:
        return {prompt.problem.id: str(self.files.tokenizer.decode(list(prompt.token_ids))) for prompt in prompts}


def _starting_model(config: Config, folder: RunFolder, place: Place, console: Console, stop: StopRequest) -> ModelFiles:
    """The model that GRPO starts from: the named one, or what the cold start makes of it."""
    files = assemble.find_model(config, folder.path / "model")
    if not config.sft.steps:
        return files
    target = folder.path / "cold-start"
    if target.exists():
        return assemble.open_model(str(target))

    def shown(step: int, loss: float) -> None:
        console.phase(f"cold start, loss {loss:.3f}", step, config.sft.steps)
        stop.check()
        if step == 1 or step % max(1, config.sft.steps // 4) == 0:
            console.note(f"cold start: step {step}/{config.sft.steps}, loss {loss:.3f}")

    return fine_tune(config, files, place, target, shown=shown)


def _count(number: int) -> str:
    """1543714304 → "1.5B"."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)
