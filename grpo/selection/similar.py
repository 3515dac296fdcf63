"""How alike are completions of one problem, and which few of them are the least alike?

The similarity of two texts is 1 − edit distance / their words together, where a word may be put in or taken out: the
share of words in their longest common subsequence (Indel, as in rapidfuzz).  Words and signs, not characters: what
differs is what was said, not how it was spelled, and long traces are compared four times as fast.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from rapidfuzz.distance import Indel

from grpo.selection.candidates import Candidate, Group
from grpo.selection.words import parts_of

Choose = Callable[[Group, int, int], list[Candidate]]


def similarity(a: Sequence[str], b: Sequence[str], *, at_least: float = 0.0) -> float:
    """Of two lists of words; 0 where it is below `at_least`, which is found out sooner.

    One division of whole numbers, so that the same share is the same number whatever it is compared with: 1 minus a
    distance is not (rapidfuzz's normalised one finds 1/3 to be more than 1/3).
    """
    total = len(a) + len(b)
    shared = Indel.similarity(a, b, score_cutoff=math.floor(at_least * total))  # 2 · the longest common subsequence
    share = shared / total if total else 1.0
    return share if share >= at_least else 0.0


def without_near_duplicates(rows: Group, most: float) -> list[Candidate]:
    """Each row that shares at most `most` with each one kept before it."""
    kept: list[Candidate] = []
    before: list[tuple[list[str], Counter[str]]] = []
    for row in rows:
        words = parts_of(row.text)
        counts = Counter(words)
        if not any(
            _share_in_any_order(counts, others) > most and similarity(words, other, at_least=most) > most
            for other, others in before
        ):
            kept.append(row)
            before.append((words, counts))
    return kept


def _share_in_any_order(a: Counter[str], b: Counter[str]) -> float:
    """What the similarity cannot be above, ten times as fast: most pairs need no more."""
    total = a.total() + b.total()
    return 2 * (a & b).total() / total if total else 1.0


# --- At most k of a problem -----------------------------------------------------------------------------------------


def different(rows: Group, k: int, seed: int) -> list[Candidate]:
    """The shortest, then again and again the one whose nearest among those taken is the farthest from it."""
    words = [parts_of(row.text) for row in rows]
    taken = [min(range(len(rows)), key=lambda i: (rows[i].tokens or 0, i))]
    nearest = [0.0] * len(rows)  # similarity to the most similar that was taken
    while len(taken) < k:
        last = words[taken[-1]]
        nearest = [max(near, similarity(own, last, at_least=near)) for near, own in zip(nearest, words, strict=True)]
        taken.append(min((i for i in range(len(rows)) if i not in taken), key=lambda i: (nearest[i], i)))
    return [rows[i] for i in sorted(taken)]


def shortest(rows: Group, k: int, seed: int) -> list[Candidate]:
    order = sorted(range(len(rows)), key=lambda i: (rows[i].tokens or 0, i))
    return [rows[i] for i in sorted(order[:k])]


def at_random(rows: Group, k: int, seed: int) -> list[Candidate]:
    draw = random.Random(f"{seed}/select/{rows[0].source}/{rows[0].problem}")
    return [rows[i] for i in sorted(draw.sample(range(len(rows)), k))]


CHOICES: Mapping[str, Choose] = {"different": different, "shortest": shortest, "random": at_random}
