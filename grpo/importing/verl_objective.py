"""What verl maximises → ours: advantages, reduction, trust region, KL penalty, and the correction for the sampler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from grpo.importing.theirs import Left, Made, Setting, Theirs, in_words, not_here
from grpo.migration.verl import VERL

ACTOR, CORRECTION = "actor_rollout_ref.actor", "algorithm.rollout_correction"

_ADVANTAGES = {
    "grpo": "group_std",
    "grpo_vectorized": "group_std",
    "rloo": "leave_one_out",
    "rloo_vectorized": "leave_one_out",
    "reinforce_plus_plus_baseline": "whitened",
    "gdpo": "gdpo",
}
_WEIGHTS = {
    "token-mean": "token",
    "seq-mean-token-mean": "sequence",
    "seq-mean-token-sum": "sum",
    "seq-mean-token-sum-norm": "constant",
}
_LOSSES = {"vanilla": "dapo", "gspo": "gspo", "sapo": "sapo", "cispo": "cispo", "dppo_tv": "dppo"}


def parts(theirs: Theirs) -> Iterator[Made]:
    mode, estimator = f"{ACTOR}.policy_loss.loss_mode", "algorithm.adv_estimator"
    name = _LOSSES.get(theirs.word(mode), "dapo")
    yield Setting("objective.name", name, (mode,) if theirs.word(mode) in _LOSSES else ())
    if theirs.word(mode) not in _LOSSES:
        yield theirs.left(mode, f"there are {', '.join(_LOSSES)}; written as vanilla")
    if name == "dppo":
        yield theirs.left(mode, "the square of the log-ratio, 1e-3, is in the loss besides, as in prime-rl")
    yield from _advantages(theirs, estimator)
    yield from _reduction(theirs, name)
    yield from _trust_region(theirs, name)
    for key in ("clip_cov_ratio", "kl_cov_ratio"):
        yield from not_here(
            {f"{ACTOR}.policy_loss.{key}": (None, "there is none")}, f"{ACTOR}.policy_loss.{key}", 2e-4
        )(theirs)


def _advantages(theirs: Theirs, estimator: str) -> Iterator[Made]:
    given, by_std = theirs.word(estimator), "algorithm.norm_adv_by_std_in_grpo"
    if given not in _ADVANTAGES:
        why = "there is no critic: a group is its own baseline" if given == "gae" else "there is none of that name"
        yield theirs.left(estimator, f"{why}; written as grpo, of {', '.join(_ADVANTAGES)}")
    if not theirs.flag(by_std) and _ADVANTAGES.get(given, "group_std") == "group_std":
        yield Setting("objective.advantages", "group_mean", (estimator, by_std) if given in _ADVANTAGES else (by_std,))
    elif given in _ADVANTAGES:
        yield Setting("objective.advantages", _ADVANTAGES[given], (estimator,))
    if given == "gdpo":
        yield theirs.left(estimator, "whitened over completions here, over tokens there")


def _reduction(theirs: Theirs, name: str) -> Iterator[Made]:
    mode, factor = f"{ACTOR}.loss_agg_mode", f"{ACTOR}.loss_scale_factor"
    if name in ("gspo", "sapo"):
        yield Setting(
            "objective.weights", "sequence", (mode,) if theirs.said(mode) else (), "whatever loss_agg_mode is"
        )
        return
    yield from in_words(VERL, mode, _WEIGHTS)(theirs)
    longest = theirs.count("data.max_response_length")
    if theirs.word(mode) == "seq-mean-token-sum-norm" and theirs[factor] not in (None, longest):
        yield theirs.left(factor, f"the constant is sampling.max_tokens = {longest}: scale optim.max_grad_norm, not lr")


def _trust_region(theirs: Theirs, name: str) -> Iterator[Made]:
    if name == "sapo":
        for key, paper in (("tau_pos", 1.0), ("tau_neg", 1.05)):
            if theirs[f"{ACTOR}.{key}"] != paper:
                yield theirs.left(f"{ACTOR}.{key}", "sapo has the paper's temperatures, 1 and 1.05")
        return
    low, high = (_bound(theirs, f"{ACTOR}.{key}") for key in ("clip_ratio_low", "clip_ratio_high"))
    if name == "gspo" and theirs.number(high) >= 0.05:
        yield theirs.left(high, "would clip nothing of a completion's mean ratio; GSPO's 3e-4 and 4e-4 stand here")
    else:
        yield Setting("objective.clip_low", theirs.number(low), (low,))
        yield Setting("objective.clip_high", theirs.number(high), (high,))
    if theirs.said(f"{ACTOR}.clip_ratio") and f"{ACTOR}.clip_ratio" not in (low, high):
        why = "verl does not read it while clip_ratio_low and clip_ratio_high are set, as they are by default"
        yield Left(f"{ACTOR}.clip_ratio", theirs[f"{ACTOR}.clip_ratio"], why)
    if name == "dapo":
        yield Setting("objective.dual_clip", theirs.number(f"{ACTOR}.clip_ratio_c"), (f"{ACTOR}.clip_ratio_c",))


def _bound(theirs: Theirs, name: str) -> str:
    return f"{ACTOR}.clip_ratio" if theirs[name] is None else name


_ESTIMATORS = {"kl": "k1", "k1": "k1", "mse": "k2", "k2": "k2", "low_var_kl": "k3", "k3": "k3"}


def kl(theirs: Theirs) -> Iterator[Made]:
    in_loss, in_reward = f"{ACTOR}.use_kl_loss", "algorithm.use_kl_in_reward"
    coef, kind = f"{ACTOR}.kl_loss_coef", f"{ACTOR}.kl_loss_type"
    if theirs.flag(in_loss):
        yield Setting("objective.kl_coef", theirs.number(coef), (in_loss, coef))
        yield from _estimator(theirs, kind)
        if theirs.flag(in_reward):
            yield theirs.left(in_reward, "one penalty, in the loss or in the reward")
    elif theirs.flag(in_reward):
        coef = "algorithm.kl_ctrl.kl_coef"
        yield Setting("objective.kl_coef", theirs.number(coef), (in_reward, coef))
        yield Setting("objective.kl_in", "reward", (in_reward,), "k1 in the reward")
        if theirs["algorithm.kl_penalty"] not in ("kl", "k1"):
            yield theirs.left("algorithm.kl_penalty", "in the reward it is k1")
        if theirs["algorithm.kl_ctrl.type"] != "fixed":
            yield theirs.left("algorithm.kl_ctrl.type", "objective.kl_coef is fixed, never adapted")
    else:
        off = tuple(name for name in (in_loss, in_reward, coef, kind, "algorithm.kl_ctrl.kl_coef") if theirs.said(name))
        yield Setting("objective.kl_coef", 0.0, off, "no penalty is switched on")


def _estimator(theirs: Theirs, kind: str) -> Iterator[Made]:
    given = theirs.text(kind)
    base = _ESTIMATORS.get(given.removesuffix("+"))
    if base is None:
        yield theirs.left(kind, f"there are {', '.join(_ESTIMATORS)}; written as k3")
    elif given.endswith("+"):
        yield Setting("objective.kl_estimator", "k2", (kind,), "with + the gradient is k2's")
    elif base == "k1":
        yield theirs.left(kind, "in the loss its expected gradient is 0, so it penalises nothing; written as k3")
    else:
        yield Setting("objective.kl_estimator", base, (kind,))


_REJECTIONS = {
    "token_k1": "token_mask",
    "seq_sum_k1": "sequence_mask",
    "seq_mean_k1": "geometric_mask",
    "token": "token_mask",
    "sequence": "sequence_mask",
    "geometric": "geometric_mask",
}


def correction(theirs: Theirs) -> Iterator[Made]:
    weighed, rejected = f"{CORRECTION}.rollout_is", f"{CORRECTION}.rollout_rs"
    for name, plain in (("bypass_mode", False), ("rollout_is_batch_normalize", False)):
        if theirs[f"{CORRECTION}.{name}"] != plain:
            yield theirs.left(f"{CORRECTION}.{name}", "weights are as they are, and π_old is the policy's own")
    if theirs.word(f"{ACTOR}.policy_loss.loss_mode") == "dppo_tv":
        yield from not_here({weighed: (None, "the ratio of dppo is to the sampler already")}, weighed)(theirs)
        return
    older = f"{ACTOR}.tis_imp_ratio_cap"
    if theirs[weighed] is None and theirs.number(older) > 0:
        yield Setting("objective.correction", "token_truncate", (older,))
        yield Setting("objective.correction_max", theirs.number(older), (older,))
    elif theirs.word(weighed) in ("token", "sequence"):
        yield from _weighed(theirs, weighed)
        yield from not_here(VERL, rejected)(theirs)
    elif theirs[weighed] is not None:
        yield theirs.left(weighed, "is token or sequence")
    elif theirs.word(rejected) in _REJECTIONS and (bounds := _pair(theirs[f"{rejected}_threshold"])):
        yield Setting(
            "objective.correction", _REJECTIONS[theirs[rejected]], (rejected,), "what is kept is weighted by ρ"
        )
        yield Setting("objective.correction_min", bounds[0], (f"{rejected}_threshold",))
        yield Setting("objective.correction_max", bounds[1], (f"{rejected}_threshold",))
    else:
        yield from not_here(VERL, rejected)(theirs)
        yield Setting("objective.correction", "off", (weighed,))


def _weighed(theirs: Theirs, name: str) -> Iterator[Made]:
    """A number is the upper bound of truncation; "0.5_5.0" are the two of a mask (IcePop)."""
    given, threshold = theirs[name], f"{name}_threshold"
    bounds = _pair(theirs[threshold])
    yield Setting("objective.correction", f"{given}_{'mask' if bounds else 'truncate'}", (name,))
    if bounds:
        yield Setting("objective.correction_min", bounds[0], (threshold,))
    yield Setting("objective.correction_max", bounds[1] if bounds else theirs.number(threshold), (threshold,))


def _pair(given: Any) -> tuple[float, float] | None:
    try:
        low, high = str(given).split("_")
        return float(low), float(high)
    except ValueError:
        return None


def filtering(theirs: Theirs) -> Iterator[Made]:
    group = "algorithm.filter_groups"
    if not theirs.flag(f"{group}.enable"):
        yield Setting("objective.filter_groups", False, (), "verl keeps groups without a signal in the denominators")
        return
    most = theirs.whole(f"{group}.max_num_gen_batches")
    names = (f"{group}.enable", f"{group}.max_num_gen_batches")
    yield Setting("sampling.max_num_gen_batches", most or 10, names, "" if most else "no bound there")
    if theirs.said(f"{group}.metric"):
        yield theirs.left(f"{group}.metric", "a group's signal is looked for in the first reward")
