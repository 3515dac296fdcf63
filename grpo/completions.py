"""The table of collected completions: what `grpo collect` writes, and `grpo select` and anybody's tools read.

    FOLDER/completions.parquet, one row per completion; rows of a problem stand together, problems in their data's order

    problem_id  text             sample   0 … n-1 within its problem
    messages    [{role, content}], as the model was asked
    facts       the problem's own columns, as JSON; the gold answer is in "answer"
    completion  text             tokens   new ones, the end token included
    finish      "stop", or "length" where it ran out of room
    reward      the weighted sum of its scores; null where it could not be judged
    scores      [{name, value, answer, why, failure}], one per reward

Both ways are streams: a writer holds one row group, a reader one batch of rows and the problem it belongs to.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa  # type: ignore[import-untyped]  # ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from grpo.errors import DataError, first_line
from grpo.types import Finish, Problem, ScoredGroup
from rewards import Score

COMPLETIONS = "completions.parquet"
SCORE = pa.struct(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("answer", pa.string()),
        pa.field("why", pa.string(), nullable=False),
        pa.field("failure", pa.string()),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])), nullable=False),
        pa.field("facts", pa.string(), nullable=False),
        pa.field("completion", pa.string(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("finish", pa.string(), nullable=False),
        pa.field("reward", pa.float64()),
        pa.field("scores", pa.list_(SCORE), nullable=False),
    ]
)

ROW_GROUP = 32 * 2**20  # bytes of text, beyond which a writer ends its row group
BATCH = 256  # rows that a reader decodes at a time


@dataclass(frozen=True, slots=True)
class Collected:
    """One completion with what every reward said of it.

    Example: `Collected(0, "\\\\boxed{42}", 5, "stop", 1.0, {"math": Score(1.0, answer="42")})`.
    """

    sample: int
    completion: str
    tokens: int
    finish: Finish
    reward: float | None
    scores: Mapping[str, Score]


@dataclass(frozen=True, slots=True)
class CollectedGroup:
    """A problem with all that was collected of it, in the order of `sample`."""

    problem: Problem
    rows: tuple[Collected, ...]


def collected(scored: ScoredGroup) -> CollectedGroup:
    """Without token ids and log-probabilities: whoever fine-tunes encodes the text anew, perhaps for another model."""
    answers = zip(scored.group.completions, scored.rewards, scored.scores, strict=True)
    rows = (
        Collected(sample, one.text, len(one.token_ids), one.finish, reward, scores)
        for sample, (one, reward, scores) in enumerate(answers)
    )
    return CollectedGroup(scored.group.prompt.problem, tuple(rows))


# --- Facts as JSON --------------------------------------------------------------------------------------------------

# A column may hold what JSON has no form for: {"$grpo.date": "2024-08-01"}, because exports of MongoDB have "$date" for
# something else.  A datetime is a date, so it comes first.
_FORMS: tuple[tuple[str, type, Callable[[Any], str], Callable[[str], Any]], ...] = (
    ("$grpo.datetime", datetime, datetime.isoformat, datetime.fromisoformat),
    ("$grpo.date", date, date.isoformat, date.fromisoformat),
    ("$grpo.time", time, time.isoformat, time.fromisoformat),
    ("$grpo.decimal", Decimal, str, Decimal),
    ("$grpo.bytes", bytes, lambda given: base64.b64encode(given).decode(), base64.b64decode),
)


def facts_json(problem: Problem) -> str:
    """Raises `DataError` for a column that holds anything but JSON's types, dates, decimals and bytes."""
    try:
        text = json.dumps(dict(problem.facts), ensure_ascii=False, default=_in_a_form)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"problem {problem.id}: a column cannot be written as JSON ({error}); leave it out") from None
    return _unicode(text)


