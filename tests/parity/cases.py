"""What both trainers are given: a small model in three states, token ids, rewards, and the settings of each case.

Plain Python, so that it means the same in two environments with different packages.  Weights come from a formula and
not from a random generator, whose numbers may change from one version of torch to the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

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

PROMPTS: list[list[int]] = [[5, 9, 12], [3, 3, 17, 20, 8], [11, 2]]  # of unequal length, so that padding matters
REWARDS: list[list[float]] = [[1.0, 0.0, 0.5, 0.0], [0.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]  # the last group agrees
LENGTHS: list[list[int]] = [[4, 9, 1, 6], [10, 3, 7, 2], [5, 8, 2, 3]]
TRUNCATED = [(0, 1), (1, 0), (2, 3)]  # (problem, completion) without an end token

# A completion that nobody could judge is where definitions differ most, so advantages have more groups than the loss.
REWARDS_WITH_NONE: list[list[float | None]] = [
    *REWARDS,
    [0.25, None, 1.0, -0.5],
    [None, None, 1.0, None],
    [None, None, None, None],
    [0.0, 0.001, 0.0, 0.0],  # so close that the 1e-4 beside the standard deviation matters
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


@dataclass(frozen=True)
class Case:
    """The settings of a case, in TRL's words.  `parts`: how many micro-batches the update is computed in."""

    loss_type: Literal["grpo", "dapo", "dr_grpo"]
    variant: str
    moved: bool = False
    importance: bool = False
    beta: float = 0.0
    bias_correction: bool = False  # of the KL penalty; on by default in TRL
    scale_rewards: Literal["group", "none"] = "group"
    temperature: float = 1.0
    mask_truncated: bool = False
    parts: int = 1

    @property
    def name(self) -> str:
        return f"{self.loss_type}, {self.variant}"


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

CASES = [
    Case(loss_type=loss_type, variant=variant, **settings)  # type: ignore[arg-type]
    for loss_type, (variant, settings) in product(("grpo", "dapo", "dr_grpo"), VARIANTS.items())
]
EPSILON_LOW, EPSILON_HIGH, IMPORTANCE_CAP = 0.2, 0.28, 2.0


def watched(size: int) -> list[int]:
    """Which entries of a flat gradient are kept: a dozen, spread evenly."""
    return sorted({i * size // 12 for i in range(12)})
