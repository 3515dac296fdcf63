"""The report's part about alarms: what each one saw, its curves, and the completions that show it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from grpo.errors import CheckpointError
from grpo.run import rollouts
from grpo.run.charts import Line, line_chart
from grpo.run.columns import Row, column
from grpo.run.samples_page import as_html, rows_of, sample_html
from grpo.run.wording import plain, plural

_MOST = 8  # alarms shown, the latest
_NUMBERS = 8  # of one alarm
_CURVES = 2  # of one alarm
_TEXT = 600  # characters of an alarm's sentence
_ROOM = 250_000  # bytes of curves and completions: the page has a limit


def alarms_html(folder: Path, steps: Sequence[Row]) -> str:
    """One card per alarm that was raised; nothing where none was."""
    raised = [row for row in rows_of(folder / "alarms.jsonl") if isinstance(row.get("name"), str)]
    over = {str(row["name"]): int(row["step"]) for row in raised if row.get("cleared")}
    shown = [row for row in raised if not row.get("cleared")]
    if not shown:
        return ""
    more = f"; the last {_MOST} are shown" if len(shown) > _MOST else ""
    title = f"<h2>Alarms <small>{plural(len(shown), 'statement')} to be looked at, not verdicts{more}</small></h2>"
    return title + "".join(_cards(folder, shown[-_MOST:], over, steps))


def _cards(folder: Path, shown: Sequence[Row], over: Mapping[str, int], steps: Sequence[Row]) -> Iterator[str]:
    """The latest first; those without room for their evidence have their sentence and numbers alone."""
    room = _ROOM
    for row in reversed(shown):
        evidence = _evidence(folder, row, steps)
        size = len(evidence.encode())
        yield _card(row, over, evidence if size <= room else "")
        room -= size if size <= room else 0


def _evidence(folder: Path, row: Row, steps: Sequence[Row]) -> str:
    charts = "".join(_charts([key for key, _ in _finite(row.get("numbers") or {})], steps))
    samples = "".join(sample_html(sample) for sample in _examples(folder, row))
    return f'<div class="grid">{charts}</div><div class="samples">{samples}</div>'


def _card(row: Row, over: Mapping[str, int], evidence: str) -> str:
    name, step = str(row["name"]), int(row["step"])
    cleared = over.get(name, -1)
    until = f", over since step {cleared}" if cleared > step else ""
    numbers = list(_finite(row.get("numbers") or {}))[:_NUMBERS]
    said = "".join(f"<li><b>{as_html(key, 60)}</b> {plain(value)}</li>" for key, value in numbers)
    return (
        f'<details class="card"><summary><b>{as_html(name, 60)}</b><span>step {step}{until}: '
        f'{as_html(str(row.get("text", "")), _TEXT)}</span></summary><div class="inside"><ul>{said}</ul>'
        f"{evidence}</div></details>"
    )


def _finite(numbers: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    return ((key, float(value)) for key, value in numbers.items() if isinstance(value, int | float))


def _charts(keys: Sequence[str], steps: Sequence[Row]) -> Iterator[str]:
    """The curves of those numbers that are metrics."""
    at = [int(row["step"]) for row in steps]
    known = [key for key in keys if any(value is not None for value in column(steps, key))]
    return (line_chart(key, at, [Line(key, column(steps, key))], plain) for key in known[:_CURVES])


def _examples(folder: Path, row: Row) -> Iterator[Row]:
    """The completions that the alarm names, where their step's file still has them."""
    files = rollouts.files(folder)
    for example in row.get("examples") or ():
        path = files.get(example["step"])
        try:
            rows = rollouts.read_step(path) if path else []
        except CheckpointError:
            continue  # damaged: the alarm's numbers stand without it
        wanted = (example["problem"], example["index"])
        yield from (found for found in rows if (found["problem"], found["index"]) == wanted)
