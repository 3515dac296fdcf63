"""A teacher beside a student in shards: two ranks compute what one process computes."""

from __future__ import annotations

import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch.multiprocessing.spawn import spawn

from grpo.algorithm import divergence_loss, policy_loss
from grpo.assemble import open_model
from grpo.config import Config, Objective
from grpo.engine import Models
from grpo.engines import _open_models, _open_whole
from grpo.learning.batch import Batch
from grpo.objectives import choose
from tests import runs
from tests.test_learning_sharded import groups
from tests.tiny import make_model, save_model

MODES = ("on_policy", "full")


def gradients(models: Models, mode: str) -> dict[str, torch.Tensor]:
    batch = groups(4, 3, 5)
    if mode == "full":
        return models.policy.gradients(batch, divergence_loss)
    targets = batch.targets.having(teacher=models.frozen["teacher"](batch.sequences))
    loss = partial(policy_loss, objective=choose(Objective(correction="off")), teacher_coef=0.5)
    return models.policy.gradients(Batch(batch.sequences, targets), loss)


def work(rank: int, meeting: str, settings: dict[str, str], start: Any, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=2)
    for mode, toml in settings.items():
        found = gradients(_open_models(Config.model_validate(tomllib.loads(toml)), start, None), mode)
        if rank == 0:
            save_file(found, f"{out}/{mode}.safetensors")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Config], Any]:
    folder = tmp_path_factory.mktemp("sharded")
    student, teacher = save_model(folder / "student"), save_model(folder / "teacher")
    make_model(tied=False, seed=5).save_pretrained(teacher)
    runs.write_inputs(folder)
    given = {
        mode: runs.settings(
            folder,
            student,
            distill={"teacher": str(teacher), "mode": mode},
            cluster={"learners": 2, "samplers": 1},
            model={"name": str(student), "device": "cpu", "dtype": "float32"},
        )
        for mode in MODES
    }
    start = open_model(str(student))
    texts = {mode: config.to_toml() for mode, config in given.items()}
    spawn(work, (str(folder / "meeting"), texts, start, str(folder)), nprocs=2)
    return folder, given, start


@pytest.mark.parametrize("mode", MODES)
def test_two_ranks_have_the_gradient_of_one_process(sharded: tuple[Path, dict[str, Config], Any], mode: str) -> None:
    folder, given, start = sharded
    expected = gradients(_open_whole(given[mode], start, start, None), mode)
    found = load_file(folder / f"{mode}.safetensors")
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert float((found[name] - gradient).norm() / gradient.norm()) < 1e-5, name
