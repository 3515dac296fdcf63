"""How much a token counts in the sum that is the loss: the reductions in which GRPO, DAPO and Dr. GRPO differ.

Made once per update, over all its completions, never per micro-batch; lengths count the tokens that the loss is about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

Weights = Callable[[Sequence[int], int], list[float]]  # tokens of each completion, max_tokens → weight of its tokens


def per_sequence(lengths_B: Sequence[int], max_tokens: int) -> list[float]:
    """Mean over completions of the mean over tokens: GRPO, arXiv 2402.03300 eq. 3."""
    return [1 / (len(lengths_B) * length) for length in lengths_B]


def per_token(lengths_B: Sequence[int], max_tokens: int) -> list[float]:
    """Mean over all tokens of the update: DAPO, arXiv 2503.14476 eq. 8."""
    return [1 / sum(lengths_B)] * len(lengths_B)


def constant(lengths_B: Sequence[int], max_tokens: int) -> list[float]:
    """Mean over completions of the sum over tokens, over a constant: Dr. GRPO, arXiv 2503.20783."""
    return [1 / (len(lengths_B) * max_tokens)] * len(lengths_B)


def per_completion(lengths_B: Sequence[int], max_tokens: int) -> list[float]:
    """Mean over completions of the sum over tokens: a completion is one action (REINFORCE; RLOO, arXiv 2402.14740)."""
    return [1 / len(lengths_B)] * len(lengths_B)


WEIGHTS: Mapping[str, Weights] = {
    "sequence": per_sequence,
    "token": per_token,
    "constant": constant,
    "sum": per_completion,
}
