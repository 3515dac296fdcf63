"""Which problems a run keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grpo.assemble import load_judgeable
from grpo.config import Config
from grpo.config_file import validate
from grpo.errors import DataError


def config(source: Path, reward: str) -> Config:
    tree = {"model": {"name": "m"}, "data": {"source": str(source)}, "reward": [{"use": reward}]}
    return validate(tree, place="test")


def write(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_with_math_problems_without_an_answer_are_left_out_and_counted(tmp_path: Path) -> None:
    said: list[str] = []
    source = write(tmp_path / "d.jsonl", {"id": "a", "problem": "1", "answer": "1"}, {"id": "b", "problem": "2"})
    settings = config(source, "math")
    assert [problem.id for problem in load_judgeable(settings, settings.data, said.append)] == ["a"]
    assert said == [f"{source}: 1 of 2 problems (b) have no answer and are left out"]


def test_with_code_problems_that_their_own_reference_fails_are_left_out_and_counted(tmp_path: Path) -> None:
    said: list[str] = []
    right, wrong = "def add(a, b):\n    return a + b", "def add(a, b):\n    return a"
    tests = [{"args": [1, 2], "returns": 3}]
    source = write(
        tmp_path / "d.jsonl",
        {"id": "a", "problem": "add", "entry": "add", "tests": tests, "answer": f"```python\n{right}\n```"},
        {"id": "b", "problem": "add", "entry": "add", "tests": tests, "answer": f"```python\n{wrong}\n```"},
    )
    settings = config(source, "code")
    assert [problem.id for problem in load_judgeable(settings, settings.data, said.append)] == ["a"]
    assert said == [f"{source}: 1 of 2 problems (b) fail their own reference and are left out"]


def test_where_nothing_remains_the_run_is_refused(tmp_path: Path) -> None:
    wrong = "```python\ndef add(a, b):\n    return a\n```"
    tests = [{"args": [1, 2], "returns": 3}]
    row = {"id": "b", "problem": "add", "entry": "add", "tests": tests, "answer": wrong}
    settings = config(write(tmp_path / "d.jsonl", row), "code")
    with pytest.raises(DataError, match="all 1 problems fail their own reference"):
        load_judgeable(settings, settings.data, print)
