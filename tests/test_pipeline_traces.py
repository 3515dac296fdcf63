"""Distillation from a teacher's completions: three stages."""

from __future__ import annotations

from pathlib import Path

import pytest

from grpo.errors import ConfigError
from grpo.pipeline.runner import run_pipeline
from grpo.pipeline.traces import load_traces, stages_of
from tests.stages import FakeCommands

TREE = {
    "model": {"name": "student", "lora_rank": 4},
    "data": {"source": "builtin:arithmetic"},
    "eval": {"source": "builtin:arithmetic"},
    "sampling": {"group_size": 4, "max_tokens": 64},
    "select": {"max_per_problem": 2, "source": [{"use": "elsewhere"}]},
    "sft": {"lr": 1e-4},
    "distill": {"teacher": "teacher", "mode": "traces"},
}


def test_the_teacher_is_asked_and_the_student_learns_from_what_was_selected():
    asked, selected, learned = stages_of(TREE, place="d.toml")
    assert (asked.command, selected.command, learned.command) == ("collect", "select", "sft")
    assert asked.settings["model"]["name"] == "teacher"
    assert asked.settings["sampling"] == TREE["sampling"]
    assert selected.settings["select"] == {"max_per_problem": 2, "source": [{"use": "@teacher"}]}
    assert learned.settings["model"] == TREE["model"]
    assert learned.settings["sft"] == {"epochs": 2, "lr": 1e-4, "source": "@selection"}


def test_it_is_told_how_long_to_learn():
    assert stages_of({**TREE, "sft": {"steps": 7}}, place="d")[2].settings["sft"] == {
        "steps": 7,
        "source": "@selection",
    }


def test_recipe_and_flags_say_whether_traces_are_meant(tmp_path):
    recipe = tmp_path / "d.toml"
    recipe.write_text('[model]\nname = "s"\n[data]\nsource = "a.jsonl"\nsplit = "x"\n[distill]\nteacher = "t"\n')
    assert load_traces(str(recipe)) is None
    traces = "distill.mode=traces"
    asked, _, learned = load_traces(str(recipe), [traces, "distill.teacher=u", "model.name=v"], data="b.jsonl")
    assert asked.settings["data"] == {"source": "b.jsonl"}
    assert (asked.settings["model"]["name"], learned.settings["model"]["name"]) == ("u", "v")


def test_without_a_teacher_it_is_refused():
    with pytest.raises(ConfigError, match="there is no teacher; name one with --teacher"):
        stages_of({**TREE, "distill": {}}, place="d.toml")


def test_its_folder_is_that_of_a_pipeline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("student", "teacher"):
        Path(name).mkdir()
        Path(name, "model.safetensors").write_text(name)
    commands = FakeCommands()
    run_pipeline(stages_of(TREE, place="d"), Path("out"), lambda line: None, open_commands=commands)
    assert [line.split()[0] for line in commands.lines] == ["collect", "select", "sft"]
    assert Path("out/3-student/checkpoints/step-2").is_dir()
    assert Path("out/report.html").is_file()
