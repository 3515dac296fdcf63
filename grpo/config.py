"""Every setting there is: its type, default, unit, effect, and where the default comes from.

A configuration is a TOML file with one table per group below (`[model]`, `[data]`, …, and `[[reward]]` once per
reward), changed by `--set group.key=value`.  There is no other source: what a run used is in its `config.toml`.
An unknown key is refused with the nearest name, a value out of range with what is allowed.

Four settings are *sizes*: model.gradient_checkpointing, optim.tokens_per_microbatch, optim.offload and
sampling.gpu_memory_utilization.  They change speed and memory, and of the numbers only the last bits: sums of a few
terms are added up in another order.  "auto", their default, is settled once, when a run begins, from the model's
shape and what the device and the host have (`grpo.sizes`, docs/sizes.md), and stands as a number in the run's
config.toml.  A run that goes on keeps the learner's, on other machines too, so that it goes on bit for bit; only where
they do not fit there are others settled.  vLLM's share is always of the device that is there.  Whoever reads them
unsettled gets what suits a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from grpo import deadline

# Numbers are strict, because `true` is not 1 and "3" is not 3.
Count = Annotated[int, Field(ge=1, strict=True)]
CountOrOff = Annotated[int, Field(ge=0, strict=True)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
PositiveOrOff = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Share = Annotated[float, Field(gt=0, le=1, strict=True)]
ShareOrNone = Annotated[float, Field(ge=0, le=1, strict=True)]
Text = Annotated[str, Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]  # what every random generator takes


def _count_or_auto(given: Any) -> Any:
    if given != "auto" and (type(given) is not int or given < 1):
        # Of a choice of types pydantic would say what each of them misses.
        raise PydanticCustomError("count_or_auto", 'must be "auto" or a whole number from 1 on')
    return given


def _zero_or_count_or_auto(given: Any) -> Any:
    return given if given == 0 and type(given) is int else _count_or_auto(given)


def _share_or_auto(given: Any) -> Any:
    if given != "auto" and (type(given) not in (int, float) or not 0 < given <= 1):
        raise PydanticCustomError("share_or_auto", 'must be "auto" or a number above 0 and at most 1')
    return given


def _switch_or_auto(given: Any) -> Any:
    if given != "auto" and type(given) is not bool:
        raise PydanticCustomError("switch_or_auto", 'must be "auto", true or false')
    return given


def _time(given: str) -> str:
    try:
        deadline.parse(given)
    except ValueError as error:
        raise PydanticCustomError("time", "{why}", {"why": str(error)}) from None
    return given


Time = Annotated[str, AfterValidator(_time)]
CountOrAuto = Annotated[int | Literal["auto"], BeforeValidator(_count_or_auto)]
CountOrOffOrAuto = Annotated[int | Literal["auto"], BeforeValidator(_zero_or_count_or_auto)]
ShareOrAuto = Annotated[float | Literal["auto"], BeforeValidator(_share_or_auto)]
SwitchOrAuto = Annotated[bool | Literal["auto"], BeforeValidator(_switch_or_auto)]


SHARE_ON_CPU = 0.45  # of 8 GiB: 3.6 GiB of keys and values
# On CPUs 16,384 take four times the memory and a fifth more time than 2,048: tensors of that size leave the cache, and
# are given back to the system, which clears them before it hands them out again.
TOKENS_ON_CPU = 2048


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())


class Model(_Settings):
    name: Text
    """Hugging Face id, directory in Hugging Face format, or one that is made on the spot: "builtin:tiny" for
    "quickstart", "builtin:tiny-third" with a third of its parameters."""
    revision: str | None = None
    """Branch, tag or commit on the Hub.  Ignored for directories."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the weights in forward and backward; the optimizer always keeps float32.  auto: bfloat16 on CUDA devices
    that have it, float32 elsewhere."""
    head_dtype: Literal["model", "float32"] = "model"
    """Of the logits as the output layer's product gives them, in the policy and in the sampler alike.  "model": as
    model.dtype.  "float32": from weights that stay as they are, which brings the two closer together (MiniMax-M1, arXiv
    2506.13585); docs/objectives.md has the gain and the price."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gradient_checkpointing: SwitchOrAuto = "auto"
    """Recompute activations in the backward pass: a third more arithmetic for much less memory.  auto: where it does
    not fit otherwise."""
    lora_rank: CountOrOff = 0
    """Learn a low-rank adapter of this rank beside frozen weights (LoRA, arXiv 2106.09685), through PEFT: no gradients,
    masters and moments of the whole model, and the reference of a KL penalty is the model without it.  0: learn all."""
    lora_alpha: Positive | None = None
    """The adapter's product is scaled by lora_alpha / lora_rank.  Default: 2 × lora_rank."""
    lora_target_modules: tuple[Text, ...] = ("all-linear",)
    """Modules that get an adapter, by the end of their names, such as "q_proj"; "all-linear": all but the head."""
    load_in_4bit: bool = False
    """Keep the frozen weights in 4 bits (QLoRA, arXiv 2305.14314).  Needs lora_rank and bitsandbytes."""

    @property
    def checkpoints(self) -> bool:
        """`gradient_checkpointing`, settled."""
        return self.gradient_checkpointing is True


