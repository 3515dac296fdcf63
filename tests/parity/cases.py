"""What both trainers are given: a small model in three states, token ids, rewards, and the settings of each case.

Plain Python, so that it means the same in two environments with different packages.  Weights come from a formula and
not from a random generator, whose numbers may change from one version of torch to the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

VOCABULARY, END, PADDING = 24, 1, 0
GROUP_SIZE = 4
MAX_TOKENS = 10
MODEL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": END,
    "pad_token_id": PADDING,
}

Rewards = Sequence[Sequence[float | None]]  # of each problem's completions; None: nobody could judge it

PROMPTS: list[list[int]] = [[5, 9, 12], [3, 3, 17, 20, 8], [11, 2]]  # of unequal length, so that padding matters
REWARDS: list[list[float]] = [[1.0, 0.0, 0.5, 0.0], [0.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]  # the last group agrees
SECOND_REWARDS: list[list[float]] = [[0.0, 1.0, 0.25, 1.0], [0.5, 0.5, 0.5, 0.5], [0.0, 0.25, 0.0, 0.125]]
LENGTHS: list[list[int]] = [[4, 9, 1, 6], [10, 3, 7, 2], [5, 8, 2, 3]]
TRUNCATED = [(0, 1), (1, 0), (2, 3)]  # (problem, completion) without an end token

# A completion that nobody could judge is where definitions differ most, so advantages have more groups than the loss.
REWARDS_WITH_NONE: Rewards = [
    *REWARDS,
    [0.25, None, 1.0, -0.5],
    [None, None, 1.0, None],
    [None, None, None, None],
    [0.0, 0.001, 0.0, 0.0],  # so close that the 1e-4 beside the standard deviation matters
]
TWO_REWARDS_WITH_NONE: list[Rewards] = [
    [*REWARDS_WITH_NONE, [None, None, None, None], [None, None, None, None], [0.0, 1.0, 0.0, 0.5]],
    [
        *SECOND_REWARDS,
        [0.5, 0.25, None, 1.0],
        [1.0, None, 0.0, 0.5],
        [None, None, None, None],
        [1.0, 0.0, 0.0, 0.5],
        [1.0, None, 0.5, 0.0],  # judged by the second function alone
        [None, 0.5, None, None],  # likewise, and one value has no spread
        [None, None, 1.0, 0.0],
    ],
]


def completion(problem: int, index: int) -> list[int]:
    tokens = [(7 * problem + 5 * index + 3 * t * t + t) % (VOCABULARY - 2) + 2 for t in range(LENGTHS[problem][index])]
    return tokens if (problem, index) in TRUNCATED else [*tokens[:-1], END]


COMPLETIONS = [completion(problem, index) for problem in range(len(PROMPTS)) for index in range(GROUP_SIZE)]


def sampler_noise(row: int, position: int) -> float:
    """By how much the sampler's log-probability of a token is beside the policy's; at times beyond the cap of 2."""
    return 0.9 * math.sin(3.7 * row + 1.3 * position)


State = Literal["sampled", "moved", "reference"]


def weights(shapes: Mapping[str, Sequence[int]], state: State) -> dict[str, list[float]]:
    """Flat values of every parameter of the model.  "moved" and "reference" are near "sampled", not equal to it."""
    size, shift = {"sampled": (0.0, 0), "moved": (0.12, 100), "reference": (0.12, 200)}[state]
    made = {}
    for number, name in enumerate(sorted(shapes)):
        centre = 1.0 if "norm" in name else 0.0
        made[name] = [
            centre + _scattered(i, number) + size * _scattered(i, number + shift)
            for i in range(math.prod(shapes[name]))
        ]
    return made


def _scattered(i: int, number: int) -> float:
    """A value in [-0.5, 0.5) that looks random."""
    return math.modf(abs(math.sin(12.9898 * (i + 1) + 78.233 * (number + 1))) * 43758.5453)[0] - 0.5


LossType = Literal["grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo"]
Mode = Literal["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]
EPSILON_LOW, EPSILON_HIGH, IMPORTANCE_CAP = 0.2, 0.28, 2.0


@dataclass(frozen=True)
class Case:
    """The settings of a case, in TRL's words.

    `moved`: the weights have changed since the completions were sampled, as in the second update from one generation.
    `parts`: how many micro-batches the update is computed in.
    """

    loss_type: LossType
    variant: str
    moved: bool = False
    importance: bool = False  # `vllm_importance_sampling_correction`
    beta: float = 0.0
    bias_correction: bool = False  # `use_bias_correction_kl`, of the KL penalty; on by default in TRL
    scale_rewards: Literal["group", "batch", "none"] = "group"
    temperature: float = 1.0
    mask_truncated: bool = False  # `mask_truncated_completions`
    parts: int = 1
    importance_sampling_level: Literal["token", "sequence"] = "token"
    epsilon: float = EPSILON_LOW
    epsilon_high: float = EPSILON_HIGH  # beyond 1; for cispo the cap itself.  TRL's default is that of epsilon, 0.2
    delta: float | None = None
    sapo_temperature_pos: float = 1.0
    sapo_temperature_neg: float = 1.05
    top_entropy_quantile: float = 1.0
    mode: Mode = "token_truncate"  # `vllm_importance_sampling_mode`; TRL's default is sequence_mask with clip_max 3
    clip_min: float | None = None
    clip_max: float | None = IMPORTANCE_CAP
    reward_weights: tuple[float, ...] = (1.0,)  # one for each reward function
    multi_objective_aggregation: Literal["sum_then_normalize", "normalize_then_sum"] = "sum_then_normalize"

    @property
    def name(self) -> str:
        return f"{self.loss_type}, {self.variant}"

    @property
    def rewards(self) -> list[list[list[float]]]:
        """Of each reward function."""
        return [REWARDS, SECOND_REWARDS][: len(self.reward_weights)]


VARIANTS: dict[str, dict[str, object]] = {
    "first update": {},
    "second update": {"moved": True},
    "second update, KL": {"moved": True, "beta": 0.04},
    "second update, KL times ratio": {"moved": True, "beta": 0.04, "bias_correction": True},
    "first update, KL times ratio": {"beta": 0.04, "bias_correction": True},
    "sampler differs": {"importance": True},
    "second update, sampler differs, KL": {"moved": True, "importance": True, "beta": 0.04},
    "second update, no scaling by std": {"moved": True, "scale_rewards": "none"},
    "second update, temperature 0.7": {"moved": True, "temperature": 0.7},
    "second update, sampler differs, three micro-batches": {"moved": True, "importance": True, "parts": 3},
    "second update, truncated left out": {"moved": True, "mask_truncated": True},
}

# One ratio for a completion (GSPO).  It is a mean over tokens, so its bounds are narrower: with these, of the eight
# completions that have an advantage five are clipped, two above and three below.
SEQUENCE: dict[str, Any] = {"importance_sampling_level": "sequence", "epsilon": 0.03, "epsilon_high": 0.04}
SEQUENCE_VARIANTS: dict[str, dict[str, object]] = {
    "sequence ratio, first update": {},
    "sequence ratio, second update": {"moved": True},
    "sequence ratio, second update, KL times ratio": {"moved": True, "beta": 0.04, "bias_correction": True},
    "sequence ratio, second update, delta 1.2": {"moved": True, "delta": 1.2},
    "sequence ratio, second update, temperature 0.7": {"moved": True, "temperature": 0.7},
    "sequence ratio, second update, truncated left out": {"moved": True, "mask_truncated": True},
    "sequence ratio, second update, three micro-batches": {"moved": True, "parts": 3},
}

# 1.5 is above 1 + epsilon_high, so it is felt where A < 0; 1.1 is below, so it is felt where A > 0 as well.
DELTA: dict[str, dict[str, object]] = {
    "second update, delta 1.5": {"delta": 1.5},
    "second update, delta 1.1": {"delta": 1.1},
}

# Where both bounds are passed by some tokens, or completions, and not by others.
BOUNDS: dict[Mode, dict[str, Any]] = {
    "token_truncate": {"mode": "token_truncate", "clip_min": 0.5, "clip_max": 2.0},
    "token_mask": {"mode": "token_mask", "clip_min": 0.5, "clip_max": 2.0},
    "sequence_truncate": {"mode": "sequence_truncate", "clip_min": 0.3, "clip_max": 2.0},
    "sequence_mask": {"mode": "sequence_mask", "clip_min": 0.3, "clip_max": 2.0},
}
CORRECTED: dict[str, dict[str, object]] = {
    f"{update} update, sampler differs, {mode}": {"moved": update == "second", **bounds}
    for mode, bounds in BOUNDS.items()
    for update in ("first", "second")
}
SEQUENCE_MASK, TOKEN_MASK = BOUNDS["sequence_mask"], BOUNDS["token_mask"]
SEQUENCE_CORRECTED = {
    "sequence ratio, second update, sampler differs, token_mask": TOKEN_MASK,
    "sequence ratio, second update, sampler differs, sequence_mask": SEQUENCE_MASK,
}
CORRECTED_AND: dict[str, dict[str, object]] = {
    "second update, sampler differs, sequence_mask up to 3": {"mode": "sequence_mask", "clip_max": 3.0},
    "second update, sampler differs, sequence_mask, KL times ratio": {
        **SEQUENCE_MASK,
        "beta": 0.04,
        "bias_correction": True,
    },
    "second update, sampler differs, token_mask, temperature 0.7": {**TOKEN_MASK, "temperature": 0.7},
    "second update, sampler differs, sequence_mask, three micro-batches": {**SEQUENCE_MASK, "parts": 3},
}

# The first tokens of a group's completions come after the same prompt and so have the same entropy.  No threshold may
# fall among them, where rounding would decide who is kept: those of 0.2 and 0.5 do at temperature 1, and not at 0.7.
TOP_ENTROPY: dict[str, dict[str, object]] = {
    f"{update} update, temperature 0.7, top entropy {share}": {
        "moved": update == "second",
        "temperature": 0.7,
        "top_entropy_quantile": share,
    }
    for update, share in (("first", 0.5), ("second", 0.2), ("second", 0.5))
}

TWO_REWARDS: dict[str, Any] = {"reward_weights": (1.0, 0.5)}
THEN_SUM: dict[str, Any] = {**TWO_REWARDS, "multi_objective_aggregation": "normalize_then_sum"}

# What bnpo, cispo and sapo are tried with.
COMBINED: dict[str, dict[str, object]] = {
    "first update": {},
    "second update": {"moved": True},
    "second update, KL": {"moved": True, "beta": 0.04},
    "second update, sampler differs, token_mask": {"moved": True, "importance": True, **TOKEN_MASK},
    "second update, truncated left out": {"moved": True, "mask_truncated": True},
}
IN_PARTS: dict[str, dict[str, object]] = {"second update, three micro-batches": {"moved": True, "parts": 3}}
CAP: dict[str, Any] = {"epsilon_high": 1.2}  # of cispo; TRL advises 5 (arXiv 2510.13786), which no token here reaches


def of(loss_types: str, variants: Mapping[str, Mapping[str, object]], **shared: object) -> list[Case]:
    """Each variant of each loss."""
    return [
        Case(loss_type, variant, **{**shared, **settings})  # type: ignore[arg-type]
        for loss_type, (variant, settings) in product(loss_types.split(), variants.items())
    ]


CASES = [
    *of("grpo dapo dr_grpo", VARIANTS),
    # Not in parts: bnpo's denominator is that of the micro-batch, so each split is another loss.
    *of("bnpo", {variant: settings for variant, settings in COMBINED.items() if "beta" not in settings}),
    *of("cispo", COMBINED | IN_PARTS, **CAP),
    Case("cispo", "second update, KL times ratio", moved=True, beta=0.04, bias_correction=True, **CAP),
    Case("cispo", "second update, cap 5", moved=True, epsilon_high=5.0),
    Case("cispo", "sequence ratio, second update", moved=True, importance_sampling_level="sequence", **CAP),
    *of("sapo", COMBINED | IN_PARTS),
    Case("sapo", "second update, temperatures 2 and 3", moved=True, sapo_temperature_pos=2.0, sapo_temperature_neg=3.0),
    Case("sapo", "sequence ratio, second update", moved=True, importance_sampling_level="sequence"),
    *of("grpo", SEQUENCE_VARIANTS, **SEQUENCE),
    *of("grpo", SEQUENCE_CORRECTED, moved=True, importance=True, **SEQUENCE),
    Case("dapo", "sequence ratio, second update", moved=True, **SEQUENCE),
    Case("dr_grpo", "sequence ratio, second update", moved=True, **SEQUENCE),
    *of("grpo dapo", DELTA, moved=True),
    Case("dapo", "second update, delta 1.1, KL times ratio", moved=True, delta=1.1, beta=0.04, bias_correction=True),
    Case("grpo", "second update, scaling by the batch's std", moved=True, scale_rewards="batch"),
    Case("dapo", "second update, scaling by the batch's std", moved=True, scale_rewards="batch"),
    Case("dapo", "second update, two rewards", moved=True, **TWO_REWARDS),
    Case("dapo", "second update, two rewards, normalize_then_sum", moved=True, **THEN_SUM),
    *of("grpo dapo", TOP_ENTROPY),
    Case("dapo", "second update, KL, top entropy 0.4", moved=True, beta=0.04, top_entropy_quantile=0.4),
    *of("grpo dapo", CORRECTED, importance=True),
    *of("dapo", CORRECTED_AND, moved=True, importance=True),
]

BETAS, TEMPERATURE = (1.0, 0.5, 0.0), 0.7  # of divergences from a teacher

# Advantages alone: the settings, and what each reward function gave.
ALL_JUDGED: list[Rewards] = [REWARDS, SECOND_REWARDS]
ADVANTAGES: dict[str, tuple[Mapping[str, Any], Sequence[Rewards]]] = {
    "group": ({}, [REWARDS_WITH_NONE]),
    "none": ({"scale_rewards": "none"}, [REWARDS_WITH_NONE]),
    "batch": ({"scale_rewards": "batch"}, [REWARDS_WITH_NONE]),
    "batch, all judged": ({"scale_rewards": "batch"}, [REWARDS]),
    "two rewards, sum_then_normalize": (TWO_REWARDS, TWO_REWARDS_WITH_NONE),
    "two rewards, sum_then_normalize, all judged": (TWO_REWARDS, ALL_JUDGED),
    "two rewards, sum_then_normalize, batch, all judged": ({**TWO_REWARDS, "scale_rewards": "batch"}, ALL_JUDGED),
    "two rewards, normalize_then_sum": (THEN_SUM, TWO_REWARDS_WITH_NONE),
    "two rewards, normalize_then_sum, all judged": (THEN_SUM, ALL_JUDGED),
    "two rewards, normalize_then_sum, none, all judged": ({**THEN_SUM, "scale_rewards": "none"}, ALL_JUDGED),
}


def watched(size: int) -> list[int]:
    """Which entries of a flat gradient are kept: a dozen, spread evenly."""
    return sorted({i * size // 12 for i in range(12)})
