"""From samples to measures with an honest interval: pass@k, maj@k, the paired difference of two evaluations, and what a
student has kept of its teacher.

A problem, not a completion, is the unit that was drawn: samples of one problem are alike, so intervals come from the
spread between problems (arXiv 2411.00640, section 2).
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959964  # standard normal quantile of 0.975
DRAWS = 200  # subsets of k samples that estimate maj@k
FLIPS = 20_000  # random sign flips of the paired test
RESAMPLES = 2_000  # of the problems, for the interval of a ratio


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:6.1%}  [{self.low:.1%}, {self.high:.1%}]"


def estimate(values_P: Sequence[float], samples: int) -> Estimate:
    """The mean over problems of values in [0, 1], each of which came from `samples` samples.

    Wilson's interval (1927), which stays inside [0, 1] and has a width where every value agrees.  Its number of trials
    is the one that would give the variance seen between problems, at least one per problem and at most one per sample.
    """
    P, mean = len(values_P), fmean(values_P)
    squared_error = variance(values_P) / P if P > 1 else 0.0
    independent = mean * (1 - mean) / squared_error if squared_error > 0 else 0.0
    trials = min(max(independent, P), P * samples)
    centre = (mean + Z95**2 / (2 * trials)) / (1 + Z95**2 / trials)
    reach = Z95 / (1 + Z95**2 / trials) * math.sqrt(mean * (1 - mean) / trials + Z95**2 / (4 * trials**2))
    return Estimate(mean, min(mean, max(0.0, centre - reach)), max(mean, min(1.0, centre + reach)))


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Chance that k of n samples, drawn without replacement, hold a right one (arXiv 2107.03374, eq. 1)."""
    if not 1 <= k <= n:
        raise ValueError(f"pass_at_k: k must be between 1 and n = {n} (given {k})")
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def maj_at_k(answers_N: Sequence[str | None], correct_N: Sequence[bool], k: int) -> float:
    """Chance that the most frequent answer among k samples is right.

    Samples without an answer do not vote, and nobody voting is wrong; tied answers share the vote.  For k < n the mean
    over `DRAWS` random subsets.
    """
    n = len(answers_N)
    if not 1 <= k <= n:
        raise ValueError(f"maj_at_k: k must be between 1 and n = {n} (given {k})")
    right = {answer for answer, correct in zip(answers_N, correct_N, strict=True) if correct}
    if k == n:
        return _majority(answers_N, right)
    draw = random.Random(0)
    return fmean(_majority(draw.sample(answers_N, k), right) for _ in range(DRAWS))


def _majority(answers: Sequence[str | None], right: set[str | None]) -> float:
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return 0.0
    most = max(votes.values())
    leaders = [answer for answer, count in votes.items() if count == most]
    return sum(answer in right for answer in leaders) / len(leaders)


@dataclass(frozen=True, slots=True)
class Difference:
    """B minus A on the same problems.  `p` is the two-sided p-value of a paired permutation test."""

    mean: float
    low: float
    high: float
    p: float
    better: int  # problems where B is higher
    worse: int
    problems: int


def paired_difference(a: Mapping[str, float], b: Mapping[str, float]) -> Difference:
    """Compare two sets of values by problem id; only ids in both count.

    The test flips the sign of each problem's difference at random: under "no difference" either sign is as likely.
    """
    deltas = [b[key] - a[key] for key in a if key in b]
    if not deltas:
        raise ValueError("paired_difference: the two have no problem in common")
    mean = fmean(deltas)
    reach = Z95 * math.sqrt(variance(deltas) / len(deltas)) if len(deltas) > 1 else math.inf
    moved = [delta for delta in deltas if delta]
    return Difference(
        mean=mean,
        low=max(-1.0, mean - reach),
        high=min(1.0, mean + reach),
        p=_sign_flip_p(moved),
        better=sum(delta > 0 for delta in moved),
        worse=sum(delta < 0 for delta in moved),
        problems=len(deltas),
    )


def _sign_flip_p(moved: Sequence[float]) -> float:
    if not moved:
        return 1.0
    # How many of the differences of one size turn positive is all that counts, and one call flips them all.
    sizes = Counter(round(abs(delta), 12) for delta in moved).items()
    if len(sizes) == 1:
        return _sign_p(sum(delta > 0 for delta in moved), len(moved))
    observed = abs(sum(moved)) - 1e-9
    draw = random.Random(0)
    flips = (sum(s * (2 * draw.getrandbits(count).bit_count() - count) for s, count in sizes) for _ in range(FLIPS))
    extreme = sum(abs(flipped) >= observed for flipped in flips)
    return (extreme + 1) / (FLIPS + 1)


def _sign_p(positive: int, count: int) -> float:
    """Of all flips at once, where differences have one size, as with one sample per problem: McNemar's exact test."""
    fewer = min(positive, count - positive)
    return min(1.0, 2 * sum(math.comb(count, k) for k in range(fewer + 1)) / (1 << count))


@dataclass(frozen=True, slots=True)
class Kept:
    """What a student has of its teacher on the same problems: means, and two ratios of means.

    `kept` is student / teacher; None where the teacher solves nothing.  `gap_closed` is (after - before) / (teacher -
    before); None where the teacher is not above the student by more than the interval of that difference.
    """

    problems: int
    teacher: float
    before: float
    after: float
    kept: Estimate | None
    gap_closed: Estimate | None


def kept(teacher: Mapping[str, float], before: Mapping[str, float], after: Mapping[str, float]) -> Kept:
    """Of what each solved, by problem id; only ids in all three count."""
    shared = sorted(teacher.keys() & before.keys() & after.keys())
    if not shared:
        raise ValueError("kept: teacher and student have no problem in common")
    of_teacher, at_first, at_last = (np.array([of[key] for key in shared]) for of in (teacher, before, after))
    ahead = paired_difference(before, {key: teacher[key] for key in shared}).low > 0
    return Kept(
        len(shared),
        teacher=float(of_teacher.mean()),
        before=float(at_first.mean()),
        after=float(at_last.mean()),
        kept=_ratio(at_last, of_teacher) if of_teacher.any() else None,
        gap_closed=_ratio(at_last - at_first, of_teacher - at_first) if ahead else None,
    )


def _ratio(above_P: NDArray[np.float64], below_P: NDArray[np.float64]) -> Estimate:
    """Of two means, with the percentile interval of a paired bootstrap: each resample draws problems, and what both
    are there.  One whose denominator is not above 0 has no bound, and counts as infinite."""
    draw, P = np.random.default_rng(0), len(above_P)
    ratios = np.full(RESAMPLES, np.inf)
    for resample in range(RESAMPLES):
        index = draw.integers(P, size=P)
        if (below := below_P[index].sum()) > 0:
            ratios[resample] = above_P[index].sum() / below
    low, high = np.quantile(ratios, (0.025, 0.975), method="closest_observation")
    return Estimate(float(above_P.sum() / below_P.sum()), float(low), float(high))
