"""From settings to an open run, in named steps.

    inputs          problems and rewards, looked at before any model is opened: what is cheap to get wrong comes first
    teacher         who teaches, if anybody does; whether its tokens are the student's
    starting_model  the named model, or what the cold start makes of it
    stand           after which step the run stands, and the model of that step
    rendered        prompts, as that model reads them
    settle          sizes that fit into memory                                 (`grpo.sizes`)
    open_engine     sampler and policy                                         (`grpo.engines`)

`grpo train` goes through all of them; `grpo replay` and `grpo explain` open a recorded run in the same way.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from grpo import assemble, objectives, preflight, sizes
from grpo.algorithm import Clock, Trainer
from grpo.assemble import ModelFiles, Place
from grpo.config import Config, Eval, JudgeConfig, Sampling
from grpo.engine import Engine
from grpo.errors import GrpoError, ModelError
from grpo.interrupt import StopRequest
from grpo.learning import same_tokens
from grpo.learning.adapter_files import is_adapter
from grpo.learning.rehearsal import Seen, Worst
from grpo.memory import Memory, Shape, Sizes, Work, frozen_shape_of, shape_of, this_machine
from grpo.objectives.control import choose_control
from grpo.problems import SolveRates
from grpo.run import checkpoints
from grpo.run.checkpoints import Progress
from grpo.run.console import Console
from grpo.sampling import precision
from grpo.sampling.tokens import pieces
from grpo.scoring import Scorer, check_rewards, declarations
from grpo.sft import Schedule, fine_tune, load_examples, open_learner
from grpo.source import StepSource
from grpo.types import Problem, Prompt, SamplingParams
from rewards import Declaration

Say = Callable[[str], None]


class Inputs(NamedTuple):
    problems: list[Problem]
    held_out: list[Problem]


def inputs(config: Config, console: Console) -> Inputs:
    """The problems that the rewards can judge; what the rewards say of a gold answer is shown and checked."""
    declared = declarations(config.reward)
    problems = assemble.load_judgeable(config.data, config.reward, declared, console.warn)
    of_eval = assemble.held_out(config.data, config.eval)
    held_out = assemble.load_judgeable(of_eval, config.reward, declared, console.warn) if of_eval else []
    console.note(f"problems: {len(problems)} from {config.data.source}, {len(held_out)} held out")
    look_at_rewards(config, declared, problems, console)
    return Inputs(problems, held_out)


def look_at_rewards(
    config: JudgeConfig, declared: Sequence[Declaration], problems: Sequence[Problem], console: Console
) -> None:
    """What the rewards say of gold answers is shown; golds that the first of them rejects are settled."""
    for check in check_rewards(config.reward, problems[0], chat=config.data.chat):
        gold, empty = ("-" if score.value is None else f"{score.value:g}" for score in (check.gold, check.empty))
        console.note(f'reward: {check.name} gives the gold answer of {problems[0].id} {gold}, "" {empty}')
    findings = preflight.check_rejected_golds(config.reward[0], declared[0], problems, chat=config.data.chat)
    preflight.settle(findings, config.run, console.warn)


PROBED = 50  # problems on which two tokenizers are compared


def teacher(config: Config, inputs: Inputs, folder: Path, console: Console) -> ModelFiles | None:
    """Who teaches.  Raises `ModelError` unless the student's tokens mean to it what they mean to the student."""
    name = config.distill.teacher
    if name is None:
        return None
    files = assemble.open_model(name, config.distill.revision)
    student = assemble.find_model(config.model, folder / "model", seed=config.run.seed)
    problems = inputs.problems[:PROBED]
    texts = [problem.messages[-1]["content"] for problem in problems]
    if found := same_tokens.difference(student.tokenizer, files.tokenizer, texts):
        raise ModelError(
            f"distill.teacher = {name}: its tokens are not those of {config.model.name} ({found}), so it cannot judge "
            'them; take a teacher with the same tokenizer, or distill.mode = "traces", which goes across tokenizers'
        )
    console.note(f"teacher: {name}{f' at {files.revision}' if files.revision else ''}, with the student's tokenizer")
    one, other = (model.tokenizer.eos_token for model in (student, files))
    if one != other:
        console.warn(
            f"teacher: {name} ends its answers with {other}, and {config.model.name} with {one}: its last tokens are "
            "judged by a model that would have gone on; set eos_token alike in both tokenizer_config.json"
        )
    if config.data.chat and _asked(problems, files, config) != _asked(problems, student, config):
        console.warn(
            f"teacher: {name} reads the student's prompts, and its own chat template would ask otherwise; where it was "
            "trained on that alone it may teach less than it knows"
        )
    return files


