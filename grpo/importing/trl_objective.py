"""What TRL maximises → ours: loss, trust region, KL penalty, and the correction for the sampler."""

from __future__ import annotations

from collections.abc import Iterator

from grpo.importing.theirs import Made, Setting, Theirs, as_it_is, if_said
from grpo.migration.trl import TRL

_LOSSES = {
    "grpo": "grpo",
    "dapo": "dapo",
    "dr_grpo": "dr_grpo",
    "bnpo": "bnpo",
    "cispo": "cispo",
    "sapo": "sapo",
    "luspo": "grpo",
}
_SCALES = {"group": "group_std", True: "group_std", "batch": "batch_std", "none": "group_mean", False: "group_mean"}


def parts(theirs: Theirs) -> Iterator[Made]:
    loss, level = theirs.word("loss_type"), theirs.word("importance_sampling_level")
    of = ("loss_type", "importance_sampling_level")
    name = "gspo" if (loss, level) == ("grpo", "sequence") else _LOSSES.get(loss, "dapo")
    if loss not in _LOSSES:
        yield theirs.left("loss_type", f"there are {', '.join(_LOSSES)}; written as {name}")
    yield Setting("objective.name", name, of if loss in _LOSSES else of[1:])
    if loss == "luspo":
        yield Setting("objective.weights", "sum", ("loss_type",), "LUSPO: Σ over tokens / completions")
    if level == "sequence" and name != "gspo":
        yield Setting("objective.ratio", "sequence", ("importance_sampling_level",))
    if theirs["multi_objective_aggregation"] == "normalize_then_sum":
        yield Setting("objective.advantages", "gdpo", ("multi_objective_aggregation",))
    elif (scale := theirs.word("scale_rewards")) in _SCALES:
        yield Setting("objective.advantages", _SCALES[scale], ("scale_rewards",))
    else:
        yield theirs.left("scale_rewards", "objective.advantages is group_std, batch_std or group_mean")
    yield from _trust_region(theirs, str(loss), sequence=level == "sequence")
    yield Setting("objective.filter_groups", False, (), "TRL keeps groups without a signal in the denominators")


def _trust_region(theirs: Theirs, loss: str, *, sequence: bool) -> Iterator[Made]:
    low = theirs.number("epsilon")
    high_name = "epsilon" if theirs["epsilon_high"] is None else "epsilon_high"
    high = theirs.number(high_name)
    if loss == "sapo":
        for name in ("sapo_temperature_pos", "sapo_temperature_neg"):
            if theirs[name] != {"sapo_temperature_pos": 1.0, "sapo_temperature_neg": 1.05}[name]:
                yield theirs.left(name, TRL[name][1])
        return
    if loss == "cispo" and high <= 1:
        yield theirs.left(
            high_name, "caps the ratio itself below 1 there, which starves the gradient; ours is 5.0 (4.0 + 1)"
        )
    elif loss == "cispo":
        yield Setting(
            "objective.clip_high", high - 1, (high_name,), "the bound of the ratio itself there, 1 + this here"
        )
    elif sequence and high >= 0.05:
        yield theirs.left(high_name, "would clip nothing of a completion's mean ratio; GSPO's 3e-4 and 4e-4 stand here")
        if loss != "grpo":
            yield Setting("objective.clip_low", 3e-4, (), "GSPO's")
            yield Setting("objective.clip_high", 4e-4, (), "GSPO's")
    else:
        yield Setting("objective.clip_low", low, ("epsilon",))
        yield Setting("objective.clip_high", high, (high_name,))
    if theirs["delta"] is not None and loss != "cispo":
        yield Setting("objective.dual_clip", theirs.number("delta"), ("delta",))


def kl(theirs: Theirs) -> Iterator[Made]:
    beta = theirs.number("beta")
    yield Setting("objective.kl_coef", beta, ("beta",))
    if beta or theirs.said("use_bias_correction_kl"):
        unbiased = theirs.flag("use_bias_correction_kl")
        note = "k3 × the ratio: the gradient is KL(π ‖ reference)" if unbiased else ""
        yield Setting("objective.kl_unbiased", unbiased, ("use_bias_correction_kl",), note)


def sampler(theirs: Theirs) -> Iterator[Made]:
    """The sampler, and what makes up for its arithmetic: nothing where transformers samples, which is the policy."""
    switch, bounds = "vllm_importance_sampling_correction", "vllm_importance_sampling_clip_"
    if not theirs.flag("use_vllm"):
        faster = 'vLLM is many times as fast: delete this line and objective.correction, or set "vllm"'
        yield Setting("sampling.backend", "transformers", ("use_vllm",), faster)
        given = tuple(name for name in theirs.given if name.startswith("vllm_importance_sampling"))
        yield Setting(
            "objective.correction", "off", ("use_vllm", *given), "transformers samples with the policy itself"
        )
        return
    yield Setting("sampling.backend", "vllm", ("use_vllm",))
    yield from if_said(as_it_is(TRL, "vllm_gpu_memory_utilization"), "vllm_gpu_memory_utilization")(theirs)
    yield from if_said(as_it_is(TRL, "vllm_tensor_parallel_size"), "vllm_tensor_parallel_size")(theirs)
    if not theirs.flag(switch):
        yield Setting("objective.correction", "off", (switch,))
        return
    yield Setting("objective.correction", theirs["vllm_importance_sampling_mode"], ("vllm_importance_sampling_mode",))
    low, high = theirs[f"{bounds}min"], theirs[f"{bounds}max"]
    yield Setting("objective.correction_min", 0.0 if low is None else low, (f"{bounds}min",))
    unbounded = "" if high is not None else "none there"
    yield Setting("objective.correction_max", 1e9 if high is None else high, (f"{bounds}max",), unbounded)
