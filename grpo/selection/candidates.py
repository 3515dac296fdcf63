"""Candidates for fine-tuning, from either kind of source, as a stream of problems.

    completions   a folder of `grpo collect`: a group is a problem with all its completions, each of them judged
    trusted       any other data: rows of `messages`, or of a problem and its `solution`.  Nobody has judged them; they
                  count as what their owner says they are, never as right.  A group is one row

Files are read as streams, and so are the Hub's data sets, so that memory does not grow with a source.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from grpo import completions
from grpo.config import Data, Source
from grpo.errors import ConfigError, DataError
from grpo.problems import is_unicode
from grpo.problems.columns import PROBLEM, marked_answer
from grpo.problems.files import place_of
from grpo.problems.sources import stem, stream_rows
from grpo.types import Message

CountTokens = Callable[[str], int]

GIVEN = ("answer", "solution")  # columns of a problem that are no part of the question


@dataclass(frozen=True, slots=True)
class Candidate:
    """A conversation whose last message is what a model may learn to say.

    `tokens` are those of the assistant's messages, `None` where no tokenizer has counted them.  `right` is what the
    first reward says, `None` where nobody has judged it; `solved` is the share of its problem's judged completions
    that are right.
    """

    id: str
    problem: str
    messages: tuple[Message, ...]
    source: str
    tokens: int | None
    finish: str = "stop"
    reward: float | None = None
    right: bool | None = None
    solved: float | None = None
    asked: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return self.messages[-1]["content"]

    def row(self) -> dict[str, Any]:
        """As it is written: the conversational format of TRL, with what is known of it."""
        messages = [{"role": one["role"], "content": one["content"]} for one in self.messages]
        return {
            "id": self.id,
            "messages": messages,
            "source": self.source,
            "tokens": self.tokens,
            "reward": self.reward,
        }


Group = Sequence[Candidate]


@dataclass(frozen=True, slots=True)
class Opened:
    """A source that was found.  `sha256` is its file's; of a data set without one file, `None`."""

    settings: Source
    name: str
    judged: bool
    sha256: str | None
    groups: Callable[[], Iterator[Group]]


def open_sources(sources: Sequence[Source], count_tokens: CountTokens | None) -> list[Opened]:
    """Raises `DataError` or `ConfigError` for one that is not there, before any is read."""
    if not sources:
        raise ConfigError(
            "grpo select: no source; name folders of grpo collect or data files, here or in [[select.source]]"
        )
    names = [stem(str(Path(source.use))) for source in sources]
    clear = names if len(set(names)) == len(names) else [source.use for source in sources]
    if len(set(clear)) < len(clear):
        twice = next(name for name in clear if clear.count(name) > 1)
        raise ConfigError(
            f"select.source: {twice} is named twice; name it once, with a weight and repeat if it counts more"
        )
    return [_open(source, name, count_tokens) for source, name in zip(sources, clear, strict=True)]


def is_collected(place: str) -> bool:
    """Whether `grpo collect` wrote it, or is about to."""
    path = Path(place).expanduser()
    if path.is_dir():
        return (path / completions.COMPLETIONS).is_file() or (path / "parts").is_dir()
    return path.name == completions.COMPLETIONS


def _open(source: Source, name: str, count_tokens: CountTokens | None) -> Opened:
    """Its first row is read, so that what is not there, or is something else, is refused at once."""
    path = Path(source.use).expanduser()
    judged = is_collected(source.use)
    if judged:
        path = completions.table_in(path)
        groups = partial(_collected, path, name)
    else:
        data = Data(source=source.use, subset=source.subset, split=source.split)
        groups = partial(_trusted, data, name, count_tokens)
    if next(groups(), None) is None:
        raise DataError(f"{source.use}: has no rows; there must be at least one")
    return Opened(source, name, judged, checksum(path) if path.is_file() else None, groups)


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- Completions ----------------------------------------------------------------------------------------------------


