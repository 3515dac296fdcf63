"""Collections in a process of their own, and scored without one: each start of a reward process takes a while."""

from __future__ import annotations

import tomllib
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from grpo import assemble
from grpo import collect as module
from grpo.config import CollectConfig
from grpo.config_file import validate
from grpo.problems import load_problems
from grpo.types import Group, ScoredGroup
from tests.fakes import FakeScorer


class Digits(FakeScorer):
    """Scores in this process what the reward of `tests.runs.write_inputs` would."""

    def __init__(self) -> None:
        super().__init__(None)

    def submit(self, group: Group) -> Future[ScoredGroup]:
        texts = [one.text for one in group.completions]
        shares = [sum(character.isdigit() for character in text) / (len(text) + 1) for text in texts]
        self.reward = lambda problem, g: shares[g]
        return super().submit(group)


def without_reward_processes(patch: Any) -> None:
    patch(module, "_judgeable", lambda config, console: load_problems(config.data))
    patch(assemble, "open_scorer", lambda *_, **__: nullcontext(Digits()))


def run(place: str, config_toml: str, resume: bool) -> None:
    """To be called in a process of its own."""
    without_reward_processes(setattr)
    config = validate(tomllib.loads(config_toml), place="test", kind=CollectConfig)
    module.collect(config, Path(place), resume=resume)
