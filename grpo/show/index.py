"""A run's completions by step, problem, reward and text, without reading its files at every click.

All of `rollouts/` but the texts is a table in memory, one row per completion, that says in which row of which step's
file the rest stands; it follows the folder as steps are added, and as a run that goes on forgets some.  A group is read
from its one file.  Only a search for a text reads many, newest first, and stops when it has enough or has taken
`SEARCH` seconds.

Each question has a cursor of its own, so a long search holds nobody up; only the table is brought up to date by one
thread at a time.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import duckdb

from grpo.run import rollouts

SEARCH = 5.0  # seconds, of a search for a text
_FILES = 64  # that are searched, or indexed, at once
_SNIPPET = 160  # characters
_BEFORE = 60  # of them before a text that was searched for

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
# What a pattern finds in the texts of some files, among the completions under a condition.
_SEARCH = """select c.* replace(t.snippet as snippet) from (select * from completions where {}) c join (
  select step, file_row_number as place, regexp_extract(completion, ?, 0, 'is') as snippet
  from read_parquet(?, file_row_number = true) where regexp_matches(completion, ?, 'is')
) t on c.step = t.step and c.place = t.place"""
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
        self._unreadable: list[int] = []  # steps
        self._db: Any = None

    def page(self, wanted: Filter, order: str, limit: int, offset: int) -> dict[str, Any]:
        """{total, rows, more, back_to, unreadable}.  A search for a text gives the newest first, whatever the order;
        where it stopped early, `total` is None and `back_to` the oldest step that was searched.  `unreadable` are steps
        whose file is damaged."""
        cursor = self._cursor()
        look = self._search if wanted.text else partial(self._sorted, ORDERS[order])
        return {**look(cursor, wanted, limit, offset), "unreadable": self._unreadable}

    def _sorted(self, order: str, cursor: Any, wanted: Filter, limit: int, offset: int) -> dict[str, Any]:
        condition, values = wanted.condition()
        (total,) = cursor.execute(f"select count(*) from completions where {condition}", values).fetchone()
        # Sorted by their numbers alone: the snippets of all that come before would be carried along.
        chosen = f"select rowid from completions where {condition} order by {order} limit ? offset ?"
        found = cursor.execute(
            f"select {_named()} from completions where rowid in ({chosen}) order by {order}",
            [*values, limit, offset],
        ).fetchall()
        return {"total": total, "rows": _rows(found), "more": offset + len(found) < total, "back_to": None}

    def history(self, problem: str) -> list[dict[str, Any]]:
        """What became of one problem, by step."""
        names = ("step", "n", "solved", "reward_mean", "length_mean", "truncated")
        found = self._cursor().execute(
            "select step, count(*), avg(solved::int), avg(reward), avg(tokens), avg((finish = 'length')::int) "
            "from completions where problem = ? group by step order by step",
            [problem],
        )
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def group(self, step: int, problem: str) -> list[dict[str, Any]]:
        """The rows of rollouts/ that are of this problem; none where there are none."""
        path = rollouts.files(self._folder).get(step)
        return rollouts.read_step(path, problem) if path else []

    def _cursor(self) -> Any:
        """For one question, to a table that has what the folder holds."""
        with self._lock:
            if self._db is None:  # what DuckDB lacks it must not fetch from the internet
                self._db = duckdb.connect(config={"autoinstall_known_extensions": "false"})
                self._db.execute(_TABLE)
            self._follow(rollouts.files(self._folder))
            return self._db.cursor()

    def _follow(self, files: Mapping[int, Path]) -> None:
        now = {step: identity for step, path in files.items() if (identity := _identity(path))}
        gone = [step for step, file in self._known.items() if now.get(step) != file]
        if gone:
            self._db.execute("delete from completions where step in (select unnest(?))", [gone])
        self._known = {step: file for step, file in self._known.items() if step not in gone}
        fresh = [step for step in now if step not in self._known]
        for steps in (fresh[start : start + _FILES] for start in range(0, len(fresh), _FILES)):
            self._take(steps, files, now)
        self._unreadable = sorted(now.keys() - self._known.keys())

    def _take(self, steps: Sequence[int], files: Mapping[int, Path], now: Mapping[int, tuple[int, int]]) -> None:
        """Into the table.  A file that is damaged, or gone by now, is left out until the next question."""
        try:
            self._db.execute(_INSERT, [[str(files[step]) for step in steps]])
            self._known |= {step: now[step] for step in steps}
        except (duckdb.IOException, duckdb.InvalidInputException):
            for step in steps if len(steps) > 1 else ():
                self._take([step], files, now)

    def _search(self, cursor: Any, wanted: Filter, limit: int, offset: int) -> dict[str, Any]:
        condition, values = wanted.condition()
        text = re.escape(wanted.text or "")
        around = f".{{0,{_BEFORE}}}{text}.{{0,{_SNIPPET - _BEFORE}}}"
        steps = [
            step
            for (step,) in cursor.execute(
                f"select distinct step from completions where {condition} order by step desc", values
            ).fetchall()
        ]
        files = rollouts.files(self._folder)
        until, found, done, size = monotonic() + SEARCH, list[tuple[Any, ...]](), 0, 1
        while done < len(steps) and len(found) <= offset + limit and monotonic() < until:
            paths = [str(files[step]) for step in steps[done : done + size] if step in files]
            done, size = done + size, min(2 * size, _FILES)  # a frequent text is in the newest few
            if paths:
                of_files = _SEARCH.format(condition)
                found += cursor.execute(
                    f"select {_named()} from ({of_files}) order by step desc, place", [*values, around, paths, text]
                ).fetchall()
        stopped, more = done < len(steps), len(found) > offset + limit
        rows = _rows(found[offset : offset + limit])
        total, back_to = (None, steps[done - 1]) if stopped else (len(found), None)
        return {"total": total, "rows": rows, "more": more, "back_to": back_to}


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:  # a run that goes on from a checkpoint has just taken it away
        return None
    return stat.st_ino, stat.st_size


def _named() -> str:
    return ", ".join(f'"{name}"' for name in _COLUMNS)


def _rows(found: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [dict(zip(_COLUMNS, row, strict=True)) for row in found]