class Data(_Settings):
    source: Text
    """Hugging Face id, a .jsonl, .json, .csv or .parquet file, or a generated task: "builtin:arithmetic",
    "builtin:functions" or "builtin:recipe"."""
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
    chat_template_kwargs: dict[str, Any] = {}
    """What the chat template is told besides the messages, such as `{enable_thinking = false}` for Qwen3."""
    limit: Count | None = None
    """Use the first so many rows.  Default: all."""


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
    stop: tuple[Text, ...] = ()
    """Texts that end a completion besides the model's own end token; for base models, "</answer>" say."""
    max_num_gen_batches: Count = 1
    """Dynamic sampling (DAPO, arXiv 2503.14476): rounds of sampling in a step at most.  Each after the first asks new
    problems until problems_per_step groups carry a signal in the first reward.  1: what the first round gives."""
    gpu_memory_utilization: ShareOrAuto = "auto"
    """Share of the GPU's memory that vLLM may take while it samples.  On CPUs: share of 8 GiB, for its key-value
    cache.  auto: as much as all completions of a step need at once, or as there is room for; on CPUs 0.45."""
    sync_tolerance: PositiveOrOff | None = None
    """Largest mean |Δ log-probability| between sampler and policy after a weight transfer (the canary); beyond it the
    run stops.  Default: 0.001 in float32, 0.1 in bfloat16.  0 turns the check off."""

    @property
    def share(self) -> float:
        """`gpu_memory_utilization`, settled."""
        return SHARE_ON_CPU if self.gpu_memory_utilization == "auto" else self.gpu_memory_utilization


