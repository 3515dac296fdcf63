"""Ray: a cluster that is there, or one of this machine's own; and where in it an actor goes."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RaySystemError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from grpo.cluster.place import Division
from grpo.errors import ClusterError, first_line
from grpo.interrupt import SIGNALS

ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # actors without a GPU see what we see
    "RAY_worker_niceness": "0",  # not 15, with which an actor starves beside anything else on its machine
    "RAY_prestart_worker_first_driver": "0",  # no process per core: none of them would become an actor of ours
}
PLACEMENT = 120.0  # seconds until devices that nobody holds are ours


@dataclass(frozen=True, slots=True)
class Machines:
    """What a cluster has."""

    nodes: int
    gpus: int


@contextmanager
def connected(address: str) -> Iterator[Machines]:
    """Within it there is a Ray cluster: the one at `address`, or for "auto" the one that this machine belongs to, or
    else one of its own, which ends with the context.  A process that has one already keeps it."""
    if ray.is_initialized():
        yield _machines()
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    logging.getLogger("ray").setLevel(logging.ERROR)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        ray.init(
            address=None if address == "auto" else address,
            include_dashboard=False if address in ("auto", "local") and not os.environ.get("RAY_ADDRESS") else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    except (ConnectionError, RaySystemError, ValueError, RuntimeError, OSError) as error:
        raise ClusterError(
            f'cluster.address = "{address}": no Ray cluster can be had there ({first_line(error)}); start one with '
            '`ray start --head`, or set cluster.address to "local"',
            exit_code=2,
        ) from None
    finally:
        for number, handler in handlers.items():  # Ray takes SIGTERM for itself
            signal.signal(number, handler)
    try:
        yield _machines()
    finally:
        ray.shutdown()


def _machines() -> Machines:
    return Machines(len(_nodes()), int(ray.cluster_resources().get("GPU", 0)))


def _nodes() -> list[str]:
    return sorted(node["NodeID"] for node in ray.nodes() if node["Alive"])


@dataclass(frozen=True)
class Seats:
    """Where actors go: with GPUs, bundles of a placement group; without, one node after the other, since Ray's own
    SPREAD puts actors that ask for no CPU wherever it likes."""

    division: Division
    group: PlacementGroup | None

    def learner(self, rank: int) -> dict[str, Any]:
        if self.group is None:
            return self._on_node(rank)
        return self._in_bundle(rank, 0.5 if self.division.colocate else 1)

    def sampler(self, number: int) -> dict[str, Any]:
        if self.group is None:
            return self._on_node(self.division.learners + number)
        if self.division.colocate:
            return self._in_bundle(number, 0.5)
        return self._in_bundle(self.division.learners + number, self.division.tensor_parallel)

    def _on_node(self, turn: int) -> dict[str, Any]:
        nodes = _nodes()  # those that are alive now: another may have to take a lost actor's place
        return {
            "num_cpus": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(nodes[turn % len(nodes)], soft=False),
        }

    def _in_bundle(self, index: int, gpus: float) -> dict[str, Any]:
        strategy = PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=index)
        return {"num_cpus": 0, "num_gpus": gpus, "scheduling_strategy": strategy}


@contextmanager
def seats(division: Division, *, gpus: bool) -> Iterator[Seats]:
    """Raises `ClusterError` where others hold the devices."""
    if not gpus:
        yield Seats(division, None)
        return
    bundles = [{"GPU": 1.0}] * division.learners
    if not division.colocate:
        bundles += [{"GPU": float(division.tensor_parallel)}] * division.samplers
    group = placement_group(bundles, strategy="PACK")
    try:
        if not group.wait(PLACEMENT):
            raise ClusterError(
                f"cluster: {division.gpus} GPUs were not to be had within {PLACEMENT:g} seconds, because others hold "
                "them or no machine has enough for one sampler; see `ray status`",
                exit_code=2,
            )
        yield Seats(division, group)
    finally:
        remove_placement_group(group)
