"""Collected completions and candidates for the tests of `grpo select`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grpo.completions import COMPLETIONS, Collected, CollectedGroup, Writer
from grpo.selection.candidates import Candidate
from grpo.types import Finish, Problem
from rewards import Score


def candidate(text: str, number: int = 0, **known: Any) -> Candidate:
    """A right completion of the problem "p", unless `known` says otherwise."""
    messages = ({"role": "user", "content": known.pop("asked", "Why?")}, {"role": "assistant", "content": text})
    given = {"id": f"p#{number}", "problem": "p", "source": "s", "tokens": len(text.split()) + 1, "reward": 1.0}
    return Candidate(**{**given, "messages": messages, "right": True, "solved": 0.5, **known})


def one(
    sample: int, text: str, value: float | None = 1.0, *, finish: Finish = "stop", reward: float | None = None
) -> Collected:
    score = Score(None, failure="timeout") if value is None else Score(value)
    total = value if reward is None else reward
    return Collected(sample, text, len(text.split()) + 1, finish, total, {"math": score})


def collect(folder: Path, problems: Mapping[str, Sequence[Collected]]) -> Path:
    """A folder as `grpo collect` leaves it, with the problems' texts as their ids."""
    folder.mkdir(parents=True, exist_ok=True)
    with Writer(folder / COMPLETIONS) as writer:
        for asked, rows in problems.items():
            problem = Problem(asked, ({"role": "user", "content": asked},), {"problem": asked, "answer": "1"})
            writer.add(CollectedGroup(problem, tuple(rows)))
    return folder


def chat(asked: str, said: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}], **more}


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
