"""The stages side by side, as DeepSeek-R1's own Table 3 has them (arXiv 2501.12948): OUT/report.html, and the same for
the terminal.

A column is a stage, in the order in which they ran: so it shows where accuracy was bought and where it was paid for.  A
difference is to the last column before it that has a score, problem by problem, where both were asked the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from grpo.estimates import Difference, paired_difference
from grpo.pipeline.figures import Score, score_after, score_before, selection_card
from grpo.pipeline.kinds import SELECTED
from grpo.pipeline.plan import Stage
from grpo.pipeline.records import Record
from grpo.run.charts import Dot, interval_strip
from grpo.run.report import write_html
from grpo.run.samples_page import REASON, as_html
from grpo.run.wording import count, duration, percent, plural, whole_percent

PAGE = "report.html"
_MEASURES = 6  # of an evaluation, shown
_VALUES = 8  # of a column that it was broken down by
_HEADLINE = "pass@1"
_TOTALS = (
    ("tokens/sample", "tokens sampled"),
    ("tokens/update", "tokens learned from"),
    ("samples", "completions collected"),
    ("kept", "kept to learn from"),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A stage as the page needs it; without a record it is not finished."""

    stage: Stage
    folder: Path
    record: Record | None


@dataclass(frozen=True, slots=True)
class Column:
    """One column: the base, or a stage."""

    title: str
    score: Score | None
    start: Score | None = None  # of the model that it began with
    before: Score | None = None  # the score that it is compared with
    command: str = ""
    record: Record | None = None  # None: not finished
    link: str = ""

    def difference(self) -> Difference | None:
        """To the score before, where both were asked the same problems and marked by the same rewards."""
        if self.score is None or self.before is None or self.score.asked != self.before.asked:
            return None
        return paired_difference(self.before.solved, self.score.solved)


def columns(shown: Sequence[Shown]) -> list[Column]:
    """The base first, where the first stage that evaluates has measured its start."""
    last = next((start for one in shown if one.record and (start := score_before(one.folder))), None)
    found = [Column("base", last)] if last else []
    for one in shown:
        start, now = (read(one.folder) if one.record else None for read in (score_before, score_after))
        page = one.folder / "report.html"
        link = f"{one.stage.folder}/report.html" if page.is_file() else ""
        found.append(Column(one.stage.name, now, start, last, one.stage.command, one.record, link))
        last = now or last
    return found


def write_page(out: Path, shown: Sequence[Shown]) -> Path:
    found = columns(shown)
    hero = f'<section class="hero">{_result(found)}<div class="tiles">{_tiles(shown)}</div></section>'
    body = "".join([_header(out, shown), hero, _table(found), _funnels(shown), _commands(shown)])
    return write_html(out / PAGE, out.name, body, "the folders of its stages, beside this file")


# --- The terminal ---------------------------------------------------------------------------------------------------


