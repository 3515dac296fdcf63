"""From settings to an engine that is open: in this process, or on a cluster.

A policy and what is beside it are opened by the same settings either way, whole or as one rank's shards.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from grpo.assemble import ModelFiles, Place, choose_place
from grpo.config import Config, Distill, Sampling
from grpo.engine import Engine, Frozen, Models, Whose
from grpo.engine.local import OPTIMIZER, LocalEngine
from grpo.learning import lora, rehearsal
from grpo.learning.divergence import Divergences, within
from grpo.learning.loading import load_model, model_config
from grpo.learning.policy import LanguageModel, Policy
from grpo.learning.rehearsal import Worst
from grpo.products import choose_threads
from grpo.sampling import RemoteSampler, Sampler, Way, canary, make_sampler
from grpo.sampling.nobody import Nobody
from grpo.sampling.tokens import refuse_indivisible_heads

LEAST_CONTEXT = 256  # tokens, of a cluster's samplers where nothing is sampled


def open_engine(
    config: Config,
    files: ModelFiles,
    start: ModelFiles,
    *,
    context: int,
    step: int,
    checkpoint: Path | None,
    folder: Path,
    worst: Worst | None = None,
) -> Engine:
    """The engine with the model in `files`, as it stands after `step`, ready to sample.

    `context` is the room for a prompt and its completion, in tokens; 0: nothing is sampled.
    `start` is what the run began from, to which a KL penalty pulls; `checkpoint` holds the optimizer, if there is one,
    and the adapter, where one is learned: then `files` is the model that it belongs to.
    `folder` is where checkpoints will be written, by all machines of a cluster.
    `worst` is rehearsed, where there are GPUs; None: nothing is.
    """
    if not config.cluster.learners:
        return open_local_engine(config, files, start, context=context, step=step, checkpoint=checkpoint, worst=worst)
    from grpo.cluster.opening import open_cluster

    place, files, start = choose_place(config.model), _anywhere(files), _anywhere(start)
    teacher = config.distill.teacher
    if teacher is not None and os.path.isdir(teacher):
        teacher = os.path.abspath(teacher)
        config = config.with_changes(distill={"teacher": teacher})
    width, context = config.cluster.tensor_parallel, context or LEAST_CONTEXT
    refuse_indivisible_heads(model_config(start.name, start.revision), width)
    # Of the model that the run started from: a checkpoint may be gone when a sampler is replaced.
    sampler = partial(open_sampler, config.sampling, start, place, context=context, seed=config.run.seed)
    return open_cluster(
        config.cluster,
        partial(sampler, tensor_parallel=width),
        partial(_open_models, config, start),
        files.tokenizer,
        cuda=place.device == "cuda",
        tolerance=canary.tolerance(place.dtype, config.sampling.sync_tolerance),
        directories=[Path(name) for name in (start.name, files.name, teacher) if name and os.path.isdir(name)],
        folder=folder.resolve(),
        step=step,
        checkpoint=checkpoint and checkpoint.resolve(),
        worst=worst if place.device in rehearsal.ON else None,
    )


def open_sampler(
    sampling: Sampling,
    files: ModelFiles,
    place: Place,
    *,
    context: int,
    seed: int,
    tensor_parallel: int = 1,
    transfer: Way | None = None,
) -> RemoteSampler:
    """A sampler with room for `context` tokens of prompt and completion together; `transfer` is how weights come to it
    from other processes, if they do."""
    return make_sampler(
        sampling,
        files.name,
        revision=files.revision,
        dtype=place.dtype,
        device=place.device,
        context=min(context, files.context),
        seed=seed,
        tensor_parallel=tensor_parallel,
        transfer=transfer,
        float32_head=place.float32_head,
    )


# --- In one process -----------------------------------------------------------------------------------------------


def open_local_engine(
    config: Config,
    files: ModelFiles,
    start: ModelFiles,
    *,
    context: int,
    step: int,
    checkpoint: Path | None,
    worst: Worst | None = None,
) -> LocalEngine:
    """The sampler comes first: vLLM measures what memory is free before the policy takes any."""
    place = choose_place(config.model)
    with ExitStack() as undo:
        sampler: Sampler = Nobody()
        if context:
            sampler = open_sampler(config.sampling, files, place, context=context, seed=config.run.seed)
        undo.callback(sampler.close)
        tolerance = canary.tolerance(place.dtype, config.sampling.sync_tolerance)
        engine = LocalEngine(
            _open_whole(config, files, start, checkpoint), sampler, files.tokenizer, tolerance=tolerance
        )
        if worst is not None and place.device in rehearsal.ON:
            engine.rehearse(worst)
        engine.load(step)
        undo.pop_all()
    return engine


def _open_whole(config: Config, files: ModelFiles, start: ModelFiles, checkpoint: Path | None) -> Models:
    """Raises `CheckpointError` for an optimizer that does not fit the model in `files`."""
    adapter = checkpoint if config.model.lora_rank else None
    policy = make_policy(files, config, temperature=config.sampling.temperature, adapter=adapter)
    if checkpoint is not None:
        policy.load_state(checkpoint / OPTIMIZER)
    frozen: dict[Whose, Frozen] = {}
    if config.objective.kl_coef:
        frozen["reference"] = _reference(start, config, policy)
    if config.distill.is_on:
        frozen |= _teaching(_frozen(config, config.distill.teacher, config.distill.revision), policy, config.distill)
    return Models(policy, frozen)


def make_policy(files: ModelFiles, config: Config, *, temperature: float, adapter: Path | None = None) -> Policy:
    """A model that learns, or an adapter in it: a new one, or the one that the checkpoint `adapter` holds."""
    place = choose_place(config.model)
    opened_on = "cpu" if config.model.load_in_4bit else place.device
    model = load_model(files.name, files.revision, dtype=place.dtype, device=opened_on)
    choose_threads(model.num_parameters())
    if config.model.load_in_4bit:
        lora.quantise(model, place.device)
    if config.model.lora_rank:
        lora.inject(model, config.model, files.name, files.revision)
        lora.read_adapter(model, adapter) if adapter else lora.initialise(model, config.run.seed)
    return Policy(
        model,
        config.optim,
        temperature=temperature,
        gradient_checkpointing=config.model.checkpoints,
        float32_head=place.float32_head,
    )


def _reference(start: ModelFiles, config: Config, policy: Policy) -> Frozen:
    """What the run starts from, for a KL penalty: `policy` with its adapter off, or a model of its own."""
    if config.model.lora_rank:
        return lora.with_adapter_off(policy.model, policy.logprobs)
    return _frozen(config, start.name, start.revision).logprobs


def _frozen(config: Config, name: str | None, revision: str | None) -> LanguageModel:
    """A model that does not learn, beside the policy and at its temperature."""
    assert name is not None
    place, temperature = choose_place(config.model), config.sampling.temperature
    model = load_model(name, revision, dtype=place.dtype, device=place.device).requires_grad_(False)
    return LanguageModel(
        model,
        temperature=temperature,
        tokens_per_microbatch=config.optim.tokens,
        float32_head=place.float32_head,
    )


def _teaching(teacher: LanguageModel, policy: Policy, settings: Distill) -> dict[Whose, Frozen]:
    """The teacher's log-probabilities, or its whole distribution in what the policy's loss is made of."""
    if settings.mode == "full":
        policy.per_token = Divergences(policy, teacher, settings.beta)
        return {}
    vocabulary = teacher.model.config.get_text_config().vocab_size
    return {"teacher": lambda sequences: teacher.logprobs(within(sequences, vocabulary))}


# --- On a cluster -------------------------------------------------------------------------------------------------


def _anywhere(files: ModelFiles) -> ModelFiles:
    """By a name that processes in other directories understand."""
    return replace(files, name=os.path.abspath(files.name)) if os.path.isdir(files.name) else files


def _open_models(config: Config, start: ModelFiles, checkpoint: Path | None) -> Models:
    """One rank's part of what all ranks open together.  What one rank alone has is whole, not a single shard."""
    base_only = checkpoint is None or config.model.lora_rank > 0
    files = start if base_only else replace(start, name=str(checkpoint), revision=None)
    open_part = _open_whole if config.cluster.learners == 1 else _open_shards
    return open_part(config, files, start, checkpoint)


