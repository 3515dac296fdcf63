"""From settings to the things that a command works with: tokenizer, prompts, sampler, policy, rewards."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch
from transformers import PreTrainedTokenizerBase

from grpo import hub, objectives
from grpo.cluster.place import Division, divide, there_is_one
from grpo.config import Cluster, Config, Data, Distill, Eval, JudgeConfig, Model, Objective, Reward, Sft
from grpo.errors import ConfigError, DataError
from grpo.learning import lora
from grpo.learning.loading import (
    check_shapes,
    choose_device,
    choose_dtype,
    context_length,
    load_tokenizer,
    outline,
    vocabulary_size,
)
from grpo.learning.logprobs import check_float32_head
from grpo.objectives.control import check_control
from grpo.problems import load_problems, render_prompts
from grpo.run.checkpoints import write_whole
from grpo.sampling import Dtype, choose_backend
from grpo.scoring import Scorer, check_golds, reward_name
from grpo.types import Problem, Prompt
from rewards import Declaration

BUILT_IN = "builtin:"  # a model that is made on the spot


@dataclass(frozen=True, slots=True)
class Place:
    """Where the arithmetic happens."""

    device: Literal["cpu", "cuda"]
    dtype: Dtype
    float32_head: bool = False  # logits in float32, where the rest is in less


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model that can be opened: a Hub id or a directory, its tokenizer, and how much text it can hold."""

    name: str
    revision: str | None  # a commit of the Hub's; None: a directory
    tokenizer: PreTrainedTokenizerBase
    context: int  # tokens
    vocabulary: int  # tokens that the model has


def choose_place(model: Model) -> Place:
    device = choose_device(model)
    dtype = choose_dtype(model, device)
    float32_head = model.head_dtype == "float32" and dtype != "float32"
    return Place(cast(Literal["cpu", "cuda"], device), cast(Dtype, dtype), float32_head)


def resolved(config: Config) -> Config:
    """The settings with every "auto" but those of sizes (`grpo.sizes`), and every part of the objective, replaced by
    what it comes to here.

    A run folder holds these, so a run that is resumed where "auto" would come to something else is told.
    """
    return resolved_for(config, division(config))


def pinned(config: Config) -> Config:
    """The settings with the model's branch on the Hub, and the teacher's, replaced by the commit that it stands at.

    A run folder holds it: whoever goes on with a run, or repeats it, has the same model.
    """
    model, teacher = config.model, config.distill.teacher
    if not model.name.startswith(BUILT_IN) and hub.is_on_hub(model.name):
        config = config.with_changes(model={"revision": hub.commit_of(model.name, model.revision)})
    if teacher is not None and hub.is_on_hub(teacher):
        config = config.with_changes(distill={"revision": hub.commit_of(teacher, config.distill.revision)})
    return config


def division(config: Config, groups: int | None = None) -> Division | None:
    """How the devices are divided, those of the Ray cluster if one is named; None: one process by turns.  `groups` are
    those of an update, default GRPO's."""
    cluster, nodes, gpus = config.cluster, 1, 0
    if choose_place(config.model).device == "cuda":
        gpus = torch.cuda.device_count()
        if cluster.address not in ("auto", "local") or there_is_one():
            from grpo.cluster.runtime import connected

            with connected(cluster.address) as machines:
                nodes, gpus = machines.nodes, machines.gpus
    return divide(cluster, gpus=gpus, nodes=nodes, groups=groups or groups_of_an_update(config))


