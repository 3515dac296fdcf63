"""From a row to a problem: which column asks, which one answers, and what names the row.

Names are guessed from those that well-known data sets use (gsm8k, MATH, MATH-500, AIME, AMC, DeepMath, DAPO-17k and
others in verl's layout, NeMo-Skills, OlympiadBench, HumanEval, MBPP); `data.problem` and `data.answer` overrule the
guess.  A name with a dot reaches into a column of objects: `reward_model.ground_truth`.

All columns go on to the rewards as facts.  `facts["answer"]` is the gold answer as text, whatever column it came from.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from grpo.config import Data
from grpo.errors import ConfigError, DataError
from grpo.problems.files import place_of
from grpo.types import Message, Problem

Row = Mapping[str, Any]

# In order of preference, in lower case: names are compared without regard to case (AIME files have "Problem").
PROBLEM = ("problem", "question", "prompt", "query", "input", "instruction", "text")
ANSWER = (
    "answer",
    "final_answer",
    "expected_answer",
    "gt_answer",
    "ground_truth",
    "gold",
    "reward_model.ground_truth",
    "solution",  # last: where it is a worked solution the answer has to be found in it
)
ID = ("unique_id", "id", "task_id", "problem_id", "question_id", "uuid", "idx", "index")


def to_problems(rows: Sequence[Row], data: Data, *, stem: str, needs: Sequence[str]) -> list[Problem]:
    """One problem per row.  `stem` names rows that have no id of their own: `gsm8k/7`, counted from 0."""
    columns = list(dict.fromkeys(name for row in rows for name in _names(row)))
    asks = _column(columns, data, "problem", PROBLEM)
    answers = _column(columns, data, "answer", ANSWER)
    if asks is None or (answers is None and "answer" in needs):
        key = "problem" if asks is None else "answer"
        raise DataError(
            f"{data.source}: no column looks like the {key} (columns: {', '.join(columns)}); "
            f'name the one that holds it: data.{key} = "…"'
        )
    if data.template is not None and "{problem}" not in data.template:
        raise ConfigError(f"data.template: has no {{problem}} ({data.template!r}); put it where the problem goes")
    ids = row_ids(rows, columns, stem)
    golds = gold_answers([value(row, answers) for row in rows]) if answers else [""] * len(rows)
    where = partial(where_is, data.source, ids, stem)
    problems = [
        Problem(
            ids[index],
            _messages(value(row, asks), data, where=partial(where, index, f": column {asks!r}")),
            _facts(row, gold) if answers else dict(row),
        )
        for index, (row, gold) in enumerate(zip(rows, golds, strict=True))
    ]
    for name in needs:
        if not any(name in problem.facts for problem in problems) and name != "answer":
            raise DataError(f'{data.source}: no column "{name}" (columns: {", ".join(columns)})')
        _require(problems, name, where, answers if name == "answer" else name)
    return problems


def where_is(source: str, ids: Sequence[str], stem: str, index: int, then: str = "") -> str:
    """A row, for whoever has to mend it.  An id that was made here says less than the line."""
    line = place_of(source, index) if ids[index] == f"{stem}/{index}" else None
    return (f"{source} {line}" if line else f"{source}: problem {ids[index]}") + then


def value(row: Row, column: str) -> Any:
    """What `row` has at `column`; a dot goes one level down unless a column has that very name."""
    if column in row:
        return row[column]
    outer, _, inner = column.partition(".")
    below = row.get(outer)
    return below.get(inner) if isinstance(below, Mapping) else None


def gold_answers(values: Iterable[Any]) -> list[str]:
    """The gold answers in one column, "" where there is none.

    Looked at as a whole: where most texts mark their answer (`#### 42`, `\\boxed{42}`) the column holds worked
    solutions, and a text without a mark has no answer; otherwise the texts are the answers themselves.
    """
    texts = [_text(value) for value in values]
    marked = [marked_answer(text) for text in texts]
    worked = 2 * sum(answer is not None for answer in marked) > len(texts)
    return [
        answer if answer is not None else "" if worked else text for text, answer in zip(texts, marked, strict=True)
    ]


def marked_answer(text: str) -> str | None:
    """The answer that a worked solution marks as its own: in its last balanced box, or after a last `####`."""
    for box in reversed(list(_BOX.finditer(text))):
        inside = _boxed(text, box.end())
        if inside:
            return inside
    _, mark, tail = text.rpartition("####")
    tail = tail.strip()
    if not mark or not tail or "\n" in tail:  # a line break: it was a Markdown heading
        return None
    return tail.replace(",", "") if _THOUSANDS.fullmatch(tail) else tail


_THOUSANDS = re.compile(r"[-+]?\$?\d{1,3}(,\d{3})+(\.\d+)?")  # gsm8k writes 1,000; everyone grades it as 1000
_BOX = re.compile(r"\\(?:boxed|fbox)\b\s*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace, as in \{1, 2\}, is text
_BARE = re.compile(r"[^\s${}]+")  # \boxed 2 is legal TeX, and MATH has it


def _boxed(text: str, start: int) -> str | None:
    """What the box that opens at `start` holds, or None if it never closes."""
    if not text.startswith("{", start):
        bare = _BARE.match(text, start)
        return bare.group() if bare else None
    depth = 0
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return text[start + 1 : brace.start()].strip()
    return None


def _names(row: Row) -> Iterator[str]:
    for name, below in row.items():
        yield name
        if isinstance(below, Mapping):
            yield from (f"{name}.{inner}" for inner in below)


def _column(columns: Sequence[str], data: Data, key: str, guesses: Sequence[str]) -> str | None:
    given: str | None = getattr(data, key)
    if given is not None and given not in columns:
        raise DataError(f'data.{key} = "{given}": {data.source} has columns {", ".join(columns)}')
    by_name = {name.lower(): name for name in reversed(columns)}  # reversed: the first of two that differ in case
    return given or next((by_name[guess] for guess in guesses if guess in by_name), None)


def row_ids(rows: Sequence[Row], columns: Sequence[str], stem: str) -> list[str]:
    """The values of the first id column in which all are there and different: one that repeats names no row."""
    by_name = {name.lower(): name for name in reversed(columns)}
    for name in ID:
        found = [row.get(by_name[name]) for row in rows] if name in by_name else []
        ids = [str(id) for id in found if isinstance(id, int | str) and id != ""]
        if len(set(ids)) == len(rows):
            return ids
    return [f"{stem}/{index}" for index in range(len(rows))]


def _messages(asked: Any, data: Data, *, where: Callable[[], str]) -> tuple[Message, ...]:
    """The conversation that asks: a text becomes the user's message; a list of messages stays what it is."""
    if isinstance(asked, str | None):
        asked = [{"role": "user", "content": asked or ""}]
    if not (isinstance(asked, list) and all(map(is_message, asked))):
        raise DataError(f"{where()} is neither text nor a list of chat messages ({shorten(asked)})")
    if not asked or not asked[-1]["content"].strip():
        raise DataError(f"{where()} is empty; complete or remove this row")
    if half := next((text for message in asked for text in message.values() if not is_unicode(text)), None):
        raise DataError(
            f"{where()} has half of a surrogate pair in it ({shorten(half)}), which is no character; mend it"
        )
    messages = [{"role": message["role"], "content": message["content"]} for message in asked]
    if messages[-1]["role"] == "assistant":
        raise DataError(f"{where()} ends with the assistant's message; it must end with what the model is to answer")
    if data.template is not None:  # not str.format: problems and templates are full of TeX braces
        messages[-1]["content"] = data.template.replace("{problem}", messages[-1]["content"])
    if data.system is not None:
        without = messages[1:] if messages[0]["role"] == "system" else messages
        messages = [{"role": "system", "content": data.system}, *without]
    return tuple(messages)


