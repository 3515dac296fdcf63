"""Weights between processors: a gloo group of our own, and the packed chunks that go over it.

The group is made directly from a `TCPStore`, beside torch's default group, which has other members.  All members cut
the same list of weights into the same chunks, so nothing but bytes is sent.

What was seen with torch 2.13: a killed member breaks a broadcast at once for all; a stopped one after the time limit;
but one that is missing while the group forms is waited for half a minute whatever the limit.  So everybody
signs the store first, and the group is formed when all have.
"""

from __future__ import annotations

import math
import re
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed import BroadcastOptions, PrefixStore, ProcessGroupGloo, TCPStore  # type: ignore[attr-defined]

from grpo.errors import SamplerError

CHUNK_BYTES = 64 * 2**20
LOOK = 0.02  # seconds between two looks at who has come
ALIGNED = 16  # bytes: a tensor's view of a chunk must start at a multiple of its item's size


class Weight(NamedTuple):
    """What is known of a weight before it comes."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def room(self) -> int:
        """Bytes in a chunk."""
        return -(-self.size // ALIGNED) * ALIGNED


def as_plain(weights: Sequence[Weight]) -> dict[str, Any]:
    """In vLLM's form, which any channel can carry."""
    return {
        "names": [weight.name for weight in weights],
        "dtype_names": [str(weight.dtype).removeprefix("torch.") for weight in weights],
        "shapes": [list(weight.shape) for weight in weights],
    }


def from_plain(names: Sequence[str], dtype_names: Sequence[str], shapes: Sequence[Sequence[int]]) -> list[Weight]:
    rows = zip(names, dtype_names, shapes, strict=True)
    return [Weight(name, getattr(torch, dtype), tuple(shape)) for name, dtype, shape in rows]


def cut(weights: Iterable[Weight], chunk_bytes: int) -> Iterator[list[Weight]]:
    """Runs of weights that fit into a chunk; one that is larger by itself goes alone."""
    run: list[Weight] = []
    room = 0
    for weight in weights:
        if run and room + weight.room > chunk_bytes:
            yield run
            run, room = [], 0
        run.append(weight)
        room += weight.room
    if run:
        yield run


def pack(run: Sequence[Weight], tensors: Sequence[Tensor]) -> Tensor:
    """The tensors' bytes, one after another, on the CPU."""
    chunk = torch.empty(sum(weight.room for weight in run), dtype=torch.uint8)
    for (_, part), tensor in zip(unpack(run, chunk), tensors, strict=True):
        part.copy_(tensor.detach())
    return chunk


def unpack(run: Sequence[Weight], chunk: Tensor) -> list[tuple[str, Tensor]]:
    """Views of the chunk."""
    named, start = [], 0
    for weight in run:
        named.append((weight.name, chunk[start : start + weight.size].view(weight.dtype).view(weight.shape)))
        start += weight.room
    return named


def host_store(address: str, port: int, timeout: float) -> TCPStore:
    """Where a group's members meet; `port` 0 takes a free one, then `.port`.  It lives as long as the object."""
    try:
        return TCPStore(address, port, None, True, timedelta(seconds=timeout), wait_for_workers=False)
    except RuntimeError as error:
        raise SamplerError(
            f"weights cannot be sent from {address}:{port} ({_first_line(error)}); "
            "is the address this machine's, and the port free?"
        ) from error


class Group:
    """Of the sender, rank 0, and all that receive."""

    def __init__(self, store: TCPStore, rank: int, world: int, timeout: float) -> None:
        limit = timedelta(seconds=timeout)
        self._limit = timeout
        _all_present(store, rank, world, timeout)
        options: Any = ProcessGroupGloo._Options()  # type: ignore[attr-defined]
        options._timeout = limit
        self._store: TCPStore | None = store
        try:
            # Its own choice is what the host's name resolves to, on many machines 127.0.1.1.
            options._devices = [ProcessGroupGloo.create_device(hostname=_own_address(store.host, store.port))]
            self._gloo: ProcessGroupGloo | None = ProcessGroupGloo(PrefixStore("weights", store), rank, world, options)
        except (RuntimeError, OSError) as error:
            raise SamplerError(f"weights: no group of {world} could be formed, {_first_line(error)}") from error

    @classmethod
    def join(cls, address: str, port: int, rank: int, world: int, timeout: float) -> Group:
        try:
            store = TCPStore(address, port, None, False, timedelta(seconds=timeout), wait_for_workers=False)
        except RuntimeError as error:
            raise SamplerError(f"weights: nobody sends any at {address}:{port} ({_first_line(error)})") from error
        return cls(store, rank, world, timeout)

    def broadcast(self, chunk: Tensor) -> None:
        """From rank 0 into everybody's `chunk`.  Raises `SamplerError` within the time limit where somebody is gone."""
        if self._gloo is None:
            raise left()
        options = BroadcastOptions()
        options.rootRank = 0
        try:
            self._gloo.broadcast([chunk], options).wait()  # type: ignore[attr-defined]
        except RuntimeError as error:
            self.close()
            raise SamplerError(
                f"weights: a member of the transfer group is gone, or has done nothing for {self._limit:g} s "
                f"({_first_line(error)}); open a new group, with a longer limit if the model is too large for this one"
            ) from error

    def receive(self, weights: Iterable[Weight], chunk_bytes: int) -> Iterator[list[tuple[str, Tensor]]]:
        """Chunk by chunk.  Each in memory of its own: vLLM keeps some until the rest of their layer has come."""
        for run in cut(weights, chunk_bytes):
            chunk = torch.empty(sum(weight.room for weight in run), dtype=torch.uint8)
            self.broadcast(chunk)
            yield unpack(run, chunk)

    @property
    def closed(self) -> bool:
        return self._gloo is None

    def close(self) -> None:
        """The connections and, on rank 0, the port.  Twice does no harm."""
        self._gloo = self._store = None


GIVEN_UP = "given up"  # the key that `give_up` leaves in a store


def give_up(store: TCPStore) -> None:
    """End the waiting of all that are here, because somebody will not come."""
    store.set(GIVEN_UP, "")


def _all_present(store: TCPStore, rank: int, world: int, limit: float) -> None:
    keys, until = [f"here/{one}" for one in range(world)], time.monotonic() + limit
    try:
        store.set(keys[rank], "")
        while not store.check(keys):
            if store.check([GIVEN_UP]) or time.monotonic() > until:
                missing = [one for one, key in enumerate(keys) if not store.check([key])]
                raise SamplerError(f"weights: no transfer group: of ranks 0 to {world - 1}, {missing} did not come")
            time.sleep(LOOK)
    except RuntimeError as error:
        raise SamplerError("weights: no transfer group: the sender is gone") from error


def _own_address(address: str, port: int) -> str:
    """Of this machine, as the one at `address` sees it."""
    family, kind, protocol, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as nowhere:
        nowhere.connect(target)  # sends nothing: it only chooses the interface
        own: str = nowhere.getsockname()[0]
        return own


def left() -> SamplerError:
    return SamplerError("weights: this transfer group has been left; open another")


def _first_line(error: BaseException) -> str:
    """Without gloo's own source file in front and its advice behind."""
    text = re.sub(r"^.*?\[/\S+\] *", "", " ".join(str(error).split())).split(". ")[0]
    return text[:200] or type(error).__name__