def _open_shards(config: Config, files: ModelFiles, start: ModelFiles, checkpoint: Path | None) -> Models:
    """`_open_whole`, in shards."""
    from grpo.learning.sharded import open_sharded, open_sharded_frozen

    place, adapter = choose_place(config.model), config.model.lora_rank > 0
    inject = partial(lora.inject, settings=config.model, base=start.name, revision=start.revision)
    policy = open_sharded(
        files.name,
        files.revision,
        dtype=place.dtype,
        device=place.device,
        optim=config.optim,
        temperature=config.sampling.temperature,
        gradient_checkpointing=config.model.checkpoints,
        float32_head=place.float32_head,
        prepare=inject if adapter else None,
    )
    choose_threads(policy.model.num_parameters())
    if adapter:
        lora.read_adapter(policy.model, checkpoint) if checkpoint else lora.initialise(policy.model, config.run.seed)
    if checkpoint is not None:
        policy.load_state(checkpoint / OPTIMIZER)
    beside = partial(
        open_sharded_frozen,
        dtype=place.dtype,
        device=place.device,
        optim=config.optim,
        temperature=config.sampling.temperature,
        float32_head=place.float32_head,
    )
    frozen: dict[Whose, Frozen] = {}
    if config.objective.kl_coef and adapter:
        frozen["reference"] = lora.with_adapter_off(policy.model, policy.logprobs)
    elif config.objective.kl_coef:
        frozen["reference"] = beside(start.name, start.revision).logprobs
    if config.distill.teacher is not None:
        frozen |= _teaching(beside(config.distill.teacher, config.distill.revision), policy, config.distill)
    return Models(policy, frozen)
