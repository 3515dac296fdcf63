"""`scripts/bench gpu --variants`: our update with other layers or another place for the optimizer, beside itself.

What a library fuses in a decoder layer (norms, the gated MLP, rotary positions) saves traffic, not arithmetic; whether
it is worth having on some GPU, and how far the numbers move, is what this measures.  The packed attention stays.
"""

from __future__ import annotations

import gc
import importlib.util
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from grpo.learning.attention import NAME, shared_prompts
from grpo.learning.trial import layer_list
from scripts.benchmark.gpu import MIXED, Ours, Setting, Size, make_work

GIB = 2**30
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Variant:
    name: str
    change: Callable[[PreTrainedModel], None] | None = None  # of the layers
    offload: bool = False


def compiled(model: PreTrainedModel) -> None:
    """Each layer by `torch.compile`, in two graphs around the attention, which is called as it is."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, torch.compiler.disable(shared_prompts))
    layers = layer_list(model)
    assert layers is not None
    for layer in layers:
        layer.compile(dynamic=True)


def with_liger(model: PreTrainedModel) -> None:
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    _apply_liger_kernel_to_instance(model=model, fused_linear_cross_entropy=False, cross_entropy=False)


def variants(device: torch.device) -> list[Variant]:
    plain = Variant("ours")
    liger = [Variant("Liger's layers", with_liger)] if importlib.util.find_spec("liger_kernel") else []
    if device.type != "cuda" or not liger:
        print("without Liger's layers, which need a GPU and liger-kernel")
        liger = []
    return [plain, Variant("compiled layers", compiled), *liger, Variant("optim.offload", offload=True), plain]


def compare(size: Size, device: torch.device, measured: Callable[..., object]) -> None:
    """Medians; ours comes first and last, and shows what clocks and caches do.  `measured` is the script's."""
    work = make_work(size, size.new // 4)
    weights = MIXED if device.type == "cuda" else "float32"
    tried = variants(device)
    base: tuple[float, Tensor] | None = None
    print(f"\n{work.name}, {size.tokens[1]:,} tokens at a time, with and without checkpointing\n")
    print("| | seconds | of ours | optimizer | first | peak GiB | norm | log-probabilities apart: mean, largest |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for checkpointing in (True, False):
        setting = Setting(weights, checkpointing, size.tokens[1])
        for variant in tried:
            side = Ours(size, setting, device, offload=variant.offload)
            if variant.change:
                variant.change(side.policy.model)
            side.take(work)
            found = side.policy.logprobs(side.batch.sequences)
            first, *samples = (measured(side, device) for _ in range(ROUNDS + 1))
            del side
            gc.collect()
            seconds = statistics.median(sample.seconds for sample in samples)
            base = base or (seconds, found)
            apart = (found - base[1]).abs()[found != 0]
            print(
                f"| {variant.name}{', checkpointing' * checkpointing} | {seconds:.3f} | {seconds / base[0]:.2f} "
                f"| {statistics.median(sample.optimizer for sample in samples):.3f} | {first.seconds:.1f} "
                f"| {max(sample.peak for sample in samples) / GIB:.2f} | {first.norm:.6g} "
                f"| {float(apart.mean()):.2g}, {float(apart.max()):.2g} |",
                flush=True,
            )
