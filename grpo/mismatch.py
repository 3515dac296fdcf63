"""How far sampler and policy are apart, token by token.

They have the same weights and other kernels, so their log-probabilities of a token differ by rounding; where sampling
runs ahead of learning, also because the sampler's weights were older.  The *gap* of a token is

    | log π_old(o_t) - log π_sampler(o_t) |        in nats

Its mean says little about the few tokens that are far off, and nothing about whether the gap grows along a completion,
as an error in positions or in the key-value cache makes it.  So each update counts gaps by their size, of which a
percentile can be told, and adds them up by position.  Both are sums over tokens, that add up over micro-batches, ranks
and updates.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, pairwise

import torch
from torch import Tensor

PREFIX = "gap/"  # of the sums' names
# Half an octave wide, from float32's rounding to more than any gap, which is cut at 20 nats.  Bin k ends at EDGES[k].
EDGES = [2 ** (k / 2) for k in range(-48, 10)]
STARTS = (0, 16, 64, 256, 1024, 4096, 16_384)  # tokens: where ranges of positions begin


def gap_sums(gap_BT: Tensor, mask_BT: Tensor) -> dict[str, Tensor]:
    """Of the tokens in the mask: how many gaps are of each size, and their sum and number in each range of places."""
    sums = size_sums(PREFIX, gap_BT[mask_BT])
    gap_T, tokens_T = torch.where(mask_BT, gap_BT, 0.0).sum(dim=0), mask_BT.sum(dim=0)
    for start, end in pairwise((*STARTS, len(gap_T))):
        if start < len(gap_T):
            sums[f"{PREFIX}from/{start}"] = gap_T[start:end].sum()
            sums[f"{PREFIX}tokens/{start}"] = tokens_T[start:end].sum()
    return sums


def gap_metrics(sums: Mapping[str, float]) -> dict[str, float]:
    """The 99th percentile, and the mean in each range of positions that has tokens; none where there are no sums."""
    counts = size_counts(PREFIX, sums)
    if not sum(counts):
        return {}
    tokens = {start: sums.get(f"{PREFIX}tokens/{start}", 0.0) for start in STARTS}
    means = {start: sums[f"{PREFIX}from/{start}"] / count for start, count in tokens.items() if count}
    row = {f"policy/sampler_gap_from_{start}": mean for start, mean in means.items()}
    return {"policy/sampler_gap_p99": quantile(counts, 0.99), **row}


def size_sums(prefix: str, values_N: Tensor) -> dict[str, Tensor]:
    """How many of the values are of each size; those that are not above 0 count as the smallest."""
    edges = torch.tensor(EDGES, device=values_N.device)
    counts = torch.bincount(torch.bucketize(values_N, edges), minlength=len(EDGES) + 1)
    return {f"{prefix}bin/{k}": count for k, count in enumerate(counts)}


def size_counts(prefix: str, sums: Mapping[str, float]) -> list[float]:
    return [sums.get(f"{prefix}bin/{k}", 0.0) for k in range(len(EDGES) + 1)]


def quantile(counts: list[float], share: float) -> float:
    """Where `share` of what was counted lies below, as if each bin were filled evenly on a logarithmic scale."""
    wanted = share * sum(counts)
    bin = next(k for k, below in enumerate(accumulate(counts)) if below >= wanted)
    if bin == 0:
        return 0.0  # below float32's rounding
    low, high = EDGES[bin - 1], EDGES[min(bin, len(EDGES) - 1)]
    inside = (wanted - sum(counts[:bin])) / counts[bin]
    return float(low * (high / low) ** inside)
