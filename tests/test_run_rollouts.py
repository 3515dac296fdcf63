from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.dataset
import pytest
from datasets import load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from grpo.errors import CheckpointError
from grpo.run import rollouts
from grpo.run.folder import RunFolder
from tests import runs

MATH = {"value": 1.0, "answer": "4", "why": "4 equals 4"}


def row(step: int = 1, problem: str = "p/0", index: int = 0, **others: Any) -> dict[str, Any]:
    return {
        "step": step,
        "problem": problem,
        "index": index,
        "prompt": "2 + 2?",
        "gold": "4",
        "completion": "It is 4.",
        "reward": 1.0,
        "advantage": 0.5,
        "finish": "stop",
        "tokens": 3,
        "scores": {"math": MATH},
        **others,
    }


def tokens(*pieces: str) -> dict[str, Any]:
    n = len(pieces)
    numbers = {name: np.arange(n, dtype=np.float32) / 8 for name in rollouts.PER_TOKEN}
    return {**numbers, "pieces": list(pieces), "token_ids": np.arange(n, dtype=np.int32)}


def test_what_was_written_is_read_again_with_its_tokens_where_it_has_them(tmp_path: Path) -> None:
    timeout = {"value": 0.0, "answer": None, "why": "", "failure": "timeout"}
    written = [
        row() | tokens("It", " is", " 4."),
        row(index=1, reward=None, gold=None, dropped=True, scores={"math": MATH, "layout": timeout}),
        row(index=2, scores={}),
    ]
    rollouts.write(tmp_path, 1, written)
    first, second, third = rollouts.read_step(tmp_path / "rollouts" / "step-000001.parquet")
    assert first.pop("token_ids") == [0, 1, 2]
    assert [first.pop(name) for name in ("sampler_logprobs", "policy_logprobs", "entropies")] == [[0, 0.125, 0.25]] * 3
    assert first == row(pieces=["It", " is", " 4."])
    assert (second, third) == (written[1], written[2])


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(), max_size=20), st.floats())
def test_any_text_and_any_number_can_be_kept(text: str, number: float) -> None:
    (kept,) = rollouts.as_recorded([row(completion=text, reward=number)])
    assert kept["completion"] == text.encode("utf-8", "backslashreplace").decode()
    assert kept["reward"] == (number if math.isfinite(number) else None)


def test_other_tools_open_the_folder_as_one_table(tmp_path: Path) -> None:
    rollouts.write(tmp_path, 1, [row() | tokens("a", "b", "c"), row(index=1)])
    rollouts.write(tmp_path, 2, [row(step=2, scores={})])  # no score and no token: the columns have their types anyway
    glob = str(tmp_path / "rollouts" / "*.parquet")
    found = duckdb.sql(f"select step, count(*), sum(len(pieces)) from '{glob}' group by step order by step").fetchall()
    assert found == [(1, 2, 3), (2, 1, None)]
    entropies = duckdb.sql(f"select list_sum(entropies) from '{glob}' where entropies is not null").fetchall()
    assert entropies == [(0.375,)]  # 0 + 1/8 + 2/8, in an encoding of their own
    assert pyarrow.dataset.dataset(tmp_path / "rollouts").to_table().num_rows == 3
    opened = load_dataset("parquet", data_files=glob, split="train", cache_dir=str(tmp_path / "cache"))
    assert opened["step"][:] == [1, 1, 2]
    assert opened["policy_logprobs"][0] == [0, 0.125, 0.25]


def test_later_steps_are_forgotten_and_so_is_half_a_file(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        rollouts.write(tmp_path, step, [row(step=step)])
    half = tmp_path / "rollouts" / ".step-000011.parquet.writing"
    half.write_bytes(b"PAR1")
    rollouts.rewind(tmp_path, 2)
    assert list(rollouts.files(tmp_path)) == [1, 2]
    assert not half.exists()


def test_a_run_that_has_kept_completions_is_not_begun_anew(tmp_path: Path) -> None:
    rollouts.write(tmp_path, 1, [row()])
    with pytest.raises(CheckpointError, match="already holds a run"):
        RunFolder.create(tmp_path, "")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    rollouts.write(tmp_path, 1, [row()])
    path = rollouts.files(tmp_path)[1]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match=r"step-000001.parquet: cannot be read \(.+\); restore it from a copy"):
        rollouts.read_step(path)


def test_a_full_disk_ends_in_one_sentence_and_leaves_no_half_file(tmp_path: Path) -> None:
    (tmp_path / "rollouts").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"step-000001.parquet: could not be written \(.+\); nothing before"):
        rollouts.write(tmp_path, 1, [row()])


def test_nothing_is_there_where_nothing_was_written(tmp_path: Path) -> None:
    assert rollouts.files(tmp_path) == {}
    assert runs.completions(tmp_path) == []
