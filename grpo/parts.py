"""What a collection has so far, in parts that are whole or not there, and what it comes to.

    FOLDER/parts/000012.parquet    all completions of shard 12: of so many problems, in the order of the data
    FOLDER/completions.parquet     all parts in one table; once it is there, the parts go
    FOLDER/collect.json            the problems' checksum; in the end, what the collection comes to

Each gets its name when it is on the disk: a kill at any moment loses no part.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]  # ships no types

from grpo.completions import COMPLETIONS, CollectedGroup, Writer, facts_json, row_groups
from grpo.errors import CheckpointError, DataError, first_line
from grpo.types import Problem
from grpo.whole import whole_file

# Columns of the table that a tally reads.
_COUNTED = ("problem_id", "tokens", "finish", "reward", "scores.list.element.name", "scores.list.element.value")


@dataclass(frozen=True, slots=True)
class Tally:
    """What completions come to.  `judged`: the first reward gave a value; `right`: one of at least 1."""

    problems: int = 0
    always: int = 0  # problems whose completions are all right
    never: int = 0  # problems of which none is right
    completions: int = 0
    tokens: int = 0
    judged: int = 0
    right: int = 0
    truncated: int = 0
    unscored: int = 0  # completions without a reward
    sums: Mapping[str, float] = field(default_factory=dict)  # of each reward's values
    values: Mapping[str, int] = field(default_factory=dict)  # how many those are

    def __add__(self, other: Tally) -> Tally:
        counts = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        return Tally(**counts, sums=_added(self.sums, other.sums), values=_added(self.values, other.values))

    def summary(self) -> dict[str, Any]:
        """For collect.json."""
        counts = {name: getattr(self, name) for name in _COUNTS}
        means = {name: self.sums[name] / number if number else None for name, number in self.values.items()}
        return {**counts, "reward_means": means}

    @classmethod
    def of_table(cls, path: Path) -> Tally:
        """Reads only what is counted, a row group at a time.  Raises `DataError`."""
        return reduce(cls.__add__, map(cls._of_rows, row_groups(path, _COUNTED)), cls())

    @classmethod
    def _of_rows(cls, rows: pa.Table) -> Tally:
        problems = rows["problem_id"].combine_chunks().dictionary_encode()
        number_R = problems.indices.to_numpy()
        values = _values_by_name(rows)
        first_R = next(iter(values.values()))
        right_P = np.bincount(number_R, first_R >= 1, len(problems.dictionary))
        all_P = np.bincount(number_R, minlength=len(problems.dictionary))
        return cls(
            problems=len(all_P),
            always=int((right_P == all_P).sum()),
            never=int((right_P == 0).sum()),
            completions=len(rows),
            tokens=int(rows["tokens"].to_numpy().sum(dtype=np.int64)),
            judged=int((~np.isnan(first_R)).sum()),
            right=int((first_R >= 1).sum()),
            truncated=int((rows["finish"].to_numpy() == "length").sum()),
            unscored=rows["reward"].null_count,
            sums={name: float(np.nansum(value_R)) for name, value_R in values.items()},
            values={name: int((~np.isnan(value_R)).sum()) for name, value_R in values.items()},
        )


_COUNTS = [one.name for one in fields(Tally) if one.type == "int"]


def _added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def _values_by_name(rows: pa.Table) -> dict[str, Any]:
    """Float64 [R] by the reward's name, in the rewards' order; NaN where there is no value."""
    scores = rows["scores"].combine_chunks().flatten()
    names, values = scores.field("name").to_numpy(zero_copy_only=False), scores.field("value")
    values = values.to_numpy(zero_copy_only=False).astype(np.float64)
    return {name: values[names == name] for name in dict.fromkeys(names)}


class Parts:
    """The parts in `folder` of a collection of `problems` problems, of which `size` make a shard.

    Errors are `CheckpointError`: a part that is damaged, a disk that is full.
    """

    def __init__(self, folder: Path, *, problems: int, size: int) -> None:
        self.problems = problems
        self.folder = folder / "parts"
        self.table = folder / COMPLETIONS
        self.shards = [range(start, min(start + size, problems)) for start in range(0, problems, size)]

    def missing(self) -> list[int]:
        """Shards that are still to be sampled; none where the table is there."""
        if self.table.exists():
            return []
        return [shard for shard in range(len(self.shards)) if not self._path(shard).exists()]

    def kept(self) -> int:
        """Problems that are there."""
        return self.problems - sum(len(self.shards[shard]) for shard in self.missing())

    def tally(self) -> Tally:
        """Of what is there."""
        if self.table.exists():
            return self._tally_of(self.table)
        there = [path for shard in range(len(self.shards)) if (path := self._path(shard)).exists()]
        return reduce(Tally.__add__, map(self._tally_of, there), Tally())

    def write(self, shard: int, groups: Iterable[CollectedGroup]) -> Tally:
        path = self._path(shard)
        with _said_to_be_unwritable(path):
            self.folder.mkdir(exist_ok=True)
            with whole_file(path) as fresh, Writer(fresh) as part:
                for group in groups:
                    part.add(group)
        return self._tally_of(path)

    def join(self, shown: Callable[[int], None] = lambda shards: None) -> None:
        """All parts into the table, a row group at a time; then they go.  `shown` is told how many are in it."""
        if not self.table.exists():
            with _said_to_be_unwritable(self.table), whole_file(self.table) as fresh, Writer(fresh) as table:
                for shard in range(len(self.shards)):
                    shown(shard)
                    with _said_to_be_damaged(self._path(shard)):
                        for rows in row_groups(self._path(shard)):
                            table.add_rows(rows)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, shard: int) -> Path:
        return self.folder / f"{shard:06}.parquet"

    def _tally_of(self, path: Path) -> Tally:
        with _said_to_be_damaged(path):
            return Tally.of_table(path)


@contextmanager
def _said_to_be_damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise CheckpointError(
            f"{path}: is not what was written; delete it and go on with --resume, which samples its problems again "
            f"({error})",
            exit_code=2,
        ) from None


@contextmanager
def _said_to_be_unwritable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{path}: could not be written ({error.strerror or first_line(error)}); make room and go on with --resume"
        ) from None


@dataclass
class Record:
    """collect.json.  Of all that a collection leaves only its `seconds`, those of sampling, are different each time."""

    path: Path
    source: Mapping[str, Any]  # what the problems are
    seconds: float = 0.0

    @classmethod
    def begin(cls, path: Path, source: str, problems: Sequence[Problem], *, resume: bool) -> Record:
        """Raises `CheckpointError` where a collection is resumed whose problems have changed underneath."""
        now: dict[str, Any] = {"problems": len(problems), "checksum": checksum(problems)}
        before = _read_json(path) if resume and path.exists() else now
        for name, value in now.items():
            if before.get(name) != value:
                raise CheckpointError(
                    f"{path.parent}: the problems of {source} are not those that the collection was begun with "
                    f"({name} {before.get(name)} then, {value} now); restore them, or collect into another folder "
                    "with --out",
                    exit_code=2,
                )
        record = cls(path, now, before.get("seconds", 0.0))
        if before is now:
            record._write({})
        return record

    def add(self, seconds: float) -> None:
        self.seconds += seconds
        self._write({})

    def finish(self, tally: Tally) -> None:
        self._write(tally.summary())

    def _write(self, more: Mapping[str, Any]) -> None:
        content = {**self.source, **more, "seconds": round(self.seconds, 1)}
        with _said_to_be_unwritable(self.path), whole_file(self.path) as fresh:
            fresh.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {**content, "seconds": float(content["seconds"])}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{path}: is damaged ({first_line(error)}); restore it to resume this collection", exit_code=2
        ) from None


def checksum(problems: Iterable[Problem]) -> str:
    """Of all that is asked and judged.  Raises `DataError` for a column that the table cannot hold."""
    digest = hashlib.sha256()
    for problem in problems:
        asked = [dict(message) for message in problem.messages]
        digest.update(json.dumps([problem.id, asked, facts_json(problem)]).encode() + b"\n")
    return digest.hexdigest()
