"""docs/rewards.md: its recipe loads, its weights keep what it promises, its Python gives what it says."""

from __future__ import annotations

import inspect
import re
import tomllib
from importlib import import_module
from typing import Any

import pytest

from grpo.config import Reward
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "rewards.md").read_text(encoding="utf-8")
BUILT_IN = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["grpo.rewards"]
ROWS = {row[0]: row for row in re.findall(r"^\| `(\w+)` \| ([^|]*) \| [^|]* \| ([^|]*)\|$", TEXT, re.MULTILINE)}


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    return found[1]


def function(name: str) -> Any:
    module, _, attribute = BUILT_IN[name].partition(":")
    return getattr(import_module(module), attribute)


def test_every_built_in_reward_has_a_row() -> None:
    assert set(ROWS) == set(BUILT_IN)


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_options_and_defaults_are_those_of_the_function(name: str) -> None:
    parameters = inspect.signature(function(name)).parameters
    for option, default in re.findall(r"`(\w+)(?: = ([^`]+))?`", ROWS[name][2]):
        value = parameters[option].default
        assert not default or default == str(value).lower() or default == f'"{value}"', option


def test_a_right_completion_is_always_above_a_wrong_one() -> None:
    rewards = [Reward(**table) for table in tomllib.loads(block("toml"))["reward"]]
    assert [reward.use for reward in rewards] == ["math", "language", "repetition", "readability"]
    correct, *others = (reward.weight for reward in rewards)
    assert sum(others) < correct  # each of the others has a range of 1


def test_the_python_gives_what_it_says() -> None:
    said: dict[str, Any] = {}
    lines = block("python").splitlines()
    exec("\n".join(line for line in lines if line.startswith(("from ", "text "))), said)
    share, looped, readability = (eval(line.partition("#")[0], said) for line in lines if "  # " in line)
    assert share == pytest.approx(5 / 6)
    assert looped == 'a sentence 12 times in a row: "we go on as before"'
    assert readability == "readable"
