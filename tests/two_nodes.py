"""A run over two Ray nodes, both of them on this machine, beside the run of one process: `python -m tests.two_nodes
FOLDER`.  A process of its own, because Ray does not forget the cluster that a process belonged to before."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from grpo.cluster import nodes
from grpo.cluster.actors import Actor
from grpo.config import Config
from grpo.train import train
from tests import runs, tiny


def settings(folder: Path, **cluster: Any) -> Config:
    return runs.settings(
        folder,
        folder / "model",
        data={"source": str(folder / "problems.jsonl"), "chat": False, "template": "{problem}="},
        cluster=cluster,
        optim={"updates_per_step": 1},
        eval={"source": None, "every": 0},
        run={"steps": 3, "save_every": 2, "reward_workers": 1},
    )


def over_two_nodes(folder: Path, patch: pytest.MonkeyPatch) -> tuple[list[Any], set[tuple[str, str]]]:
    """What the nodes were compared by, and which kind of actor was on which node."""
    compared: list[Any] = []
    homes: set[tuple[str, str]] = set()
    compare, end = nodes.refuse, Actor.kill

    def refuse(seen: Any, folder: Path) -> None:
        compared.extend(seen)
        compare(seen, folder)

    def kill(actor: Actor) -> None:
        if actor.place is not None:
            homes.add((actor.name.split()[0], actor.place.node))
        end(actor)

    patch.setattr(nodes, "refuse", refuse)
    patch.setattr(Actor, "kill", kill)
    two = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        two.add_node(num_cpus=2)
        train(settings(folder, learners=2, samplers=1, address=two.address), folder / "two-nodes")
    finally:
        two.shutdown()
    return compared, homes


def main(folder: Path) -> None:
    runs.write_inputs(folder)
    tiny.save_model(folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        compared, homes = over_two_nodes(folder, patch)
    assert len(compared) == 2
    assert len({node for kind, node in homes if kind == "learner"}) == 2
    train(settings(folder, learners=0, samplers=0), folder / "one-process")
    two, one = (runs.rows(folder / name / "metrics.jsonl") for name in ("two-nodes", "one-process"))
    for name in ("policy/loss", "policy/grad_norm", "reward/mean"):
        assert [row[name] for row in two] == pytest.approx([row[name] for row in one], rel=1e-5, abs=1e-6)
    assert (folder / "two-nodes" / "checkpoints" / "step-3").is_dir()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
