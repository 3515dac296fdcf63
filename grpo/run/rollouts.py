"""Every completion of a run in columns: `rollouts/step-000001.parquet` and so on, one file per step.

    step · problem · index (in its group, from 0) · prompt · gold · completion · reward · advantage · finish · tokens ·
    dropped · scores: a list of {reward, value, answer, why, failure}

and of the groups that are shown, one list per token:

    pieces             the text of each token; their join is what all of them say
    token_ids
    sampler_logprobs   by which the token was drawn
    policy_logprobs    the policy's own, before the step's update
    entropies          of the policy's distribution at the token, in nats

exp(policy_logprobs - sampler_logprobs) is a token's importance ratio when the step learns from it.  pandas, Polars,
DuckDB, datasets and others open such a folder as one table.  A file is whole or not there, so a kill loses at most the
step under way.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]  # ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from grpo.errors import CheckpointError, first_line
from grpo.whole import whole_file

Row = Mapping[str, Any]

PER_TOKEN = {
    "pieces": pa.string(),
    "token_ids": pa.int32(),
    "sampler_logprobs": pa.float32(),
    "policy_logprobs": pa.float32(),
    "entropies": pa.float32(),
}
_SCORE = {name: pa.string() for name in ("reward", "value", "answer", "why", "failure")} | {"value": pa.float64()}
SCHEMA = pa.schema(
    {
        "step": pa.int32(),
        "problem": pa.string(),
        "index": pa.int32(),
        "prompt": pa.string(),
        "gold": pa.string(),
        "completion": pa.string(),
        "reward": pa.float64(),
        "advantage": pa.float64(),
        "finish": pa.string(),
        "tokens": pa.int32(),
        "dropped": pa.bool_(),
        "scores": pa.list_(pa.struct(_SCORE)),
        **{name: pa.list_(kind) for name, kind in PER_TOKEN.items()},
    }
)
# What a group's completions share is written once; texts that differ would only fill a dictionary.
_REPEATED = ["step", "problem", "prompt", "gold", "finish", "scores.list.element.reward", "scores.list.element.why"]
# Floats byte by byte, all first bytes, then all second ones and so on: signs and exponents repeat, fractions do not.
_SPLIT = {f"{name}.list.element": "BYTE_STREAM_SPLIT" for name, kind in PER_TOKEN.items() if kind == pa.float32()}
_FORMAT = {
    "compression": "zstd",
    "compression_level": 9,  # a quarter less text than 1, for a third of a second per 2 million tokens
    "use_dictionary": _REPEATED,
    "column_encoding": _SPLIT,
}
_NAME = re.compile(r"step-(\d+)\.parquet")


def write(folder: Path, step: int, rows: Iterable[Row]) -> None:
    """The completions of step `step` of the run in `folder`, on the disk when it returns."""
    place = folder / "rollouts"
    path = place / f"step-{step:06}.parquet"
    try:
        place.mkdir(exist_ok=True)
        with whole_file(path) as fresh:
            pq.write_table(_table(rows), fresh, **_FORMAT)
    except OSError as error:
        raise CheckpointError(
            f"{path}: could not be written ({error.strerror}); nothing before this step is lost: "
            "make room and continue with --resume"
        ) from error


def files(folder: Path) -> dict[int, Path]:
    """The files of the run in `folder` by step, in order."""
    found = {int(match[1]): path for path in (folder / "rollouts").glob("*") if (match := _NAME.fullmatch(path.name))}
    return dict(sorted(found.items()))


def rewind(folder: Path, step: int) -> None:
    """Forget the steps later than `step`, and what a kill left half written."""
    for number, path in files(folder).items():
        if number > step:
            path.unlink()
    for path in (folder / "rollouts").glob(".*.writing"):
        path.unlink()


def read_step(path: Path, problem: str | None = None) -> list[dict[str, Any]]:
    """The rows of one file, as they were given to `write`: of all problems, or of one."""
    try:
        return _rows(pq.read_table(path, filters=None if problem is None else [("problem", "=", problem)]))
    except (OSError, pa.ArrowInvalid) as error:
        raise CheckpointError(
            f"{path}: cannot be read ({first_line(error)}); restore it from a copy of the run"
        ) from error


def as_recorded(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """`rows` after a journey through a file."""
    return _rows(_table(rows))


def _table(rows: Iterable[Row]) -> pa.Table:
    return pa.Table.from_pylist([_flat(row) for row in rows], schema=SCHEMA)


def _flat(row: Row) -> dict[str, Any]:
    scores = [{"reward": name, **score} for name, score in row["scores"].items()]
    given: dict[str, Any] = _storable({**row, "dropped": row.get("dropped", False), "scores": scores})
    return given


def _storable(value: Any) -> Any:
    """Half of a surrogate pair, which UTF-8 has not, becomes its escape, and what is no number becomes null."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    return [_unfolded(row) for row in table.to_pylist()]


def _unfolded(row: dict[str, Any]) -> dict[str, Any]:
    """Without what is not there: token columns of a group that was not shown, `dropped` and `failure` where they say
    no."""
    absent = {name for name in PER_TOKEN if row[name] is None} | ({"dropped"} if not row["dropped"] else set())
    scores = {score.pop("reward"): _score(score) for score in row["scores"]}
    return {key: value for key, value in {**row, "scores": scores}.items() if key not in absent}


def _score(score: dict[str, Any]) -> dict[str, Any]:
    return score if score["failure"] is not None else {key: score[key] for key in ("value", "answer", "why")}
