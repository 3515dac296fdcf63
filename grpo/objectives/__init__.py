"""Objectives by name.  An objective is three functions, chosen once: how a group's rewards become *advantages*, how
tokens are *weighted*, and the *surrogate* that is maximised per token,

    L = Σ_i Σ_t w_it · [ -c_it · surrogate(u_it, A_it) + β · KL_it ]

with u the importance ratio π / π_old and c the correction for the sampler.  Around the three, shared by all, are the
corrections, the KL estimators and the metrics (`grpo.algorithm.policy_loss`).

`OBJECTIVES` has a line for each name.  To add one: write the function that is new into `advantages.py`, `weights.py` or
`surrogates.py`, put it into the table there, and the name into this one.  Formulas with their sources, and what differs
between trainers: docs/objectives.md.

Rows of a batch are whole completions, so what is computed along a row is exact under any micro-batching.  What needs
the whole update (a batch's deviation, a quantile) is computed before, once, and is in the advantages.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from grpo import config
from grpo.errors import ConfigError
from grpo.objectives.advantages import ADVANTAGES, Advantages, GroupRewards, zero_variance
from grpo.objectives.ratios import CORRECTIONS, ESTIMATORS, RATIOS, Correction, Estimator, Ratio, exponential
from grpo.objectives.surrogates import SURROGATES, Gain, Surrogate, Tokens
from grpo.objectives.weights import WEIGHTS, Weights

__all__ = ["OBJECTIVES", "Gain", "GroupRewards", "Objective", "Tokens", "check", "choose", "resolved", "zero_variance"]


@dataclass(frozen=True, slots=True)
class Named:
    """The parts of an objective by name, and the constants that belong to them."""

    advantages: str
    weights: str
    surrogate: str
    clip_low: float = 0.2
    clip_high: float = 0.2
    ratio: str = "token"
    correction: str = "token_truncate"


OBJECTIVES: Mapping[str, Named] = {
    "grpo": Named("group_std", "sequence", "clip"),
    "dapo": Named("group_std", "token", "clip", clip_high=0.28),
    "dr_grpo": Named("group_mean", "constant", "clip"),
    "bnpo": Named("group_std", "token", "clip"),
    "gspo": Named("group_std", "sequence", "clip", clip_low=3e-4, clip_high=4e-4, ratio="sequence"),
    "cispo": Named("group_std", "token", "cispo", clip_low=1.0, clip_high=4.0),
    "sapo": Named("group_std", "sequence", "sapo"),
    "rloo": Named("leave_one_out", "sum", "clip"),
    "reinforce_pp": Named("whitened", "token", "clip"),
    "max_rl": Named("max_rl", "token", "clip", clip_high=0.28),
    "gdpo": Named("gdpo", "token", "clip", clip_high=0.28),
    "dppo": Named("group_mean", "token", "dppo", correction="off"),
}


def resolved(settings: config.Objective) -> config.Objective:
    """The settings with the named objective's parts and constants where nothing else was said; or `ConfigError`."""
    named = _known(OBJECTIVES, "name", settings.name)
    of_the_name = {field: getattr(named, field) for field in Named.__dataclass_fields__}
    own = {field: getattr(settings, field) for field in of_the_name if getattr(settings, field) is not None}
    filled = settings.model_copy(update={**of_the_name, **own})
    _, low, high = _known(CORRECTIONS, "correction", str(filled.correction))
    for field, table in (("advantages", ADVANTAGES), ("weights", WEIGHTS), ("surrogate", SURROGATES)):
        _known(table, field, getattr(filled, field))
    bounds = {
        "correction_min": low if filled.correction_min is None else filled.correction_min,
        "correction_max": high if filled.correction_max is None else filled.correction_max,
    }
    return filled.model_copy(update=bounds if math.isfinite(high) else {})


def check(settings: config.Objective, group_size: int) -> None:
    """Refuse what each setting alone does not show to be nonsense.  Raises `ConfigError`."""
    for sentence in _nonsense(settings, group_size):
        raise ConfigError(sentence)


