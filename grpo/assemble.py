"""From settings to the things that a command works with: tokenizer, prompts, sampler, policy, rewards."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch
from transformers import PreTrainedTokenizerBase

from grpo.config import Config, Data, Eval, Reward, Sft
from grpo.errors import ConfigError, DataError
from grpo.learning.loading import choose_device, choose_dtype, context_length, load_model, load_tokenizer
from grpo.learning.policy import LanguageModel, Policy
from grpo.problems import load_problems, render_prompts
from grpo.sampling import Dtype, Sampler, choose_backend, make_sampler
from grpo.scoring import Scorer, check_golds, reward_name
from grpo.types import Problem, Prompt
from rewards import Declaration

TINY = "builtin:tiny"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the arithmetic happens."""

    device: Literal["cpu", "cuda"]
    dtype: Dtype


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model that can be opened: a Hub id or a directory, its tokenizer, and how much text it can hold."""

    name: str
    revision: str | None
    tokenizer: PreTrainedTokenizerBase
    context: int  # tokens


def choose_place(config: Config) -> Place:
    device = choose_device(config.model)
    return Place(cast(Literal["cpu", "cuda"], device), cast(Dtype, choose_dtype(config.model, device)))


def resolved(config: Config) -> Config:
    """The settings with every "auto" replaced by what it comes to on this machine.

    A run folder holds these, so a run that is resumed where "auto" would come to something else is told.
    """
    place, backend = choose_place(config), choose_backend(config.sampling.backend)
    return config.with_changes(
        model={"device": place.device, "dtype": place.dtype},
        sampling={"backend": backend},
        optim={"tokens_per_microbatch": config.optim.tokens_at_a_time(place.device)},
    )


def find_model(config: Config, made: Path) -> ModelFiles:
    """The model that the settings name.  "builtin:tiny" is made in the folder `made`, unless it stands there."""
    name, revision = config.model.name, config.model.revision
    if name == TINY:
        from grpo.learning.tiny_model import make_tiny_model

        if not (made / "config.json").exists():
            make_tiny_model(made, config.run.seed)
        name, revision = str(made), None
    elif name.startswith("builtin:"):
        raise ConfigError(f'model.name = "{name}": the only built-in model is "{TINY}"')
    return open_model(name, revision)


def open_model(name: str, revision: str | None = None) -> ModelFiles:
    return ModelFiles(name, revision, load_tokenizer(name, revision), context_length(name, revision))


# Parameters of a model whose matrix products are too short to share.  With 0.3 M a second thread is hardly faster on
# idle cores, and five times slower where anything else, a reward worker say, wants one of them.  With 4 M it is worth
# its risk: 1.0 s an update instead of 1.9.
ONE_THREAD = 1_000_000


def make_policy(config: Config, files: ModelFiles, place: Place) -> Policy:
    model = load_model(files.name, files.revision, dtype=place.dtype, device=place.device)
    if model.num_parameters() < ONE_THREAD:
        torch.set_num_threads(1)
    return Policy(
        model,
        config.optim,
        temperature=config.sampling.temperature,
        gradient_checkpointing=config.model.gradient_checkpointing,
    )


def make_reference(config: Config, files: ModelFiles, place: Place) -> LanguageModel:
    """The frozen model that the KL penalty pulls towards."""
    return LanguageModel(
        load_model(files.name, files.revision, dtype=place.dtype, device=place.device).requires_grad_(False),
        temperature=config.sampling.temperature,
        tokens_per_microbatch=config.optim.tokens_at_a_time(place.device),
    )


def open_sampler(config: Config, files: ModelFiles, place: Place, *, context: int) -> Sampler:
    """A sampler with room for `context` tokens of prompt and completion together."""
    return make_sampler(
        config.sampling,
        files.name,
        revision=files.revision,
        dtype=place.dtype,
        device=place.device,
        context=min(context, files.context),
        seed=config.run.seed,
    )


def open_scorer(config: Config, failed: Path | None) -> Scorer:
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


def held_out(config: Config) -> Data | None:
    """[eval]'s problems, asked as [data]'s are."""
    return _other_source(config.data, config.eval, "test") if config.eval.source else None


def worked_examples(config: Config) -> Data | None:
    """[sft]'s examples, asked as [data]'s are."""
    return _other_source(config.data, config.sft, "train") if config.sft.source else None


def _other_source(data: Data, other: Eval | Sft, split: str) -> Data:
    same = other.source == data.source  # then the columns have the names that [data] gives
    changes = {
        "source": other.source,
        "subset": other.subset or (data.subset if same else None),
        "split": other.split or split,
        "limit": other.limit if isinstance(other, Eval) else None,
        "problem": data.problem if same else None,
        "answer": data.answer if same else None,
        "shuffle": isinstance(other, Sft),
    }
    return data.model_copy(update=changes)


def prompts_for(problems: Sequence[Problem], files: ModelFiles, data: Data, *, max_tokens: int) -> list[Prompt]:
    return render_prompts(problems, files.tokenizer, data, context=files.context, max_tokens=max_tokens)


def longest(prompts: Sequence[Prompt]) -> int:
    """Tokens of the longest prompt."""
    return max(len(prompt.token_ids) for prompt in prompts)
