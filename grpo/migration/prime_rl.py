"""prime-rl's settings, as in its configurations of `rl`."""

from __future__ import annotations

from grpo.migration.notes import (
    BOTH_HEADS,
    FITTED,
    NO_DECAY,
    OUT,
    RANK,
    TRACKERS,
    Rows,
)

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
    "orchestrator.seq_len": (None, FITTED),
    "orchestrator.eval.interval": ("eval.every", "(100 → 0: before the first and after the last)"),
    "orchestrator.eval.num_examples": ("eval.limit", "the first so many; all is to leave it out, not -1"),
    "orchestrator.eval.group_size": ("eval.n", ""),
    "orchestrator.eval.sampling.temperature": ("eval.temperature", "(the server's → 0, greedy)"),
    "orchestrator.eval.sampling.max_completion_tokens": ("eval.max_tokens", ""),
    "orchestrator.curriculum.sampler": ("curriculum.easy", "shares of easy and hard problems instead of pools"),
    "trainer.optim.lr": ("optim.lr", ""),
    "trainer.optim.max_norm": ("optim.max_grad_norm", ""),
    "trainer.optim.weight_decay": (None, NO_DECAY),
    "trainer.scheduler.type": ("optim.lr_scheduler_type", ""),
    "trainer.scheduler.warmup_steps": ("optim.warmup_steps", ""),
    "trainer.loss.type": ("objective.surrogate", '"default" is "dppo"'),
    "trainer.loss.dppo_mask_low": ("objective.clip_low", 'with objective.name = "dppo"'),
    "trainer.loss.dppo_mask_high": ("objective.clip_high", 'with objective.name = "dppo"'),
    "trainer.loss.kl_tau": (None, '"dppo" has its default, 1e-3, built in'),
    "trainer.model.seq_len": ("optim.tokens_per_microbatch", "a prompt counts once for all completions of its group"),
    "trainer.model.ac": ("model.gradient_checkpointing", '(on → "auto")'),
    "trainer.model.optim_cpu_offload": ("optim.offload", '(true → "auto")'),
    "trainer.model.lora": ("model.lora_rank", RANK),
    "inference.enable_fp32_lm_head": ("model.head_dtype", BOTH_HEADS),
    "inference.vllm.gpu_memory_utilization": ("sampling.gpu_memory_utilization", '(0.9 → "auto")'),
    "inference.vllm.max_model_len": (None, FITTED),
    "deployment.num_train_gpus": ("cluster.learners", ""),
    "deployment.num_infer_gpus": ("cluster.samplers", "engines, of cluster.tensor_parallel GPUs each"),
    "max_steps": ("run.steps", ""),
    "ckpt.interval": ("run.save_every", ""),
    "ckpt.keep_last": ("run.keep", ""),
    "monitors.wandb": ("run.trackers", TRACKERS),
    "output_dir": (None, OUT),
}
