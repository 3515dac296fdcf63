"""Does the completion say the same thing again and again?

    rep_n(text) = 1 - distinct n-grams of words / n-grams of words

is 0 for a text that never repeats n words, and near 1 for one that repeats them to the end; the reward is
`-max_penalty · rep_n`, as in "Demystifying Long Chain-of-Thought Reasoning" (arXiv 2502.03373, App. C.2) and open-r1's
`repetition_penalty`, whose n = 3 we keep.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rewards.contract import Score, declare


@declare(rejected_golds="ignore")
def repetition(completion: str, problem: Mapping[str, Any], *, n: int = 3, max_penalty: float = 1.0) -> Score:
    """From 0, nothing is said twice, down to `-max_penalty`."""
    again = share(completion, n)
    why = looped(completion) or f"{again:.0%} of the runs of {n} words were there before"
    return Score(-max_penalty * again, why=why)


def share(text: str, n: int = 3) -> float:
    """1 - distinct / all n-grams of words; 0 where there are fewer than `n` words."""
    if n < 1:
        raise ValueError(f"repetition: n must be at least 1 (given {n})")
    words = text.lower().split()
    grams = Counter(zip(*(itertools.islice(words, start, None) for start in range(n)), strict=False))
    return 1 - len(grams) / grams.total() if grams else 0.0


def looped(text: str) -> str:
    """Why the text loops, such as 'a sentence 12 times in a row: "…"'; "" where it does not."""
    sentences = [sentence for part in re.split(r"[.!?。！？\n]", text) if (sentence := " ".join(part.lower().split()))]
    for sentence, group in itertools.groupby(sentences):
        count = sum(1 for _ in group)
        if count >= 4 and len(sentence.split()) > 3:
            return f'a sentence {count} times in a row: "{sentence[:60]}"'
    return ""
