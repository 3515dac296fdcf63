from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grpo.config import Config
from grpo.errors import CheckpointError
from grpo.run.folder import MAY_DIFFER, RunFolder, as_line


def toml(**changes: Any) -> str:
    """The configuration of a small run, with `group__key=value` changed."""
    settings: dict[str, Any] = {"model": {"name": "builtin:tiny"}, "data": {"source": "builtin:arithmetic"}}
    for name, value in changes.items():
        group, key = name.split("__")
        settings.setdefault(group, {})[key] = value
    return Config.model_validate(settings).to_toml()


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]


def test_a_new_run_stores_its_settings_and_its_rows(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "runs" / "7", toml()) as folder:
        folder.append_metrics({"step": 1, "reward/mean": 0.5})
        folder.append_samples([{"step": 1, "completion": "a\nb"}, {"step": 1, "completion": "é 中"}])
    assert folder.config.read_text(encoding="utf-8") == toml()
    assert rows(folder.metrics) == [{"step": 1, "reward/mean": 0.5}]
    assert [row["completion"] for row in rows(folder.samples)] == ["a\nb", "é 中"]


@given(st.text(st.characters(exclude_categories=())), st.floats(), st.integers(-(2**63), 2**63))
def test_any_text_a_model_writes_comes_back_unchanged(text: str, number: float, whole: int) -> None:
    line = as_line({"step": whole, "completion": text, "scores": {"math": {"value": number}}})
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    back = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert back["completion"] == json.loads(json.dumps(text)) and back["step"] == whole
    expected = number if number - number == 0 else None
    assert back["scores"]["math"]["value"] == expected


def test_a_folder_that_holds_a_run_is_refused(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, toml()) as folder:
        folder.append_metrics({"step": 1})
    with pytest.raises(CheckpointError, match="already holds a run; continue it with --resume") as caught:
        RunFolder.create(tmp_path, toml())
    assert caught.value.exit_code == 2
    assert rows(folder.metrics) == [{"step": 1}]


def test_a_new_run_into_a_folder_with_only_a_checkpoint_is_refused(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, toml()).close()
    (tmp_path / "checkpoints" / "step-0").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="already holds a run"):
        RunFolder.create(tmp_path, toml())


def test_a_run_that_never_made_a_step_can_be_started_again(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, toml()).close()
    with RunFolder.create(tmp_path, toml(optim__lr=2e-6)) as folder:
        assert "2e-06" in folder.config.read_text(encoding="utf-8")


def test_a_run_that_is_refused_lets_go_of_the_folders_lock(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, toml()) as folder:
        folder.append_metrics({"step": 1})
    for _ in range(2):
        with pytest.raises(CheckpointError, match="already holds a run"):
            RunFolder.create(tmp_path, toml())
    RunFolder.resume(tmp_path, toml()).close()


def test_a_file_in_the_place_of_a_run_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="file: cannot be used as a run folder"):
        RunFolder.create(tmp_path / "file", toml())


def test_a_second_process_in_a_run_folder_is_refused_with_the_first_ones_id(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, toml()):
        code = f"from grpo.run.folder import *; RunFolder.create(Path({str(tmp_path)!r}), '')"
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"another run is using this folder (process {os.getpid()})" in second.stderr