def facts_of(text: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(text, object_hook=_from_its_form)
    return facts


def _in_a_form(value: Any) -> dict[str, str]:
    for name, kind, write, _ in _FORMS:
        if isinstance(value, kind):
            return {name: write(value)}
    raise TypeError(f"{type(value).__name__} {value!r:.60}")


def _from_its_form(found: dict[str, Any]) -> Any:
    if len(found) == 1:
        for name, _, _, read in _FORMS:
            if isinstance(found.get(name), str):
                return read(found[name])
    return found


def _unicode(text: str) -> str:
    """Half of a surrogate pair, which UTF-8 has not, becomes its JSON escape."""
    return text.encode("utf-8", errors="backslashreplace").decode()


# --- Writing --------------------------------------------------------------------------------------------------------


class Writer:
    """Writes problems one after another into `path`.  Use it as a context; the file is whole once that is left.

    A row group holds whole problems and ends when it has `ROW_GROUP` bytes of text.  The same problems give the same
    bytes.  Errors are those of the file system, as `OSError`.
    """

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetWriter(path, SCHEMA, compression="zstd", write_page_checksum=True)
        self._rows: list[pa.Table] = []
        self._bytes = 0

    def add(self, group: CollectedGroup) -> None:
        self.add_rows(pa.Table.from_pylist(list(_rows(group)), schema=SCHEMA))

    def add_rows(self, rows: pa.Table) -> None:
        """Whole problems in the table's form."""
        self._rows.append(rows)
        self._bytes += rows.nbytes
        if self._bytes >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            table = pa.concat_tables(self._rows)
            self._file.write_table(table, row_group_size=len(table))
            self._rows, self._bytes = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._flush()
        finally:
            self._file.close()


def _rows(group: CollectedGroup) -> Iterator[dict[str, Any]]:
    problem = group.problem
    asked = [{"role": message["role"], "content": message["content"]} for message in problem.messages]
    facts = facts_json(problem)
    for one in group.rows:
        yield {
            "problem_id": problem.id,
            "sample": one.sample,
            "messages": asked,
            "facts": facts,
            "completion": _unicode(one.completion),
            "tokens": one.tokens,
            "finish": one.finish,
            "reward": one.reward,
            "scores": [_score_row(name, score) for name, score in one.scores.items()],
        }


def _score_row(name: str, score: Score) -> dict[str, Any]:
    answer = None if score.answer is None else _unicode(score.answer)
    return {
        "name": name,
        "value": score.value,
        "answer": answer,
        "why": _unicode(score.why),
        "failure": score.failure,
    }


# --- Reading --------------------------------------------------------------------------------------------------------


def groups(place: Path) -> Iterator[CollectedGroup]:
    """The problems in `place`, a folder of `grpo collect` or a table by itself, one after another.

    Raises `DataError` for what is no such table, or a damaged one, when it comes to it.
    """
    for _, rows in itertools.groupby(_rows_in(table_in(place)), key=lambda row: str(row["problem_id"])):
        yield _group(list(rows))


def count(place: Path) -> int:
    """Completions in `place`."""
    with _open(table_in(place)) as file:
        rows: int = file.metadata.num_rows
        return rows


def table_in(place: Path) -> Path:
    """The table of a folder.  Raises `DataError` where the folder has none."""
    if not place.is_dir():
        return place
    if not (place / COMPLETIONS).is_file():
        unfinished = (place / "parts").is_dir()
        why = "is not finished; go on with grpo collect --resume" if unfinished else f"has no {COMPLETIONS}"
        raise DataError(f"{place}: the collection {why}" if unfinished else f"{place}: {why}; see grpo collect")
    return place / COMPLETIONS


def row_groups(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The rows of one table as they lie in it, whole problems at a time.  Raises `DataError`."""
    with _open(path) as file, _said_to_be_damaged(path):
        for index in range(file.num_row_groups):
            yield file.read_row_group(index, columns)


def _rows_in(path: Path) -> Iterator[dict[str, Any]]:
    with _open(path) as file, _said_to_be_damaged(path):
        for index in range(file.num_row_groups):  # asked for all of them, it keeps in memory what it has read
            for batch in file.iter_batches(batch_size=BATCH, row_groups=[index]):
                yield from batch.to_pylist()


def _open(path: Path) -> pq.ParquetFile:
    if not path.is_file():
        raise DataError(f"{path}: no such file; give a folder of grpo collect")
    with _said_to_be_damaged(path):
        file = pq.ParquetFile(path, page_checksum_verification=True)
    if not file.schema_arrow.equals(SCHEMA):
        file.close()
        raise DataError(
            f"{path}: is not a table of grpo collect (columns: {', '.join(file.schema_arrow.names)}; "
            f"there must be {', '.join(SCHEMA.names)})"
        )
    return file


@contextmanager
def _said_to_be_damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: is damaged or cut off ({first_line(error)}); copy or collect it again") from None


def _group(rows: list[dict[str, Any]]) -> CollectedGroup:
    first = rows[0]
    problem = Problem(first["problem_id"], tuple(first["messages"]), facts_of(first["facts"]))
    return CollectedGroup(problem, tuple(map(_collected, rows)))


def _collected(row: dict[str, Any]) -> Collected:
    scores = {
        one["name"]: Score(one["value"], answer=one["answer"], why=one["why"], failure=one["failure"])
        for one in row["scores"]
    }
    return Collected(row["sample"], row["completion"], row["tokens"], row["finish"], row["reward"], scores)
