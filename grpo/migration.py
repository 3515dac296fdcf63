"""Other trainers' names for our settings: TRL, verl, OpenRLHF and prime-rl, as they are in 2026.

One table for whoever arrives with their words.  `grpo.config_file` answers an unknown setting from it, and
docs/migration.md is made of it.  A row is: the trainer's name, ours (None where there is no counterpart), and what
differs in meaning, unit or default, "" where nothing does.  "(a → b)" are defaults, theirs and ours.

Sources: trl/trainer/grpo_config.py with transformers' TrainingArguments, verl/trainer/config/ppo_trainer.yaml,
openrlhf/cli/train_ppo_ray.py (whose options got groups in 2026: both forms), prime-rl's configs of `rl`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple


class Foreign(NamedTuple):
    """Example: `Foreign("TRL", "beta", "objective.kl_coef", "")`."""

    trainer: str
    name: str
    ours: str | None
    note: str


_KEPT_OUT = "whatever the policy cannot renormalise as well makes every ratio wrong; sharpen with sampling.temperature"
_PLACED = "all GPUs are used; cluster.learners and cluster.samplers divide them"
_SHARDED = "learners are sharded by FSDP2; cluster.learners says how many"
_NO_CRITIC = "there is no critic: a group is its own baseline"
_RANK = "0 trains all weights"
_NO_DECAY = "there is no weight decay: at these learning rates it would do nothing"
_NO_ENTROPY = "there is no entropy term; a larger objective.clip_high keeps exploration up"
_NEVER_CUT = "no prompt is ever cut; one that does not fit is refused with its name"
_FITTED = "the longest prompt and its completion decide"
_OUT = "the place is --out of the command"
_RESUME = "it is --resume of the command"
_BOTH = "one bound for both sides there: set objective.clip_high as well (0.2 → 0.28)"
_TOKENS = "in tokens, not completions; it changes memory and speed, never the gradient"
_STEPS = "in steps, one round of sampling each: passes over the data × problems / sampling.problems_per_step"
_WARM = "in steps, not a share of them"
_REWARD = "one [[reward]] table each; reward functions of TRL and verl are called as they are"
_REFILL = "above 1: sample until sampling.problems_per_step groups carry a signal; the others are left out anyhow"
_OVERLONG = 'a reward of its own: use = "length", options = { max_tokens = …, cache = … }'
_TRACKERS = 'a list, such as ["wandb"]; metrics.jsonl is always written'
_KL_IN = '"loss" or "reward"; there is a penalty only where objective.kl_coef is above 0'
_BOTH_HEADS = '"float32" is the head of the policy, of the reference and of the sampler alike'
_ONE_MODEL = "the reference stays the model that the run starts from"

Rows = Mapping[str, tuple[str | None, str]]

TRL: Rows = {
    "model_name_or_path": ("model.name", ""),
    "model_revision": ("model.revision", ""),
    "torch_dtype": ("model.dtype", "there is no float16"),
    "bf16": ("model.dtype", '"auto" takes bfloat16 on GPUs that have it'),
    "fp16": ("model.dtype", "there is no float16: bfloat16 needs no loss scaling"),
    "cast_lm_head_to_fp32": ("model.head_dtype", _BOTH_HEADS),
    "gradient_checkpointing": ("model.gradient_checkpointing", '(true → "auto")'),
    "dataset_name": ("data.source", ""),
    "dataset_config": ("data.subset", ""),
    "dataset_train_split": ("data.split", ""),
    "dataset_test_split": ("eval.split", ""),
    "shuffle_dataset": (None, "problems come in a new order each epoch, which run.seed fixes"),
    "remove_unused_columns": (None, "rewards see all columns"),
    "num_generations": ("sampling.group_size", ""),
    "num_generations_eval": ("eval.n", "(num_generations → 1)"),
    "max_completion_length": ("sampling.max_tokens", "(512 → 1024)"),
    "max_prompt_length": (None, _NEVER_CUT),
    "per_device_train_batch_size": (
        "optim.tokens_per_microbatch",
        f"{_TOKENS}; a step's size is sampling.problems_per_step",
    ),
    "gradient_accumulation_steps": (
        "sampling.problems_per_step",
        "per_device_train_batch_size × gradient_accumulation_steps × devices / num_generations make the same update",
    ),
    "generation_batch_size": ("sampling.problems_per_step", "in problems, not completions: divide by num_generations"),
    "steps_per_generation": ("optim.updates_per_step", "in updates: divide by gradient_accumulation_steps"),
    "per_device_eval_batch_size": (None, "the sampler makes its own batches"),
    "num_iterations": ("optim.num_iterations", ""),
    "num_train_epochs": ("run.steps", f"{_STEPS} (3 epochs → 200 steps)"),
    "max_steps": ("run.steps", "in rounds of sampling, not optimizer updates"),
    "learning_rate": ("optim.lr", ""),
    "lr_scheduler_type": ("optim.lr_scheduler_type", '("linear" → "constant")'),
    "warmup_steps": ("optim.warmup_steps", ""),
    "warmup_ratio": ("optim.warmup_steps", _WARM),
    "max_grad_norm": ("optim.max_grad_norm", ""),
    "weight_decay": (None, _NO_DECAY),
    "adam_beta1": (None, "AdamW has β = (0.9, 0.99)"),
    "adam_beta2": (None, "AdamW has β = (0.9, 0.99): runs are a few hundred steps"),
    "temperature": ("sampling.temperature", ""),
    "top_p": (None, _KEPT_OUT),
    "top_k": (None, _KEPT_OUT),
    "min_p": (None, _KEPT_OUT),
    "repetition_penalty": (None, _KEPT_OUT),
    "generation_kwargs": ("sampling.stop", "texts that end a completion are all there is of it"),
    "chat_template_kwargs": ("data.chat_template_kwargs", ""),
    "use_vllm": ("sampling.backend", '"vllm" or "transformers"; "auto" takes vLLM where it is installed'),
    "vllm_mode": ("cluster.colocate", '"colocate" is true, "server" false'),
    "vllm_gpu_memory_utilization": ("sampling.gpu_memory_utilization", '(0.3 → "auto")'),
    "vllm_tensor_parallel_size": ("cluster.tensor_parallel", ""),
    "vllm_enable_sleep_mode": (None, "the sampler always sleeps while the policy learns"),
    "vllm_max_model_length": (None, _FITTED),
    "vllm_server_host": (None, _PLACED),
    "beta": ("objective.kl_coef", ""),
    "epsilon": (
        "objective.clip_low",
        "for both sides there unless epsilon_high is set: set objective.clip_high as well",
    ),
    "epsilon_high": (
        "objective.clip_high",
        'the bound is 1 + this in both, but with loss_type="cispo" the bound itself there: 5.0 is 4.0 (epsilon → 0.28)',
    ),
    "delta": ("objective.dual_clip", "off is 0, not None"),
    "loss_type": (
        "objective.name",
        'the loss alone there; a name has advantages and bounds here: "dr_grpo" is scale_rewards="none" too',
    ),
    "importance_sampling_level": ("objective.ratio", ""),
    "scale_rewards": ("objective.advantages", '"group" is "group_std", "batch" "batch_std", "none" "group_mean"'),
    "multi_objective_aggregation": ("objective.advantages", '"normalize_then_sum" is "gdpo"'),
    "reward_weights": ("reward.weight", "one in each [[reward]] table, not a list"),
    "reward_funcs": ("reward.use", _REWARD),
    "mask_truncated_completions": ("objective.mask_truncated_completions", ""),
    "top_entropy_quantile": ("objective.top_entropy_quantile", ""),
    "entropy_coef": (None, _NO_ENTROPY),
    "use_bias_correction_kl": ("objective.kl_unbiased", ""),
    "sync_ref_model": (None, _ONE_MODEL),
    "ref_model_sync_steps": (None, _ONE_MODEL),
    "sapo_temperature_pos": (None, "sapo has the paper's temperatures, 1 and 1.05"),
    "sapo_temperature_neg": (None, "sapo has the paper's temperatures, 1 and 1.05"),
    "vllm_importance_sampling_correction": ("objective.correction", '"off" for false'),
    "vllm_importance_sampling_mode": ("objective.correction", '("sequence_mask" → "token_truncate")'),
    "vllm_importance_sampling_clip_max": ("objective.correction_max", "(3 → 2)"),
    "vllm_importance_sampling_clip_min": ("objective.correction_min", ""),
    "vllm_importance_sampling_cap": ("objective.correction_max", ""),
    "eval_steps": ("eval.every", ""),
    "eval_strategy": ("eval.every", "a number of steps; 0: before the first and after the last"),
    "save_steps": ("run.save_every", "(500 → 50)"),
    "save_strategy": ("run.save_every", "a number of steps"),
    "save_total_limit": ("run.keep", "the best is kept besides (all → 2)"),
    "logging_steps": (None, "every step is written down"),
    "log_completions": (None, "every completion is in samples.jsonl"),
    "report_to": ("run.trackers", _TRACKERS),
    "output_dir": (None, _OUT),
    "run_name": (None, _OUT),
    "resume_from_checkpoint": (None, _RESUME),
    "seed": ("run.seed", "(42 → 0)"),
    "disable_dropout": (None, "dropout is always off"),
    "use_liger_kernel": (None, "logits are computed in tiles anyhow"),
    "use_peft": ("model.lora_rank", _RANK),
    "lora_r": ("model.lora_rank", "(16 → 0: all weights)"),
    "lora_alpha": ("model.lora_alpha", "twice model.lora_rank where it is not set"),
    "lora_target_modules": ("model.lora_target_modules", ""),
    "lora_dropout": (None, "dropout is always off"),
    "load_in_4bit": ("model.load_in_4bit", ""),
    "deepspeed": (None, _SHARDED),
}

_ACTOR, _ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
VERL: Rows = {
    "data.train_files": ("data.source", ""),
    "data.val_files": ("eval.source", ""),
    "data.prompt_key": ("data.problem", "guessed where it is not set"),
    "data.train_max_samples": ("data.limit", "the first so many; all is to leave it out, not -1"),
    "data.val_max_samples": ("eval.limit", "the first so many; all is to leave it out, not -1"),
    "data.train_batch_size": ("sampling.problems_per_step", "in prompts in both (1024 → 32)"),
    "data.max_response_length": ("sampling.max_tokens", "(512 → 1024)"),
    "data.max_prompt_length": (None, _NEVER_CUT),
    "data.filter_overlong_prompts": (None, _NEVER_CUT),
    "data.truncation": (None, _NEVER_CUT),
    "data.apply_chat_template_kwargs": ("data.chat_template_kwargs", ""),
    "data.reward_fn_key": (None, _REWARD),
    "data.seed": ("run.seed", ""),
    "actor_rollout_ref.model.path": ("model.name", ""),
    "actor_rollout_ref.model.enable_gradient_checkpointing": ("model.gradient_checkpointing", '(true → "auto")'),
    "actor_rollout_ref.model.use_remove_padding": (None, "there is next to no padding: update/padded says how much"),
    "actor_rollout_ref.model.lora_rank": ("model.lora_rank", ""),
    f"{_ACTOR}.optim.lr": ("optim.lr", ""),
    f"{_ACTOR}.optim.lr_scheduler_type": ("optim.lr_scheduler_type", ""),
    f"{_ACTOR}.optim.warmup_style": ("optim.lr_scheduler_type", ""),
    f"{_ACTOR}.optim.lr_warmup_steps": ("optim.warmup_steps", "none is 0, not -1"),
    f"{_ACTOR}.optim.lr_warmup_steps_ratio": ("optim.warmup_steps", _WARM),
    f"{_ACTOR}.optim.weight_decay": (None, _NO_DECAY),
    f"{_ACTOR}.ppo_mini_batch_size": (
        "optim.updates_per_step",
        "a number of updates: data.train_batch_size / ppo_mini_batch_size, both in prompts",
    ),
    f"{_ACTOR}.ppo_micro_batch_size_per_gpu": ("optim.tokens_per_microbatch", _TOKENS),
    f"{_ACTOR}.ppo_max_token_len_per_gpu": (
        "optim.tokens_per_microbatch",
        "a prompt counts once for all completions of its group",
    ),
    f"{_ACTOR}.use_dynamic_bsz": ("optim.tokens_per_microbatch", "micro-batches always go by tokens"),
    f"{_ACTOR}.ppo_epochs": ("optim.num_iterations", ""),
    f"{_ACTOR}.grad_clip": ("optim.max_grad_norm", ""),
    f"{_ACTOR}.fsdp_config.optimizer_offload": ("optim.offload", ""),
    f"{_ACTOR}.clip_ratio": ("objective.clip_low", _BOTH),
    f"{_ACTOR}.clip_ratio_low": ("objective.clip_low", ""),
    f"{_ACTOR}.clip_ratio_high": ("objective.clip_high", "the bound is 1 + this in both (0.2 → 0.28)"),
    f"{_ACTOR}.clip_ratio_c": ("objective.dual_clip", "(3 → off)"),
    f"{_ACTOR}.loss_agg_mode": (
        "objective.weights",
        '"token-mean" is "token", "seq-mean-token-mean" "sequence", "seq-mean-token-sum" "sum", '
        '"seq-mean-token-sum-norm" "constant" but for a factor, the number of completions',
    ),
    f"{_ACTOR}.policy_loss.loss_mode": (
        "objective.surrogate",
        '"vanilla" is "clip"; for gspo, cispo and sapo set objective.name, which has the bounds too',
    ),
    f"{_ACTOR}.entropy_coeff": (None, _NO_ENTROPY),
    f"{_ACTOR}.use_kl_loss": ("objective.kl_in", _KL_IN),
    f"{_ACTOR}.kl_loss_coef": ("objective.kl_coef", "above 0 it acts, with no switch besides (0.001 → 0)"),
    f"{_ACTOR}.kl_loss_type": ("objective.kl_estimator", '"low_var_kl" is "k3", "mse" "k2", "kl" "k1"'),
    f"{_ACTOR}.tis_imp_ratio_cap": ("objective.correction_max", "(off → 2)"),
    f"{_ROLLOUT}.n": ("sampling.group_size", "(1 → 8)"),
    f"{_ROLLOUT}.name": ("sampling.backend", '"vllm" or "transformers"; there is no SGLang'),
    f"{_ROLLOUT}.temperature": ("sampling.temperature", ""),
    f"{_ROLLOUT}.top_p": (None, _KEPT_OUT),
    f"{_ROLLOUT}.top_k": (None, _KEPT_OUT),
    f"{_ROLLOUT}.response_length": ("sampling.max_tokens", ""),
    f"{_ROLLOUT}.gpu_memory_utilization": ("sampling.gpu_memory_utilization", '(0.5 → "auto")'),
    f"{_ROLLOUT}.tensor_model_parallel_size": ("cluster.tensor_parallel", "(2 → 1)"),
    f"{_ROLLOUT}.max_model_len": (None, _FITTED),
    f"{_ROLLOUT}.free_cache_engine": (None, "the sampler always sleeps while the policy learns"),
    f"{_ROLLOUT}.log_prob_micro_batch_size_per_gpu": ("optim.tokens_per_microbatch", _TOKENS),
    f"{_ROLLOUT}.calculate_log_probs": (None, "the sampler's log-probabilities are always kept"),
    f"{_ROLLOUT}.val_kwargs.n": ("eval.n", ""),
    f"{_ROLLOUT}.val_kwargs.temperature": ("eval.temperature", ""),
    f"{_ROLLOUT}.val_kwargs.do_sample": ("eval.temperature", "0 is greedy"),
    "algorithm.adv_estimator": (
        "objective.advantages",
        '"grpo" is "group_std", "rloo" "leave_one_out", "reinforce_plus_plus_baseline" "whitened"; there is no "gae"',
    ),
    "algorithm.norm_adv_by_std_in_grpo": ("objective.advantages", 'true is "group_std", false "group_mean"'),
    "algorithm.use_kl_in_reward": ("objective.kl_in", _KL_IN),
    "algorithm.kl_ctrl.kl_coef": ("objective.kl_coef", "fixed, never adapted (0.001 → 0)"),
    "algorithm.kl_penalty": ("objective.kl_estimator", "in the reward it is k1"),
    "algorithm.gamma": (None, _NO_CRITIC),
    "algorithm.lam": (None, _NO_CRITIC),
    "algorithm.filter_groups.enable": ("sampling.max_num_gen_batches", _REFILL),
    "algorithm.filter_groups.max_num_gen_batches": ("sampling.max_num_gen_batches", "0 has no bound there"),
    "algorithm.rollout_correction.rollout_is": (
        "objective.correction",
        '"token" is "token_truncate", "sequence" "sequence_truncate", null "off"',
    ),
    "algorithm.rollout_correction.rollout_is_threshold": ("objective.correction_max", ""),
    "algorithm.rollout_correction.rollout_rs": (
        "objective.correction",
        '"token_mask", "sequence_mask" or "geometric_mask", in place of truncation and not besides',
    ),
    "algorithm.rollout_correction.rollout_rs_threshold": ("objective.correction_max", ""),
    "reward_model.overlong_buffer.len": ("reward.options", _OVERLONG),
    "reward_model.reward_manager": ("reward.use", _REWARD),
    "reward_model.enable": (None, "rewards are functions; there are no reward models"),
    "custom_reward_function.path": ("reward.use", '"file.py:function"; verl\'s signature is taken as it is'),
    "custom_reward_function.name": ("reward.use", '"file.py:function"; verl\'s signature is taken as it is'),
    "critic.optim.lr": (None, _NO_CRITIC),
    "trainer.total_epochs": ("run.steps", f"{_STEPS} (30 epochs → 200 steps)"),
    "trainer.total_training_steps": ("run.steps", ""),
    "trainer.save_freq": ("run.save_every", "(never → 50)"),
    "trainer.test_freq": ("eval.every", "none between is 0, not -1"),
    "trainer.val_before_train": (None, "held-out problems are always evaluated before the first step"),
    "trainer.max_actor_ckpt_to_keep": ("run.keep", "the best is kept besides (all → 2)"),
    "trainer.logger": ("run.trackers", _TRACKERS),
    "trainer.project_name": (None, _OUT),
    "trainer.experiment_name": (None, _OUT),
    "trainer.default_local_dir": (None, _OUT),
    "trainer.resume_mode": (None, _RESUME),
    "trainer.n_gpus_per_node": (None, _PLACED),
    "trainer.nnodes": ("cluster.address", "a Ray cluster has as many machines as joined it"),
    "trainer.device": ("model.device", ""),
    "trainer.critic_warmup": (None, _NO_CRITIC),
}

_TRAIN_BATCH = "a number of updates: rollout batch × samples per prompt / this, which is in completions"
_PAIR = "the first of the pair; objective.clip_high is the second"
_ESTIMATOR = (
    '"group_norm" is "group_std", "dr_grpo" "group_mean", "rloo" "leave_one_out", "reinforce_baseline" "whitened"'
)
OPENRLHF: Rows = {
    "pretrain": ("model.name", ""),
    "actor.model_name_or_path": ("model.name", ""),
    "prompt_data": ("data.source", ""),
    "data.prompt_dataset": ("data.source", ""),
    "prompt_split": ("data.split", ""),
    "input_key": ("data.problem", "guessed where it is not set"),
    "label_key": ("data.answer", "guessed where it is not set"),
    "input_template": ("data.template", "the problem goes where {problem} is, not {}"),
    "apply_chat_template": ("data.chat", "(false → true)"),
    "max_samples": ("data.limit", ""),
    "prompt_max_len": (None, _NEVER_CUT),
    "data.max_len": (None, _FITTED),
    "generate_max_len": ("sampling.max_tokens", ""),
    "rollout.max_new_tokens": ("sampling.max_tokens", ""),
    "n_samples_per_prompt": ("sampling.group_size", "(1 → 8)"),
    "rollout_batch_size": ("sampling.problems_per_step", "in prompts in both (1024 → 32)"),
    "rollout.batch_size": ("sampling.problems_per_step", "in prompts in both (1024 → 32)"),
    "micro_rollout_batch_size": (None, "the sampler makes its own batches"),
    "train_batch_size": ("optim.updates_per_step", _TRAIN_BATCH),
    "train.batch_size": ("optim.updates_per_step", _TRAIN_BATCH),
    "micro_train_batch_size": ("optim.tokens_per_microbatch", _TOKENS),
    "train.micro_batch_size": ("optim.tokens_per_microbatch", _TOKENS),
    "max_epochs": ("optim.num_iterations", ""),
    "num_episodes": ("run.steps", _STEPS),
    "actor_learning_rate": ("optim.lr", ""),
    "actor.adam.lr": ("optim.lr", ""),
    "critic_learning_rate": (None, _NO_CRITIC),
    "lr_scheduler": ("optim.lr_scheduler_type", '("cosine_with_min_lr" → "constant")'),
    "lr_warmup_ratio": ("optim.warmup_steps", f"{_WARM} (3 % → 0)"),
    "max_norm": ("optim.max_grad_norm", ""),
    "l2": (None, _NO_DECAY),
    "adam_offload": ("optim.offload", ""),
    "eps_clip": ("objective.clip_low", _BOTH),
    "eps_clip_low_high": ("objective.clip_low", _PAIR),
    "dual_clip": ("objective.dual_clip", ""),
    "init_kl_coef": ("objective.kl_coef", "(0.01 → 0)"),
    "algo.kl.init_coef": ("objective.kl_coef", "(0.01 → 0)"),
    "use_kl_loss": ("objective.kl_in", _KL_IN),
    "algo.kl.use_loss": ("objective.kl_in", _KL_IN),
    "kl_estimator": ("objective.kl_estimator", '("k1" → "k3")'),
    "algo.kl.estimator": ("objective.kl_estimator", '("k1" → "k3")'),
    "kl_target": (None, "objective.kl_coef is fixed, never adapted"),
    "advantage_estimator": ("objective.advantages", _ESTIMATOR),
    "algo.advantage.estimator": ("objective.advantages", _ESTIMATOR),
    "no_advantage_std_norm": ("objective.advantages", '"group_mean" for true'),
    "policy_loss_type": ("objective.name", '"gspo"; "ppo" is any with the surrogate "clip"'),
    "entropy_loss_coef": (None, _NO_ENTROPY),
    "normalize_reward": (None, "rewards are compared within their group"),
    "reward_clip_range": (None, "rewards are taken as they are"),
    "dynamic_filtering": ("sampling.max_num_gen_batches", _REFILL),
    "algo.dynamic_filtering_enable": ("sampling.max_num_gen_batches", _REFILL),
    "enable_vllm_is_correction": ("objective.correction", '(off → "token_truncate")'),
    "vllm_is_truncated_threshold": ("objective.correction_max", ""),
    "remote_rm_url": ("reward.use", _REWARD),
    "reward_pretrain": (None, "rewards are functions; there are no reward models"),
    "critic_pretrain": (None, _NO_CRITIC),
    "overlong_buffer_len": ("reward.options", _OVERLONG),
    "eval_dataset": ("eval.source", ""),
    "eval_temperature": ("eval.temperature", "(0.6 → 0, greedy)"),
    "eval_n_samples_per_prompt": ("eval.n", "(4 → 1)"),
    "max_ckpt_num": ("run.keep", "(3 → 2)"),
    "save_path": (None, _OUT),
    "ckpt_path": (None, _OUT),
    "load_checkpoint": (None, _RESUME),
    "use_wandb": ("run.trackers", _TRACKERS),
    "zero_stage": (None, _SHARDED),
    "vllm_num_engines": ("cluster.samplers", ""),
    "colocate_all_models": ("cluster.colocate", "where it is not set: if nobody would work meanwhile"),
    "vllm_enable_sleep": (None, "the sampler always sleeps while the policy learns"),
    "lora_rank": ("model.lora_rank", ""),
    "lora_alpha": ("model.lora_alpha", "twice model.lora_rank where it is not set"),
}

_OWN_SPLIT = "a data set and [[reward]] tables take the place of an environment"
PRIME_RL: Rows = {
    "orchestrator.batch_size": ("sampling.problems_per_step", "in problems, not completions: divide by group_size"),
    "orchestrator.group_size": ("sampling.group_size", "(1 → 8)"),
    "orchestrator.rollouts_per_example": ("sampling.group_size", "its name before group_size"),
    "orchestrator.train.sampling.max_completion_tokens": ("sampling.max_tokens", "(no limit of its own → 1024)"),
    "orchestrator.train.sampling.temperature": ("sampling.temperature", ""),
    "orchestrator.train.filter_zero_advantages": ("objective.filter_groups", ""),
    "orchestrator.train.source": ("data.source", _OWN_SPLIT),
    "orchestrator.algo.type": (
        "objective.name",
        '"grpo" with its default loss is "dppo"; "max_rl" is objective.advantages = "max_rl"',
    ),
    "orchestrator.max_off_policy_steps": ("cluster.max_staleness", "(8 → 0: sampling and learning take turns)"),
    "orchestrator.seq_len": (None, _FITTED),
    "orchestrator.eval.interval": ("eval.every", "(100 → 0: before the first and after the last)"),
    "orchestrator.eval.num_examples": ("eval.limit", "the first so many; all is to leave it out, not -1"),
    "orchestrator.eval.group_size": ("eval.n", ""),
    "orchestrator.eval.sampling.temperature": ("eval.temperature", "(the server's → 0, greedy)"),
    "orchestrator.eval.sampling.max_completion_tokens": ("eval.max_tokens", ""),
    "orchestrator.curriculum.sampler": ("curriculum.easy", "shares of easy and hard problems instead of pools"),
    "trainer.optim.lr": ("optim.lr", ""),
    "trainer.optim.max_norm": ("optim.max_grad_norm", ""),
    "trainer.optim.weight_decay": (None, _NO_DECAY),
    "trainer.scheduler.type": ("optim.lr_scheduler_type", ""),
    "trainer.scheduler.warmup_steps": ("optim.warmup_steps", ""),
    "trainer.loss.type": ("objective.surrogate", '"default" is "dppo"'),
    "trainer.loss.dppo_mask_low": ("objective.clip_low", 'with objective.name = "dppo"'),
    "trainer.loss.dppo_mask_high": ("objective.clip_high", 'with objective.name = "dppo"'),
    "trainer.loss.kl_tau": (None, '"dppo" has its default, 1e-3, built in'),
    "trainer.model.seq_len": ("optim.tokens_per_microbatch", "a prompt counts once for all completions of its group"),
    "trainer.model.ac": ("model.gradient_checkpointing", '(on → "auto")'),
    "trainer.model.optim_cpu_offload": ("optim.offload", '(true → "auto")'),
    "trainer.model.lora": ("model.lora_rank", _RANK),
    "inference.enable_fp32_lm_head": ("model.head_dtype", _BOTH_HEADS),
    "inference.vllm.gpu_memory_utilization": ("sampling.gpu_memory_utilization", '(0.9 → "auto")'),
    "inference.vllm.max_model_len": (None, _FITTED),
    "deployment.num_train_gpus": ("cluster.learners", ""),
    "deployment.num_infer_gpus": ("cluster.samplers", "engines, of cluster.tensor_parallel GPUs each"),
    "max_steps": ("run.steps", ""),
    "ckpt.interval": ("run.save_every", ""),
    "ckpt.keep_last": ("run.keep", ""),
    "monitors.wandb": ("run.trackers", _TRACKERS),
    "output_dir": (None, _OUT),
}

TRAINERS: Mapping[str, Rows] = {"TRL": TRL, "verl": VERL, "OpenRLHF": OPENRLHF, "prime-rl": PRIME_RL}


def rows() -> Iterator[Foreign]:
    for trainer, table in TRAINERS.items():
        for name, (ours, note) in table.items():
            yield Foreign(trainer, name, ours, note)


def look_up(path: Sequence[str]) -> list[Foreign]:
    """What `path`, an unknown setting such as ("grpo", "beta"), was meant to name: rows of different settings of ours,
    one where it is sure.

    Whoever writes another trainer's name may put a group of ours or any other before it, or leave out groups of its
    own ("rollout.n"), so the longest part that is found counts.  A last word like "name" or "type" alone is no part.
    """
    names = [name.lstrip("+-").replace("-", "_") for name in path]  # Hydra's + and the dashes of a command line
    for start in range(len(names)):
        tail = names[start:]
        whole = [row for row in rows() if row.name == ".".join(tail)]
        ends = [row for row in rows() if row.name.split(".")[-len(tail) :] == tail]
        found = whole or (ends if len(tail) > 1 or "_" in tail[0] else [])
        if found:
            return list({row.ours: row for row in reversed(found)}.values())
    return []


def advice(path: Sequence[str]) -> str:
    """The rest of "… is not a setting", for who writes another trainer's name; "" where it is nobody's."""
    found = look_up(path)
    same = [row for row in found if row.ours and row.ours.rpartition(".")[2] == path[-1]]
    if same:
        return f"; did you mean {same[0].ours}?"
    return "".join(f"; {_in_words(row)}" for row in found)


def _in_words(row: Foreign) -> str:
    note = _DEFAULTS.sub("", row.note)  # whoever sets a value does not ask for the default
    what = f"is {row.ours} here" if row.ours else "has no counterpart here"
    return f"{row.trainer}'s {row.name} {what}" + (f": {note}" if note else "")


_DEFAULTS = re.compile(r"\s*\([^()]*→[^()]*\)")
