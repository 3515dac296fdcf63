"""What runs beside the model in each of vLLM's workers: how it takes weights, from this process and from others.

From other processes they come by vLLM's own layer, `vllm.distributed.weight_transfer`: the worker's verbs, and for each
way an engine.  It has "nccl" and "ipc" and none for processors, so `GlooEngine` here is the third; whatever is right
for one way is right for the others, and can be tried without a GPU.

What vLLM 0.32 leaves to its host:
- The CPU backend computes with packed copies of weights.  A reload renews them for linear layers, but not for an output
  head that is tied to the embedding, nor for experts.
- A reload that broke off stays open, half its layers without memory, and counts what came towards the next one.
- NCCL waits for ever for a member that is gone, unless its communicator is aborted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from vllm.config import set_current_vllm_config
from vllm.distributed.weight_transfer import WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from grpo.sampling import gloo
from grpo.sampling.limits import aborted_after, within


class WeightReceiver:
    """Mixed into vLLM's worker, which is how it offers to run code beside the model."""

    # The worker's own
    model_runner: Any
    reload_weights: Any
    vllm_config: Any
    weight_transfer_engine: Any
    init_weight_transfer_engine: Any
    start_weight_update: Any
    update_weights: Any
    finish_weight_update: Any

    transfer_limit: float  # seconds
    transfer_open = False  # between start and finish

    def receive_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Of this process.

        Layers of some models look for vLLM's current configuration as they load.  `reload_weights` sets it since 0.27.
        """
        with set_current_vllm_config(self.vllm_config):
            self.reload_weights(weights_iterator=named_tensors)
        repack(self.model_runner.get_model())

    def join_transfer(self, info: dict[str, Any], timeout: float) -> None:
        self.transfer_limit = timeout
        self.weight_transfer_engine.shutdown()  # leaves the group before
        within(timeout, "joining the learner's transfer group", lambda: self.init_weight_transfer_engine(info))

    def start_transfer(self) -> None:
        if self.transfer_open:
            with set_current_vllm_config(self.vllm_config):
                self.weight_transfer_engine.finish_weight_update()
            self._weight_update_active = False
        self.transfer_open = True
        self.start_weight_update()

    def receive_transfer(self, info: dict[str, Any]) -> None:
        with aborted_after(self.transfer_limit, "receiving weights", self.weight_transfer_engine.shutdown):
            self.update_weights(info)

    def finish_transfer(self) -> None:
        self.finish_weight_update()
        self.transfer_open = False
        repack(self.model_runner.get_model())

    def seed_generators(self, seed: int) -> None:
        """For a worker in a process of its own; what it draws has no other host to disturb."""
        torch.manual_seed(seed)


def repack(model: torch.nn.Module) -> None:
    """Renew what the CPU backend has packed and a reload leaves; there is none of it on GPUs.  No error tells of it.

    A head that shares the embedding's weight goes on with its old copy, `cpu_linear`.  Experts are packed in place when
    the engine starts; after a reload they are plain weights, which the kernel reads as if they were packed.
    """
    for module in model.modules():
        if isinstance(module, VocabParallelEmbedding) and hasattr(module, "cpu_linear"):
            dispatch_cpu_unquantized_gemm(module, remove_weight=False)
        experts = getattr(getattr(getattr(module, "quant_method", None), "moe_kernel", None), "fused_experts", None)
        if experts is not None and next(module.parameters()).device.type == "cpu":
            experts.process_weights_after_loading(module)


@dataclass
class GlooInit(WeightTransferInitInfo):  # type: ignore[misc]
    address: str
    port: int
    world: int
    rank_offset: int  # of the sampler's first worker
    chunk_bytes: int
    timeout: float


@dataclass
class GlooUpdate(WeightTransferUpdateInfo):  # type: ignore[misc]
    names: Sequence[str]
    dtype_names: Sequence[str]
    shapes: Sequence[Sequence[int]]


class GlooEngine(WeightTransferEngine):  # type: ignore[misc]
    """vLLM's dense engine, over `gloo.Group`."""

    init_info_cls, update_info_cls = GlooInit, GlooUpdate
    group: gloo.Group | None = None
    chunk_bytes = gloo.CHUNK_BYTES

    def init_transfer_engine(self, init_info: GlooInit) -> None:
        rank = init_info.rank_offset + self.parallel_config.rank
        self.chunk_bytes = init_info.chunk_bytes
        self.group = gloo.Group.join(init_info.address, init_info.port, rank, init_info.world, init_info.timeout)

    def start_weight_update(self) -> None:
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Without the end of vLLM's own, which waits for an accelerator and raises where there is none."""
        self.receive_weights(self.parse_update_info(update_info))

    def receive_weights(self, update_info: GlooUpdate) -> None:
        if self.group is None:
            raise RuntimeError("no transfer group has been joined")
        weights = gloo.from_plain(update_info.names, update_info.dtype_names, update_info.shapes)
        for named_tensors in self.group.receive(weights, self.chunk_bytes):
            self.model.load_weights(named_tensors)

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        if self.group is not None:
            self.group.close()
            self.group = None


if "gloo" not in WeightTransferEngineFactory._registry:  # a second import under another name would be refused
    WeightTransferEngineFactory.register_engine("gloo", GlooEngine)