def is_unicode(text: Any) -> bool:
    """JSON can write half of a surrogate pair (\\ud83d), and no tokenizer can read one."""
    return not isinstance(text, str) or not _HALF.search(text)


_HALF = re.compile("[\ud800-\udfff]")


def is_message(item: Any) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get("role"), str) and isinstance(item.get("content"), str)


def _facts(row: Row, gold: str) -> dict[str, Any]:
    """The row's columns, with the gold answer, "" where there is none, in its place.

    gsm8k keeps the worked solution in the column `answer`, which the gold takes over: it moves to `solution`, where
    fine-tuning looks for it.
    """
    facts = dict(row)
    worked = row.get("answer")
    if isinstance(worked, str) and worked and (marked_answer(worked) or "") == gold:
        facts.setdefault("solution", worked)
    facts["answer"] = gold
    return facts


def _text(gold: Any) -> str:
    """A gold answer as text.  Several (OlympiadBench has lists) are joined by commas; numbers keep their digits."""
    if gold is None or (isinstance(gold, float) and math.isnan(gold)):  # NaN is how pandas writes "nothing"
        return ""
    if isinstance(gold, list):
        return ", ".join(_text(item) for item in gold)
    return str(gold).strip()


def _require(problems: Sequence[Problem], name: str, where: Callable[[int], str], column: str | None) -> None:
    lacking = [index for index, problem in enumerate(problems) if problem.facts.get(name) in (None, "")]
    if lacking:
        raise DataError(
            f'{where(lacking[0])}: no {name} in column "{column}" (the first of {len(lacking)} such, of '
            f"{len(problems)} problems); complete or remove these rows, or name another column"
        )


def shorten(given: Any) -> str:
    shown = repr(given)
    return shown if len(shown) <= 80 else shown[:77] + "…"
