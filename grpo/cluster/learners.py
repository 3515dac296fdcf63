"""Learners: one process per rank of an FSDP2 group, and the group as one thing that learns.

Every call goes to all ranks with the same arguments, and each computes its share; what all of them return is the same,
so the driver reads that of the first.  If one is lost, its shards of weights and moments are lost with it, and the
others wait in a collective for whom there no longer is: the whole group is ended, and a new one opens a checkpoint.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayActorError, RayTaskError
from torch import Tensor, distributed

from grpo import stacks
from grpo.cluster.actors import Actor, Whereabouts, is_gone, results, whereabouts
from grpo.cluster.runtime import Seats
from grpo.cluster.samplers import Channel
from grpo.engine import Models, Whose
from grpo.errors import ClusterError, GrpoError, LearnerLost, SamplerError
from grpo.learning.batch import Batch, Loss, Sequences
from grpo.sampling import Way
from grpo.sampling.transfer import Sender, Weight, open_sender

COLLECTIVE = timedelta(minutes=30)  # how long a rank waits for another; the driver ends a broken group long before

OPENING = 3600.0  # seconds in which all have opened the model: a large one takes long to read

OpenModels = Callable[[Path | None], Models]  # called on every rank, with the checkpoint to resume from


class LearnerActor:
    """One rank."""

    def __init__(self, rank: int, world: int) -> None:
        stacks.answer()
        self.rank, self.world = rank, world
        self.sender: Sender | None = None

    @ray.method(concurrency_group="pulse")
    def pulse(self) -> Whereabouts:
        return whereabouts()

    def meeting_place(self) -> tuple[str, int]:
        """An address of this machine at which the ranks can meet."""
        with socket.socket() as free:
            free.bind(("", 0))
            return ray.util.get_node_ip_address(), free.getsockname()[1]

    def open(self, address: str, port: int, models: OpenModels, checkpoint: Path | None) -> None:
        """Meet the other ranks, if there are any, and open what there is to open, together."""
        if self.world > 1:
            self._meet(address, port)
        self.models = models(checkpoint)
        # Of every weight that will be sent; all ranks gather it for that, and never again for this.
        named = self.models.policy.weights()
        self.metadata = [Weight(name, weight.dtype, tuple(weight.shape)) for name, weight in named]

    def _meet(self, address: str, port: int) -> None:
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        where = f"tcp://{address}:{port}"
        try:
            distributed.init_process_group(backend, where, rank=self.rank, world_size=self.world, timeout=COLLECTIVE)
        except distributed.DistError as error:
            raise ClusterError(
                f"learner {self.rank + 1} of {self.world}: cannot meet the others at {address}:{port} "
                f"({' '.join(str(error).split())[:200]}); is the port free, and open between the machines?"
            ) from error

    def connect(self, way: Way, samplers: Sequence[tuple[str, Any]], sizes: Sequence[int], timeout: float) -> None:
        """Form the group over which these samplers, (name, handle), get weights, in place of the last one."""
        self.disconnect()
        client, address = Channel(samplers, sizes), ray.util.get_node_ip_address()
        self.sender = open_sender(
            way,
            client=client,
            source=self.models.policy.weights,
            rank=self.rank,
            address=address,
            timeout=timeout,
            metadata=self.metadata,
        )

    def send(self, step: int) -> None:
        assert self.sender is not None
        self.sender.send(step)

    def disconnect(self) -> None:
        sender, self.sender = self.sender, None
        if sender is not None:
            sender.close()

    def ask(self, verb: str, *arguments: Any) -> Any:
        """What a verb of the policy gives.  It is the same on all ranks, and the first one sends it."""
        value = getattr(self.models.policy, verb)(*arguments)
        return value if self.rank == 0 else None

    def frozen(self, of: Whose, sequences: Sequences) -> Tensor | None:
        """log π of each token by another model, likewise."""
        values_BT = self.models.frozen[of](sequences)
        return values_BT if self.rank == 0 else None

    def fallback(self) -> str:
        """Why prompts are not shared; "" where they are."""
        return str(self.models.policy.computation.fallback)

    def update(self, batch: Batch, loss: Loss, lr: float) -> tuple[dict[str, float], float] | None:
        """Totals and gradient norm."""
        policy = self.models.policy
        totals, norm = policy.forward_backward(batch, loss), policy.optim_step(lr)
        return (totals, norm) if self.rank == 0 else None


_ACTOR: Any = ray.remote(concurrency_groups={"pulse": 1})(LearnerActor)


class Learners:
    """All ranks, as the driver asks them.  One call at a time: two threads' calls must not cross on their way."""

    def __init__(self, seats: Seats, models: OpenModels, *, threads: int, timeout: float) -> None:
        self._seats, self._models, self._threads, self._timeout = seats, models, threads, timeout
        self._lock = threading.RLock()
        self.actors: list[Actor] = []
        self.busy = 0.0  # seconds in calls

    def open(self, checkpoint: Path | None) -> None:
        """Start the ranks, in place of those there may be, on what they begin from or on a checkpoint."""
        self.close()
        world = self._seats.division.learners
        environment = {"env_vars": {"OMP_NUM_THREADS": str(self._threads)}}
        for rank in range(world):
            options = {**self._seats.learner(rank), "max_restarts": 0, "runtime_env": environment}
            handle = _ACTOR.options(**options).remote(rank, world)
            self.actors.append(Actor(f"learner {rank + 1} of {world}", handle, self._timeout))
        address, port = self.call("meeting_place")
        self.call("open", address, port, self._models, checkpoint, within=OPENING)

    def ask(self, verb: str, *arguments: Any) -> Any:
        """What a verb of the policy gives."""
        return self.call("ask", verb, *arguments)

    def call(self, method: str, *arguments: Any, beside: Sequence[Actor] = (), within: float | None = None) -> Any:
        """What `method` of the actors gives on the first rank; `beside` are others without whom it does not end, and
        `within` seconds it must.

        Raises `LearnerLost` where a rank is gone, and an actor's own `GrpoError`; then there are no ranks any more,
        unless it was a `SamplerError`, of others.
        """
        stored = [ray.put(value) if isinstance(value, Batch | Sequences) else value for value in arguments]
        with self._lock:
            if not self.actors:
                raise LearnerLost("learners: are gone, and were not opened again")
            started = time.monotonic()
            try:
                return self._results(method, stored, beside, within)[0]
            except SamplerError:  # after which all ranks have come to the end of the call
                raise
            except (GrpoError, OSError):
                self.close()  # the others wait for the one that raised
                raise
            except (RayActorError, RayTaskError) as error:
                lost = next((actor for actor in self.actors if is_gone(actor)), None)
                self.close()
                if lost is None:
                    raise
                raise LearnerLost(f"{lost.name}: {lost.fate()} during {_doing(method, arguments)}") from error
            finally:
                self.busy += time.monotonic() - started

    def _results(
        self, method: str, arguments: Sequence[Any], beside: Sequence[Actor], within: float | None
    ) -> list[Any]:
        refs = [getattr(actor.handle, method).remote(*arguments) for actor in self.actors]
        return results(refs, [*self.actors, *beside], within=within)

    def close(self) -> None:
        for actor in self.actors:
            actor.kill()
        self.actors = []


def _doing(method: str, arguments: tuple[Any, ...]) -> str:
    return str(arguments[0]) if method == "ask" else method
