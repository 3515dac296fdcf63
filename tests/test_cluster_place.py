"""How devices are divided, and what cannot be."""

from __future__ import annotations

import pytest

from grpo.cluster.opening import threads, way
from grpo.cluster.place import Division, divide
from grpo.config import Cluster
from grpo.errors import ConfigError


def divided(*, gpus: int = 0, nodes: int = 1, groups: int = 32, **settings: object) -> Division:
    division = divide(Cluster.model_validate(settings), gpus=gpus, nodes=nodes, groups=groups)
    assert division is not None
    return division


@pytest.mark.parametrize("gpus", [0, 1])
def test_one_device_or_none_makes_no_cluster_by_itself(gpus):
    assert divide(Cluster(), gpus=gpus, nodes=1, groups=32) is None


def test_no_cluster_can_be_asked_for_on_many_devices():
    assert divide(Cluster(learners=0, samplers=0), gpus=8, nodes=1, groups=32) is None


def test_eight_devices_of_one_machine_are_shared_by_turns_where_nobody_would_work_meanwhile():
    division = divided(gpus=8)
    assert (division.learners, division.samplers, division.colocate) == (8, 8, True)
    assert division.gpus == 8
    assert "take turns" in str(division)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"max_staleness": 1}, (2, 6)),  # a quarter learns
        ({"max_staleness": 1, "learners": 4}, (4, 4)),
        ({"max_staleness": 1, "samplers": 5}, (3, 5)),
        ({"max_staleness": 1, "tensor_parallel": 2}, (2, 3)),
        ({"learners": 2, "samplers": 6}, (2, 6)),
        ({"colocate": False}, (2, 6)),
        ({"tensor_parallel": 4}, (2, 1)),
        ({"learners": 4, "samplers": 4}, (4, 4)),  # all eight
    ],
)
def test_of_eight_devices_those_that_are_not_asked_for_go_to_the_others(settings, expected):
    division = divided(gpus=8, **settings)
    assert (division.learners, division.samplers) == expected
    assert not division.colocate
    assert division.gpus <= 8


def test_as_many_of_each_as_do_not_fit_beside_each_other_share() -> None:
    assert divided(gpus=8, learners=6, samplers=6).colocate


def test_auto_takes_no_more_learners_than_an_update_has_groups() -> None:
    assert divided(gpus=8, groups=6).learners == 6
    apart = divided(gpus=64, nodes=8, groups=8)
    assert (apart.learners, apart.samplers) == (8, 56)


def test_several_machines_have_devices_apart_unless_told_otherwise():
    assert not divided(gpus=32, nodes=4).colocate
    assert divided(gpus=32, nodes=4, colocate=True).learners == 32


def test_without_devices_the_numbers_that_are_given_count_and_the_other_is_one():
    division = divided(learners=2)
    assert (division.learners, division.samplers, division.colocate) == (2, 1, False)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"learners": 4, "samplers": 6}, "need 10 GPUs, and there are 8"),
        ({"learners": 1, "samplers": 1, "tensor_parallel": 8}, "need 9 GPUs"),
        ({"learners": 0, "samplers": 2}, "0 stands for no cluster"),
        ({"learners": 3, "samplers": 2, "colocate": True}, "as many learners as samplers"),
        ({"colocate": True, "tensor_parallel": 2}, "cluster.tensor_parallel to 1"),
        ({"colocate": True, "learners": 9}, "need 9 GPUs"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(settings, told):
    with pytest.raises(ConfigError, match="cluster") as error:
        divided(gpus=8, **settings)
    assert told in str(error.value)


def test_those_that_work_at_the_same_time_share_a_machines_cores(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    division = Division(learners=2, samplers=4, tensor_parallel=1, colocate=False, why="")
    assert threads(division, max_staleness=0, nodes=1) == (4, 2)
    assert threads(division, max_staleness=1, nodes=1) == (1, 1)
    assert threads(division, max_staleness=0, nodes=2) == (8, 4)


def test_weights_take_the_way_that_the_devices_allow():
    apart = Division(2, 6, 1, False, "")
    together = Division(8, 8, 1, True, "")
    assert (way(apart, cuda=False), way(apart, cuda=True), way(together, cuda=True)) == ("gloo", "nccl", "ipc")
