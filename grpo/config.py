"""Every setting there is: its type, default, unit, effect, and where the default comes from.

A configuration is a TOML file with one table per group below (`[model]`, `[data]`, …, and `[[reward]]` once per
reward), changed by `--set group.key=value`.  There is no other source: what a run used is in its `config.toml`.
An unknown key is refused with the nearest name, a value out of range with what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

# Numbers are strict, because `true` is not 1 and "3" is not 3.
Count = Annotated[int, Field(ge=1, strict=True)]
CountOrOff = Annotated[int, Field(ge=0, strict=True)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
PositiveOrOff = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Share = Annotated[float, Field(gt=0, le=1, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]  # what every random generator takes


def _count_or_auto(given: Any) -> Any:
    if given != "auto" and (type(given) is not int or given < 1):
        # Of a choice of types pydantic would say what each of them misses.
        raise PydanticCustomError("count_or_auto", 'must be "auto" or a whole number from 1 on')
    return given


CountOrAuto = Annotated[int | Literal["auto"], BeforeValidator(_count_or_auto)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())


class Model(_Settings):
    name: str
    """Hugging Face id, directory in Hugging Face format, or "builtin:tiny" (made on the spot, for "quickstart")."""
    revision: str | None = None
    """Branch, tag or commit on the Hub.  Ignored for directories."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the weights in forward and backward; the optimizer always keeps float32.  auto: bfloat16 on CUDA devices
    that have it, float32 elsewhere."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: about a third more time for much less memory."""


class Data(_Settings):
    source: str
    """Hugging Face id, a .jsonl, .json, .csv or .parquet file, or a generated task: "builtin:arithmetic" or
    "builtin:functions"."""
    subset: str | None = None
    """The Hub's "configuration", such as "main" for openai/gsm8k; for LiveCodeBench files a window of contest dates,
    "2024-08-01..2025-02-01"."""
    split: str | None = None
    """Split of a Hub data set or a generated task.  Default: "train" here, "test" under [eval]."""
    problem: str | None = None
    """Column that holds the problem: text, or a list of chat messages.  Default: guessed from the columns."""
    answer: str | None = None
    """Column that holds the gold answer.  Default: guessed; `#### 42` and `\\boxed{42}` are looked into."""
    system: str | None = None
    """System message put before every problem."""
    template: str | None = None
    """Text around the problem, with `{problem}` where it goes.  It becomes the user message of a chat model, or, with
    `chat = false`, all that the model sees."""
    chat: bool = True
    """Use the tokenizer's chat template.  false: give the model the plain text (base models, R1-Zero)."""
    limit: Count | None = None
    """Use the first so many rows.  Default: all."""
    shuffle: bool = True
    """Draw problems in an order that `run.seed` fixes, a new one each epoch."""


class Sampling(_Settings):
    backend: Literal["auto", "vllm", "transformers"] = "auto"
    """Who samples.  auto: vLLM where it is installed."""
    problems_per_step: Count = 32
    group_size: Annotated[int, Field(ge=2, strict=True)] = 8
    """Completions per problem.  A step is problems_per_step × group_size completions."""
    max_tokens: Count = 1024
    """Longest completion, in tokens.  Too short a limit is the most common reason for a run that learns nothing."""
    temperature: Annotated[float, Field(ge=0.01, allow_inf_nan=False, strict=True)] = 1.0
    """Of sampling while training; the policy's log-probabilities use the same.  vLLM has nothing between 0 and 0.01."""
    stop: tuple[str, ...] = ()
    """Texts that end a completion besides the model's own end token; for base models, "</answer>" say."""
    memory: Share = 0.45
    """Share of the GPU's memory that vLLM may take while it samples.  On CPUs: share of 8 GiB, for its key-value
    cache."""
    canary: PositiveOrOff | None = None
    """Largest mean |Δ log-probability| between sampler and policy after a weight transfer; beyond it the run stops.
    Default: 0.001 in float32, 0.1 in bfloat16.  0 turns the check off."""


class Reward(_Settings):
    use: str
    """A built-in ("math", "code", "layout", "length"), "file.py:function", "package.module:function", or the name of an
    entry point in the group `grpo.rewards`."""
    weight: Annotated[float, Field(allow_inf_nan=False, strict=True)] = 1.0
    """The completion's reward is the weighted sum over rewards."""
    timeout: Positive | None = None
    """Seconds for one call; then the worker is killed and the completion scores 0 with the failure "timeout".
    Default: what the reward declares (60 for "code", where one test may use 6 seconds of CPU time), else 5."""
    on_error: Literal["stop", "skip"] = "stop"
    """When the reward raises: stop the run with the completion saved, or leave the completion unscored and count."""
    options: dict[str, Any] = {}
    """Keyword arguments for the reward, such as `{max_tokens = 1024}`."""


