"""Checkpoints are whole or not there, and say so when they are damaged."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from grpo.errors import CheckpointError
from grpo.run import checkpoints
from grpo.run.checkpoints import Progress


def write_model(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weights" * 1000)


def save(folder: Path, step: int, keep: int = 2) -> Path:
    state = {"adamw": {"state": {0: {"exp_avg": torch.full((3,), float(step))}}}}
    return checkpoints.save(folder, Progress(step, tokens=7 * step), state, write_model, keep=keep)


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    progress, state = checkpoints.load(save(tmp_path, 3))
    assert progress == Progress(3, tokens=21)
    assert state["adamw"]["state"][0]["exp_avg"].tolist() == [3.0, 3.0, 3.0]


def test_the_newest_is_found_by_number_and_the_oldest_are_deleted(tmp_path: Path) -> None:
    assert checkpoints.latest(tmp_path) is None
    for step in (9, 10, 11):
        save(tmp_path, step)
    assert checkpoints.latest(tmp_path) == tmp_path / "step-11"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-10", "step-11"]


def test_a_kill_while_writing_leaves_the_one_before_and_nothing_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", die)
        with pytest.raises(Killed):
            save(tmp_path, 2)
    assert checkpoints.latest(tmp_path) == tmp_path / "step-1"
    assert checkpoints.load(save(tmp_path, 2))[0].step == 2


def test_a_kill_between_the_two_renames_of_the_best_model_loses_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save_best(tmp_path, lambda folder: (folder / "old").touch())
    (tmp_path / "best").rename(tmp_path / ".best.previous")  # here the process died

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError):
        checkpoints.save_best(tmp_path, lambda folder: (folder / "new").touch())
    assert [path.name for path in (tmp_path / "best").iterdir()] == ["old"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "model.safetensors").write_bytes(b"weights" * 999 + b"weightz"),
        lambda path: (path / "trainer" / "optimizer.pt").write_bytes(b""),
        lambda path: (path / "model.safetensors").unlink(),
        lambda path: (path / "trainer" / "manifest.json").write_text("{"),
        lambda path: shutil.rmtree(path / "trainer"),
    ],
)
def test_any_damage_is_told_with_the_checkpoint_to_go_on_from(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    save(tmp_path, 1)
    path = save(tmp_path, 2)
    damage(path)
    with pytest.raises(
        CheckpointError, match=r"step-2: the checkpoint is damaged.*delete this folder to go on from step-1"
    ):
        checkpoints.load(path)


def test_a_full_disk_is_one_sentence_and_earlier_checkpoints_stay(tmp_path: Path) -> None:
    save(tmp_path, 1)

    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match=r"step-2: the checkpoint cannot be written \(.*No space left.*--resume"):
        checkpoints.save(tmp_path, Progress(2), {}, full, keep=2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    assert checkpoints.load(tmp_path / "step-1")[0].step == 1
