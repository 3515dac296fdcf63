"""What a collection comes to, by hand; and the order in which parts are there, missing and joined."""

from __future__ import annotations

from pathlib import Path

import pytest

from grpo import completions
from grpo.completions import Collected, CollectedGroup, Writer, groups
from grpo.parts import Parts, Tally, checksum
from grpo.types import Finish, Problem
from grpo.whole import whole_file
from rewards import Score


def group(name: str, *values: float | None, finish: Finish = "stop", text: str = "") -> CollectedGroup:
    """Completions of 10, 11, … tokens, which the reward "math" gives these values; "length" gives each −1."""
    rows = [
        Collected(k, text, 10 + k, finish, value, {"math": Score(value), "length": Score(-1.0)})
        for k, value in enumerate(values)
    ]
    return CollectedGroup(Problem(name, ({"role": "user", "content": "?"},), {"answer": "1"}), tuple(rows))


GROUPS = [
    group("always", 1.0, 1.0),
    group("sometimes", 1.0, 0.0),
    group("never", 0.5, 0.0, finish="length"),
    group("unjudged", None, 1.5),
    group("not at all", None, None),
]


def test_a_tally_counts_what_the_table_holds(tmp_path: Path) -> None:
    parts = Parts(tmp_path, problems=5, size=5)
    tally = parts.write(0, GROUPS)
    assert tally == Tally(
        problems=5,
        always=1,  # not where one completion could not be judged
        never=2,
        completions=10,
        tokens=5 * 21,
        judged=7,
        right=4,
        truncated=2,
        unscored=3,
        sums={"math": 1 + 1 + 1 + 0 + 0.5 + 0 + 1.5, "length": -10.0},
        values={"math": 7, "length": 10},
    )
    assert tally.summary()["reward_means"] == {"math": pytest.approx(5 / 7), "length": -1.0}


def test_tallies_of_parts_add_up_to_that_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "ROW_GROUP", 200)  # bytes: a problem is a row group
    parts = Parts(tmp_path, problems=5, size=2)
    written = [parts.write(shard, GROUPS[2 * shard : 2 * shard + 2]) for shard in (2, 0, 1)]
    of_parts = parts.tally()
    assert of_parts.completions == sum(tally.completions for tally in written) == 10
    parts.join()
    assert parts.tally() == of_parts
    assert list(groups(tmp_path)) == GROUPS, "in the order of the shards, not of the clock"


def test_a_shard_is_missing_until_its_part_is_whole(tmp_path: Path) -> None:
    parts = Parts(tmp_path, problems=5, size=2)
    assert (parts.missing(), parts.kept(), parts.tally()) == ([0, 1, 2], 0, Tally())
    parts.write(2, GROUPS[4:])
    (tmp_path / "parts" / ".000000.parquet.writing").write_bytes(b"half")
    assert (parts.missing(), parts.kept()) == ([0, 1], 1)
    parts.write(0, GROUPS[:2])
    parts.write(1, GROUPS[2:4])
    assert (parts.missing(), parts.kept()) == ([], 5)
    parts.join()
    assert (parts.missing(), parts.kept(), parts.folder.exists()) == ([], 5, False)


def test_joining_reads_one_row_group_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "ROW_GROUP", 20_000)
    held: list[int] = []
    add_rows = Writer.add_rows

    def watched(self: Writer, rows: object) -> None:
        add_rows(self, rows)
        held.append(self._bytes)

    parts = Parts(tmp_path, problems=200, size=50)
    for shard in range(4):
        parts.write(shard, (group(f"{shard}/{k}", 1.0, 0.0, text="x" * 1000) for k in range(50)))
    monkeypatch.setattr(Writer, "add_rows", watched)
    parts.join()
    assert max(held) < 20_000 and parts.tally().completions == 400


def test_a_checksum_is_of_all_that_is_asked_and_judged() -> None:
    problem = GROUPS[0].problem
    others = [
        Problem("other", problem.messages, problem.facts),
        Problem(problem.id, ({"role": "system", "content": "?"},), problem.facts),
        Problem(problem.id, problem.messages, {"answer": "2"}),
    ]
    sums = {checksum([one]) for one in [problem, *others]} | {checksum([problem, problem]), checksum([])}
    assert len(sums) == 6
    assert checksum([problem]) == checksum([Problem(problem.id, problem.messages, dict(problem.facts))])


def test_whole_file_leaves_nothing_behind_where_writing_fails(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("before")
    with pytest.raises(OSError, match="full"), whole_file(tmp_path / "t") as fresh:
        fresh.write_text("half")
        raise OSError("full")
    assert [path.name for path in tmp_path.iterdir()] == ["t"] and (tmp_path / "t").read_text() == "before"