def _collected(table: Path, name: str) -> Iterator[Group]:
    for group in completions.groups(table):
        rights = [_is_right(one) for one in group.rows]
        judged = [right for right in rights if right is not None]
        solved = fmean(judged) if judged else None
        asked = tuple(text for name, text in group.problem.facts.items() if isinstance(text, str) and name not in GIVEN)
        yield [
            Candidate(
                id=f"{group.problem.id}#{one.sample}",
                problem=group.problem.id,
                messages=(*group.problem.messages, {"role": "assistant", "content": one.completion}),
                source=name,
                tokens=one.tokens,
                finish=one.finish,
                reward=one.reward,
                right=right,
                solved=solved,
                asked=asked,
            )
            for one, right in zip(group.rows, rights, strict=True)
        ]


def _is_right(one: completions.Collected) -> bool | None:
    """As `grpo eval` counts: the first reward is at least 1.  `None` where a reward could not judge."""
    first = next(iter(one.scores.values()), None)
    if one.reward is None or first is None or first.value is None:
        return None
    return first.value >= 1


# --- Trusted rows ---------------------------------------------------------------------------------------------------


def _trusted(data: Data, name: str, count_tokens: CountTokens | None) -> Iterator[Group]:
    for index, row in enumerate(stream_rows(data)):
        messages = conversation(row, partial(_place, data.source, index))
        written = [one["content"] for one in messages if one["role"] == "assistant"]
        tokens = None if count_tokens is None else sum(map(count_tokens, written))
        yield [Candidate(f"{name}/{index}", f"{name}/{index}", messages, name, tokens)]


def _place(source: str, index: int) -> str:
    return f"{source} {place_of(source, index) or f'row {index + 1}'}"


def conversation(row: Mapping[str, Any], place: Callable[[], str]) -> tuple[Message, ...]:
    """The row as messages of which the last is the assistant's.  Raises `DataError`, with the place of the row."""
    given = row["messages"] if row.get("messages") is not None else _asked_and_solved(row, place)
    if not (isinstance(given, list) and given and all(map(_is_message, given))):
        raise DataError(
            f"{place()}: messages must be a list of {{role, content}}, both text ({_shorten(given)}); mend the row"
        )
    messages = tuple({"role": one["role"], "content": one["content"]} for one in given)
    if messages[-1]["role"] != "assistant" or not messages[-1]["content"].strip():
        raise DataError(f"{place()}: must end with what the assistant says ({_shorten(given[-1])}); mend the row")
    if not all(is_unicode(text) for one in messages for text in one.values()):
        raise DataError(f"{place()}: has half of a surrogate pair in it, which is no character; mend the row")
    return messages


def _asked_and_solved(row: Mapping[str, Any], place: Callable[[], str]) -> list[Any]:
    """Of a row with a problem and its solution; gsm8k keeps the worked solution in `answer`."""
    names = {name.lower(): name for name in reversed(list(row))}
    asks = next((names[name] for name in PROBLEM if name in names), None)
    answer = row.get("answer")
    worked = answer if isinstance(answer, str) and marked_answer(answer) else None
    solution = row[names["solution"]] if "solution" in names else worked
    if asks is None or not isinstance(solution, str):
        raise DataError(
            f"{place()}: has neither `messages` nor a problem and its `solution` (columns: {', '.join(row)}); "
            "rename the columns"
        )
    asked = row[asks] if isinstance(row[asks], list) else [{"role": "user", "content": row[asks]}]
    return [*asked, {"role": "assistant", "content": solution}]


def _is_message(item: Any) -> bool:
    """Other keys may be there if they are empty, as Parquet has them; a tool call, say, would be lost."""
    if not isinstance(item, Mapping):
        return False
    more = any(value for key, value in item.items() if key not in ("role", "content"))
    return isinstance(item.get("role"), str) and isinstance(item.get("content"), str) and not more


def _shorten(given: Any) -> str:
    shown = json.dumps(given, ensure_ascii=False, default=repr)
    return shown if len(shown) <= 80 else shown[:77] + "…"
