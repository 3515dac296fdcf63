"""verl's ppo_trainer.yaml, or the overrides of its scripts → ours.  Formulas: docs/coming-from-verl.md.

A step is the same thing in both: train_batch_size prompts, n responses each, and the updates that learn from them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

from grpo.errors import ConfigError
from grpo.importing import verl_objective
from grpo.importing.theirs import (
    Left,
    Made,
    Reward,
    Rule,
    Setting,
    Theirs,
    as_it_is,
    epochs_as_steps,
    if_said,
    in_words,
    not_here,
    warmup,
)
from grpo.migration.verl import VERL

ACTOR, ROLLOUT, MODEL = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.model"
# What verl had before this version, or takes without a default.
EXTRA: Mapping[str, Any] = {
    f"{ACTOR}.tis_imp_ratio_cap": -1,
    **{f"reward.reward_kwargs.{name}": None for name in ("max_resp_len", "overlong_buffer_cfg.log")},
    "reward.reward_kwargs.overlong_buffer_cfg.enable": False,
    "reward.reward_kwargs.overlong_buffer_cfg.len": None,
    "reward.reward_kwargs.overlong_buffer_cfg.penalty_factor": 1.0,
}
RENAMED = {
    f"{ACTOR}.policy_loss.tau_pos": f"{ACTOR}.tau_pos",
    f"{ACTOR}.policy_loss.tau_neg": f"{ACTOR}.tau_neg",
    "custom_reward_function.path": "reward.custom_reward_function.path",
    "custom_reward_function.name": "reward.custom_reward_function.name",
    "reward_model.reward_manager": "reward.reward_manager.name",
    "reward_model.reward_kwargs.max_resp_len": "reward.reward_kwargs.max_resp_len",
    **{
        f"reward_model.{place}overlong_buffer{end}.{name}": f"reward.reward_kwargs.overlong_buffer_cfg.{name}"
        for place, end in (("", ""), ("reward_kwargs.", "_cfg"))
        for name in ("enable", "len", "penalty_factor", "log")
    },
}
KINDS = {
    r"critic\.": "there is no critic: a group is its own baseline",
    r"(reward_model\.|reward\.reward_model\.)": "rewards are functions; there are no reward models",
    r"reward\.reward_kwargs\.": "the penalty of length is the reward length",
    r"(reward\.num_workers|.*sandbox_fusion)": "rewards run in run.reward_workers processes of the machine",
    r"distillation\.": "a teacher is a command of its own, grpo distill",
    r".*(profiler|prometheus|\.trace\.)": "where the time goes is in metrics.jsonl",
    r"actor_rollout_ref\.ref\.": "the reference is computed as the policy is",
    r".*(fsdp|megatron|veomni|torchtitan|model_engine|\.engine\.|parallel|\.strategy|offload|dtype|compile|fused)": (
        "speed and memory are settled by the program; cluster.learners shards the learner"
    ),
    r".*(padding|pad_to|prefix_grouper|entropy_(from|checkp)|timeout|use_shm|override_optimizer|tiled_mlp|use_liger)": (
        "speed and memory are settled by the program"
    ),
    r".*(trust_remote_code|external_lib)": "no model's own code is run",
    r"rollout\.n": "all GPUs are used; cluster.learners and cluster.samplers divide them",
    rf"{ROLLOUT}\.(multi_turn|agent)": "completions are of one turn",
    rf"({ROLLOUT}\.|actor_rollout_ref\.hybrid|transfer_queue)": "the sampler is run by the program itself",
    r".*(micro_batch|dynamic_bsz|max_token_len|checkpoint)": "micro-batches go by optim.tokens_per_microbatch",
    r"(trainer\.|ray_kwargs|skip\.|hydra|defaults)": "is how verl starts and keeps its runs",
    r"data\.": "problems are read before the run, and come in a new order each epoch",
}


def _model(theirs: Theirs) -> Iterator[Made]:
    if theirs.said(f"{MODEL}.path"):
        yield Setting("model.name", os.path.expanduser(theirs.text(f"{MODEL}.path")), (f"{MODEL}.path",))
    if theirs.whole(f"{MODEL}.lora_rank") > 0:
        yield Setting("model.lora_rank", theirs.whole(f"{MODEL}.lora_rank"), (f"{MODEL}.lora_rank",))
        yield Setting("model.lora_alpha", float(theirs.number(f"{MODEL}.lora_alpha")), (f"{MODEL}.lora_alpha",))
        targets = theirs.texts(f"{MODEL}.target_modules")
        yield Setting("model.lora_target_modules", targets, (f"{MODEL}.target_modules",))


def _data(theirs: Theirs) -> Iterator[Made]:
    yield from _files(theirs, "data.train_files", "data.source")
    if theirs.said("data.train_files"):
        yield Setting("data.problem", theirs["data.prompt_key"], ("data.prompt_key",))
    if theirs.whole("data.train_max_samples") > 0:
        yield Setting("data.limit", theirs.whole("data.train_max_samples"), ("data.train_max_samples",))
    if told := theirs.under("data.apply_chat_template_kwargs"):
        of = tuple(f"data.apply_chat_template_kwargs.{name}" for name in told)
        yield Setting("data.chat_template_kwargs", told, of)


def _files(theirs: Theirs, name: str, ours: str) -> Iterator[Made]:
    """The first of the files; verl puts several together."""
    if not theirs.said(name):
        return
    if not (files := theirs.texts(name)):
        raise ConfigError(f"{name} = {theirs[name]!r}: must be a file or a list of files")
    yield Setting(ours, os.path.expanduser(files[0]), (name,))
    if len(files) > 1:
        yield Left(name, files[1:], "one file; put the rows of all into one first")


def _rewards(theirs: Theirs) -> Iterator[Made]:
    group = "reward.custom_reward_function"
    path, kwargs = theirs[f"{group}.path"], theirs.under(f"{group}.reward_kwargs")
    of = tuple(name for name in theirs.given if name.startswith(f"{group}."))
    if path is not None:
        use = f"{os.path.expanduser(theirs.text(f'{group}.path'))}:{theirs.text(f'{group}.name')}"
        yield Reward(use, of, options=kwargs or None, note="verl's signature is taken as it is")
    manager, buffer = theirs.word("reward.reward_manager.name"), "reward.reward_kwargs.overlong_buffer_cfg"
    if manager not in ("naive", "dapo", "batch", "prime"):
        yield theirs.left("reward.reward_manager.name", "rewards are functions of one completion")
    elif theirs.said("reward.reward_manager.name"):
        yield Left("reward.reward_manager.name", manager, "rewards are functions of one completion", matters=False)
    if not theirs.flag(f"{buffer}.enable"):
        return
    if path is None:
        yield Reward("math", (), note="verl's scorer goes by the rows' data_source; this is for GSM8K and MATH")
    longest = "reward.reward_kwargs.max_resp_len"
    longest = longest if theirs[longest] is not None else "data.max_response_length"
    options = {"max_tokens": theirs.count(longest), "cache": theirs.count(f"{buffer}.len")}
    names = (*(f"{buffer}.{name}" for name in ("enable", "len", "penalty_factor")), longest)
    yield Reward("length", names, theirs.number(f"{buffer}.penalty_factor"), options)


# --- A step -------------------------------------------------------------------------------------------------------


def _batches(theirs: Theirs) -> Iterator[Made]:
    n, problems, mini = f"{ROLLOUT}.n", theirs.count("data.train_batch_size"), f"{ACTOR}.ppo_mini_batch_size"
    yield Setting("sampling.problems_per_step", problems, ("data.train_batch_size",))
    if theirs.count(n) < 2:
        yield theirs.left(
            n, "a group of one has nothing to be compared with: sampling.group_size is as it is by default"
        )
    else:
        yield Setting("sampling.group_size", theirs.count(n), (n,))
    updates = math.ceil(problems / theirs.count(mini))
    names = ("data.train_batch_size", mini)
    yield Setting("optim.updates_per_step", updates, names, f"{problems} / {theirs.count(mini)}")
    if problems % theirs.count(mini):
        yield theirs.left(mini, f"{problems} / {theirs.count(mini)} is no whole number; verl asks for one")


def _length(theirs: Theirs) -> Iterator[Made]:
    share, steps = f"{ACTOR}.optim.lr_warmup_steps_ratio", f"{ACTOR}.optim.lr_warmup_steps"
    total = "trainer.total_training_steps"
    if theirs[total] is not None:
        length: Setting | Left = Setting("run.steps", theirs.count(total), (total,))
    else:
        length = epochs_as_steps(theirs, "trainer.total_epochs", theirs.count("data.train_batch_size"))
    yield length
    if theirs.whole(steps) > 0:  # it wins over the share
        yield Setting("optim.warmup_steps", theirs.whole(steps), (steps,))
    elif theirs.number(share):
        yield warmup(theirs, share, length)


def _schedule(theirs: Theirs) -> Iterator[Made]:
    older, name = f"{ACTOR}.optim.warmup_style", f"{ACTOR}.optim.lr_scheduler_type"
    words = {"constant": "constant", "cosine": "cosine"}
    yield from in_words(VERL, name if theirs[older] is None else older, words)(theirs)


# --- Evaluation, and what changes no number -----------------------------------------------------------------------


def _evaluation(theirs: Theirs) -> Iterator[Made]:
    every, val = "trainer.test_freq", f"{ROLLOUT}.val_kwargs"
    yield from _files(theirs, "data.val_files", "eval.source")
    if not theirs.said("data.val_files"):
        return
    if theirs.whole("data.val_max_samples") > 0:
        yield Setting("eval.limit", theirs.whole("data.val_max_samples"), ("data.val_max_samples",))
    yield Setting("eval.every", max(0, theirs.whole(every)), (every,))
    sampled = theirs.flag(f"{val}.do_sample") and theirs.number(f"{val}.temperature") > 0
    names = (f"{val}.do_sample", f"{val}.temperature")
    yield Setting("eval.temperature", float(theirs.number(f"{val}.temperature")) if sampled else 0.0, names)
    yield Setting("eval.n", theirs.count(f"{val}.n") if sampled else 1, (f"{val}.n",), "" if sampled else "greedy")
    if sampled:
        yield from not_here({f"{val}.top_p": (None, "evaluation samples without it")}, f"{val}.top_p", 1, 1.0)(theirs)


def _saving(theirs: Theirs) -> Iterator[Made]:
    if theirs.whole("trainer.save_freq") > 0:
        yield Setting("run.save_every", theirs.whole("trainer.save_freq"), ("trainer.save_freq",))
    if theirs.said("trainer.logger"):
        listed = theirs.texts("trainer.logger")
        known = [name for name in listed if name in ("tensorboard", "wandb", "trackio")]
        if other := [name for name in listed if name not in (*known, "console")]:
            yield Left("trainer.logger", other, "trackers are tensorboard, wandb and trackio", matters=False)
        yield Setting("run.trackers", known, ("trainer.logger",), "the console is always there")


RULES: tuple[Rule, ...] = (
    _model,
    if_said(as_it_is(VERL, f"{MODEL}.enable_gradient_checkpointing"), f"{MODEL}.enable_gradient_checkpointing"),
    _data,
    _rewards,
    _batches,
    as_it_is(VERL, "data.max_response_length", f"{ROLLOUT}.temperature"),
    not_here(VERL, f"{ROLLOUT}.top_p", 1, 1.0),
    not_here(VERL, f"{ROLLOUT}.top_k", -1, 0),
    if_said(as_it_is(VERL, f"{ROLLOUT}.gpu_memory_utilization"), f"{ROLLOUT}.gpu_memory_utilization"),
    if_said(as_it_is(VERL, f"{ROLLOUT}.tensor_model_parallel_size"), f"{ROLLOUT}.tensor_model_parallel_size"),
    if_said(in_words(VERL, f"{ROLLOUT}.name", {"vllm": "vllm", "hf": "transformers"}), f"{ROLLOUT}.name"),
    _length,
    as_it_is(VERL, f"{ACTOR}.optim.lr", f"{ACTOR}.ppo_epochs", f"{ACTOR}.grad_clip"),
    _schedule,
    not_here(VERL, f"{ACTOR}.optim.min_lr_ratio", 0.0),
    not_here(VERL, f"{ACTOR}.optim.weight_decay", 0.0),
    not_here(VERL, f"{ACTOR}.optim.betas", [0.9, 0.99]),
    not_here(VERL, f"{ACTOR}.entropy_coeff", 0, 0.0),
    verl_objective.parts,
    verl_objective.kl,
    verl_objective.correction,
    verl_objective.filtering,
    _evaluation,
    _saving,
    if_said(as_it_is(VERL, "data.seed"), "data.seed"),
    if_said(as_it_is(VERL, "trainer.max_actor_ckpt_to_keep"), "trainer.max_actor_ckpt_to_keep"),
)