def _asked(problems: Sequence[Problem], files: ModelFiles, config: Config) -> list[tuple[int, ...]]:
    """As the model's own chat template has it; nothing where that cannot ask."""
    try:
        return [prompt.token_ids for prompt in assemble.prompts_for(problems, files, config.data, max_tokens=1)]
    except GrpoError:
        return []


def starting_model(config: Config, folder: Path, console: Console, stop: StopRequest) -> ModelFiles:
    """The model that GRPO starts from; what is made for that goes into `folder`, and is found there again."""
    if config.model.revision and not os.path.isdir(config.model.name):
        console.note(f"model: {config.model.name} at {config.model.revision}")
    files = assemble.find_model(config.model, folder / "model", seed=config.run.seed)
    if not config.sft.is_on:
        return files
    target = folder / "cold-start"
    if target.exists():
        return assemble.open_model(str(target))

    examples = load_examples(config.data, config.sft, files, console.note)
    schedule = Schedule(config.sft, examples, config.run.seed)
    steps = schedule.steps

    def shown(step: int, loss: float) -> None:
        console.phase(f"cold start, loss {loss:.3f}", step, steps)
        stop.check()
        if step == 1 or step % max(1, steps // 4) == 0:
            console.note(f"cold start: step {step}/{steps}, loss {loss:.3f}")

    learner = open_learner(config, files, examples)
    tuned = fine_tune(schedule, learner, files, target, shown=shown)
    del learner  # from a GPU, too, before a sampler measures what memory is free
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return tuned


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a run stands: after which step, with which model, and from which checkpoint (None: its start).  Where an
    adapter is learned, it lies in the checkpoint, and the model is the one that the run started from."""

    progress: Progress
    files: ModelFiles
    checkpoint: Path | None


def stand(checkpoint: Path | None, start: ModelFiles) -> Stand:
    """Raises `CheckpointError` where the checkpoint is damaged."""
    if checkpoint is None:
        return Stand(Progress(step=0, drawn=0), start, None)
    progress = checkpoints.load(checkpoint)
    files = start if is_adapter(checkpoint) else replace(start, name=str(checkpoint), revision=None)
    return Stand(progress, files, checkpoint)


@dataclass(frozen=True, slots=True)
class Rendered:
    """Prompts, and the room for the longest with its completion."""

    prompts: list[Prompt]
    held_out: list[Prompt]
    context: int  # tokens

    @property
    def longest_prompt(self) -> int:
        """Tokens, of those that are learned from."""
        return assemble.longest(self.prompts)


def rendered(config: Config, inputs: Inputs, files: ModelFiles, teacher: ModelFiles | None = None) -> Rendered:
    """Raises `DataError` or `ModelError` where the model, or the teacher, has no room for a prompt and its answer."""
    tokens, eval_tokens = config.sampling.max_tokens, eval_max_tokens(config.eval, config.sampling)
    prompts = assemble.prompts_for(inputs.problems, files, config.data, max_tokens=tokens)
    held_out = assemble.prompts_for(inputs.held_out, files, config.data, max_tokens=eval_tokens)
    room = [(prompts, tokens), (held_out, eval_tokens)]
    context = max(assemble.longest(some) + limit for some, limit in room if some)
    if teacher is not None and context > teacher.context:
        raise ModelError(
            f"distill.teacher = {teacher.name}: the longest prompt with its answer is {context} tokens, more than the "
            f"teacher's context of {teacher.context}; lower sampling.max_tokens, or take the long problems out"
        )
    return Rendered(prompts, held_out, context)


def eval_max_tokens(settings: Eval, sampling: Sampling) -> int:
    return settings.max_tokens or sampling.max_tokens


def eval_params(config: Config, seed: int) -> SamplingParams:
    """How held-out problems are sampled during a run."""
    tokens = eval_max_tokens(config.eval, config.sampling)
    return SamplingParams(tokens, config.eval.temperature, seed=seed, stop=config.sampling.stop)


@dataclass(frozen=True, slots=True)
class Settled:
    """A run's settings with numbers for sizes, the estimate for them, and what is rehearsed."""

    config: Config
    memory: Memory
    worst: Worst


def settle(
    config: Config,
    kept: Config,
    files: ModelFiles,
    rendered: Rendered,
    console: Console,
    checkpoints: Path,
    teacher: ModelFiles | None = None,
) -> Settled:
    """Sizes that fit here; `kept` has those that the run was begun with, and is `config` where it begins now.

    What a device, a host or a disk cannot hold is said, or refused.
    """
    beside = None if teacher is None else frozen_shape_of(teacher, config.model)
    work = _work(config, shape_of(files, config.model), assemble.choose_place(config.model), rendered, beside)
    longest = rendered.longest_prompt, config.sampling.max_tokens
    return settle_for(work, config, kept, longest, console, checkpoints)


def settle_for(
    work: Work, config: Config, kept: Config, longest: tuple[int, int], console: Console, checkpoints: Path
) -> Settled:
    """`settle` of any work; `longest` are the tokens of the longest prompt, and of what may follow it."""
    shape = work.shape
    learned = f", of which {_count(shape.learned)} in the adapter are learned" if shape.learned < shape.numbers else ""
    how = precision(work.place.dtype, work.place.float32_head)
    console.note(f"policy: {_count(shape.numbers)} parameters{learned}, {how}")
    machine = this_machine(work.place, int(config.cluster.learners))
    choice = sizes.choose(kept, work, machine)
    if choice.lack and kept != config:
        console.warn(f"sizes: those that the run was begun with do not fit here ({choice.lack}), so others are settled")
        choice = sizes.choose(config, work, machine)
    preflight.settle(preflight.check_memory(choice), config.run, console.warn)
    console.note(f"memory: {choice.memory}")
    for line in choice.lines:
        console.note(line)
    preflight.settle(preflight.check_disk(shape, config, checkpoints), config.run, console.warn)
    return Settled(choice.written_into(config), choice.memory, _worst(config, choice.sizes, *longest))


def _work(config: Config, shape: Shape, place: Place, rendered: Rendered, teacher: Shape | None) -> Work:
    return Work(
        shape,
        place,
        longest_row=rendered.longest_prompt + config.sampling.max_tokens,
        context=rendered.context,
        completions=config.sampling.problems_per_step * config.sampling.group_size,
        backend=config.sampling.backend,
        cluster=config.cluster,
        models=2 if config.objective.kl_coef and not config.model.lora_rank else 1,
        load_in_4bit=config.model.load_in_4bit,
        teacher=teacher,
        divergence=config.distill.is_full,
    )


def _worst(config: Config, settled: Sizes, prompt: int, completion: int) -> Worst:
    by_itself = config.optim.tokens_per_microbatch == "auto"
    return Worst(
        prompt,
        completion,
        least_tokens=min(settled.tokens, *sizes.TOKENS_ON_GPU) if by_itself else settled.tokens,
        may_checkpoint=config.model.gradient_checkpointing == "auto",
    )


def as_seen(settled: Settled, seen: Seen | None, console: Console) -> Config:
    """The settings, with what gave way in the rehearsal; what was seen is said."""
    if seen is None:
        return settled.config
    how = f"{seen.tokens:,} tokens at a time, {'with' if seen.checkpointing else 'no'} gradient checkpointing"
    estimated = f"where {settled.memory.learning:.1f} were estimated"
    optim, model = {"tokens_per_microbatch": seen.tokens}, {"gradient_checkpointing": seen.checkpointing}
    config = settled.config.with_changes(optim=optim, model=model)
    if config != settled.config:
        console.warn("sizes: the largest micro-batch did not fit, although it should have; less is computed at a time")
        estimated = "and fits"
    console.note(f"rehearsed: the largest micro-batch, {how}, took {seen.gib:.1f} GiB {estimated}")
    return config


def _count(number: int) -> str:
    """1543714304 → "1.5B"."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)


def make_trainer(
    config: Config, engine: Engine, scorer: Scorer, clock: Clock, arrived: Callable[[int, int], None]
) -> Trainer:
    return Trainer(
        engine,
        scorer,
        objectives.choose(config.objective),
        config.sampling,
        config.optim,
        clock,
        arrived,
        config.distill,
        choose_control(config),
        config.run.shown_groups,
    )


def make_source(
    config: Config, prompts: Sequence[Prompt], progress: Progress, step: int, without: Collection[str] = ()
) -> StepSource:
    """Where step `step` gets its problems, in a run that stands at `progress`.  A curriculum draws `without` last."""
    return StepSource(
        prompts,
        step=step,
        drawn=progress.drawn,
        seed=config.run.seed,
        curriculum=config.curriculum,
        rates=SolveRates(progress.solve_rates),
        without=without,
    )


def texts_of(prompts: Sequence[Prompt], files: ModelFiles) -> dict[str, str]:
    """What the model was asked, by problem id."""
    return {prompt.problem.id: str(files.tokenizer.decode(list(prompt.token_ids))) for prompt in prompts}


def pieces_of(token_ids: Sequence[int], files: ModelFiles) -> list[str]:
    """The text of each token."""
    tokenizer = files.tokenizer
    if not tokenizer.is_fast:
        return pieces(token_ids, lambda ids: str(tokenizer.decode(list(ids))))
    return pieces(token_ids, partial(tokenizer.backend_tokenizer.decode, skip_special_tokens=False))
