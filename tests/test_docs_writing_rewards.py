"""docs/writing-rewards.md: its reward does what the page says of it, and its commands and links are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from grpo.config import Reward
from grpo.probe.gaming import answer_tricks, blank_tricks
from grpo.problems.arithmetic import rows
from grpo.scoring.load import load_reward
from grpo.types import Problem
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "writing-rewards.md").read_text(encoding="utf-8")
PROBLEMS = [Problem(row["id"], ({"role": "user", "content": row["problem"]},), row) for row in rows("test")[:40]]


@pytest.fixture
def number(tmp_path: Path) -> Any:
    found = re.search(r"```python\n# number.py\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    (tmp_path / "number.py").write_text(found[1])
    return load_reward(Reward(use=f"{tmp_path}/number.py:number"))


def test_its_reward_pays_for_the_answer_in_its_tag(number: Any) -> None:
    problem = {"answer": "13"}
    assert number("<think>6+7=13</think><answer>13</answer>", problem).value == 1
    assert number("<answer>12</answer>", problem).why == "another number"
    assert number("13", problem).parsed is False


@pytest.mark.parametrize("use", ["number", "math"])
def test_its_reward_closes_the_hole_that_the_page_shows(number: Any, use: str) -> None:
    reward = number if use == "number" else load_reward(Reward(use="math"))
    form = "<think>…</think><answer>{gold}</answer>"
    tricks = [*blank_tricks(PROBLEMS), *answer_tricks(PROBLEMS, form)]
    earned = {
        trick.name: {reward(text, problem.facts).value for text, problem in zip(trick.texts, PROBLEMS, strict=True)}
        for trick in tricks
    }
    assert earned["the gold alone"] == {1.0}
    assert earned["the prompt itself"] == ({0.0} if use == "number" else {1.0})
    assert earned["20 guesses, one right"] == earned["another problem's answer"] == earned["empty text"] == {0.0}


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([\w.-]+)(?:#[\w-]+)?\)", TEXT):
        assert (ROOT / "docs" / target).is_file(), target
    assert "## Weights" in (ROOT / "docs" / "rewards.md").read_text()


def test_every_text_that_is_tried_is_in_its_table() -> None:
    names = [trick.name for trick in [*blank_tricks(PROBLEMS), *answer_tricks(PROBLEMS, "{gold}")]]
    assert names == [
        "empty text", '"I don\'t know."', "the prompt itself", "the gold alone", "the gold 20 times",
        "another problem's answer", "20 guesses, one right",
    ]  # fmt: skip
    assert all(name in TEXT for name in names)
