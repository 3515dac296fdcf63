"""TRL's GRPOConfig and the arguments of `trl grpo` → ours.  Formulas: docs/coming-from-trl.md."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from grpo.errors import ConfigError
from grpo.importing import trl_objective, trl_steps
from grpo.importing.theirs import (
    Left,
    Made,
    Reward,
    Rule,
    Setting,
    Theirs,
    as_it_is,
    if_said,
    in_words,
    not_here,
)
from grpo.migration.trl import TRL

RENAMED = {"torch_dtype": "dtype", "vllm_importance_sampling_cap": "vllm_importance_sampling_clip_max"}
# Of accelerate's launcher, or of TRL and transformers before these versions.
EXTRA: Mapping[str, Any] = {
    "config": None,
    "num_processes": None,
    "accelerate_config": None,
    "warmup_ratio": None,
    "max_prompt_length": None,
}
KINDS = {
    r"(ddp_|fsdp|deepspeed|parallelism_|accelerator_|ds3_|local_rank)": "cluster.learners shards the learner",
    r"(hub_|trackio_|project$|run_name)": "names are given by --out and run.push_to_hub",
    r"(logging_|log_|disable_tqdm|debug|include_|num_completions_to_print|skip_memory)": "every step is written down",
    r"(eval_|batch_eval|prediction_loss|do_|per_device_eval|label_names|load_best|metric_for|greater_is)": (
        "of evaluation there are [eval]'s settings; the best checkpoint is kept"
    ),
    r"(save_|enable_jit|ignore_data_skip|restore_callback|resume)": "a checkpoint holds all that it takes to go on",
    r"dataloader_": "problems are read before the run",
    r"(vllm_|cache_implementation|use_transformers_)": "the sampler is run by the program itself",
    r"(torch_|tf32|use_cpu|liger|gradient_checkpointing_k|pad_to)": "speed is settled by the program itself",
    r"(bnb_|use_bnb|load_in_8bit|lora_|use_dora)": "of adapters there are model.lora_… and model.load_in_4bit",
    r"vespo_": "there is no VESPO",
    r"(entropy_|use_adaptive)": "there is no entropy term",
}


# --- Model and data -----------------------------------------------------------------------------------------------


def _model(theirs: Theirs) -> Iterator[Made]:
    if theirs["model_revision"] != "main":
        yield Setting("model.revision", theirs["model_revision"], ("model_revision",))
    if theirs.flag("cast_lm_head_to_fp32"):
        yield Setting("model.head_dtype", "float32", ("cast_lm_head_to_fp32",))
    if theirs.said("dtype", "bf16", "fp16"):
        yield from _precision(theirs)
    own: Any = theirs["model_init_kwargs"] or {}
    kept = ("trust_remote_code", "attn_implementation", "dtype", "torch_dtype", "revision")
    if isinstance(own, dict) and (rest := {k: v for k, v in own.items() if k not in kept and v is not None}):
        yield Left("model_init_kwargs", rest, "the model is built by the program itself")


def _precision(theirs: Theirs) -> Iterator[Made]:
    dtype, names = theirs["dtype"], tuple(name for name in ("dtype", "bf16", "fp16") if theirs.said(name))
    if theirs["fp16"] or dtype == "float16":
        yield Left(names[-1], theirs[names[-1]], TRL["fp16"][1])
    elif dtype == "float32" and theirs["bf16"] is False:
        yield Setting("model.dtype", "float32", names)
    elif dtype in ("float32", "auto", "bfloat16", None):
        note = "float32 weights under bfloat16 autocast: the optimizer's are float32 here too"
        yield Setting("model.dtype", "auto", names, note if dtype == "float32" else "")
    else:
        yield theirs.left("dtype", "model.dtype here is auto, float32 or bfloat16")


def _adapter(theirs: Theirs) -> Iterator[Made]:
    if not theirs.flag("use_peft"):
        return
    yield Setting("model.lora_rank", theirs["lora_r"], ("use_peft", "lora_r"))
    yield Setting("model.lora_alpha", float(theirs.number("lora_alpha")), ("lora_alpha",))
    if targets := theirs.texts("lora_target_modules"):
        yield Setting("model.lora_target_modules", targets, ("lora_target_modules",))
    else:
        yield theirs.left("lora_target_modules", "PEFT's own choice for the model there; all linear layers here")
    if theirs.number("lora_dropout"):
        yield theirs.left("lora_dropout", TRL["lora_dropout"][1])
    if theirs.flag("load_in_4bit"):
        yield Setting("model.load_in_4bit", True, ("load_in_4bit",))


def _data(theirs: Theirs) -> Iterator[Made]:
    name, source = "dataset_name", theirs["dataset_name"]
    mixture = theirs["datasets"]
    if isinstance(mixture, list) and len(mixture) == 1 and isinstance(mixture[0], dict):
        name, one = "datasets", mixture[0]
        yield from _place("data", one.get("path"), one.get("name"), one.get("split", "train"), ("datasets",) * 3)
    elif mixture:
        yield theirs.left("datasets", TRL["datasets"][1])
    elif source is not None:
        splits = ("dataset_name", "dataset_config", "dataset_train_split")
        yield from _place("data", source, theirs["dataset_config"], theirs["dataset_train_split"], splits)
    if source is not None or name == "datasets":
        yield Setting("data.problem", "prompt", (), "the column that TRL reads")
        if {"accuracy_reward", "reasoning_accuracy_reward"} & set(theirs.texts("reward_funcs")):
            yield Setting("data.answer", "solution", (), "the column that accuracy_reward reads")


def _place(group: str, source: Any, subset: Any, split: Any, of: tuple[str, ...]) -> Iterator[Made]:
    yield Setting(f"{group}.source", source, (of[0],))
    if subset is not None:
        yield Setting(f"{group}.subset", subset, (of[1],))
    yield Setting(f"{group}.split", split, (of[2],))


# --- Rewards ------------------------------------------------------------------------------------------------------

_BUILT_IN: Mapping[str, tuple[str, dict[str, Any] | None, str]] = {
    "accuracy_reward": ("math", None, "both compare with the gold answer; TRL's by math_verify"),
    "reasoning_accuracy_reward": ("math", None, "the answer after the reasoning counts; TRL's by math_verify"),
    "think_format_reward": (
        "trl.rewards:think_format_reward",
        None,
        'as it is, where TRL is installed; "layout" is ours, and asks for <answer> besides',
    ),
    "get_soft_overlong_punishment": ("length", {"max_tokens": 1280, "cache": 256}, ""),
}


def _rewards(theirs: Theirs) -> Iterator[Made]:
    names, weights = theirs.texts("reward_funcs"), theirs["reward_weights"]
    weights = [1.0] * len(names) if weights is None or not names else weights
    if not isinstance(weights, list) or len(weights) != len(names):
        raise ConfigError(f"reward_weights = {weights!r}: must have one number for each of {len(names)} reward_funcs")
    for name, weight in zip(names, weights, strict=True):
        of = ("reward_funcs", "reward_weights") if theirs["reward_weights"] is not None else ("reward_funcs",)
        if name in _BUILT_IN:
            use, options, note = _BUILT_IN[name]
            yield Reward(use, of, weight, options, "; ".join(part for part in (name, note) if part))
        elif "." in name:
            module, _, function = name.rpartition(".")
            yield Reward(f"{module}:{function}", of, weight, note=f"{name}; TRL's signature is taken as it is")
        else:
            yield Left("reward_funcs", name, "there is no such reward; name it file.py:function in [[reward]]")


_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant", "constant_with_warmup": "constant"}


def _generation(theirs: Theirs) -> Iterator[Made]:
    given = theirs["generation_kwargs"] or {}
    if not isinstance(given, dict):
        yield theirs.left("generation_kwargs", TRL["generation_kwargs"][1])
        return
    for name in ("stop", "stop_strings"):
        if stop := given.get(name):
            yield Setting("sampling.stop", [stop] if isinstance(stop, str) else stop, ("generation_kwargs",))
    if rest := {name: value for name, value in given.items() if name not in ("stop", "stop_strings")}:
        yield Left("generation_kwargs", rest, TRL["generation_kwargs"][1])


# --- Evaluation, and what changes no number -----------------------------------------------------------------------


def _evaluation(theirs: Theirs) -> Iterator[Made]:
    strategy = theirs["eval_strategy"]
    if strategy in ("no", False, None) or theirs["dataset_name"] is None:
        return
    this = trl_steps.shape(theirs)
    yield from _place(
        "eval",
        theirs["dataset_name"],
        theirs["dataset_config"],
        theirs["dataset_test_split"],
        ("eval_strategy", "eval_strategy", "dataset_test_split"),
    )
    every = "logging_steps" if theirs["eval_steps"] is None else "eval_steps"
    if strategy == "epoch" and theirs.problems is not None:
        yield Setting(
            "eval.every", math.ceil(theirs.problems / this.problems), ("eval_strategy",), "a pass over the data"
        )
    elif strategy == "epoch":
        yield theirs.left("eval_strategy", f"eval.every = problems of the data / {this.problems}: give --problems N")
    elif theirs.number(every) >= 1:
        yield Setting("eval.every", this.rounds(theirs.number(every)), (every,), "updates; in rounds of sampling here")
    else:
        yield theirs.left(every, "eval.every is a number of steps, not a share of them")
    n = "num_generations" if theirs["num_generations_eval"] is None else "num_generations_eval"
    yield Setting("eval.n", theirs.count(n), (n,))
    yield Setting("eval.temperature", theirs["temperature"], ("temperature",), "TRL evaluates as it samples")


def _saving(theirs: Theirs) -> Iterator[Made]:
    if theirs["save_strategy"] != "steps":
        yield Left("save_strategy", theirs["save_strategy"], "run.save_every is a number of steps", matters=False)
    elif theirs.said("save_steps") and theirs.number("save_steps") >= 1:
        saved = trl_steps.shape(theirs).rounds(theirs.number("save_steps"))
        yield Setting("run.save_every", saved, ("save_steps",), "updates; in rounds of sampling here")
    known = [name for name in theirs.texts("report_to") if name in ("tensorboard", "wandb", "trackio")]
    if theirs.said("report_to") and known:
        yield Setting("run.trackers", known, ("report_to",))
    if theirs.flag("push_to_hub") and theirs["hub_model_id"]:
        yield Setting("run.push_to_hub", theirs["hub_model_id"], ("push_to_hub", "hub_model_id"))


RULES: tuple[Rule, ...] = (
    not_here({"config": (None, "another file of settings, which is not read: import it by itself")}, "config"),
    as_it_is(TRL, "model_name_or_path"),
    _model,
    _adapter,
    if_said(as_it_is(TRL, "gradient_checkpointing"), "gradient_checkpointing"),
    _data,
    if_said(as_it_is(TRL, "chat_template_kwargs"), "chat_template_kwargs"),
    _rewards,
    not_here(TRL, "reward_model_name_or_path"),
    trl_steps.batches,
    as_it_is(TRL, "max_completion_length", "temperature", "learning_rate", "max_grad_norm"),
    not_here(TRL, "max_prompt_length"),
    not_here(TRL, "top_p", 1.0),
    not_here(TRL, "top_k", 0),
    not_here(TRL, "min_p"),
    not_here(TRL, "repetition_penalty", 1.0),
    _generation,
    trl_steps.length,
    in_words(TRL, "lr_scheduler_type", _SCHEDULES),
    not_here(TRL, "weight_decay", 0.0),
    not_here(TRL, "adam_beta1", 0.9),
    not_here(TRL, "adam_beta2", 0.99),
    not_here(TRL, "optim", "adamw_torch", "adamw_torch_fused", "adamw"),
    trl_objective.parts,
    as_it_is(TRL, "mask_truncated_completions", "top_entropy_quantile"),
    not_here(TRL, "entropy_coef", 0.0),
    not_here(TRL, "use_adaptive_entropy", False),
    not_here(TRL, "off_policy_mask_threshold"),
    trl_objective.kl,
    not_here(TRL, "sync_ref_model", False),
    trl_objective.sampler,
    _evaluation,
    _saving,
    if_said(as_it_is(TRL, "seed"), "seed"),
    if_said(as_it_is(TRL, "save_total_limit"), "save_total_limit"),
)
