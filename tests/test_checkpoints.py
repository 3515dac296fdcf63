"""Checkpoints are whole or not there, and say so when they are damaged."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from grpo.errors import CheckpointError
from grpo.problems import SolveRates
from grpo.run import checkpoints
from grpo.run.checkpoints import Progress, write_whole


def write_model(folder: Path) -> None:
    """As an engine does: the model, and under trainer/ its own part."""
    (folder / "model.safetensors").write_bytes(b"weights" * 1000)
    (folder / "trainer" / "optimizer").mkdir(parents=True)
    (folder / "trainer" / "optimizer" / "shard.safetensors").write_bytes(b"moments" * 1000)


def save(folder: Path, step: int, keep: int = 2) -> Path:
    return checkpoints.save(folder, Progress(step, drawn=4 * step, tokens=7 * step), write_model, keep=keep)


def test_a_checkpoint_that_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    path = save(tmp_path, 3)
    assert checkpoints.load(path) == Progress(3, drawn=12, tokens=21)
    assert (path / "model.safetensors").read_bytes() == b"weights" * 1000
    assert (path / "trainer" / "optimizer" / "shard.safetensors").read_bytes() == b"moments" * 1000


def test_solve_rates_and_the_best_score_come_back_as_they_were(tmp_path: Path) -> None:
    rates = SolveRates()
    rates.record("p/1", 1 / 3, 2)
    progress = Progress(3, 12, 2, 3, 1, 1 / 3, 21, rates.state())
    again = checkpoints.load(checkpoints.save(tmp_path, progress, write_model, keep=1))
    assert again == progress
    assert SolveRates(again.solve_rates).state() == rates.state()


def test_a_checkpoint_of_another_version_is_refused_as_such(tmp_path: Path) -> None:
    path = save(tmp_path, 3)
    state, manifest = (path / "trainer" / name for name in ("state.json", "manifest.json"))
    state.write_text('{"step": 3}')  # without how many problems were drawn
    sums = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(sums | {"trainer/state.json": hashlib.sha256(state.read_bytes()).hexdigest()}))
    with pytest.raises(CheckpointError, match=r"was written by another version of grpo .*'drawn'"):
        checkpoints.load(path)


def test_the_checkpoint_before_a_step_is_the_newest_of_an_earlier_one(tmp_path: Path) -> None:
    for step in (2, 10):
        save(tmp_path, step)
    found = [checkpoints.before(tmp_path, step) for step in (2, 3, 10, 11)]
    assert found == [None, tmp_path / "step-2", tmp_path / "step-2", tmp_path / "step-10"]


def test_the_newest_checkpoint_is_found_by_number_and_the_oldest_are_deleted(tmp_path: Path) -> None:
    assert checkpoints.latest(tmp_path) is None
    for step in (9, 10, 11):
        save(tmp_path, step)
    assert checkpoints.latest(tmp_path) == tmp_path / "step-11"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-10", "step-11"]


@pytest.mark.parametrize(("keep", "left"), [(3, ["step-3", "step-4"]), (2, ["step-4"]), (1, ["step-4"])])
def test_on_a_disk_without_room_for_another_the_oldest_go_first_and_the_last_one_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: int, left: list[str]
) -> None:
    for step in range(5 - max(2, keep), 5):
        save(tmp_path, step, keep=9)
    size = checkpoints._size(tmp_path / "step-4")
    monkeypatch.setattr(checkpoints, "_free", lambda folder: size)  # no room to spare
    seen: list[str] = []

    def look(folder: Path) -> None:
        seen.extend(sorted(path.name for path in tmp_path.glob("step-*")))
        write_model(folder)

    checkpoints.save(tmp_path, Progress(5, drawn=20), look, keep=keep)
    assert seen == left
    assert checkpoints.load(tmp_path / "step-5").step == 5


def test_with_room_for_another_checkpoint_none_goes_before_it_is_whole(tmp_path: Path) -> None:
    for step in (1, 2):
        save(tmp_path, step)
    seen: list[str] = []

    def look(folder: Path) -> None:
        seen.extend(sorted(path.name for path in tmp_path.glob("step-*")))
        write_model(folder)

    checkpoints.save(tmp_path, Progress(3, drawn=20), look, keep=2)
    assert seen == ["step-1", "step-2"]


def test_room_for_checkpoints_is_what_is_free_and_what_they_take(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    before = checkpoints.free_space(folder)  # of the disk, though the folder is not there yet
    save(folder, 1)
    assert checkpoints._size(folder) > 14_000
    assert checkpoints.free_space(folder) == pytest.approx(before, abs=1.0)


def test_a_kill_while_writing_leaves_the_checkpoint_before_and_nothing_in_the_way(tmp_path: Path) -> None:
    save(tmp_path, 1)

    class Killed(BaseException):
        pass

    def die(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"weig")
        raise Killed

    with pytest.raises(Killed):
        checkpoints.save(tmp_path, Progress(2, drawn=8), die, keep=2)
    assert checkpoints.latest(tmp_path) == tmp_path / "step-1"
    assert checkpoints.load(tmp_path / "step-1").step == 1
    assert checkpoints.load(save(tmp_path, 2)).step == 2


def test_a_kill_between_the_two_renames_of_the_best_model_loses_neither(tmp_path: Path) -> None:
    checkpoints.save_best(tmp_path, lambda folder: (folder / "old").touch())
    (tmp_path / "best").rename(tmp_path / ".best.previous")  # here the process died

    def full(folder: Path) -> None:
        (folder / "new").touch()
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError):
        checkpoints.save_best(tmp_path, full)
    assert [path.name for path in (tmp_path / "best").iterdir()] == ["old"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "model.safetensors").write_bytes(b"weights" * 999 + b"weightz"),
        lambda path: (path / "trainer" / "optimizer" / "shard.safetensors").write_bytes(b""),
        lambda path: (path / "model.safetensors").unlink(),
        lambda path: (path / "trainer" / "manifest.json").write_text("{"),
        lambda path: shutil.rmtree(path / "trainer"),
    ],
)
def test_any_damage_to_a_checkpoint_is_told_with_the_one_to_go_on_from(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
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
        checkpoints.save(tmp_path, Progress(2, drawn=8), full, keep=2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    assert checkpoints.load(tmp_path / "step-1").step == 1


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664), (0o077, 0o600)])
def test_whoever_the_umask_allows_may_read_a_checkpoint(tmp_path: Path, umask: int, mode: int) -> None:
    def write_as_safetensors_does(folder: Path) -> None:
        (folder / "deep").mkdir()
        for name in ("model.safetensors", "deep/moments.safetensors"):
            (folder / name).write_text("x")
            (folder / name).chmod(0o600)

    before = os.umask(umask)
    try:
        write_whole(tmp_path / "made", write_as_safetensors_does)
    finally:
        os.umask(before)
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "made").rglob("*") if path.is_file()}
    assert found == {"model.safetensors": mode, "moments.safetensors": mode}