class Reward(_Settings):
    use: str
    """A built-in ("math", "code", "layout", "length", "language", "repetition", "readability"; see docs/rewards.md),
    "file.py:function", "package.module:function", or the name of an entry point in the group `grpo.rewards`."""
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
    """What is maximised.  `name` picks advantages, weights and surrogate at once; each may be set on its own, and so
    may their constants.  `grpo.objectives` has the tables, docs/objectives.md the formulas and their sources."""

    name: str = "dapo"
    """"grpo", "dapo", "dr_grpo", "bnpo", "gspo", "cispo", "sapo", "rloo", "reinforce_pp", "max_rl", "gdpo", "dppo"."""
    advantages: str | None = None
    """How a group's rewards become advantages: "group_std", "group_mean", "leave_one_out", "batch_std", "whitened",
    "max_rl", "pass_at_k" or "gdpo".  Default, here and where None stands below: the named objective's."""
    weights: str | None = None
    """How much a token counts: "sequence" 1 / its completion's length / completions (GRPO, arXiv 2402.03300 eq. 3);
    "token" 1 / tokens of the update (DAPO, 2503.14476 eq. 8); "constant" 1 / (completions × sampling.max_tokens)
    (Dr. GRPO, 2503.20783); "sum" 1 / completions."""
    surrogate: str | None = None
    """What is maximised per token, and its trust region: "clip", "cispo", "sapo" or "dppo"."""
    ratio: Literal["token", "sequence"] | None = None
    """Importance ratio of each token, or one per completion: the geometric mean of its tokens' (GSPO, 2507.18071)."""
    clip_low: PositiveOrOff | None = None
    """The trust region: a ratio's gain is clipped below 1 - clip_low …"""
    clip_high: PositiveOrOff | None = None
    """… and above 1 + clip_high.  For "cispo" the bounds of the ratio as a weight, for "dppo" of the change of a
    token's probability."""
    dual_clip: PositiveOrOff = 0.0
    """Largest ratio where the clip does not bind, which bounds the loss of tokens with a negative advantage: TRL's
    `delta`, verl's `clip_ratio_c` (3 there).  0: off."""
    pass_k: Count = 4
    """k of "pass_at_k" (2508.10751)."""
    top_entropy_quantile: Share = 1.0
    """Learn from this share of the update's tokens only: those drawn with the highest entropy (2506.01939: 0.2)."""
    kl_coef: PositiveOrOff = 0.0
    """Weight of the KL penalty to the model the run starts from.  0: no reference model is loaded."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """Of the KL divergence from one sample: http://joschu.net/blog/kl-approx.html."""
    kl_unbiased: bool = False
    """Multiply the estimate by the importance ratio, so that its gradient is that of KL(π ‖ reference) (DeepSeek-V3.2,
    2512.02556; TRL's `use_bias_correction_kl`)."""
    kl_in: Literal["loss", "reward"] = "loss"
    """"reward": take kl_coef · Σ k1 of a completion from its reward, before its group is compared (verl, RLOO)."""
    correction: str | None = None
    """For a sampler whose arithmetic is not quite the policy's, from ρ = π_old / π_sampler: "off", "token_truncate"
    (TIS), "token_mask" (IcePop), "sequence_truncate", "sequence_mask" (by the product of ρ) or "geometric_mask" (by
    its geometric mean).  Default: "token_truncate"; "off" for dppo, whose own ratio is to the sampler."""
    correction_min: PositiveOrOff | None = None
    correction_max: Positive | None = None
    """Bounds of ρ.  Default: those of the correction; 0 and 2 for "token_truncate"."""
    veto: PositiveOrOff = 0.0
    """Leave completions out in which any ρ is below this (verl: 1e-4).  0: off."""
    filter_groups: bool = True
    """Leave zero-variance groups, whose rewards are all equal, out of the update and its denominators (they carry no
    advantage).  false: they count in the denominators."""
    mask_truncated_completions: bool = False
    """Leave completions that ran out of room out of the loss and its denominators (DAPO's over-long filtering); they
    still count in their group's baseline."""

    @property
    def trust_region(self) -> tuple[float, float]:
        """(clip_low, clip_high), once `grpo.objectives.resolved` has filled them in."""
        assert self.clip_low is not None and self.clip_high is not None
        return self.clip_low, self.clip_high

    @property
    def correction_bounds(self) -> tuple[float, float]:
        """Likewise, of ρ; without a correction there are none."""
        return self.correction_min or 0.0, inf if self.correction_max is None else self.correction_max


class Curriculum(_Settings):
    """Which problems a step draws, by how often they were solved when they were drawn before."""

    easy: ShareOrNone | None = None
    """Share of a step's problems that are drawn among those solved in more than 3/4 of completions …"""
    hard: ShareOrNone | None = None
    """… and in at most 1/4; the rest are between, or new.  Default: problems are drawn without regard to it."""
    retire_after: CountOrOff = 0
    """Draw a problem no more that was solved by all completions in so many visits in a row.  0: never."""

    @property
    def is_on(self) -> bool:
        return self.easy is not None or self.hard is not None or self.retire_after > 0