class Objective(_Settings):
    normalize: Literal["sequence", "token", "constant"] = "token"
    """What a completion's summed loss is divided by: "sequence" its own length, then the number of completions (GRPO,
    arXiv 2402.03300 eq. 3); "token" all tokens of the update (DAPO, arXiv 2503.14476 eq. 8); "constant"
    completions × sampling.max_tokens (Dr. GRPO, arXiv 2503.20783)."""
    scale_by_std: bool = True
    """Divide advantages by the group's standard deviation (GRPO).  false: Dr. GRPO."""
    clip_low: Share = 0.2
    """The ratio's gain is clipped below 1 - clip_low."""
    clip_high: Positive = 0.28
    """… and above 1 + clip_high.  0.28: DAPO's "clip higher"."""
    kl: PositiveOrOff = 0.0
    """Weight of the KL penalty (k3 estimator) to the model the run starts from.  0: no reference model is loaded."""
    importance_cap: PositiveOrOff = 2.0
    """Tokens are weighted by min(π_policy / π_sampler, cap), which corrects for the sampler's slightly different
    arithmetic (truncated importance sampling).  0: off."""
    drop_agreeing: bool = True
    """Leave groups whose rewards are all equal out of the update and its denominators (they carry no advantage).
    false: they count in the denominators."""
    drop_truncated: bool = False
    """Leave completions that ran out of room out of the loss and its denominators (DAPO's over-long filtering); they
    still count in their group's baseline."""


class Optim(_Settings):
    lr: Positive = 1e-6
    """Peak learning rate of AdamW."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """After the warm-up: stay, or fall to zero at run.steps."""
    warmup_steps: CountOrOff = 0
    """Steps over which the learning rate rises from 0."""
    weight_decay: PositiveOrOff = 0.0
    grad_clip: Positive = 1.0
    """Largest gradient norm; gradients beyond it are scaled down."""
    updates_per_step: Count = 1
    """Optimizer updates per step, each on its own share of the step's groups.  1 is strictly on-policy."""
    tokens_per_microbatch: CountOrAuto = "auto"
    """Tokens that are computed together: a prompt once for all completions of its group, and the completions.  A model
    that cannot share prompts computes whole rows, padding included.  Changes memory and speed, never the gradient.
    auto: 2048 on CPUs, 16384 on CUDA devices."""
    offload: bool = False
    """Keep the optimizer's float32 weights and moments in host memory: 12 bytes per parameter less on the GPU."""

    def tokens_at_a_time(self, device: str) -> int:
        """`tokens_per_microbatch` as a number.

        On CPUs 16,384 take four times the memory and a fifth more time than 2,048: tensors of that size leave the
        cache, and are given back to the system, which clears them before it hands them out again.
        """
        if self.tokens_per_microbatch != "auto":
            return self.tokens_per_microbatch
        return 16384 if device == "cuda" else 2048


class Eval(_Settings):
    source: str | None = None
    """Held-out problems, as data.source.  Default: none; nothing is evaluated during the run."""
    subset: str | None = None
    split: str | None = None
    limit: Count | None = None
    every: CountOrOff = 0
    """Steps between evaluations.  0: before the first and after the last step only."""
    n: Count = 1
    """Samples per problem."""
    temperature: PositiveOrOff = 0.0
    """0: greedy."""
    max_tokens: Count | None = None
    """Default: sampling.max_tokens."""


class Sft(_Settings):
    """Supervised fine-tuning: `grpo sft`, and the cold start of `grpo train` where steps > 0."""

    source: str | None = None
    """Worked examples, as data.source.  Rows have the problem's columns and `target`."""
    subset: str | None = None
    split: str | None = None
    target: str = "solution"
    """Column with the whole text that the model should write."""
    steps: CountOrOff = 0
    """Optimizer updates.  0: no cold start."""
    batch_size: Count = 32
    """Examples per update."""
    lr: Positive = 1e-5
    """Peak; warmed up over a tenth of the steps, then falling to a tenth as a cosine."""


class Run(_Settings):
    steps: Count = 200
    """GRPO steps."""
    seed: Seed = 0
    """Of everything random: order of problems, sampling, made models."""
    save_every: Count = 50
    """Steps between checkpoints.  The last step and an interrupted one are always saved."""
    keep: Count = 2
    """Newest checkpoints kept.  The best by evaluation is kept apart."""
    reward_workers: Count | None = None
    """Processes that score.  Default: one per core, at most 8."""
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Besides metrics.jsonl."""
    preflight: Literal["refuse", "report"] = "refuse"
    """What to do when the first groups show that the run would learn nothing."""


class Config(_Settings):
    model: Model
    data: Data
    sampling: Sampling = Sampling()
    reward: Annotated[tuple[Reward, ...], Field(min_length=1)] = (Reward(use="math"),)
    objective: Objective = Objective()
    optim: Optim = Optim()
    eval: Eval = Eval()
    sft: Sft = Sft()
    run: Run = Run()

    def to_toml(self) -> str:
        return tomli_w.dumps(self.model_dump(exclude_none=True, mode="json"))

    def with_changes(self, **groups: Mapping[str, Any]) -> Config:
        """A copy in which the named settings differ: `config.with_changes(run={"steps": 3})`."""
        tree = self.model_dump()
        for group, changes in groups.items():
            tree[group].update(changes)
        return Config.model_validate(tree)