def test_a_killed_run_leaves_its_folder_free(tmp_path: Path) -> None:
    code = (
        "import time; from grpo.run.folder import *\n"
        f"folder = RunFolder.create(Path({str(tmp_path)!r}), {toml()!r})\n"
        "folder.append_metrics({'step': 1}); print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None and run.stdout.readline() == "ready\n"
        run.send_signal(signal.SIGKILL)
    with RunFolder.resume(tmp_path, toml()) as folder:
        folder.rewind(1)
        assert rows(folder.metrics) == [{"step": 1}]


def test_a_forked_worker_that_outlives_a_killed_run_does_not_keep_the_folder(tmp_path: Path) -> None:
    code = (
        "import os, time; from grpo.run.folder import *\n"
        f"folder = RunFolder.create(Path({str(tmp_path)!r}), {toml()!r})\n"
        "if os.fork() == 0: print(os.getpid(), flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        worker = int(run.stdout.readline())
        run.kill()
        run.wait()
        try:
            RunFolder.resume(tmp_path, toml()).close()
        finally:
            os.kill(worker, signal.SIGKILL)


def test_resume_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no run to resume; leave out --resume"):
        RunFolder.resume(tmp_path / "nowhere", toml())
    assert not (tmp_path / "nowhere").exists()


def test_resume_lists_the_settings_that_would_change_the_mathematics(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, toml(optim__lr=1e-6)).close()
    with pytest.raises(CheckpointError) as caught:
        RunFolder.resume(tmp_path, toml(optim__lr=2e-6, data__system="Hm"))
    assert 'data.system: not set in the run, "Hm" given; optim.lr: 1e-06 in the run, 2e-06 given' in str(caught.value)
    assert caught.value.exit_code == 2


def test_resume_of_quite_another_run_names_a_few_differences_and_counts_the_rest(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, "".join(f"setting_{number} = 1\n" for number in range(8))).close()
    with pytest.raises(CheckpointError, match=r"setting_4: 1 in the run, 2 given; and 3 more\); resume with") as caught:
        RunFolder.resume(tmp_path, "".join(f"setting_{number} = 2\n" for number in range(8)))
    assert "setting_5" not in str(caught.value)


def test_a_reward_may_have_more_time_in_a_run_that_is_resumed(tmp_path: Path) -> None:
    base = {"model": {"name": "m"}, "data": {"source": "d"}}
    RunFolder.create(tmp_path / "run", Config(**base, reward=[{"use": "code"}]).to_toml()).close()
    longer = Config(**base, reward=[{"use": "code", "timeout": 300.0}])
    RunFolder.resume(tmp_path / "run", longer.to_toml()).close()


def test_resume_compares_every_reward(tmp_path: Path) -> None:
    base = {"model": {"name": "m"}, "data": {"source": "d"}}
    one = Config.model_validate(base | {"reward": [{"use": "math"}]}).to_toml()
    two = Config.model_validate(base | {"reward": [{"use": "math", "weight": 0.5}]}).to_toml()
    RunFolder.create(tmp_path, one).close()
    with pytest.raises(CheckpointError, match=r"reward\.0\.weight: 1\.0 in the run, 0\.5 given"):
        RunFolder.resume(tmp_path, two)


def test_resume_may_change_what_does_not_touch_the_mathematics(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, toml()).close()
    others: dict[str, Any] = {
        "run__steps": 999,
        "run__save_every": 7,
        "run__keep": 9,
        "run__trackers": ["trackio"],
        "run__reward_workers": 3,
        "run__preflight": "report",
        "run__shown_groups": 0,
        "run__on_alarm": "stop",
        "run__notify": "https://example.org/hook",
        "run__deadline": "11h45m",
        "run__watchdog": False,
        "run__price": 2.5,
        "run__push_to_hub": "me/model",
        "eval__every": 5,
        "model__gradient_checkpointing": True,
        "optim__tokens_per_microbatch": 64,
        "optim__offload": True,
        "sampling__gpu_memory_utilization": 0.9,
        "sampling__sync_tolerance": 0.5,
        "sampling__backend": "transformers",
        "cluster__learners": 4,
        "cluster__samplers": 4,
        "cluster__tensor_parallel": 2,
        "cluster__colocate": False,
        "cluster__address": "10.0.0.1:6379",
        "cluster__max_staleness": 1,
        "cluster__restarts": 9,
        "cluster__timeout": 30.0,
    }
    assert {
        name.replace("__", ".") for name in others
    } == MAY_DIFFER  # and each is a setting, or toml() would refuse it
    with RunFolder.resume(tmp_path, toml(**others)) as folder:
        assert folder.config.read_text(encoding="utf-8") == toml(**others)


def test_a_falling_learning_rate_ties_a_run_to_its_number_of_steps(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, toml(optim__lr_scheduler_type="cosine")).close()
    with pytest.raises(CheckpointError, match=r"run\.steps: 200 in the run, 300 given"):
        RunFolder.resume(tmp_path, toml(optim__lr_scheduler_type="cosine", run__steps=300))


def test_a_damaged_stored_configuration_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[model\n")
    with pytest.raises(CheckpointError, match=r"config\.toml: is damaged"):
        RunFolder.resume(tmp_path, toml())


@settings(max_examples=40)
@given(last=st.integers(0, 6), to=st.integers(0, 8), cut=st.integers(0, 400))
def test_rewinding_after_a_kill_at_any_byte_keeps_exactly_the_whole_rows(last: int, to: int, cut: int) -> None:
    with tempfile.TemporaryDirectory() as name, RunFolder.create(Path(name), toml()) as folder:
        for step in range(1, last + 1):
            folder.append_metrics({"step": step, "reward/mean": 1 / 3})
            folder.append_samples({"step": step, "completion": f"{step}-{g}"} for g in range(2))
        for file, per_step in ((folder.metrics, 1), (folder.samples, 2)):
            if not file.exists():
                continue
            text = file.read_bytes()
            survived = text[: max(0, len(text) - cut)]
            file.write_bytes(survived)
            whole = [step for step in range(1, last + 1) for _ in range(per_step)][: survived.count(b"\n")]
            folder.rewind(to)
            assert [row["step"] for row in rows(file)] == [step for step in whole if step <= to]
        assert not list(Path(name).glob(".*.writing"))


def test_rows_written_after_a_rewind_follow_the_kept_ones(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, toml()) as folder:
        for step in (0, 1, 2, 3):
            folder.append_metrics({"step": step})
        with folder.metrics.open("a") as half:
            half.write('{"step": 4, "rew')
        folder.rewind(2)
        folder.append_metrics({"step": 3, "again": True})
    assert rows(folder.metrics) == [{"step": 0}, {"step": 1}, {"step": 2}, {"step": 3, "again": True}]


def test_damage_in_the_middle_of_a_file_is_reported_and_nothing_is_cut(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, toml()) as folder:
        before = b'{"step": 1}\nrubbish\n{"step": 2}\n'
        folder.metrics.write_bytes(before)
        with pytest.raises(CheckpointError, match=r"metrics\.jsonl line 2: is damaged"):
            folder.rewind(1)
        assert folder.metrics.read_bytes() == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_is_one_sentence_with_what_to_do(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, toml()) as folder:
        folder.metrics.symlink_to("/dev/full")
        with pytest.raises(CheckpointError) as caught:
            folder.append_metrics({"step": 1})
    message = str(caught.value)
    assert os.strerror(errno.ENOSPC) in message and "continue with --resume" in message
    assert caught.value.exit_code == 1
