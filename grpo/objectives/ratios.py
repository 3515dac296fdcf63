"""Importance ratios, the correction for the sampler, and estimators of the KL divergence: all that is made of two
log-probabilities of the same tokens.

The policy that learns differs from what sampled in two ways.  It has moved since (π / π_old, the importance ratio, held
by the surrogate's trust region), and already before it moved its arithmetic was not quite the sampler's
(ρ = π_old / π_sampler).  A correction multiplies the gain by a function of ρ; it never multiplies the KL penalty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def exponential(difference: Tensor) -> Tensor:
    """e^difference.  Cut at ±20: e^20 is beyond any bound, and infinity times 0 would be NaN."""
    return difference.clamp(-20, 20).exp()


def token_ratio(logprobs_BT: Tensor, old_BT: Tensor, mask_BT: Tensor) -> Tensor:
    return exponential(logprobs_BT - old_BT)


def sequence_ratio(logprobs_BT: Tensor, old_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """(π(o) / π_old(o))^(1 / |o|), one for all tokens of a completion: GSPO, arXiv 2507.18071 eq. 7."""
    return exponential(_mean_of_rows(logprobs_BT - old_BT, mask_BT)).expand_as(logprobs_BT)


def _sum_of_rows(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    return torch.where(mask_BT, values_BT, 0.0).sum(dim=1, keepdim=True)


def _mean_of_rows(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    return _sum_of_rows(values_BT, mask_BT) / mask_BT.sum(dim=1, keepdim=True).clamp(min=1)


Ratio = Callable[[Tensor, Tensor, Tensor], Tensor]  # of two log-probabilities [B, T] under a mask
Correction = Callable[[Tensor, Tensor, float, float], Tensor]  # log ρ, mask, bounds of ρ → factor of the gain


def token_truncate(log_BT: Tensor, mask_BT: Tensor, low: float, high: float) -> Tensor:
    """Truncated importance sampling (TIS): ρ, brought into the bounds."""
    return exponential(log_BT).clamp(low, high)


def token_mask(log_BT: Tensor, mask_BT: Tensor, low: float, high: float) -> Tensor:
    """IcePop: ρ, or 0 where it is out of bounds."""
    return _inside(exponential(log_BT), low, high)


def sequence_truncate(log_BT: Tensor, mask_BT: Tensor, low: float, high: float) -> Tensor:
    """The product of a completion's ρ, brought into the bounds."""
    return exponential(_sum_of_rows(log_BT, mask_BT)).clamp(low, high).expand_as(log_BT)


def sequence_mask(log_BT: Tensor, mask_BT: Tensor, low: float, high: float) -> Tensor:
    """The product of a completion's ρ, or 0 where it is out of bounds: TRL's default."""
    return _inside(exponential(_sum_of_rows(log_BT, mask_BT)), low, high).expand_as(log_BT)


def geometric_mask(log_BT: Tensor, mask_BT: Tensor, low: float, high: float) -> Tensor:
    """ρ, or 0 for all of a completion whose geometric mean of ρ is out of bounds.

    Unlike the product, the mean does not drift away with the length.
    """
    mean_B1 = exponential(_mean_of_rows(log_BT, mask_BT))
    return exponential(log_BT) * ((mean_B1 >= low) & (mean_B1 <= high))


def _inside(ratio: Tensor, low: float, high: float) -> Tensor:
    return torch.where((ratio >= low) & (ratio <= high), ratio, 0.0)


def no_correction(log_BT: Tensor, mask_BT: Tensor, low: float, high: float) -> Tensor:
    return torch.ones_like(log_BT)


Estimator = Callable[[Tensor, Tensor], Tensor]


def k1(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Unbiased, of either sign.  As a loss its expected gradient is 0; in the reward it is ∇KL(π ‖ reference)."""
    return logprobs - reference


def k2(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Half the square.  As a loss, on-policy, its expected gradient is exactly ∇KL(π ‖ reference)."""
    return 0.5 * (logprobs - reference).square()


def k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """≥ 0 and unbiased: arXiv 2402.03300 eq. 4.

    As a loss its expected gradient is that of KL(reference ‖ π), the other direction; times the ratio (`kl_unbiased`)
    it is ∇KL(π ‖ reference).
    """
    difference = (reference - logprobs).clamp(-20, 20)
    return torch.expm1(difference) - difference


RATIOS: Mapping[str, Ratio] = {"token": token_ratio, "sequence": sequence_ratio}
CORRECTIONS: Mapping[str, tuple[Correction, float, float]] = {  # with the usual bounds of ρ
    "off": (no_correction, 0.0, math.inf),
    "token_truncate": (token_truncate, 0.0, 2.0),  # open-instruct, verl
    "token_mask": (token_mask, 0.5, 5.0),  # IcePop, arXiv 2510.18855
    "sequence_truncate": (sequence_truncate, 0.0, 3.0),  # TRL
    "sequence_mask": (sequence_mask, 0.0, 3.0),  # TRL
    "geometric_mask": (geometric_mask, 0.99, 1.01),  # SkyRL
}
ESTIMATORS: Mapping[str, Estimator] = {"k1": k1, "k2": k2, "k3": k3}
