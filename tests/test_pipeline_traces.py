"""Distillation from a teacher's completions: three stages, and what the student kept of the teacher."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grpo.errors import ConfigError
from grpo.pipeline.runner import run_pipeline
from grpo.pipeline.traces import conclude, load_traces, stages_of
from grpo.problems import recipe
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
    asked, selected, learned, held_out = stages_of(TREE, place="d.toml")
    commands = [stage.command for stage in (asked, selected, learned, held_out)]
    assert commands == ["collect", "select", "sft", "eval"]
    assert held_out.settings["model"] == asked.settings["model"]
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
    settings = tmp_path / "d.toml"
    settings.write_text('[model]\nname = "s"\n[data]\nsource = "a.jsonl"\nsplit = "x"\n[distill]\nteacher = "t"\n')
    assert load_traces(str(settings)) is None
    traces = "distill.mode=traces"
    asked, _, learned = load_traces(str(settings), [traces, "distill.teacher=u", "model.name=v"], data="b.jsonl")
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
    assert [line.split()[0] for line in commands.lines] == ["collect", "select", "sft", "eval"]
    assert Path("out/3-student/checkpoints/step-2").is_dir()
    assert Path("out/report.html").is_file()


def test_what_the_student_kept_of_the_teacher_stands_with_the_student(tmp_path):
    stages = stages_of({**TREE, "eval": {"source": "builtin:recipe"}}, place="d")
    ids = [row["id"] for row in recipe.rows("test")]
    student, asked = tmp_path / "3-student", tmp_path / "4-teacher-held-out"
    for folder, right in ((student / "eval/before", 100), (student / "eval/after", 200), (asked, 300)):
        folder.mkdir(parents=True)
        solved = {name: float(index < right) for index, name in enumerate(ids)}
        (folder / "results.json").write_text(json.dumps({"solved": solved}))
    (student / "config.toml").write_text("")
    (student / "metrics.jsonl").write_text("")
    said: list[str] = []
    conclude(stages, tmp_path, said.append)
    assert said[0] == "student: 25.0% before, 50.0% after, teacher 75.0% of 400 held-out problems"
    assert said[1].startswith("kept: 66.7% [") and ", 50.0% [" in said[1]
    assert any(line.startswith("kept: type maximum (84 problems)") for line in said)
    assert json.loads((student / "eval/distill.json").read_text())["kept"]["mean"] == pytest.approx(2 / 3)
    assert "66.7%" in (student / "report.html").read_text()
    (asked / "results.json").write_text(json.dumps({"solved": dict.fromkeys(ids, 1.0)}))  # that stage was redone
    conclude(stages, tmp_path, said.append)
    assert "student: 25.0% before, 50.0% after, teacher 100.0% of 400 held-out problems" in said


def test_without_held_out_problems_nothing_is_said_of_what_was_kept(tmp_path):
    stages = stages_of({**TREE, "eval": {}}, place="d")
    assert len(stages) == 3
    conclude(stages, tmp_path, pytest.fail)
