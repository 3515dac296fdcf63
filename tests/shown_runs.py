"""Run folders for the pages of `grpo show`: small, with every file a page reads, and with numbers known by hand.

Step s solves of problem `sum-j` the first s − j of its 4 completions (at least none, at most all):

    step      1      2      3      4      5      6
    solved    1/16   3/16   6/16   10/16  13/16  15/16
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from grpo.config_file import validate
from grpo.estimates import estimate
from grpo.types import Alarm, Example

STEPS, PROBLEMS, GROUP = 6, 4, 4
HOSTILE = '<img src=x onerror="alert(1)"></script><script>alert(2)</script>\x07\u202eend'
RATIOS = (1.0, math.exp(0.5), math.exp(-0.5))  # of the three tokens that are kept of each completion shown
ENTROPIES = (0.0, 2.0, 0.5)
LOGPROB = -1.0

_TEXT, _NUMBER, _WHOLE = pa.string(), pa.float64(), pa.int32()
_SCORE = pa.struct({"reward": _TEXT, "value": _NUMBER, "answer": _TEXT, "why": _TEXT, "failure": _TEXT}.items())
SCHEMA = pa.schema(
    [
        *((name, _WHOLE) for name in ("step", "index", "tokens")),
        *((name, _TEXT) for name in ("problem", "prompt", "gold", "completion", "finish")),
        *((name, _NUMBER) for name in ("reward", "advantage")),
        ("dropped", pa.bool_()),
        ("scores", pa.list_(_SCORE)),
        ("pieces", pa.list_(_TEXT)),
        ("token_ids", pa.list_(_WHOLE)),
        *((name, pa.list_(pa.float32())) for name in ("sampler_logprobs", "policy_logprobs", "entropies")),
    ]
)


def make_run(folder: Path, *, seed: int, steps: int = STEPS) -> Path:
    """A run of `grpo train` that has come to step `steps` of `STEPS`, evaluated before and, when done, after."""
    folder.mkdir(parents=True)
    settings = {
        "model": {"name": "tiny/model"},
        "data": {"source": "sums.jsonl"},
        "reward": [{"use": "math"}],
        "run": {"steps": STEPS, "seed": seed, "shown_groups": 2},
    }
    (folder / "config.toml").write_text(validate(settings, place="test").to_toml())
    _evaluation(folder, "before", right={"t0", "t1", "t2"}, step=0)
    for step in range(1, steps + 1):
        add_step(folder, step)
    if steps == STEPS:
        _evaluation(folder, "after", right={"t1", "t2", "t3", "t4", "t5", "t6"}, step=STEPS)
    examples = tuple(Example(step, "sum-0", 3) for step in (1, 2, steps))
    rising = Alarm("repetition", 2, "Completions repeat themselves.", {"start": 0.03, "now": 0.21}, examples)
    over = [Alarm("truncated", 1, "Many ran out of room."), Alarm("truncated", 2, "Few do now.", cleared=True)]
    _append(folder / "alarms.jsonl", *(asdict(alarm) for alarm in (over[0], rising, over[1])))
    return folder


def add_step(folder: Path, step: int) -> None:
    """What a step leaves: its completions first, then its row of metrics."""
    rows = [_row(step, j, index) for j in range(PROBLEMS) for index in range(GROUP)]
    (folder / "rollouts").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / "rollouts" / f"step-{step:06}.parquet")
    rewards = [row["reward"] for row in rows]
    metrics = {
        "step": step,
        "solved": sum(rewards) / len(rewards),
        "reward/mean": sum(rewards) / len(rewards),
        "groups/useful": sum(0 < _solved(step, j) < GROUP for j in range(PROBLEMS)) / PROBLEMS,
        "completions/length_mean": 100.0 + step,
        "completions/truncated": 0.0,
        "policy/entropy": 0.5 - 0.05 * step,
        "some/odd_metric": float(step),
        "tokens/sample": 1600 + 16 * step,
        "time/step": 10.0,
        "time/sample": 6.0,
        "time/update": 3.0,
    }
    _append(folder / "metrics.jsonl", metrics)


def _solved(step: int, j: int) -> int:
    return min(GROUP, max(0, step - j))


def _row(step: int, j: int, index: int) -> Mapping[str, Any]:
    right = index < _solved(step, j)
    hostile = j == 0 and index == 3
    text = HOSTILE if hostile else f"<think>{j} and {j + 1}</think><answer>{2 * j + 1 if right else 'many'}</answer>"
    third = len(text) // 3
    shown = {
        "pieces": [text[:third], text[third : 2 * third], text[2 * third :]],
        "token_ids": [1, 2, 3],
        "sampler_logprobs": [LOGPROB] * 3,
        "policy_logprobs": [LOGPROB + math.log(ratio) for ratio in RATIOS],
        "entropies": list(ENTROPIES),
    }
    failure = "timeout" if j == 3 and index == 3 else None
    score = {"reward": "math", "value": float(right), "answer": str(2 * j + 1) if right else None}
    return {
        "step": step,
        "problem": f"sum-{j}",
        "index": index,
        "prompt": f"What is {j}+{j + 1}?",
        "gold": str(2 * j + 1),
        "completion": text,
        "reward": float(right),
        "advantage": right - _solved(step, j) / GROUP,
        "finish": "length" if index == 3 and not right else "stop",
        "tokens": 10 * step + index,
        "dropped": False,
        "scores": [{**score, "why": "equal to the gold answer" if right else "no number", "failure": failure}],
        **(shown if j < 2 else {}),
    }


def _evaluation(folder: Path, label: str, *, right: set[str], step: int) -> None:
    """Of ten problems t0 … t9; `right` names those that are solved."""
    names = [f"t{i}" for i in range(10)]
    place = folder / "eval" / label
    place.mkdir(parents=True)
    by_half = {
        half: {"problems": 5, **asdict(estimate([float(name in right) for name in chosen], 1))}
        for half, chosen in (("easy", names[:5]), ("hard", names[5:]))
    }
    results = {
        "pass@1": asdict(estimate([float(name in right) for name in names], 1)),
        "unscored": 0,
        "missing": 0,
        "problems": 10,
        "breakdown": {"level": by_half},
        "recipe": {},
        "solved": {name: float(name in right) for name in names},
    }
    (place / "results.json").write_text(json.dumps(results))
    for name in names:
        value = float(name in right)
        score = {"math": {"value": value, "answer": None, "why": ""}}
        row = {"problem": name, "prompt": f"Question {name}?", "gold": "1", "completion": f"{label} says {name}"}
        _append(place / "samples.jsonl", {**row, "reward": value, "finish": "stop", "tokens": 5, "scores": score})
    _append(folder / "metrics.jsonl", {"step": step, "eval/pass@1": len(right) / 10})


def _append(path: Path, *rows: Mapping[str, Any]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
