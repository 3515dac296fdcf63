"""What is maximised per token, and the trust region in it.

On-policy, where the importance ratio is 1 (for `dppo` that to the sampler), the gradient of every surrogate is
A ∇log π; they differ in what they let a policy do that has moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from grpo import config
from grpo.objectives.ratios import exponential


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a surrogate sees of some completions: [B, T] each.  `logprobs` and `ratio` have a gradient."""

    logprobs: Tensor
    old: Tensor
    sampler: Tensor
    advantages: Tensor
    ratio: Tensor  # π / π_old, of each token or of its completion


@dataclass(frozen=True, slots=True)
class Gain:
    """What is maximised per token, and where the trust region holds the policy back: [B, T] each."""

    gain: Tensor
    clipped: Tensor


Surrogate = Callable[[Tokens, config.Objective], Gain]


def clip(tokens: Tokens, settings: config.Objective) -> Gain:
    """min(u A, clip(u, 1 - ε_low, 1 + ε_high) A): PPO, arXiv 1707.06347 eq. 7; two bounds: DAPO, 2503.14476.

    With `dual_clip` u is at most that in the first branch: two-sided clipping (INTELLECT-2, arXiv 2505.07291), which
    for A < 0 bounds the loss as dual clip does (1912.09729 eq. 5).
    """
    low, high = settings.trust_region
    free = tokens.ratio.clamp(max=settings.dual_clip) if settings.dual_clip else tokens.ratio
    plain = free * tokens.advantages
    gain = torch.minimum(plain, tokens.ratio.clamp(1 - low, 1 + high) * tokens.advantages)
    return Gain(gain, (gain < plain) | (free < tokens.ratio) & (gain == plain) & (tokens.advantages != 0))


def cispo(tokens: Tokens, settings: config.Objective) -> Gain:
    """sg(clip(u)) A log π: CISPO, arXiv 2506.13585 eq. 4.  A clipped ratio is a bounded weight; no token is lost."""
    low, high = settings.trust_region
    ratio = tokens.ratio.detach()
    weight = ratio.clamp(1 - low, 1 + high)
    return Gain(weight * tokens.advantages * tokens.logprobs, weight != ratio)


def sapo_at(positive: float, negative: float) -> Surrogate:
    """SAPO with these temperatures, by the sign of the advantage."""

    def surrogate(tokens: Tokens, settings: config.Objective) -> Gain:
        """σ(τ (u - 1)) (4 / τ) A: SAPO, arXiv 2511.20347.  A soft gate instead of a clip, of slope 1 at u = 1."""
        tau = torch.where(tokens.advantages > 0, positive, negative)
        gain = torch.sigmoid(tau * (tokens.ratio - 1)) * (4 / tau) * tokens.advantages
        return Gain(gain, torch.zeros_like(gain, dtype=torch.bool))

    return surrogate


sapo = sapo_at(1.0, 1.05)  # the paper's, and TRL's


DPPO_KL = 1e-3  # of the squared log-ratio: prime-rl's `kl_tau`


def dppo(tokens: Tokens, settings: config.Objective) -> Gain:
    """keep · v A - 1e-3 (log v)², with v = π / π_sampler: DPPO-TV, arXiv 2602.04879, as in prime-rl.

    A token is kept until its *probability* has moved by clip_low or clip_high from what the sampler gave it, in the
    direction of its advantage: a ratio says little of a rare token, and too much.
    """
    low, high = settings.trust_region
    difference = tokens.logprobs - tokens.sampler
    moved = (tokens.logprobs.exp() - tokens.sampler.exp()).detach()
    too_far = torch.where(tokens.advantages > 0, moved > high, moved < -low)
    gain = torch.where(too_far, 0.0, exponential(difference) * tokens.advantages) - DPPO_KL * difference.square()
    return Gain(gain, too_far)


SURROGATES: Mapping[str, Surrogate] = {"clip": clip, "cispo": cispo, "sapo": sapo, "dppo": dppo}
