"""The learner's side of a transfer: one pass over the weights on every rank, and rank 0 between processors.

A pass is a collective among the ranks (each gathers its shard of every weight with the others'), so whatever happens to
the samplers it is gone through to its end on all of them, and what failed is raised afterwards.  A chunk is gathered
first and sent then: two collectives that run into each other deadlock (TRL issues 6797 and 7103).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, islice
from typing import Any, Literal, Protocol

from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from grpo.errors import GrpoError, SamplerError
from grpo.sampling import Way, gloo
from grpo.sampling.gloo import Weight

Verb = Literal["join", "start_update", "receive", "finish_update"]  # of `RemoteSampler`
Weights = Callable[
    [], Iterable[tuple[str, Tensor]]
]  # such as `Policy.weights`: whole tensors, in the same order always


class Samplers(Protocol):
    """The channel to all samplers, by which rank 0 of the learners directs a transfer."""

    sizes: Sequence[int]  # of each sampler, how many processes of it take weights: its tensor parallelism

    def call(self, verb: Verb, arguments: Sequence[Mapping[str, Any]], timeout: float) -> None:
        """`getattr(sampler, verb)(**its arguments)` on all samplers at the same time; return when all have.

        Raises `SamplerError`, which names a sampler, as soon as one raises or is dead, or `timeout` seconds are over.
        It may be called from any thread.
        """
        ...


class Sender(Protocol):
    metadata: Sequence[Weight]  # what is sent; `open_sender` of the next group need not learn it again

    def send(self, step: int) -> None:
        """Give all samplers the weights of `step`.  On every rank; returns when all of them serve the new ones.

        On rank 0 raises `SamplerError` where a sampler was lost, after the other ranks have been kept company to the
        end.  They raise nothing: rank 0 knows.
        """
        ...

    def close(self) -> None:
        """Leave the group.  Safe after any failure, and twice."""
        ...


class Passes:
    """A source of weights in the shape of vLLM's `WeightSource`, whose last pass can be gone through to its end.

    Each pass is a collective among the learner ranks: a rank that leaves one early leaves the others hanging in it.
    Where no `metadata` is given, one goes into learning names, types and shapes.
    """

    def __init__(self, source: Weights, metadata: Sequence[Weight] | None = None) -> None:
        self._source = source
        self._running: Iterator[tuple[str, Tensor]] = iter(())
        if metadata is None:
            metadata = [Weight(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in source()]
        self._weights = metadata

    def metadata(self) -> Sequence[Weight]:
        return self._weights

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        self._running = self._checked()
        return self._running

    def _checked(self) -> Iterator[tuple[str, Tensor]]:
        for weight, (name, tensor) in zip(self._weights, self._source(), strict=True):
            if weight != (name, tensor.dtype, tuple(tensor.shape)):
                raise ValueError(f"a source of weights yielded {name} {tuple(tensor.shape)} in the place of {weight}")
            yield name, tensor

    def finish(self) -> None:
        for _ in self._running:
            pass


class Companion:
    """A rank that sends nothing."""

    def __init__(self, passes: Passes) -> None:
        self._passes, self.metadata = passes, passes.metadata()

    def send(self, step: int) -> None:
        for _ in self._passes:
            pass

    def close(self) -> None:
        pass


class Director:
    """Rank 0's end of the channel.  After a first failure it calls nobody: the transfer goes through its motions to the
    end, so that no other rank hangs, and then the failure is raised."""

    def __init__(self, client: Samplers, timeout: float) -> None:
        self.sizes, self.timeout = client.sizes, timeout
        self.failure: GrpoError | None = None
        self._client = client

    def call(self, verb: Verb, **arguments: Any) -> None:
        self.call_each(verb, [arguments] * len(self.sizes))

    def call_each(self, verb: Verb, arguments: Sequence[Mapping[str, Any]]) -> None:
        if self.failure is None:
            try:
                self._client.call(verb, arguments, self.timeout)
            except GrpoError as error:
                self.failure = error

    def join(self, way: Way, info: Mapping[str, Any]) -> None:
        """A `rank_offset` in `info` becomes each sampler's own: its processes are ranks in a row, after rank 0 and the
        samplers before it."""
        offsets = list(accumulate(self.sizes, initial=1))[:-1]
        infos = [{**info, "rank_offset": offset} if "rank_offset" in info else info for offset in offsets]
        self.call_each("join", [{"way": way, "timeout": self.timeout, "info": info} for info in infos])

    def settle(self) -> None:
        """Raise what failed, once."""
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure


class GlooSender:
    """Rank 0 between processors."""

    def __init__(self, passes: Passes, director: Director, address: str, port: int, chunk_bytes: int) -> None:
        self._passes, self._director, self._chunk_bytes = passes, director, chunk_bytes
        self.metadata = passes.metadata()
        store = gloo.host_store(address, port, director.timeout)
        world = 1 + sum(director.sizes)
        info = {
            "address": address,
            "port": store.port,
            "world": world,
            "rank_offset": 1,
            "chunk_bytes": chunk_bytes,
            "timeout": director.timeout,
        }
        broken: SamplerError | None = None
        with ThreadPoolExecutor(1) as beside:
            joining = beside.submit(self._invite, director, store, info)
            try:
                self._group = gloo.Group(store, 0, world, director.timeout)
            except SamplerError as error:
                broken = error
            joining.result()
        director.failure = director.failure or broken
        director.settle()

    @staticmethod
    def _invite(director: Director, store: TCPStore, info: Mapping[str, Any]) -> None:
        director.join("gloo", info)
        if director.failure is not None:
            gloo.give_up(store)

    def send(self, step: int) -> None:
        director, weights = self._director, self.metadata
        director.failure = gloo.left() if self._group.closed else None
        director.call("start_update", step=step)
        with ThreadPoolExecutor(1) as beside:
            receiving = beside.submit(director.call, "receive", info=gloo.as_plain(weights))
            broken = self._broadcast(weights)
            receiving.result()
        director.failure = director.failure or broken  # of the two the samplers' own says more
        director.call("finish_update")
        director.settle()

    def _broadcast(self, weights: Sequence[Weight]) -> SamplerError | None:
        """Gather every chunk, and send it while nothing has failed."""
        broken = None
        passing = iter(self._passes)
        for run in gloo.cut(weights, self._chunk_bytes):
            tensors = [tensor for _, tensor in islice(passing, len(run))]
            if self._director.failure is None and broken is None:
                try:
                    self._group.broadcast(gloo.pack(run, tensors))
                except SamplerError as error:
                    broken = error
        self._passes.finish()
        return broken

    def close(self) -> None:
        self._group.close()
