"""From the settings of a cluster to an engine on it, in the order in which things can go wrong cheaply."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from grpo.cluster import nodes
from grpo.cluster.engine import RayEngine
from grpo.cluster.learners import Learners, OpenModels
from grpo.cluster.place import Division, divide
from grpo.cluster.runtime import connected, seats
from grpo.cluster.samplers import MakeSampler, Samplers
from grpo.config import Cluster
from grpo.learning.rehearsal import Worst
from grpo.sampling import Way


def open_cluster(
    settings: Cluster,
    make_sampler: MakeSampler,
    open_models: OpenModels,
    tokenizer: PreTrainedTokenizerBase,
    *,
    cuda: bool,
    tolerance: float,
    directories: Sequence[Path],
    folder: Path,
    step: int,
    checkpoint: Path | None,
    worst: Worst | None = None,
) -> RayEngine:
    """Raises `ConfigError` or `ClusterError` for what is not there, before a model is opened anywhere."""
    with ExitStack() as undo:
        machines = undo.enter_context(connected(settings.address))
        division = divide(
            settings, gpus=machines.gpus if cuda else 0, nodes=machines.nodes, groups=int(settings.learners)
        )
        assert division is not None, "whoever wants no cluster does not come here"
        nodes.check(directories, folder)
        where = undo.enter_context(seats(division, gpus=cuda))
        learning, sampling = threads(division, settings.max_staleness, machines.nodes)
        learners = Learners(where, open_models, threads=learning, timeout=settings.timeout)
        undo.callback(learners.close)
        samplers = Samplers(
            where,
            make_sampler,
            way(division, cuda=cuda),
            threads=sampling,
            bind=not cuda and division.samplers > machines.nodes,
            timeout=settings.timeout,
            lives=settings.restarts,
        )
        undo.callback(samplers.close)
        engine = RayEngine(
            learners,
            samplers,
            tokenizer,
            way=way(division, cuda=cuda),
            by_turns=division.colocate,
            tensor_parallel=division.tensor_parallel,
            tolerance=tolerance,
            worst=worst,
        )
        engine.open(step, checkpoint)
        engine.keep(undo.pop_all())
    return engine


def way(division: Division, *, cuda: bool) -> Way:
    """How weights go from learners to samplers."""
    if not cuda:
        return "gloo"
    return "ipc" if division.colocate else "nccl"


def threads(division: Division, max_staleness: int, nodes: int) -> tuple[int, int]:
    """Of a learner, and of a sampler, on machines that are alike: those that work at the same time share the cores."""
    cores = os.cpu_count() or 1
    learners, samplers = (-(-number // nodes) for number in (division.learners, division.samplers))
    if max_staleness == 0:
        return max(1, cores // learners), max(1, cores // samplers)
    return (max(1, cores // (learners + samplers)),) * 2
