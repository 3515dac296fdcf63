"""A run's completions by step, problem, reward and text, without reading its files at every click.

All of `rollouts/` but the texts is a table in memory, one row per completion, that says in which row of which step's
file the rest stands; it follows the folder as steps are added, and as a run that goes on forgets some.  A group is read
from its one file.  Only a search for a text reads many, newest first, and stops when it has enough or has taken
`SEARCH` seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpo.run import rollouts

SEARCH = 5.0  # seconds, of a search for a text
_FILES = 32  # that are searched, or indexed, at once
_SNIPPET = 160  # characters

_TABLE = """create table completions(
  step integer, place bigint, problem varchar, "index" integer, reward double, advantage double, finish varchar,
  tokens integer, failure varchar, solved boolean, useful boolean, snippet varchar, shown boolean)"""
# A group is useful whose rewards differ.  The first reward says whether a problem was solved.
_INSERT = f"""insert into completions select
  step, file_row_number, problem, "index", reward, advantage, finish, tokens,
  list_filter(list_transform(scores, lambda s: s.failure), lambda f: f is not null)[1],
  coalesce(scores[1].value >= 1, false),
  coalesce(max(reward) over one > min(reward) over one, false),
  left(completion, {_SNIPPET}), pieces is not null
from read_parquet(?, file_row_number = true) window one as (partition by step, problem)"""
_COLUMNS = ("step", "problem", "index", "reward", "advantage", "finish", "tokens", "failure", "snippet", "shown")
ORDERS = {
    "step": "step, place",
    "-step": "step desc, place",
    "reward": "reward, step, place",
    "-reward": "reward desc nulls last, step, place",
    "tokens": "tokens, step, place",
    "-tokens": "tokens desc, step, place",
}


@dataclass(frozen=True)
class Filter:
    """Which completions.  None: all of them."""

    step_min: int | None = None
    step_max: int | None = None
    problem: str | None = None  # part of its id
    reward_min: float | None = None
    reward_max: float | None = None
    finish: str | None = None
    failure: str | None = None  # a kind, or "any"
    useful: bool = False
    text: str | None = None  # in the completion, in any case of letters

    def condition(self) -> tuple[str, list[Any]]:
        """As SQL with its values, for all but the text."""
        parts = {
            "step >= ?": self.step_min,
            "step <= ?": self.step_max,
            "contains(lower(problem), lower(?))": self.problem,
            "reward >= ?": self.reward_min,
            "reward <= ?": self.reward_max,
            "finish = ?": self.finish,
            "failure = ?": self.failure if self.failure != "any" else None,
        }
        given = {sql: value for sql, value in parts.items() if value is not None}
        fixed = ["failure is not null"] * (self.failure == "any") + ["useful"] * self.useful
        return " and ".join([*given, *fixed, "true"]), list(given.values())


class Index:
    """Of the run in `folder`.  Made when it is first asked; any thread may ask."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._known: dict[int, tuple[int, int]] = {}  # of each step's file: inode, bytes
        self._db: Any = None

    def page(self, wanted: Filter, order: str, limit: int, offset: int) -> dict[str, Any]:
        """{total, rows, more}.  `total` is None where a search for a text stopped early."""
        with self._lock:
            self._follow()
            if wanted.text:
                return self._search(wanted, limit, offset)
            condition, values = wanted.condition()
            (total,) = self._db.execute(f"select count(*) from completions where {condition}", values).fetchone()
            found = self._db.execute(
                f"select {_named()} from completions where {condition} order by {ORDERS[order]} limit ? offset ?",
                [*values, limit, offset],
            ).fetchall()
            return {"total": total, "rows": _rows(found), "more": offset + len(found) < total}

    def history(self, problem: str) -> list[dict[str, Any]]:
        """What became of one problem, by step."""
        names = ("step", "n", "solved", "reward_mean", "length_mean", "truncated")
        with self._lock:
            self._follow()
            found = self._db.execute(
                "select step, count(*), avg(solved::int), avg(reward), avg(tokens), avg((finish = 'length')::int) "
                "from completions where problem = ? group by step order by step",
                [problem],
            ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in found]

    def group(self, step: int, problem: str) -> list[dict[str, Any]]:
        """The rows of rollouts/ that are of this problem; none where there are none."""
        path = rollouts.files(self._folder).get(step)
        return [row for row in rollouts.read_step(path) if row["problem"] == problem] if path else []

    def _follow(self) -> None:
        """Bring the table to what the folder holds."""
        if self._db is None:
            import duckdb

            self._db = duckdb.connect()
            self._db.execute(_TABLE)
        there = {step: path.stat() for step, path in rollouts.files(self._folder).items()}
        now = {step: (stat.st_ino, stat.st_size) for step, stat in there.items()}
        gone = [step for step, file in self._known.items() if now.get(step) != file]
        if gone:
            self._db.execute("delete from completions where step in (select unnest(?))", [gone])
        fresh = [step for step, file in now.items() if step in gone or step not in self._known]
        for steps in _chunks(fresh):
            self._db.execute(_INSERT, [self._paths(steps)])
        self._known = now

    def _search(self, wanted: Filter, limit: int, offset: int) -> dict[str, Any]:
        condition, values = wanted.condition()
        steps = self._db.execute(
            f"select distinct step from completions where {condition} order by step desc", values
        ).fetchall()
        until, found, stopped = time.monotonic() + SEARCH, list[tuple[Any, ...]](), False
        for chunk in _chunks([step for (step,) in steps]):
            found += self._db.execute(
                f"select {_named('c.')} from (select * from completions where {condition}) c join "
                "(select step, file_row_number as place from read_parquet(?, file_row_number = true) "
                "where contains(lower(completion), lower(?))) t on c.step = t.step and c.place = t.place "
                "order by c.step desc, c.place",
                [*values, self._paths(chunk), wanted.text],
            ).fetchall()
            stopped = chunk[-1] != steps[-1][0] and (len(found) > offset + limit or time.monotonic() > until)
            if stopped:
                break
        rows = _rows(found[offset : offset + limit])
        more = len(found) > offset + limit or (stopped and bool(rows))
        return {"total": None if stopped else len(found), "rows": rows, "more": more}

    def _paths(self, steps: Sequence[int]) -> list[str]:
        files = rollouts.files(self._folder)
        return [str(files[step]) for step in steps if step in files]


def _named(table: str = "") -> str:
    return ", ".join(f'{table}"{name}"' for name in _COLUMNS)


def _rows(found: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [dict(zip(_COLUMNS, row, strict=True)) for row in found]


def _chunks(steps: Sequence[int]) -> Iterator[Sequence[int]]:
    return (steps[start : start + _FILES] for start in range(0, len(steps), _FILES))
