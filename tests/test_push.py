"""What a run pushes to the Hub, through the real client, against a small Hub on this machine (`tests/hub.py`)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants as constants
import pytest
from huggingface_hub import ModelCard

from grpo import push
from grpo.errors import ConfigError
from grpo.run import checkpoints
from grpo.train import train
from tests import runs
from tests.hub import STRANGER, TOKEN, Hub, Repository, serve


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The client of this process asks it, as somebody whom it knows."""
    with serve() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
        yield hub


def head(hub: Hub, name: str = "me/model") -> dict[str, Path]:
    repository: Repository = hub.models[name]
    return repository.files(repository.branches["main"])


def test_a_run_pushes_each_checkpoint_and_ends_with_its_card(served: Hub, tmp_path: Path, tiny_model: Path) -> None:
    runs.write_inputs(tmp_path)
    config = runs.settings(tmp_path, tiny_model, run={"steps": 2, "save_every": 1, "push_to_hub": "me/model"})
    train(config, tmp_path / "run")
    assert served.messages[-2:] == ["step 2", "step 2, with its card"]
    assert set(served.messages) <= {"step 1", "step 2", "step 2, with its card"}
    files, saved = head(served), tmp_path / "run" / "checkpoints" / "step-2"
    assert files["model.safetensors"].read_bytes() == (saved / "model.safetensors").read_bytes()
    assert not any("trainer" in name for name in files) and "tokenizer.json" in files
    assert served.models["me/model"].private
    card = ModelCard.load(files["README.md"])
    assert card.data.library_name == "transformers" and card.data.to_dict().get("license") is None
    for words in ("Its licence: not known", "after 2 steps", "| before |", "Device hours", "grpo train config.toml"):
        assert words in card.text, words
    assert not (tmp_path / "run" / push.STAGED).exists()


@pytest.mark.parametrize(
    ("repository", "wrong", "said"),
    [
        ("model", "", "is no repository of the Hub"),
        ("me/model", "nobody", "the Hub refuses the token, or there is none"),
        ("me/model", "read-only", "the token may not write to it"),
        ("you/model", "", "the token may not write to it"),
        ("me/model", "503", "the Hub answers with status 503"),
        ("me/model", "refused", "the Hub cannot be reached"),
        ("me/model", "offline", "HF_HUB_OFFLINE = 1 forbids it"),
    ],
)
def test_a_push_that_cannot_be_is_refused_before_anything_is_spent(
    served: Hub,
    repository: str,
    wrong: str,
    said: str,
    tmp_path: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served.read_only = wrong == "read-only"
    served.status = int(wrong) if wrong.isdigit() else 0
    if wrong == "nobody":
        monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    if wrong == "refused":
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", wrong == "offline")
    runs.write_inputs(tmp_path)
    config = runs.settings(tmp_path, tiny_model, run={"push_to_hub": repository})
    with pytest.raises(ConfigError, match=rf"^push to {repository}: {said}[^\n]*$"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_hub_that_keeps_silent_is_not_waited_for(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(push.HfApi, "whoami", lambda api: let_go.wait(60))
    with pytest.raises(ConfigError, match=r"the Hub does not answer \(no answer within 0.01 seconds\)"):
        push.check("me/model", within=0.01)
    let_go.set()


def test_what_goes_wrong_later_is_said_once_and_ends_nothing(
    served: Hub, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "check", lambda repository: setattr(served, "read_only", True))
    runs.write_inputs(tmp_path)
    config = runs.settings(
        tmp_path,
        tiny_model,
        eval={"source": None, "every": 0},
        run={"steps": 2, "save_every": 1, "push_to_hub": "me/model"},
    )
    train(config, tmp_path / "run")
    said = capsys.readouterr().out
    assert said.count("warning: push of step") == 1 and "the token may not write to it" in said
    assert checkpoints.latest(tmp_path / "run" / "checkpoints") == tmp_path / "run" / "checkpoints" / "step-2"


def staged(folder: Path, steps: int) -> list[Path]:
    """So many checkpoints of a run, with one small file each."""
    (folder / "config.toml").write_text('[model]\nname = "org/base"\n')
    made = []
    for step in range(1, steps + 1):
        made.append(folder / "checkpoints" / f"step-{step}")
        made[-1].mkdir(parents=True)
        (made[-1] / "config.json").write_text(json.dumps({"step": step}))
    return made


def test_a_newer_checkpoint_takes_the_place_of_one_that_waits_and_the_end_waits_for_so_long(
    served: Hub, tmp_path: Path
) -> None:
    push.check("me/model")
    served.stuck, warned = threading.Event(), list[str]()
    pusher, (first, *later) = push.Pusher("me/model", tmp_path, warned.append), staged(tmp_path, 3)
    pusher.take(first, "step 1")
    while "POST /api/models/me/model/commit/main" not in served.asked:
        pass
    for number, checkpoint in enumerate(later, start=2):
        pusher.take(checkpoint, f"step {number}")
        (checkpoint / "config.json").unlink()  # as a run deletes its old ones
    assert not pusher.finish(0.01)
    served.stuck.set()
    assert pusher.finish(60) and not warned
    assert served.messages == ["step 1", "step 3"]
    assert json.loads(head(served)["config.json"].read_text()) == {"step": 3}


def test_grpo_push_pushes_a_finished_run_whole(
    served: Hub, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.write_inputs(tmp_path)
    base = tmp_path / "base"
    base.mkdir()
    for file in tiny_model.iterdir():
        (base / file.name).symlink_to(file)
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\nA base.\n")
    (tmp_path / "README.md").write_text("---\nlicense:\n- mit\n---\nSums.\n")
    config = runs.settings(tmp_path, base, model={"lora_rank": 2}, run={"steps": 1})
    pytest.importorskip("peft")
    train(config, tmp_path / "run")
    said: list[str] = []
    push.push(tmp_path / "run", "me/model", said.append)
    assert said[-1] == f"pushed: {served.address}/me/model"
    files = head(served)
    assert "model.safetensors" in files and "adapter_config.json" not in files
    card = ModelCard.load(files["README.md"])
    assert card.data.license == "apache-2.0" and "Its licence: mit" in card.text
    monkeypatch.setenv("HF_TOKEN", STRANGER)
    with pytest.raises(ConfigError, match="the token may not write"):
        push.push(tmp_path / "run", "me/model", said.append)


def test_the_card_has_alarms_and_fences_what_settings_quote(tmp_path: Path) -> None:
    (checkpoint,) = staged(tmp_path, 1)
    (tmp_path / "config.toml").write_text(
        '[model]\nname = "org/base"\n[data]\nsystem = "```"\n[run]\nnotify = "https://hooks/secret"\n'
    )
    alarm = {"name": "loops", "step": 7, "text": "<b>it\nrepeats</b>", "cleared": False}
    (tmp_path / "alarms.jsonl").write_text(json.dumps(alarm) + "\n" + json.dumps(alarm | {"cleared": True}) + "\n")
    card = push.card_of(tmp_path, checkpoint, "me/model")
    assert card.count("step 7, loops") == 1 and r"\<b\>it repeats" in card
    assert "secret" not in card and "````toml" in card and "base_model: org/base" in card
    assert "Nothing was evaluated" in card and "Not known: the run has not ended yet." in card
