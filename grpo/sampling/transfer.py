"""How weights travel from learner ranks to samplers in other processes: packed chunks, from rank 0 to all.

    every learner rank   gathers a chunk (a collective among the ranks); rank 0 alone then sends it
    rank 0               tells the samplers what comes, by `Samplers.call`; the bytes go another way
    every sampler        takes each chunk as it comes, tensor-parallel workers their own share of it

Three ways.  "gloo" between processors, by a group of our own (the default group belongs to FSDP on one side and to vLLM
on the other); "nccl" between CUDA devices and "ipc" within one, both by vLLM's own engines.  Never a file, never the
memory of whoever directs it.

Time limits are everywhere, because a broadcast to a dead process waits for ever: whoever is gone shows as a
`SamplerError` in about `timeout` seconds on all that are left.  A group that lost a member is of no more use; close its
sender and open another.
"""

from __future__ import annotations

from collections.abc import Sequence

from grpo.sampling import Way
from grpo.sampling.gloo import CHUNK_BYTES, Weight
from grpo.sampling.sender import Companion, Director, GlooSender, Passes, Samplers, Sender, Verb, Weights

__all__ = ["Samplers", "Sender", "Verb", "Weight", "Weights", "open_sender"]


def open_sender(
    way: Way,
    *,
    client: Samplers,
    source: Weights,
    rank: int,
    address: str,
    port: int = 0,
    timeout: float = 60.0,
    chunk_bytes: int = CHUNK_BYTES,
    metadata: Sequence[Weight] | None = None,
) -> Sender:
    """Form the group of rank 0 and all samplers, by their `join`; called on every learner rank.

    `source` is iterated once per `send`, on all ranks alike, and once here to learn names and shapes, unless all ranks
    know them as the `metadata` of an earlier sender.  What it yields is sent as it is, so cast there to the samplers'
    dtype.  `address` is one of rank 0's host that the samplers reach;
    `port` 0 takes a free one.  `timeout` is in seconds, for one update and for each wait within; the samplers are told.
    With "ipc" every rank's device must be that of a sampler's worker, and torch's default group that of the ranks.
    Raises `SamplerError` on rank 0 where a sampler does not join.
    """
    passes = Passes(source, metadata)
    if way == "gloo" and rank == 0:
        return GlooSender(passes, Director(client, timeout), address, port, chunk_bytes)
    if way == "gloo" or (way == "nccl" and rank > 0):
        return Companion(passes)
    from grpo.sampling.vllm_sender import VllmSender

    return VllmSender(way, passes, Director(client, timeout), rank, address, port, chunk_bytes)