class Optim(_Settings):
    lr: Positive = 1e-6
    """Peak learning rate of AdamW."""
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = "constant"
    """After the warm-up: stay, or fall to zero at run.steps."""
    warmup_steps: CountOrOff = 0
    """Steps over which the learning rate rises from 0."""
    max_grad_norm: Positive = 1.0
    """Gradients of a larger norm are scaled down to it."""
    updates_per_step: Count = 1
    """Optimizer updates per pass over a step's data, each on its own share of the groups (mini-batches).  1, with one
    pass, is strictly on-policy."""
    num_iterations: Count = 1
    """Passes over a step's data (verl's `ppo_epochs`)."""
    tokens_per_microbatch: CountOrAuto = "auto"
    """Tokens that are computed together; gradients are accumulated.  A prompt counts once for all completions of its
    group.  A model that cannot share prompts computes whole rows, padding included.  Changes memory and speed, never
    the gradient.  auto: 2048 on CPUs; on GPUs up to 16384, as many as fit."""
    offload: SwitchOrAuto = "auto"
    """Keep the optimizer's float32 weights and moments in host memory: 12 bytes per parameter less on the GPU.  auto:
    where they do not fit otherwise."""

    @property
    def tokens(self) -> int:
        """`tokens_per_microbatch`, settled."""
        return TOKENS_ON_CPU if self.tokens_per_microbatch == "auto" else self.tokens_per_microbatch

    @property
    def on_host(self) -> bool:
        """`offload`, settled."""
        return self.offload is True


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
    """Supervised fine-tuning: `grpo sft`, and the cold start of `grpo train` where steps or epochs are set.
    docs/sft.md says more."""

    source: str | None = None
    """Worked examples, as data.source.  Rows have `messages`, a whole conversation whose assistant the model learns
    from, which [data]'s system and template do not touch; or the problem's columns and `solution`: all that the model
    should write."""
    subset: str | None = None
    split: str | None = None
    steps: CountOrOff = 0
    """Optimizer updates.  0: as many as `epochs` take; without those, no cold start."""
    epochs: Count | None = None
    """How often each example is shown, instead of a number of steps."""
    batch_size: Count = 32
    """Examples per update."""
    lr: Positive = 1e-5
    """Peak; warmed up over a tenth of the steps, then falling to a tenth as a cosine."""

    @property
    def is_on(self) -> bool:
        return self.steps > 0 or self.epochs is not None


class Place(_Settings):
    """Where rows are: `"test.jsonl"` alone, or `{use = "openai/gsm8k", subset = "main"}`."""

    use: Text
    """Anything that data.source may be; for `source` also a folder of `grpo collect`."""
    subset: str | None = None
    split: str | None = None
    """Default: "train", and "test" of what is held out."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        return {"use": given} if isinstance(given, str) else given


class Source(Place):
    """One `[[select.source]]`."""

    weight: Positive | None = None
    """Part of the rows written that comes from here: 3 beside another's 1 is three quarters.  Default: all it has."""
    repeat: Count = 1
    """How often a row may be written to reach the weight."""


