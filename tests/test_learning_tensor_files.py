"""What cannot be read of an optimizer's state is told in a sentence, and nothing goes on from half of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from grpo.errors import CheckpointError
from grpo.learning import tensor_files

SAVED = {"exp_avg.a": torch.arange(6.0).reshape(2, 3), "step.a": torch.tensor(7.0)}


def empty() -> dict[str, torch.Tensor]:
    return {name: torch.zeros_like(tensor) for name, tensor in SAVED.items()}


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    tensor_files.write(SAVED, tmp_path, alone=True)
    found = empty()
    tensor_files.read(found, tmp_path, alone=True)
    assert all(torch.equal(found[name], tensor) for name, tensor in SAVED.items())


def cut_short(folder: Path) -> None:
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-5])


def no_safetensors(folder: Path) -> None:
    (file,) = folder.iterdir()
    file.write_bytes(b"moments")


@pytest.mark.parametrize("damage", [cut_short, no_safetensors, shutil.rmtree])
def test_damaged_files_are_told_with_what_to_do(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    tensor_files.write(SAVED, tmp_path / "state", alone=True)
    damage(tmp_path / "state")
    with pytest.raises(CheckpointError, match=r"state: cannot be read \(.+\); delete the checkpoint to go on") as told:
        tensor_files.read(empty(), tmp_path / "state", alone=True)
    assert told.value.exit_code == 2 and "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"exp_avg.b": torch.zeros(2)}, "exp_avg.b is not there"),
        ({"exp_avg.a": torch.zeros(2, 4)}, r"exp_avg.a has the shape \(2, 3\) there, and \(2, 4\) in the model"),
    ],
)
def test_the_state_of_another_model_is_refused(tmp_path: Path, more: dict[str, torch.Tensor], said: str) -> None:
    tensor_files.write(SAVED, tmp_path, alone=True)
    with pytest.raises(CheckpointError, match=said):
        tensor_files.read({**empty(), **more}, tmp_path, alone=True)


def test_what_cannot_be_written_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    with pytest.raises(OSError):
        tensor_files.write(SAVED, tmp_path / "state", alone=True)
