"""How far a student is behind its teacher, token by token: what distillation is to bring to 0.

Of a token it is log π(o_t) - log π_teacher(o_t), whose mean over what the student samples is KL(π ‖ π_teacher), or the
divergence of the whole distributions.  In nats; the first may be below 0 at any one token.  Long completions carry
noise where a student's wrong path has left what the teacher knows, so it is told by position, too: in tenths of each
completion.  All are sums over tokens, that add up over micro-batches, ranks and updates.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from grpo.mismatch import quantile, size_counts, size_sums

PREFIX = "behind/"  # of the sums' names
FAR = 5.0  # nats
TENTHS = 10


def behind_sums(behind_BT: Tensor, mask_BT: Tensor) -> dict[str, Tensor]:
    """Of the tokens in the mask."""
    behind_N = behind_BT.detach()[mask_BT]
    place_BT, lengths_B1 = mask_BT.cumsum(dim=1) - 1, mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
    tenth_N = (TENTHS * place_BT // lengths_B1)[mask_BT]
    totals = torch.zeros(TENTHS, device=behind_N.device).index_add_(0, tenth_N, behind_N)
    counts = torch.bincount(tenth_N, minlength=TENTHS)
    by_place = {f"{PREFIX}tenth/{k}": total for k, total in enumerate(totals, start=1)}
    by_place |= {f"{PREFIX}tokens/{k}": count for k, count in enumerate(counts, start=1)}
    return {f"{PREFIX}far": (behind_N > FAR).sum(), **by_place, **size_sums(PREFIX, behind_N)}


def behind_metrics(sums: Mapping[str, float]) -> dict[str, float]:
    """ "distill/kl", its 95th percentile (0 where that is not above 0), the share of tokens beyond `FAR` nats, and the
    mean in each tenth of the completions; none where there is no teacher."""
    tokens = {k: sums.get(f"{PREFIX}tokens/{k}", 0.0) for k in range(1, TENTHS + 1)}
    if not (count := sum(tokens.values())):
        return {}
    return {
        "distill/kl": sum(sums[f"{PREFIX}tenth/{k}"] for k in tokens) / count,
        "distill/kl_p95": quantile(size_counts(PREFIX, sums), 0.95),
        "distill/kl_far": sums[f"{PREFIX}far"] / count,
        **{f"distill/kl_tenth_{k}": sums[f"{PREFIX}tenth/{k}"] / n for k, n in tokens.items() if n},
    }
