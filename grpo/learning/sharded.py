"""A model in shards, one on each rank of `torch.distributed`, by FSDP2 (`fully_shard`).

Weights, gradients and moments are cut along their first dimension; a block's weights are gathered for as long as it
computes (ZeRO-3, arXiv 1910.02054).  What is computed is the code of one process, `grpo.learning.policy`: here is only
what several ranks do differently.  The caller has started the process group and set the device of each rank.  With
`optim.offload` on CUDA devices the group needs a backend for CPUs too ("cpu:gloo,cuda:nccl").

Shards of what learns are float32 whatever the model computes in, so the optimizer needs no masters beside them.  What
is frozen, the weights beside an adapter or a reference, keeps the model's own type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from grpo.config import Optim
from grpo.errors import GrpoError, ModelError
from grpo.learning.logprobs import bind
from grpo.learning.policy import LanguageModel, Policy
from grpo.learning.shares import Totals
from grpo.learning.streaming import choose_on_twin, fill, on_meta

T = TypeVar("T")


def open_sharded(
    name: str,
    revision: str | None,
    *,
    dtype: str,
    device: str,
    optim: Optim,
    temperature: float,
    gradient_checkpointing: bool,
    float32_head: bool = False,
    prepare: Callable[[PreTrainedModel], None] | None = None,
) -> Policy:
    """The policy, of which this rank holds its shard; no rank ever holds more of a model whose files can be streamed.

    `prepare` changes the model while it is an outline, as an adapter does whose values come afterwards.
    Raises `ModelError`, on every rank alike.
    """
    model = on_meta(name, revision, dtype=dtype)
    if prepare is not None:
        prepare(model)
    ranks = Shards(model, device, offload=optim.on_host, float32_head=float32_head)
    fill(ranks, model, name, revision, dtype=dtype)
    # Offloaded shards are on the host themselves, and so are their gradients and the step.
    optim = optim.model_copy(update={"offload": False})
    return Policy(model, optim, temperature=temperature, gradient_checkpointing=gradient_checkpointing, ranks=ranks)


def open_sharded_frozen(
    name: str,
    revision: str | None,
    *,
    dtype: str,
    device: str,
    optim: Optim,
    temperature: float,
    float32_head: bool = False,
) -> LanguageModel:
    """A model that does not learn: the reference of a KL penalty."""
    model = on_meta(name, revision, dtype=dtype).requires_grad_(False)
    ranks = Shards(model, device, offload=optim.on_host, float32_head=float32_head)
    fill(ranks, model, name, revision, dtype=dtype)
    return LanguageModel(model, temperature=temperature, tokens_per_microbatch=optim.tokens, ranks=ranks)


class _Root(nn.Module):
    """Body and head in one forward: FSDP gathers a module's weights when its forward is called, and those of the
    embedding and the head are the root's."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[..., T], *arguments: Any) -> T:
        return compute(*arguments)


class Shards:
    """`grpo.learning.shares.Ranks` over FSDP2: shards `model` in place, and is one rank of its group."""

    def __init__(self, model: PreTrainedModel, device: str, *, offload: bool, float32_head: bool = False) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.device = torch.device(device, torch.cuda.current_device()) if device == "cuda" else torch.device(device)
        refuse_several_dtypes(model)
        self.dtypes: Mapping[str, torch.dtype] = {name: weight.dtype for name, weight in model.named_parameters()}
        self.dtype = model.dtype
        self.home = torch.device("cpu") if offload else self.device
        choice = choose_on_twin(model, self.device)
        self.root = self._sharded(model)
        self.computation = bind(choice, model, self.device, float32_head=float32_head)

    def _sharded(self, model: PreTrainedModel) -> nn.Module:
        dtype = model.dtype
        for weight in model.parameters():
            if weight.requires_grad and weight.is_floating_point():
                weight.data = weight.data.float()
        options: dict[str, Any] = {"mesh": init_device_mesh(self.device.type, (self.size,))}
        if dtype != torch.float32:
            options["mp_policy"] = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
        if self.home != self.device:
            options["offload_policy"] = CPUOffloadPolicy()
        blocks = set(model._no_split_modules or ())
        for module in [module for module in model.modules() if type(module).__name__ in blocks]:
            fully_shard(module, **options)
        # False, the default of a root, keeps its weights gathered after a pass without gradients: past the next
        # update, an embedding and a head that are out of date.
        root = _Root(model)
        fully_shard(root, reshard_after_forward=True, **options)
        for module in root.modules():
            if isinstance(module, FSDPModule):  # gradients are sums over ranks, where FSDP takes the mean
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)  # gloo cannot scale in a reduction
        return root

    def run(self, compute: Callable[..., T], *arguments: Any) -> T:
        found: T = self.root(compute, *arguments)
        return found

    def add_up(self, values: Tensor) -> Tensor:
        values = values.to(self.device)
        dist.all_reduce(values)
        return values.cpu()

    def add_up_totals(self, totals: Totals) -> Totals:
        parts: list[Any] = [None] * self.size
        dist.all_gather_object(parts, totals)
        return Totals.over(parts)

    def whole(self, tensor: Tensor) -> Tensor:
        tensor = tensor.to(self.device)
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def weight(self, parameter: Tensor) -> Tensor:
        return self.whole(parameter.to(self.dtype) if isinstance(parameter, DTensor) else parameter)

    def once(self, act: Callable[[], None]) -> None:
        failure: list[Exception | None] = [None]
        if self.rank == 0:
            try:
                act()
            except (GrpoError, OSError) as error:  # raised below, on the ranks that wait for it too
                failure = [error]
            except Exception as error:  # noqa: BLE001  of any class, which may not travel
                failure = [RuntimeError(f"{type(error).__name__}: {error}")]
        dist.broadcast_object_list(failure, 0)
        if failure[0] is not None:
            raise failure[0]


def refuse_several_dtypes(model: PreTrainedModel) -> None:
    """FSDP computes all of a block in one type, where some models keep parts of theirs in float32.

    `_keep_in_fp32_modules_strict` are those that transformers loads in float32 beside bfloat16.
    Raises `ModelError`.
    """
    several = {weight.dtype for weight in model.parameters() if weight.is_floating_point()}
    kept = sorted(model._keep_in_fp32_modules_strict or ())
    if len(several) > 1 or (kept and model.dtype != torch.float32):
        which = ", ".join(kept) or "some of its weights"
        raise ModelError(
            f"{model.name_or_path or type(model).__name__}: keeps {which} in another type than {model.dtype}, which "
            'shards cannot; set model.dtype = "float32", or cluster.learners = 0'
        )
