"""Weights between CUDA devices ("nccl") and within one ("ipc"): vLLM's own trainer engines behind our `Sender`.

What they do not have is added here: a rank offset for each sampler (vLLM's own clients tell every engine the same one,
which is right for one engine only), time limits, and a failed transfer that goes through its motions to the end, so
that the other learner ranks are not left in a collective.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import torch
from vllm.distributed.weight_transfer import WeightTransferTrainerFactory
from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo
from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

from grpo.errors import GrpoError, SamplerError
from grpo.sampling import Way, gloo
from grpo.sampling.limits import aborted_after, within
from grpo.sampling.sender import Director, Passes


class VllmSender:
    def __init__(
        self, way: Way, passes: Passes, director: Director, rank: int, address: str, port: int, chunk_bytes: int
    ) -> None:
        self._way, self._passes, self._director = way, passes, director
        self.metadata = passes.metadata()
        self._control = Control(way, director, self._abort)
        self._engine: Any = None
        self._broken = False
        info: Any
        if way == "nccl":
            world = 1 + sum(director.sizes)
            info = NCCLTrainerInitInfo(
                address,
                port or _free_port(),
                world,
                packed_buffer_size_bytes=chunk_bytes,
                packed_num_buffers=1,  # with more, a chunk is gathered while another is sent
                rank=rank,
            )
        else:
            largest = max((weight.room for weight in self.metadata), default=0)
            info = IPCTrainerInitInfo(True, max(chunk_bytes, largest), rank=rank)  # a weight is never cut there
        self._form(info)

    def _form(self, info: Any) -> None:
        director, what = self._director, "forming the transfer group"
        try:
            within(director.timeout, what, lambda: self._open(info), pointless=lambda: director.failure is not None)
        except RuntimeError as error:
            director.failure = director.failure or self._of_nccl(what, error)
        except SamplerError as error:
            director.failure = director.failure or error  # of the two the samplers' own says more
        director.settle()

    def _of_nccl(self, what: str, error: RuntimeError) -> SamplerError:
        """Of nobody else's: with "ipc" the other ranks stand in a collective, and must be ended with this one."""
        if self._way == "ipc":
            raise error
        return SamplerError(f"{what} failed, {error}")

    def _open(self, info: Any) -> None:
        self._engine = WeightTransferTrainerFactory.trainer_init(info, client=self._control, source=self._passes)

    def send(self, step: int) -> None:
        self._control.step = step
        failed: GrpoError | None = None
        what = f"sending the weights of step {step}"
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # the last update may still be written, on another stream than those that send
        try:
            with aborted_after(self._director.timeout, what, self._abort):
                self._engine.send_weights()
        except GrpoError as error:
            failed = error
        except RuntimeError as error:
            failed = self._of_nccl(what, error)
        self._passes.finish()
        self._director.failure = self._director.failure or failed
        if self._broken and self._director.failure is None:
            self._director.failure = gloo.left()
        self._director.settle()

    def _abort(self) -> None:
        """End every wait in NCCL, now and later: an aborted communicator sends nothing and says nothing."""
        self._broken = True
        communicator = getattr(self._engine, "model_update_group", None)
        if communicator is not None:
            communicator.destroy()

    def close(self) -> None:
        if self._engine is not None:
            self._engine.shutdown()


class Control:
    """vLLM's `VLLMWeightSyncClient` over our channel."""

    def __init__(self, way: Way, director: Director, abort: Any) -> None:
        self._way, self._director, self._abort = way, director, abort
        self.step = 0

    def init_weight_transfer_engine(self, init_info: Mapping[str, Any]) -> None:
        self._director.join(self._way, init_info)

    def start_weight_update(self) -> None:
        self._call("start_update", step=self.step)

    def update_weights(self, update_info: Mapping[str, Any]) -> None:
        self._call("receive", info=update_info)

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self._call("finish_update")

    def _call(self, verb: Any, **arguments: Any) -> None:
        self._director.call(verb, **arguments)
        if self._director.failure is not None:  # nobody takes what is broadcast now
            self._abort()


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("", 0))
        port: int = listening.getsockname()[1]
        return port
