"""Soft over-long penalty: a completion that comes close to the limit pays, before it is cut off.

    length(y) = 0                                   |y| <= max - cache
              = (max - cache - |y|) / cache         max - cache < |y| <= max
              = -1                                  max < |y|

DAPO, arXiv 2503.14476 eq. 13.  A reward sees text only, so whoever runs it passes the number of tokens as
`problem["completion_tokens"]`.  Where that is not known, of a text made elsewhere say, nothing can be judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewards.contract import Score, declare


@declare(rejected_golds="ignore")
def length(completion: str, problem: Mapping[str, Any], *, max_tokens: int, cache: int) -> Score:
    """0 up to `max_tokens - cache` tokens, then falling in a straight line to -1 at `max_tokens`."""
    if not 0 < cache <= max_tokens:
        raise ValueError(f"length: cache must be from 1 to max_tokens = {max_tokens} (given {cache})")
    if "completion_tokens" not in problem:
        return Score.none('the number of tokens is not known (problem["completion_tokens"])')
    tokens = problem["completion_tokens"]
    if not isinstance(tokens, int):
        raise ValueError(f'length: problem["completion_tokens"] must be the number of tokens (given {tokens!r})')
    over = tokens - (max_tokens - cache)
    penalty = -min(max(over, 0) / cache, 1.0)
    return Score(penalty, why=f"{tokens} of {max_tokens} tokens")
