"""How devices are divided between those who learn and those who sample.  Pure: nothing is started here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from grpo.config import Cluster
from grpo.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Division:
    """`learners` processes with a shard of the model each, and `samplers` engines of `tensor_parallel` devices each.

    `colocate`: a learner and a sampler share each device, by turns.  `why` is a clause for the user.
    """

    learners: int
    samplers: int
    tensor_parallel: int
    colocate: bool
    why: str

    @property
    def gpus(self) -> int:
        """Devices that it takes, where there are any."""
        return self.learners if self.colocate else self.learners + self.samplers * self.tensor_parallel

    def __str__(self) -> str:
        apart = "share each device by turns" if self.colocate else "have devices of their own"
        width = f" of {self.tensor_parallel} devices" if self.tensor_parallel > 1 else ""
        return f"{self.learners} learners and {self.samplers} samplers{width} {apart}, because {self.why}"


def divide(settings: Cluster, *, gpus: int, nodes: int, groups: int) -> Division | None:
    """What `settings` come to on `nodes` machines with `gpus` devices together; None: one process by turns.

    `groups` are an update's: more learners than that would have nothing to learn from, so "auto" takes no more.

    Raises `ConfigError` where devices are lacking or left without work by halves.
    """
    wished = [number for number in (settings.learners, settings.samplers) if number != "auto"]
    if 0 in wished or (not wished and gpus < 2):
        if any(wished):
            raise ConfigError(
                f"cluster.learners = {settings.learners} and cluster.samplers = {settings.samplers}: 0 stands for no "
                "cluster; set both to 0, or both from 1 on"
            )
        return None
    division = _of_devices(settings, gpus, nodes, groups) if gpus else _without_devices(settings)
    if division.gpus > gpus > 0:
        raise ConfigError(
            f"cluster: {division.learners} learners and {division.samplers} samplers of {division.tensor_parallel} "
            f"need {division.gpus} GPUs, and there are {gpus}; lower cluster.learners, cluster.samplers or "
            "cluster.tensor_parallel"
        )
    return division


def there_is_one() -> bool:
    """Whether this machine belongs to a Ray cluster that somebody started: `ray start` leaves its address in a file."""
    return bool(os.environ.get("RAY_ADDRESS")) or Path("/tmp/ray/ray_current_cluster").exists()


def _without_devices(settings: Cluster) -> Division:
    learners = 1 if settings.learners == "auto" else settings.learners
    samplers = 1 if settings.samplers == "auto" else settings.samplers
    return Division(learners, samplers, settings.tensor_parallel, False, "there are no GPUs, only processors")


def _of_devices(settings: Cluster, gpus: int, nodes: int, groups: int) -> Division:
    """auto: where nobody waits but by turns, all devices do both; else three of four sample, which takes longest."""
    width, wished = settings.tensor_parallel, (settings.learners, settings.samplers)
    # As many of each as do not fit beside each other are meant to share.
    alike = wished == ("auto", "auto") or (wished[0] == wished[1] != "auto" and sum(map(int, wished)) > gpus)
    if settings.colocate is True or (
        settings.colocate == "auto" and nodes == 1 and settings.max_staleness == 0 and width == 1 and alike
    ):
        return _colocated(settings, min(gpus, groups))
    quarter = max(1, min(gpus // 4, groups))
    left = quarter if settings.samplers == "auto" else max(1, gpus - settings.samplers * width)
    learners = left if settings.learners == "auto" else settings.learners
    samplers = max(1, (gpus - learners) // width) if settings.samplers == "auto" else settings.samplers
    why = "their numbers are set"
    if "auto" in (settings.learners, settings.samplers):
        why = f"sampling takes longer than learning, and these are {gpus} GPUs"
    return Division(learners, samplers, width, False, why)


def _colocated(settings: Cluster, gpus: int) -> Division:
    numbers = {number for number in (settings.learners, settings.samplers) if number != "auto"} or {gpus}
    if len(numbers) > 1 or settings.tensor_parallel > 1:
        raise ConfigError(
            "cluster.colocate = true: takes as many learners as samplers, each on one GPU; set cluster.samplers to "
            f"cluster.learners = {settings.learners} and cluster.tensor_parallel to 1, or cluster.colocate to false"
        )
    number = numbers.pop()
    return Division(number, number, 1, True, "with cluster.max_staleness = 0 they take turns, and no device waits")
