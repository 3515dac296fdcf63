"""The table of collected completions: what is written comes back, a stream both ways, and damage is said."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from grpo import completions
from grpo.completions import SCHEMA, Collected, CollectedGroup, Writer, count, facts_json, facts_of, groups
from grpo.errors import DataError
from grpo.types import Problem
from rewards import Score


def problem(number: int = 0, **facts: object) -> Problem:
    asked = {"role": "user", "content": f"{number} + 1 = ? α"}
    return Problem(f"sums/{number}", (asked,), {"answer": str(number + 1), **facts})


def group(number: int, n: int = 3, text: str = "\\boxed{1}") -> CollectedGroup:
    right = {"math": Score(1.0, answer="1", why="equal"), "length": Score(-0.5)}
    lost = {"math": Score(None, why="took too long", failure="timeout"), "length": Score(0.0)}
    rows = [
        Collected(k, text, 4 + k, "length" if k else "stop", None if k else 0.5, lost if k else right) for k in range(n)
    ]
    return CollectedGroup(problem(number), tuple(rows))


def write(path: Path, given: list[CollectedGroup]) -> Path:
    with Writer(path) as table:
        for one in given:
            table.add(one)
    return path


def test_what_is_written_comes_back_as_it_was(tmp_path: Path) -> None:
    given = [group(number) for number in range(700)]  # more rows than a batch has, so problems straddle batches
    path = write(tmp_path / "completions.parquet", given)
    assert list(groups(path)) == given
    assert list(groups(tmp_path)) == given, "a folder is read by its table"
    assert count(path) == 2100


def test_facts_keep_their_types() -> None:
    facts = {
        "answer": "½ \ud800",  # half of a surrogate pair, which JSON can say and UTF-8 cannot
        "day": date(2024, 8, 1),
        "when": datetime(2024, 8, 1, 12, 30, tzinfo=UTC),
        "at": time(12, 30),
        "price": Decimal("1.10"),
        "raw": b"\x00\xff",
        "nested": {"tests": [{"input": "1", "weight": 0.25}, None, True]},
        "mongo": {"$date": "2024-08-01T00:00:00Z"},
    }
    given = problem(**facts)
    text = facts_json(given)
    assert facts_of(text) == given.facts
    assert type(facts_of(text)["day"]) is date
    assert json.loads(text)["day"] == {"$grpo.date": "2024-08-01"}, "anybody's JSON"


def test_a_column_that_json_cannot_hold_is_named_with_its_problem() -> None:
    with pytest.raises(DataError, match=r"problem sums/0: .*JSON \(object <object"):
        facts_json(problem(picture=object()))


def test_row_groups_hold_whole_problems_and_end_at_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "ROW_GROUP", 10_000)
    path = write(tmp_path / "t.parquet", [group(number, text="x" * 1000) for number in range(20)])
    file = pq.ParquetFile(path)
    sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
    assert sum(sizes) == 60 and len(sizes) > 3
    assert all(size % 3 == 0 for size in sizes)


def test_a_reader_holds_one_row_group_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "ROW_GROUP", 200_000)
    random = Random(0)
    texts = (random.randbytes(4500).hex() for _ in range(400))  # which no compression makes much of
    path = write(tmp_path / "t.parquet", [group(number, n=1, text=text) for number, text in enumerate(texts)])
    assert path.stat().st_size > 1_000_000
    before = pa.total_allocated_bytes()
    most = max(pa.total_allocated_bytes() - before for _ in groups(path))
    assert most < 1_500_000


def test_the_same_problems_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = (write(tmp_path / name, [group(k) for k in range(50)]) for name in ("a.parquet", "b.parquet"))
    assert one.read_bytes() == two.read_bytes()


def test_other_tools_read_it_with_the_schema_that_is_promised(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", [group(1)])
    table = pq.read_table(path)
    assert table.schema.equals(SCHEMA)
    assert table.column("scores").to_pylist()[1][0] == {
        "name": "math", "value": None, "answer": None, "why": "took too long", "failure": "timeout",
    }  # fmt: skip


def test_a_table_that_is_cut_off_is_said_to_be_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", [group(k) for k in range(50)])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"t\.parquet: is damaged or cut off"):
        list(groups(path))


def test_another_table_is_refused_with_its_columns(tmp_path: Path) -> None:
    pq.write_table(pq.read_table(write(tmp_path / "t.parquet", [group(1)])).select(["reward"]), tmp_path / "o.parquet")
    with pytest.raises(DataError, match=r"is not a table of grpo collect \(columns: reward;"):
        list(groups(tmp_path / "o.parquet"))


def test_a_collection_that_is_not_finished_is_not_read_as_if_it_were(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    with pytest.raises(DataError, match="not finished; go on with grpo collect --resume"):
        list(groups(tmp_path))
    with pytest.raises(DataError, match=r"nowhere\.parquet: no such file"):
        list(groups(tmp_path / "nowhere.parquet"))