def console_table(shown: Sequence[Shown]) -> Iterator[str]:
    """A row per stage."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    names = ("stage", "command", "held out", "95 % interval", "difference", "sampled", "learned", "samples", "time")
    for number, name in enumerate(names):
        table.add_column(name, justify="left" if number < 2 else "right")
    for column in columns(shown):
        table.add_row(
            column.title,
            column.command,
            _headline(column, lambda one: percent(one["mean"])),
            _headline(column, _interval),
            _difference(column),
            *(row(column) for _, row in _ROWS[:3]),
            _time(column),
        )
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(table)
    yield from (line.rstrip() for line in capture.get().splitlines())


# --- The page -------------------------------------------------------------------------------------------------------


def _header(out: Path, shown: Sequence[Shown]) -> str:
    line = " → ".join(as_html(one.stage.name, 40) for one in shown)
    return f"<header><h1>{as_html(out.name, REASON)}</h1><p>{line}</p></header>"


def _result(found: Sequence[Column]) -> str:
    """From the base to the last stage, and all between on one line."""
    scored = [column for column in found if column.score and _HEADLINE in column.score.measures]
    if not scored:
        return '<div class="card result">No stage has been evaluated: [eval] names no held-out problems.</div>'
    dots = [(_cut(column.title), _dot(column)) for column in scored]
    first, last = dots[0][1].value, dots[-1][1].value
    change = 100 * (last - first)
    kind = "good" if change > 0 else "bad" if change < 0 else ""
    score = scored[-1].score
    assert score is not None
    return (
        f'<div class="card result"><p class="label">{_held_out(score)}</p>'
        f'<p class="big">{percent(first)}<i>→</i>{percent(last)}</p><p class="label"><span class="change {kind}">'
        f"{change:+.1f} points</span> from {as_html(scored[0].title, REASON)} to {as_html(scored[-1].title, REASON)}; "
        f"bars are 95% intervals</p>{interval_strip(dots, whole_percent)}</div>"
    )


def _tiles(shown: Sequence[Shown]) -> str:
    records = [one.record for one in shown if one.record]
    totals = {name: sum(record.figures.get(name, 0) for record in records) for name, _ in _TOTALS}
    tiles = [(f"{len(records)} of {len(shown)}", "stages finished")]
    tiles += [(duration(sum(record.seconds for record in records)), "in all")]
    tiles += [(count(totals[name]), words) for name, words in _TOTALS if totals[name]]
    return "".join(f'<div class="card tile"><b>{value}</b><span>{words}</span></div>' for value, words in tiles)


def _cut(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"


def _held_out(score: Score) -> str:
    return f"{plural(len(score.solved), 'held-out problem')} solved (pass@1)"


def _dot(column: Column) -> Dot:
    assert column.score is not None
    measure = column.score.measures[_HEADLINE]
    return Dot(0, measure["mean"], measure.get("low"), measure.get("high"))


def _table(found: Sequence[Column]) -> str:
    head = "".join(f"<th>{_titled(column)}</th>" for column in found)
    before, after = (
        [(name, [as_html(row(column), REASON) for column in found]) for name, row in rows] for rows in (_NAMES, _ROWS)
    )
    lines = [*before, *_score_lines(found), *after]
    body = "".join(
        f"<tr><th>{as_html(name, 40)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        for name, cells in lines
        if any(cell != "–" for cell in cells)
    )
    title = "<h2>Stage by stage <small>differences are to the column before, problem by problem</small></h2>"
    return f'{title}<div class="card scroll"><table class="stages"><tr><th></th>{head}</tr>{body}</table></div>'


def _titled(column: Column) -> str:
    name = as_html(column.title, 40)
    return f'<a href="{as_html(column.link, REASON)}">{name}</a>' if column.link else name


def _score_lines(found: Sequence[Column]) -> Iterator[tuple[str, list[str]]]:
    measures = list(dict.fromkeys(name for column in found if column.score for name in column.score.measures))
    for name in measures[:_MEASURES]:
        yield name, [_measure(column.score.measures.get(name) if column.score else None) for column in found]
        if name == _HEADLINE:
            starts = (column.start.measures.get(name) if column.start else None for column in found)
            yield "… of what it began with", [_measure(start) for start in starts]
            yield "difference", [_difference_html(column.difference()) for column in found]
    for by, value in _broken_down(found):
        cells = (column.score.breakdown.get(by, {}).get(value) if column.score else None for column in found)
        yield f"pass@1, {by} {value}", [_measure(cell) for cell in cells]


def _broken_down(found: Sequence[Column]) -> Iterator[tuple[str, str]]:
    values: dict[str, dict[str, None]] = {}
    for column in found:
        for by, table in column.score.breakdown.items() if column.score else ():
            values.setdefault(by, {}).update(dict.fromkeys(table))
    for by, names in values.items():
        yield from ((by, name) for name in names if len(names) <= _VALUES)


def _measure(measure: Mapping[str, float] | None) -> str:
    if not measure:
        return "–"
    return f"{percent(measure['mean'])}<small>{_interval(measure)}</small>"


def _interval(measure: Mapping[str, float]) -> str:
    low, high = measure.get("low"), measure.get("high")
    return f"{percent(low)} – {percent(high)}" if low is not None and high is not None else ""


def _headline(column: Column, show: Callable[[Mapping[str, float]], str]) -> str:
    measure = column.score.measures.get(_HEADLINE) if column.score else None
    return show(measure) if measure else "–"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def _difference(column: Column) -> str:
    found = column.difference()
    return f"{_points(found.mean)} [{_points(found.low)}, {_points(found.high)}]" if found else "–"


def _difference_html(found: Difference | None) -> str:
    if found is None:
        return "–"
    kind = "good" if found.low > 0 else "bad" if found.high < 0 else ""
    interval = f"<small>{_points(found.low)} – {_points(found.high)}</small>"
    return f'<span class="{kind}">{_points(found.mean)}</span>{interval}'


def _figure(name: str) -> Callable[[Column], str]:
    def row(column: Column) -> str:
        value = column.record.figures.get(name) if column.record else None
        return "–" if value is None else count(value)

    return row


def _samples(column: Column) -> str:
    """Of a collection what was drawn, of a selection what is left."""
    figures = column.record.figures if column.record else {}
    if "kept" in figures:
        return f"{count(figures['kept'])} of {count(figures['seen'])}"
    return count(figures["samples"]) if "samples" in figures else "–"


def _model_from(column: Column) -> str:
    """The model's name as the pipeline's file has it: an earlier stage, or the base."""
    model = column.record.settings.get("model", {}).get("name") if column.record else None
    return _cut(str(model).rpartition("/")[2].removeprefix("@")) if model else "–"


def _time(column: Column) -> str:
    return duration(column.record.seconds) if column.record else "–"


_ROWS: tuple[tuple[str, Callable[[Column], str]], ...] = (
    ("tokens sampled", _figure("tokens/sample")),
    ("tokens learned from", _figure("tokens/update")),
    ("samples", _samples),
    ("time", _time),
)
_NAMES: tuple[tuple[str, Callable[[Column], str]], ...] = (
    ("command", lambda column: column.command or "–"),
    ("begins with", _model_from),
)


def _funnels(shown: Sequence[Shown]) -> str:
    """What each selection dropped, filter by filter, of each of its sources."""
    return "".join(
        _funnel(one.stage.name, source)
        for one in shown
        if one.record and one.stage.command == "select"
        for source in (selection_card(one.folder / SELECTED) or {}).get("sources", [])
    )


def _funnel(stage: str, source: Mapping[str, Any]) -> str:
    left, rows = source["rows"], []
    for name, dropped in source["dropped"].items():
        left -= dropped
        rows.append((str(name), f"−{dropped:,}", f"{left:,}", left))
    lines = [("seen", "", f"{source['rows']:,}", source["rows"]), *rows]
    body = "".join(
        f"<tr><th>{as_html(name, 60)}</th><td>{lost}</td><td>{rest}</td>"
        f'<td class="bar"><i class="c1" style="width:{100 * share / max(1, source["rows"]):.1f}%"></i></td></tr>'
        for name, lost, rest, share in lines
    )
    title = f"<h2>What {as_html(stage, 40)} kept <small>of {as_html(str(source['name']), 60)}</small></h2>"
    head = "<tr><th>filter</th><th>dropped</th><th>left</th><th></th></tr>"
    return f'{title}<div class="card scroll"><table>{head}{body}</table></div>'


def _commands(shown: Sequence[Shown]) -> str:
    lines = "\n".join(one.record.command if one.record else f"# {one.stage.name}: not finished" for one in shown)
    return (
        '<h2>Commands</h2><details class="card"><summary><b>by hand</b><span>each stage is an ordinary folder, made by '
        f'its command</span></summary><div class="inside"><pre class="prompt">{as_html(lines, 20_000)}</pre></div>'
        "</details>"
    )