class Select(_Settings):
    """Rows for fine-tuning, from collected completions (rejection sampling) and from data that is trusted as it is."""

    source: tuple[Source, ...] = ()
    """What `grpo select` reads, besides the places on its command line."""
    min_reward: Annotated[float, Field(allow_inf_nan=False, strict=True)] | None = None
    """Keep completions with at least this reward.  Default: those that the first reward calls right, with 1."""
    solved: tuple[ShareOrNone, ShareOrNone] | None = None
    """Keep problems whose share of right completions lies strictly between: `[0.1, 0.9]` is open-r1's band, and
    `[0.0, 1.0]` drops what was solved never or always.  Default: all problems."""
    layout: Literal["any", "think", "think_answer"] = "any"
    """"think": one `<think>…</think>` and then an answer; "think_answer": all that the reward "layout" asks."""
    drop_looping: bool = True
    """Drop completions that say the same over and over (the counts of Tulu 3, arXiv 2411.15124)."""
    language: Text | None = None
    """The language that completions must be in, such as "en".  Default: any, and any mixture."""
    min_language_share: Share = 0.95
    """Of a completion's words that are in it; formulas, code and names do not count."""
    max_tokens: Count | None = None
    """Drop longer ones.  Of general data the length is known only with `tokenizer`."""
    decontaminate: tuple[Place, ...] = ()
    """Sets to evaluate on: rows that hold one of their problems, or its worked solution, go."""
    ngram: Annotated[int, Field(ge=2, strict=True)] = 8
    """Words in a row that must be shared: 8 in Tulu 3, 10 in DeepSeek-R1, 13 in GPT-3."""
    max_similarity: Share = 0.95
    """Drop a completion that shares more than this with another of its problem: 1 − edit distance of their words /
    the words of both.  1: only equal ones go."""
    max_per_problem: CountOrOff = 4
    """Completions of one problem at most, of one source.  0: all."""
    choose: Literal["different", "shortest", "random"] = "different"
    """Which: greedily the least similar (RFT, arXiv 2308.01825), those of the fewest tokens, or any."""
    rows: Count | None = None
    """Rows to write, of all sources together.  Default: all that the weights allow."""
    tokenizer: Text | None = None
    """Model whose tokens general data is counted in.  Default: words are counted, and said to be words."""


class Distill(_Settings):
    """A teacher, whose distribution the student learns on what the student itself writes: `grpo distill`.
    docs/distillation.md has the formulas."""

    teacher: Text | None = None
    """Hugging Face id, or directory in Hugging Face format, of a model with the student's tokenizer.  Default: none."""
    revision: str | None = None
    """Of the teacher: branch, tag or commit on the Hub.  Ignored for directories."""
    mode: Literal["on_policy", "full", "traces"] = "on_policy"
    """"on_policy": the teacher's log-probability of each sampled token, less the student's, is added to the token's
    advantage.  "full": the divergence of the whole distribution is the loss; rewards are only watched.  "traces":
    fine-tuning on what the teacher writes, which goes across tokenizers."""
    coef: PositiveOrOff = 1.0
    """Of "on_policy": weight of the teacher's part beside the group's advantage, whose part a reward's weight of 0
    takes away."""
    beta: ShareOrNone = 1.0
    """Of "full": 1 is KL(student ‖ teacher), 0 is KL(teacher ‖ student), and between lies the generalised
    Jensen-Shannon divergence (GKD, arXiv 2306.13649), as in TRL."""

    @property
    def is_on(self) -> bool:
        return self.teacher is not None

    @property
    def is_full(self) -> bool:
        """Whether a divergence is the loss, and not a policy's."""
        return self.is_on and self.mode == "full"


