"""Samplers and learner ranks in processes of their own, as a cluster has them, over nothing but pipes."""

from __future__ import annotations

import functools
import hashlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from grpo import config
from grpo.errors import SamplerError
from grpo.sampling import make_sampler
from grpo.sampling.transfer import Weights, open_sender
from tests.tiny import make_model

SPAWN = multiprocessing.get_context("spawn")
CHUNK = 32 * 2**10  # bytes: a dozen chunks of the tiny model


class Receiver:
    """A sampler in a process of its own."""

    def __init__(self, backend: str, folder: Path, **options: Any) -> None:
        self.pipe, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_serve, args=(theirs, backend, str(folder), options), daemon=True)
        self.process.start()
        theirs.close()
        self.size = options.get("tensor_parallel", 1)

    def ask(self, verb: str, *args: Any) -> Any:
        number = ask(self.pipe, verb, args, {})
        while (answer := self.pipe.recv())[0] != number:
            pass
        if isinstance(answer[1], BaseException):
            raise answer[1]
        return answer[1]

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def close(self) -> None:
        self.process.kill()
        self.process.join()


def ask(pipe: Connection, verb: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """The question's number, which its answer has too: an earlier one, that nobody waited for, may come before it."""
    number = time.monotonic_ns()
    pipe.send((number, verb, args, kwargs))
    return number


def _serve(pipe: Connection, backend: str, folder: str, options: Mapping[str, Any]) -> None:
    torch.set_num_threads(1)
    settings = config.Sampling.model_validate({"backend": backend, "gpu_memory_utilization": 0.02})
    sampler: Any = make_sampler(
        settings, folder, revision=None, dtype="float32", device="cpu", context=160, seed=0, transfer="gloo", **options
    )
    own = {"digest": lambda: digest(sampler._model.state_dict().items()), "name": lambda: sampler.name}
    own["load"] = lambda tied, seed: sampler.load_weights(make_model(tied, seed).named_parameters(), 0)
    own["step"] = lambda: sampler._step
    while True:
        number, verb, args, kwargs = pipe.recv()
        try:
            answer = (own.get(verb) or getattr(sampler, verb))(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 — raised where it was asked
            answer = error
        pipe.send((number, answer))


def digest(named: Any) -> str:
    together = hashlib.sha256()
    for name, tensor in sorted(named):
        together.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
    return together.hexdigest()


class Pipes:
    """`Samplers` over their pipes."""

    def __init__(self, pipes: Sequence[Connection], sizes: Sequence[int]) -> None:
        self.pipes, self.sizes = pipes, sizes

    def call(self, verb: str, arguments: Sequence[Mapping[str, Any]], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        asked = zip(self.pipes, arguments, strict=True)
        waiting: dict[Any, tuple[str, int]] = {
            pipe: (f"sampler {i}", ask(pipe, verb, (), kwargs)) for i, (pipe, kwargs) in enumerate(asked)
        }
        while waiting:
            ready = wait(list(waiting), max(0, deadline - time.monotonic()))
            if not ready:
                raise SamplerError(f"{min(waiting.values())[0]}: no answer to {verb} within {timeout:g} s")
            for pipe in ready:
                self._listen(pipe, waiting)

    def _listen(self, pipe: Any, waiting: dict[Any, tuple[str, int]]) -> None:
        name, number = waiting[pipe]
        try:
            answered, answer = pipe.recv()
        except (EOFError, ConnectionError):
            raise SamplerError(f"{name}: died") from None
        if answered == number:
            del waiting[pipe]
            if isinstance(answer, BaseException):
                raise SamplerError(f"{name}: {answer}")


def pipes_to(*receivers: Receiver) -> Pipes:
    return Pipes([one.pipe for one in receivers], [one.size for one in receivers])


def interrupted(weights: Weights, at: int, what: Callable[[], object]) -> Weights:
    """A source that does something before it yields its weight number `at` in the second pass: the first send."""
    passes = iter(range(10**6))

    def source() -> Iterator[tuple[str, torch.Tensor]]:
        number = next(passes)
        for i, one in enumerate(weights()):
            if number == 1 and i == at:
                what()
            yield one

    return source


def sharded(weights: Weights) -> Weights:
    """Each rank keeps its half of every weight's numbers; an iteration gathers them, a collective among the ranks."""
    rank, world = dist.get_rank(), dist.get_world_size()
    shards = {name: (tensor.shape, tensor.detach().flatten().chunk(world)[rank].clone()) for name, tensor in weights()}

    def source() -> Iterator[tuple[str, torch.Tensor]]:
        for name, (shape, own) in shards.items():
            parts = [torch.empty_like(own) for _ in range(world)]
            dist.all_gather(parts, own)
            yield name, torch.cat(parts).view(shape)

    return source


def learner_rank(rank: int, meeting: str, report: Connection, sends: Sequence[tuple[int, Pipes, int | None]]) -> None:
    """One of two ranks, which do their sends: (seed of the model, to whom, process to kill in its midst or None)."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    outcome = []
    for seed, pipes, victim in sends:
        source = sharded(make_model(True, seed).named_parameters)
        if victim is not None and rank == 0:
            source = interrupted(source, 5, functools.partial(os.kill, victim, signal.SIGKILL))
        sender = open_sender(
            "gloo", client=pipes, source=source, rank=rank, address="127.0.0.1", timeout=60, chunk_bytes=CHUNK
        )
        try:
            sender.send(seed)
            outcome.append("sent")
        except SamplerError as error:
            outcome.append(str(error))
        sender.close()
    report.send(outcome)
    dist.barrier()
    dist.destroy_process_group()
