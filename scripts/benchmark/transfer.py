"""How long weights take from one process into the memory of another, by each way, beside a copy within one process.

    python -m scripts.benchmark.transfer [megabytes …]

Every way starts with the sender's tensors and ends when the receiver has copied the last of them over its own, as a
sampler does; opening (a group, a segment, Ray) is not counted.  The time is the median of the rounds after a first one
that is not counted either.
"""

from __future__ import annotations

import importlib.util
import itertools
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from grpo.sampling import gloo
from grpo.sampling.transfer import open_sender

MATRIX = 1024  # rows and columns: 2 MB of bfloat16, the size of a matrix in a small model
Weights = Mapping[str, torch.Tensor]
Send = Callable[[], None]


def make_weights(megabytes: int) -> dict[str, torch.Tensor]:
    """Millions of bytes, in bfloat16."""
    count = max(1, round(megabytes * 1e6 / (2 * MATRIX**2)))
    return {f"layers.{i}.weight": torch.randn(MATRIX, MATRIX).to(torch.bfloat16) for i in range(count)}


def size(weights: Weights) -> float:
    """Megabytes."""
    return sum(tensor.nbytes for tensor in weights.values()) / 1e6


def overwrite(own: Weights, named: Any) -> None:
    for name, tensor in named:
        own[name].copy_(tensor)


class Receiver:
    """A process with tensors like the sender's; `call` is what a cluster's channel to the samplers does."""

    sizes = (1,)

    def __init__(self, megabytes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_receive, args=(theirs, megabytes), daemon=True)
        self.process.start()

    def ask(self, verb: str, **arguments: Any) -> Any:
        self.pipe.send((verb, arguments))
        answer = self.pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def call(self, verb: str, arguments: Sequence[Mapping[str, Any]], timeout: float) -> None:
        self.ask(verb, **arguments[0])

    def close(self) -> None:
        self.process.kill()
        self.process.join()


class _Receiving:
    def __init__(self, megabytes: int) -> None:
        self.own = make_weights(megabytes)

    def join(self, way: str, timeout: float, info: Mapping[str, Any]) -> None:
        where = (info["address"], info["port"], info["rank_offset"], info["world"])
        self.group, self.chunk_bytes = gloo.Group.join(*where, timeout), info["chunk_bytes"]

    def start_update(self, step: int) -> None: ...

    def receive(self, info: Mapping[str, Any]) -> None:
        overwrite(
            self.own, itertools.chain.from_iterable(self.group.receive(gloo.from_plain(**info), self.chunk_bytes))
        )

    def finish_update(self) -> None: ...

    def attach(self, name: str) -> None:
        self.segment = SharedMemory(name)

    def read_segment(self) -> None:
        overwrite(self.own, gloo.unpack(_layout(self.own), torch.frombuffer(self.segment.buf, dtype=torch.uint8)))

    def read_file(self, path: Path) -> None:
        overwrite(self.own, load_file(path).items())

    def total(self) -> float:
        return float(sum(tensor.double().sum() for tensor in self.own.values()))


def _receive(pipe: Any, megabytes: int) -> None:
    receiving = _Receiving(megabytes)
    while True:
        verb, arguments = pipe.recv()
        try:
            pipe.send(getattr(receiving, verb)(**arguments))
        except Exception as error:  # noqa: BLE001 — raised where it was asked
            pipe.send(error)


def _layout(weights: Weights) -> list[gloo.Weight]:
    return [gloo.Weight(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in weights.items()]


@contextmanager
def by_copy(weights: Weights, receiver: Receiver) -> Iterator[Send]:
    own = {name: torch.empty_like(tensor) for name, tensor in weights.items()}
    yield lambda: overwrite(own, weights.items())


@contextmanager
def by_gloo(weights: Weights, receiver: Receiver) -> Iterator[Send]:
    sender = open_sender("gloo", client=receiver, source=weights.items, rank=0, address="127.0.0.1", timeout=600)
    yield lambda: sender.send(1)
    sender.close()


@contextmanager
def by_shared_memory(weights: Weights, receiver: Receiver) -> Iterator[Send]:
    layout = _layout(weights)
    segment = SharedMemory(create=True, size=sum(weight.room for weight in layout))
    receiver.ask("attach", name=segment.name)

    def send() -> None:
        views = gloo.unpack(layout, torch.frombuffer(segment.buf, dtype=torch.uint8))
        overwrite(dict(views), weights.items())
        receiver.ask("read_segment")

    yield send
    segment.unlink()


@contextmanager
def by_file(weights: Weights, receiver: Receiver) -> Iterator[Send]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"

        def send() -> None:
            save_file(dict(weights), path)
            receiver.ask("read_file", path=path)

        yield send


@contextmanager
def by_ray(weights: Weights, receiver: Receiver) -> Iterator[Send]:
    """Through the object store, by plain numbers: Ray has no bfloat16."""
    import ray

    megabytes = size(weights)
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=int(2.5e6 * megabytes) + 100_000_000,
    )
    try:

        @ray.remote(num_cpus=0)
        class Taker:
            def __init__(self, shapes: Mapping[str, torch.Size]) -> None:
                self.own = {name: torch.empty(shape, dtype=torch.bfloat16) for name, shape in shapes.items()}

            def take(self, arrays: Mapping[str, Any]) -> None:
                for name, array in arrays.items():
                    self.own[name].copy_(torch.from_numpy(array).view(torch.bfloat16))

        taker = Taker.remote({name: tensor.shape for name, tensor in weights.items()})

        def send() -> None:
            arrays = {name: tensor.view(torch.int16).numpy() for name, tensor in weights.items()}
            ray.get(taker.take.remote(ray.put(arrays)))

        yield send
    finally:
        ray.shutdown()


WAYS = {
    "copy within one process": by_copy,
    "gloo": by_gloo,
    "shared memory": by_shared_memory,
    "safetensors file": by_file,
    "Ray's object store": by_ray,
}


def seconds(send: Send, rounds: int) -> float:
    """Median."""
    send()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        send()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(megabytes: int, rounds: int = 3) -> Iterator[tuple[str, float, float]]:
    """(way, megabytes, seconds) of each way there is."""
    weights = make_weights(megabytes)
    receiver = Receiver(megabytes)
    try:
        for name, way in WAYS.items():
            if way is by_ray and importlib.util.find_spec("ray") is None:
                continue
            with way(weights, receiver) as send:
                yield name, size(weights), seconds(send, rounds)
    finally:
        receiver.close()


def report(sizes: Sequence[int] = (100, 1000), *, rounds: int = 3) -> None:
    """Print a row for each way and size."""
    print(f"{'way':<24} {'MB':>6} {'s':>8} {'MB/s':>8}")
    for megabytes in sizes:
        for name, sent, taken in measure(megabytes, rounds):
            print(f"{name:<24} {sent:>6.0f} {taken:>8.3f} {sent / taken:>8.0f}", flush=True)


if __name__ == "__main__":
    report([int(argument) for argument in sys.argv[1:]] or (100, 1000))