def groups_of_an_update(config: Config) -> int:
    return max(1, config.sampling.problems_per_step // config.optim.updates_per_step)


def resolved_for(config: Config, division: Division | None) -> Config:
    """`resolved`, with the devices divided so."""
    objective = objectives.resolved(config.objective)
    objectives.check(objective, config.sampling.group_size)
    _check_staleness(config.cluster, division, objective)
    _check_learners(config, division)
    _check_teacher(config.distill, objective)
    check_control(config)
    return placed(config, division).with_changes(objective=objective.model_dump())


def placed(config: Config, division: Division | None) -> Config:
    """The settings with device, dtype, sampler and actors as they are here; the objective as it is."""
    place, backend = choose_place(config.model), choose_backend(config.sampling.backend)
    actors: dict[str, int | bool] = {"learners": 0, "samplers": 0, "colocate": False}
    if division is not None:
        actors = {"learners": division.learners, "samplers": division.samplers, "colocate": division.colocate}
    lora.check(config.model, sharded=division is not None)
    return config.with_changes(
        model={"device": place.device, "dtype": place.dtype},
        sampling={"backend": backend},
        cluster=actors,
    )


def _check_staleness(cluster: Cluster, division: Division | None, objective: Objective) -> None:
    """Sampling ahead of learning takes somebody else who samples, and a loss that knows how old a token is."""
    asked = f"cluster.max_staleness = {cluster.max_staleness}"
    if not cluster.max_staleness:
        return
    if division is None:
        raise ConfigError(
            f"{asked} without a cluster: one process samples and learns by turns, so nothing can run ahead; set "
            "cluster.learners and cluster.samplers, or cluster.max_staleness = 0"
        )
    if cluster.colocate is True:
        raise ConfigError(
            f"{asked} with cluster.colocate = true: on shared devices learners and samplers take turns, so nothing can "
            'run ahead; set cluster.colocate = false or "auto"'
        )
    if objective.correction == "off" and objective.surrogate != "dppo":
        raise ConfigError(
            f'{asked} with objective.correction = "off": tokens that older weights drew would count as the policy\'s '
            'own and bias every gradient; set objective.correction = "token_truncate", or another'
        )


def _check_learners(config: Config, division: Division | None) -> None:
    groups = groups_of_an_update(config)
    if division is not None and division.learners > groups:
        raise ConfigError(
            f"cluster.learners = {division.learners}: an update has {groups} groups, and a group goes to one learner "
            "as a whole, so some would never have any; lower it, or raise sampling.problems_per_step = "
            f"{config.sampling.problems_per_step}"
        )


def _check_teacher(distill: Distill, objective: Objective) -> None:
    """What a teacher says is about single tokens.  Raises `ConfigError`."""
    if not distill.is_on:
        return
    mode = f'distill.mode = "{distill.mode}"'
    if distill.mode == "traces":
        raise ConfigError(f"{mode}: is three stages and no training run; use grpo distill, which goes through them")
    if distill.mode == "full" and distill.coef != 1:
        raise ConfigError(f"{mode}: its loss is the divergence alone, which distill.coef does not weigh; leave it out")
    if distill.mode == "full" and objective.kl_coef:
        raise ConfigError(f"{mode}: its loss is the divergence from the teacher alone; set objective.kl_coef = 0")
    if distill.mode == "on_policy" and distill.beta != 1:
        raise ConfigError(
            f"{mode}: one token shows KL(student ‖ teacher) and no other; leave distill.beta out, or set "
            'distill.mode = "full"'
        )
    if distill.mode == "on_policy" and objective.ratio == "sequence":
        raise ConfigError(
            f'{mode} with objective.ratio = "sequence": one ratio for a completion would spread what the teacher says '
            'of each token over all of them; take another objective.name, or objective.ratio = "token" and its clips'
        )
    if objective.top_entropy_quantile < 1:
        raise ConfigError(
            f"objective.top_entropy_quantile = {objective.top_entropy_quantile} with a teacher: it takes advantages "
            "away from tokens, and a teacher has something to say of each; leave it out"
        )


def find_model(model: Model, made: Path, *, seed: int) -> ModelFiles:
    """The model that the settings name.  A built-in one is made in the folder `made`, unless it stands there.

    Refuses settings of [model] that it cannot have, before its weights are read.
    """
    files = _find_model(model, made, seed=seed)
    if model.head_dtype == "float32" and (place := choose_place(model)).float32_head:
        check_float32_head(files.name, outline(files.name, files.revision, dtype=place.dtype))
    return files


def _find_model(model: Model, made: Path, *, seed: int) -> ModelFiles:
    if not model.name.startswith(BUILT_IN):
        return open_model(model.name, model.revision)
    from grpo.learning.tiny_model import SIZES, make_tiny_model

    size = SIZES.get(model.name.removeprefix(BUILT_IN))
    if size is None:
        there = ", ".join(f'"{BUILT_IN}{name}"' for name in SIZES)
        raise ConfigError(f'model.name = "{model.name}": no such built-in model; there is {there}')
    if not (made / "config.json").exists():
        write_whole(made, lambda folder: make_tiny_model(folder, seed, size))
    return open_model(str(made))


def open_model(name: str, revision: str | None = None) -> ModelFiles:
    revision = hub.commit_of(name, revision) if hub.is_on_hub(name) else None
    tokenizer = load_tokenizer(name, revision)
    check_shapes(name, revision)
    return ModelFiles(name, revision, tokenizer, context_length(name, revision), vocabulary_size(name, revision))


def open_scorer(config: JudgeConfig, failed: Path | None = None) -> Scorer:
    """The processes that score.  `failed` is where a completion is kept at which a reward raised."""
    workers = config.run.reward_workers or min(8, os.cpu_count() or 1)
    return Scorer(config.reward, workers=workers, chat=config.data.chat, failed=failed)


def needed_facts(declared: Sequence[Declaration]) -> tuple[str, ...]:
    """What the rewards need of every problem."""
    return tuple(dict.fromkeys(fact for declaration in declared for fact in declaration.needs))


def load_judgeable(
    data: Data, rewards: Sequence[Reward], declared: Sequence[Declaration], warn: Callable[[str], None]
) -> list[Problem]:
    """The problems of `data` that the rewards can judge; the others are left out and counted.

    `declared` is what `rewards` declare: what they need of a problem, and whether a problem whose gold answer they
    reject is broken.
    """
    problems = load_problems(data, needs=())
    for fact in needed_facts(declared):
        lacking = {problem.id for problem in problems if problem.facts.get(fact) in (None, "")}
        if len(lacking) == len(problems):
            load_problems(data, needs=(fact,))  # refuses, and says which columns there are
        problems = _without(problems, lacking, data.source, f"have no {fact}", warn)
    for reward, declaration in zip(rewards, declared, strict=True):
        if declaration.rejected_golds == "drop":
            with_gold = [problem for problem in problems if problem.facts.get("answer")]
            rejected = check_golds(reward, with_gold, chat=data.chat, workers=os.cpu_count() or 1)
            why = f"have a gold answer that {reward_name(reward)} rejects"
            if rejected:
                why += f" ({rejected[0].problem_id} {rejected[0].why[:120]})"
            problems = _without(problems, {gold.problem_id for gold in rejected}, data.source, why, warn)
    return problems


def _without(
    problems: list[Problem], left_out: set[str], source: str, why: str, warn: Callable[[str], None]
) -> list[Problem]:
    if left_out == {problem.id for problem in problems}:
        raise DataError(f"{source}: all {len(problems)} problems {why}, so nothing remains; complete or mend its rows")
    if left_out:
        named = ", ".join(sorted(left_out)[:3]) + (", …" if len(left_out) > 3 else "")
        warn(f"{source}: {len(left_out)} of {len(problems)} problems ({named}) {why} and are left out")
    return [problem for problem in problems if problem.id not in left_out]


def held_out(data: Data, settings: Eval) -> Data | None:
    """[eval]'s problems, asked as [data]'s are."""
    return _other_source(data, settings, "test") if settings.source else None


def worked_examples(data: Data, settings: Sft) -> Data | None:
    """[sft]'s examples, asked as [data]'s are."""
    return _other_source(data, settings, "train") if settings.source else None


def _other_source(data: Data, other: Eval | Sft, split: str) -> Data:
    same = other.source == data.source  # then the columns have the names that [data] gives
    changes = {
        "source": other.source,
        "subset": other.subset or (data.subset if same else None),
        "split": other.split or split,
        "limit": other.limit if isinstance(other, Eval) else None,
        "problem": data.problem if same else None,
        "answer": data.answer if same else None,
    }
    return data.model_copy(update=changes)


def prompts_for(problems: Sequence[Problem], files: ModelFiles, data: Data, *, max_tokens: int) -> list[Prompt]:
    room = {"context": files.context, "max_tokens": max_tokens}
    return render_prompts(problems, files.tokenizer, data, vocabulary=files.vocabulary, **room)


def longest(prompts: Sequence[Prompt]) -> int:
    """Tokens of the longest prompt."""
    return max(len(prompt.token_ids) for prompt in prompts)