def _nonsense(settings: config.Objective, group_size: int) -> Iterator[str]:
    low, high = settings.correction_bounds
    clips, pays_kl = settings.surrogate == "clip", settings.kl_coef > 0 and settings.kl_in == "reward"
    if clips and settings.ratio == "sequence" and (settings.clip_high or 0.0) >= 0.05:
        yield (
            f'objective.clip_high = {settings.clip_high} with objective.ratio = "sequence": the mean over a completion '
            "moves a thousand times less than a token's ratio, so nothing would be clipped; GSPO takes 4e-4"
        )
    if settings.dual_clip and not clips:
        yield (
            f'objective.dual_clip = {settings.dual_clip} is a part of "clip" and means nothing to '
            f'objective.surrogate = "{settings.surrogate}"; leave it out'
        )
    if settings.surrogate == "dppo" and settings.correction not in (None, "off"):
        yield (
            f'objective.correction = "{settings.correction}" with objective.surrogate = "dppo": its ratio is to the '
            'sampler already, and would be corrected twice; set objective.correction = "off"'
        )
    if settings.correction == "off" and (settings.correction_min, settings.correction_max) != (None, None):
        yield 'objective.correction = "off" has no bounds; leave out objective.correction_min and correction_max'
    if low > high:
        yield f"objective.correction_min = {low:g} is above objective.correction_max = {high:g}; exchange them"
    if settings.kl_coef and not pays_kl and settings.kl_estimator == "k1" and not settings.kl_unbiased:
        yield (
            'objective.kl_estimator = "k1" in the loss has an expected gradient of 0, so it penalises nothing; set '
            'objective.kl_unbiased = true, objective.kl_in = "reward", or take "k2" or "k3"'
        )
    if settings.kl_unbiased and (settings.kl_estimator == "k2" or settings.kl_in == "reward"):
        yield (
            "objective.kl_unbiased is for k1 and k3 in the loss: k2 needs none, and in the reward it is k1 by itself; "
            "leave it out"
        )
    if pays_kl and settings.advantages in ("max_rl", "pass_at_k", "gdpo"):
        yield (
            f'objective.kl_in = "reward" with objective.advantages = "{settings.advantages}": it divides by rewards, '
            'counts them or scales each by itself, and a penalty would not be one; set objective.kl_in = "loss"'
        )
    if settings.advantages == "pass_at_k" and group_size <= settings.pass_k:
        yield (
            f'objective.pass_k = {settings.pass_k} with sampling.group_size = {group_size}: "pass_at_k" compares '
            "subsets of pass_k completions, so groups must be larger; twice as large or more is usual"
        )


@dataclass(frozen=True, slots=True)
class Objective:
    """What `grpo.algorithm` computes with: the functions that the settings name, and their constants."""

    settings: config.Objective
    advantages: Advantages
    weights: Weights
    surrogate: Surrogate
    ratio: Ratio
    correction: Correction
    estimator: Estimator

    def correct(self, log_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """The factor of each token's gain, from log ρ: 0 for all of a vetoed completion."""
        factor_BT = self.correction(log_BT, mask_BT, *self.settings.correction_bounds)
        if not self.settings.veto:
            return factor_BT
        vetoed_BT = mask_BT & (exponential(log_BT) < self.settings.veto)
        return factor_BT * ~vetoed_BT.any(dim=1, keepdim=True)

    def has_signal(self, group: GroupRewards) -> bool:
        """Whether the group tells any of its completions from another, which is what moves the policy."""
        return any(advantage != 0 for advantage in self.advantages([group], self.settings)[0])


def choose(settings: config.Objective) -> Objective:
    """The functions of an objective.  Raises `ConfigError`."""
    settings = resolved(settings)
    parts = (settings.advantages, settings.weights, settings.surrogate, settings.ratio, settings.correction)
    advantages, weights, surrogate, ratio, correction = (str(part) for part in parts)
    return Objective(
        settings,
        ADVANTAGES[advantages],
        WEIGHTS[weights],
        SURROGATES[surrogate],
        RATIOS[ratio],
        CORRECTIONS[correction][0],
        ESTIMATORS[settings.kl_estimator],
    )


T = TypeVar("T")


def _known(table: Mapping[str, T], setting: str, name: str) -> T:
    if name not in table:
        near = difflib.get_close_matches(name.lower(), table, n=1)
        guess = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(
            f'objective.{setting} = "{name}": there is none of that name; {guess}there are {", ".join(table)}'
        )
    return table[name]