class Cluster(_Settings):
    """Several processes, devices and machines: Ray places them, FSDP2 shards the learner, any number of engines sample.
    docs/cluster.md says how to start one and what to choose."""

    learners: CountOrOffOrAuto = "auto"
    """Processes that learn together, each with a shard of the model and, on CUDA, a GPU.  0: no cluster; one process
    samples and learns by turns.  auto: all GPUs where there are two or more, else 0."""
    samplers: CountOrOffOrAuto = "auto"
    """Engines that sample, each with the whole model."""
    tensor_parallel: Count = 1
    """GPUs of one sampler."""
    colocate: bool | Literal["auto"] = "auto"
    """Let learners and samplers share each GPU by turns.  auto: where they would wait for each other anyway, on one
    machine with max_staleness = 0."""
    address: Text = "auto"
    """Of a Ray cluster, "host:port".  auto: the one that this machine belongs to, else "local", a new one on it."""
    max_staleness: CountOrOff = 0
    """Updates that sampling may run ahead of learning.  0: they take turns, strictly on-policy."""
    restarts: CountOrOff = 3
    """How often a run goes on by itself from its last checkpoint after a learner was lost; and how many processes in a
    row may be lost in a sampler's place."""
    timeout: Positive = 60.0
    """Seconds without a sign of life after which an actor counts as frozen and is replaced."""


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
    control: Literal["random-reward"] | None = None
    """The same run with the rewards of each step shuffled among its completions: what a gain is to be compared with,
    because random rewards have raised benchmarks (arXiv 2506.10947)."""
    shown_groups: Annotated[int, Field(ge=0)] = 4
    """Groups of each step that samples.jsonl shows, and whose tokens are kept with their ratio and entropy.  What all
    the others wrote is in rollouts/."""
    on_alarm: Literal["warn", "stop"] = "warn"
    """What an alarm does besides saying what it sees (docs/alarms.md)."""
    notify: Annotated[str | None, Field(repr=False)] = None
    """URL that alarms, a crash, a hang and the end of the run are posted to, as JSON; or "env:NAME", the variable that
    holds it.  A URL may be a secret, so no file of the run has it."""
    deadline: Time | None = None
    """Time from the start of the command, such as "11h45m", by which it has saved and ended: with exit code 75, which
    asks a scheduler to run it again.  Of a pipeline, from the pipeline's start."""
    watchdog: bool = True
    """End a run that hangs: no progress for much longer than its own steps take.  Off where a debugger holds it."""
    price: Annotated[float, Field(ge=0)] | None = None
    """Money per hour of one GPU (of the machine, where there is none), for what a run will cost and has cost."""
    push_to_hub: str | None = None
    """Repository on the Hugging Face Hub, such as "me/model", that checkpoints and a model card are pushed to."""

    @model_serializer(mode="wrap", when_used="json")
    def _without_secrets(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """For files and trackers: who reads a webhook's URL can post there.  The name of a variable may be read."""
        tree: dict[str, Any] = handler(self)
        return tree if (self.notify or "env:").startswith("env:") else {k: v for k, v in tree.items() if k != "notify"}


GROUPS = (
    "model",
    "data",
    "sampling",
    "reward",
    "objective",
    "curriculum",
    "optim",
    "eval",
    "sft",
    "select",
    "distill",
    "cluster",
    "run",
)


class JudgeConfig(_Settings):
    """What it takes to judge completions that are there: `grpo eval --completions`, `grpo rewards check`."""

    data: Data
    reward: Annotated[tuple[Reward, ...], Field(min_length=1)] = (Reward(use="math"),)
    run: Run = Run()

    def to_toml(self) -> str:
        tree = self.model_dump(exclude_none=True, mode="json")
        return tomli_w.dumps({group: tree[group] for group in GROUPS if group in tree})


class CollectSampling(Sampling):
    """… of `grpo collect`, where nobody learns from a group's differences."""

    problems_per_step: Count = 128
    """Problems that are sampled, and kept, as a whole: what a stop loses at most of each that is under way.  More keep
    a large GPU busier."""
    group_size: Count = 8
    """Completions per problem."""


class CollectConfig(JudgeConfig):
    """… and to sample them for a data set: `grpo collect`."""

    model: Model
    sampling: CollectSampling = CollectSampling()


class SelectConfig(_Settings):
    """What it takes to choose among completions: `grpo select`."""

    select: Select = Select()
    run: Run = Run()


class EvalConfig(JudgeConfig):
    """… and to sample them: `grpo eval`."""

    model: Model
    sampling: Sampling = Sampling()
    eval: Eval = Eval()


class Config(EvalConfig):
    """… and to train: `grpo train`, `grpo sft`, `grpo distill`."""

    objective: Objective = Objective()
    curriculum: Curriculum = Curriculum()
    optim: Optim = Optim()
    sft: Sft = Sft()
    distill: Distill = Distill()
    cluster: Cluster = Cluster()

    def with_changes(self, **groups: Mapping[str, Any]) -> Config:
        """A copy in which the named settings differ: `config.with_changes(run={"steps": 3})`."""
        tree = self.model_dump()
        for group, changes in groups.items():
            tree[group].update(changes)
        return Config.model_validate(tree)
