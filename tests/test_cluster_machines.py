"""Runs over two Ray nodes, both of them on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grpo.config import Config
from grpo.train import train
from tests import runs, tiny

ray = pytest.importorskip("ray")

from ray.cluster_utils import Cluster  # noqa: E402

from grpo.cluster import nodes  # noqa: E402
from grpo.cluster.actors import Actor  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # as `ray start` has it, which gives nobody a token
        two = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        two.add_node(num_cpus=2)
        yield two.address
        two.shutdown()


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


def test_a_run_over_two_nodes_is_the_run_of_one_process(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.write_inputs(tmp_path)
    tiny.save_model(tmp_path / "model")
    asked, homes = [], set()

    def refuse(seen: Any, folder: Path) -> None:
        asked.extend(seen)
        compare(seen, folder)

    def kill(actor: Actor) -> None:
        if actor.place is not None:
            homes.add((actor.name.split()[0], actor.place.node))
        end(actor)

    compare, end = nodes.refuse, Actor.kill
    monkeypatch.setattr(nodes, "refuse", refuse)
    monkeypatch.setattr(Actor, "kill", kill)
    train(settings(tmp_path, learners=2, samplers=1, address=address), tmp_path / "two-nodes")
    assert len(asked) == 2
    assert len({node for kind, node in homes if kind == "learner"}) == 2
    train(settings(tmp_path, learners=0, samplers=0), tmp_path / "one-process")
    two, one = (runs.rows(tmp_path / name / "metrics.jsonl") for name in ("two-nodes", "one-process"))
    for name in ("policy/loss", "policy/grad_norm", "reward/mean"):
        assert [row[name] for row in two] == pytest.approx([row[name] for row in one], rel=1e-5, abs=1e-6)
    assert (tmp_path / "two-nodes" / "checkpoints" / "step-3").is_dir()
