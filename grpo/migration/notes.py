"""What is said of settings that several trainers have."""

from __future__ import annotations

from collections.abc import Mapping

Rows = Mapping[str, tuple[str | None, str]]  # their name → ours, or None; what differs

UNIFORM = "whatever the policy cannot renormalise as well makes every ratio wrong; sharpen with sampling.temperature"
PLACED = "all GPUs are used; cluster.learners and cluster.samplers divide them"
SHARDED = "learners are sharded by FSDP2; cluster.learners says how many"
NO_CRITIC = "there is no critic: a group is its own baseline"
RANK = "0 trains all weights"
NO_DECAY = "there is no weight decay: at these learning rates it would do nothing"
NO_ENTROPY = "there is no entropy term; a larger objective.clip_high keeps exploration up"
NEVER_CUT = "no prompt is ever cut; one that does not fit is refused with its name"
FITTED = "the longest prompt and its completion decide"
OUT = "the place is --out of the command"
RESUME = "it is --resume of the command"
BOTH = "one bound for both sides there: set objective.clip_high as well (0.2 → 0.28)"
TOKENS = "in tokens, not completions; it changes memory and speed, never the gradient"
STEPS = "in steps, one round of sampling each: passes over the data × problems / sampling.problems_per_step"
WARM = "in steps, not a share of them"
REWARD = "one [[reward]] table each; reward functions of TRL and verl are called as they are"
REFILL = "above 1: sample until sampling.problems_per_step groups carry a signal; the others are left out anyhow"
OVERLONG = 'a reward of its own: use = "length", options = { max_tokens = …, cache = … }'
TRACKERS = 'a list, such as ["wandb"]; metrics.jsonl is always written'
KL_IN = '"loss" or "reward"; there is a penalty only where objective.kl_coef is above 0'
BOTH_HEADS = '"float32" is the head of the policy, of the reference and of the sampler alike'
ONE_MODEL = "the reference stays the model that the run starts from"
NO_REWARD_MODELS = "rewards are functions; there are no reward models"
SLEEPS = "the sampler always sleeps while the policy learns"
OWN_BATCHES = "the sampler makes its own batches"
OWN_OPTIMIZER = "it is AdamW, in float32, with β = (0.9, 0.99)"
