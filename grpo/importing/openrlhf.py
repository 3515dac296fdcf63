"""The flags of openrlhf.cli.train_ppo_ray → ours, by their names of 2026 or those before.

Formulas: docs/coming-from-openrlhf.md.  A step is `rollout.batch_size` prompts in both.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from grpo.importing.theirs import (
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
from grpo.migration.openrlhf import OPENRLHF, WAS

RENAMED = WAS
EXTRA: Mapping[str, Any] = {"prompt_max_len": None}
KINDS = {
    r"critic\.": "there is no critic: a group is its own baseline",
    r"ref\.": "the reference is computed as the policy is",
    r"(ds\.|train\.(colocate|dynamic|max_tokens)|local_rank|bf16|flash_attn|packing_samples|zero)": (
        "speed and memory are settled by the program; cluster.learners shards the learner"
    ),
    r"(vllm\.|vllm_|rollout\.(max_tokens|vllm|micro))": "the sampler is run by the program itself",
    r".*num_(nodes|gpus)": "all GPUs are used; cluster.learners and cluster.samplers divide them",
    r"(ckpt\.|save_)": "a checkpoint holds all that it takes to go on; the best is kept",
    r"(logger\.|wandb|use_tensorboard|logging)": "every step is written down",
    r"reward\.": "rewards are functions, in [[reward]] tables",
    r"actor\.(muon|freeze|aux_loss)": "the optimizer is AdamW, over all that learns",
    r"data\.": "problems are read before the run",
}


def _data(theirs: Theirs) -> Iterator[Made]:
    source = "data.prompt_dataset"
    if theirs[source] is not None:
        yield Setting("data.source", os.path.expanduser(theirs.text(source)), (source,))
        yield Setting("data.split", theirs["data.prompt_split"], ("data.prompt_split",))
        yield Setting("data.problem", theirs["data.input_key"], ("data.input_key",))
        if theirs["data.label_key"] is not None:
            yield Setting("data.answer", theirs["data.label_key"], ("data.label_key",))
    yield Setting("data.chat", theirs.flag("data.apply_chat_template"), ("data.apply_chat_template",))
    if (template := theirs["data.input_template"]) is not None:
        yield Setting("data.template", str(template).replace("{}", "{problem}"), ("data.input_template",))
    if theirs.said("data.max_samples"):
        yield Setting("data.limit", theirs.count("data.max_samples"), ("data.max_samples",))


def _rewards(theirs: Theirs) -> Iterator[Made]:
    if (url := theirs["reward.remote_url"]) is not None:
        why = (
            "wrap it: OpenRLHF's reward_func(queries, prompts, labels) has the prompt in each text and returns tensors"
        )
        yield theirs.left(
            "reward.remote_url", why if str(url).endswith(".py") else "rewards are functions, not servers"
        )
    if theirs["reward.overlong_buffer_len"] is not None:
        cache = theirs.count("reward.overlong_buffer_len")
        options = {"max_tokens": _max_tokens(theirs)[0], "cache": cache}
        names = ("reward.overlong_buffer_len", "reward.overlong_penalty_factor")
        yield Reward("math", (), note="put yours in")
        yield Reward("length", names, float(theirs.number("reward.overlong_penalty_factor")), options)


def _max_tokens(theirs: Theirs) -> tuple[int, str]:
    name = "data.max_len" if theirs["rollout.max_new_tokens"] is None else "rollout.max_new_tokens"
    return theirs.count(name), name


def _batches(theirs: Theirs) -> Iterator[Made]:
    n, batch = "rollout.n_samples_per_prompt", "train.batch_size"
    problems = theirs.count("rollout.batch_size")
    tokens, name = _max_tokens(theirs)
    yield Setting("sampling.max_tokens", tokens, (name,), "less the prompt there" if name == "data.max_len" else "")
    yield Setting("sampling.problems_per_step", problems, ("rollout.batch_size",))
    if theirs.count(n) < 2:
        yield theirs.left(
            n, "a group of one has nothing to be compared with: sampling.group_size is as it is by default"
        )
    else:
        yield Setting("sampling.group_size", theirs.count(n), (n,))
    completions = problems * theirs.count(n)
    updates = max(1, min(problems, completions // theirs.count(batch)))
    arithmetic = f"{problems} × {theirs.count(n)} / {theirs.count(batch)}"
    yield Setting("optim.updates_per_step", updates, (batch,), arithmetic)
    if updates * theirs.count(batch) != completions:
        yield theirs.left(batch, f"{arithmetic} is no whole number of updates of whole groups")


def _length(theirs: Theirs) -> Iterator[Made]:
    length = epochs_as_steps(theirs, "train.num_episodes", theirs.count("rollout.batch_size"))
    yield length
    if theirs.number("actor.lr_warmup_ratio"):
        yield warmup(theirs, "actor.lr_warmup_ratio", length)


_SCHEDULES = {
    "cosine_with_min_lr": "cosine",
    "cosine": "cosine",
    "linear": "linear",
    "constant": "constant",
    "constant_with_warmup": "constant",
}


def _schedule(theirs: Theirs) -> Iterator[Made]:
    yield from in_words(OPENRLHF, "actor.lr_scheduler", _SCHEDULES)(theirs)
    if theirs["actor.lr_scheduler"] == "cosine_with_min_lr":
        yield from not_here(OPENRLHF, "actor.min_lr_ratio", 0.0)(theirs)


_ADVANTAGES = {
    "group_norm": "group_std",
    "dr_grpo": "group_mean",
    "rloo": "leave_one_out",
    "reinforce_baseline": "whitened",
}


def _objective(theirs: Theirs) -> Iterator[Made]:
    estimator, kind = "algo.advantage.estimator", "actor.policy_loss_type"
    sequence = theirs[kind] == "gspo"
    yield Setting("objective.name", "gspo" if sequence else "dapo", (kind,))
    given, plain = theirs.word(estimator), "algo.advantage.no_std_norm"
    if given not in _ADVANTAGES:
        why = "there is no critic: a group is its own baseline" if given == "gae" else "there is none of that name"
        yield theirs.left(estimator, f"{why}; written as group_norm, of {', '.join(_ADVANTAGES)}")
    elif given == "reinforce_baseline" and theirs.flag(plain):
        yield Setting("objective.advantages", "group_mean", (estimator, plain))
    else:
        yield Setting("objective.advantages", _ADVANTAGES[given], (estimator,))
    pair = theirs["actor.eps_clip_low_high"]
    name = "actor.eps_clip" if pair is None else "actor.eps_clip_low_high"
    low, high = pair if isinstance(pair, list) and len(pair) == 2 else [theirs.number("actor.eps_clip")] * 2
    if sequence and isinstance(high, int | float) and high >= 0.05:
        yield theirs.left(name, "would clip nothing of a completion's mean ratio; GSPO's 3e-4 and 4e-4 stand here")
    else:
        yield Setting("objective.clip_low", low, (name,))
        yield Setting("objective.clip_high", high, (name,))
    if theirs["actor.dual_clip"] is not None:
        yield Setting("objective.dual_clip", theirs.number("actor.dual_clip"), ("actor.dual_clip",))


def _kl(theirs: Theirs) -> Iterator[Made]:
    coef, switch, kind = "algo.kl.init_coef", "algo.kl.use_loss", "algo.kl.estimator"
    yield Setting("objective.kl_coef", float(theirs.number(coef)), (coef,))
    if not theirs.number(coef):
        return
    if not theirs.flag(switch):
        note = "taken from each token after the groups are compared there, from the completion before it here"
        yield Setting("objective.kl_in", "reward", (switch,), note)
        yield from not_here({kind: (None, "in the reward it is k1")}, kind, "k1")(theirs)
    elif theirs[kind] == "k1":
        yield theirs.left(kind, "in the loss its expected gradient is 0, so it penalises nothing; written as k3")
    else:
        yield Setting("objective.kl_estimator", theirs[kind], (switch, kind))
    yield from not_here(OPENRLHF, "algo.kl.target")(theirs)


def _correction(theirs: Theirs) -> Iterator[Made]:
    switch, kind = "algo.advantage.is_correction_enable", "algo.advantage.is_correction_type"
    bounds = "algo.advantage.is_correction_threshold"
    if not theirs.flag(switch):
        yield Setting("objective.correction", "off", (switch,))
        return
    words = {"tis": "token_truncate", "icepop": "token_mask", "seq-mask-tis": "geometric_mask"}
    yield from in_words(OPENRLHF, kind, words)(theirs)
    pair = theirs[bounds]
    if isinstance(pair, list) and len(pair) == 2:
        yield Setting("objective.correction_min", pair[0], (switch, bounds))
        yield Setting("objective.correction_max", pair[1], (switch, bounds))
    else:
        yield theirs.left(bounds, "must be two numbers")


def _filtering(theirs: Theirs) -> Iterator[Made]:
    switch = "algo.dynamic_filtering_enable"
    if theirs.flag(switch):
        yield Setting("sampling.max_num_gen_batches", 10, (switch,), "no bound there")
        yield from not_here(OPENRLHF, "algo.dynamic_filtering_range", [0, 1])(theirs)
    else:
        note = "OpenRLHF keeps groups without a signal in the denominators"
        yield Setting("objective.filter_groups", False, (), note)


def _adapter(theirs: Theirs) -> Iterator[Made]:
    if theirs.whole("ds.lora.rank") > 0:
        yield Setting("model.lora_rank", theirs.whole("ds.lora.rank"), ("ds.lora.rank",))
        yield Setting("model.lora_alpha", float(theirs.number("ds.lora.alpha")), ("ds.lora.alpha",))
        targets = theirs.texts("ds.lora.target_modules")
        yield Setting("model.lora_target_modules", targets, ("ds.lora.target_modules",))
        yield from not_here(OPENRLHF, "ds.lora.dropout", 0, 0.0)(theirs)


def _evaluation(theirs: Theirs) -> Iterator[Made]:
    if theirs["eval.dataset"] is None:
        return
    yield Setting("eval.source", os.path.expanduser(theirs.text("eval.dataset")), ("eval.dataset",))
    yield Setting("eval.split", theirs["eval.split"], ("eval.split",))
    yield Setting("eval.every", max(0, theirs.whole("eval.steps")), ("eval.steps",))
    yield Setting("eval.temperature", float(theirs.number("eval.temperature")), ("eval.temperature",))
    greedy = theirs.number("eval.temperature") == 0
    n = "eval.n_samples_per_prompt"
    yield Setting("eval.n", 1 if greedy else theirs.count(n), (n,), "greedy" if greedy else "")


def _saving(theirs: Theirs) -> Iterator[Made]:
    if theirs.whole("ckpt.save_steps") > 0:
        yield Setting("run.save_every", theirs.whole("ckpt.save_steps"), ("ckpt.save_steps",))
    asked = {"wandb": "logger.wandb.key", "tensorboard": "logger.tensorboard_dir"}
    if names := {tracker: name for tracker, name in asked.items() if theirs.said(name)}:
        yield Setting("run.trackers", list(names), tuple(names.values()))


RULES: tuple[Rule, ...] = (
    as_it_is(OPENRLHF, "actor.model_name_or_path"),
    _adapter,
    _data,
    _rewards,
    not_here(OPENRLHF, "reward.model_name_or_path"),
    not_here(OPENRLHF, "reward.clip_range", [-10, 10]),
    not_here(OPENRLHF, "reward.stop_properly_penalty_coef"),
    not_here(OPENRLHF, "reward.normalize_enable", False),
    _batches,
    not_here(OPENRLHF, "prompt_max_len"),
    as_it_is(OPENRLHF, "rollout.temperature", "train.max_epochs", "actor.adam.lr", "actor.max_norm"),
    not_here(OPENRLHF, "rollout.top_p", 1.0, 1),
    _length,
    _schedule,
    not_here(OPENRLHF, "actor.optim", "adam"),
    not_here(OPENRLHF, "actor.adam.betas", [0.9, 0.99]),
    not_here(OPENRLHF, "actor.adam.weight_decay", 0.0, 0),
    not_here(OPENRLHF, "actor.entropy_coef", 0.0, 0),
    _objective,
    _kl,
    _correction,
    _filtering,
    not_here(OPENRLHF, "train.enable_ema", False),
    not_here(OPENRLHF, "train.agent_func_path"),
    not_here(OPENRLHF, "train.async_enable", False),
    _evaluation,
    _saving,
    if_said(as_it_is(OPENRLHF, "train.seed"), "train.seed"),
    if_said(as_it_is(OPENRLHF, "ckpt.max_num"), "ckpt.max_num"),
    if_said(as_it_is(OPENRLHF, "vllm.tensor_parallel_size"), "vllm.tensor_parallel_size"),
    if_said(as_it_is(OPENRLHF, "vllm.gpu_memory_utilization"), "vllm.gpu_memory_utilization"),
    if_said(as_it_is(OPENRLHF, "actor.gradient_checkpointing_enable"), "actor.gradient_checkpointing_enable"),
)
