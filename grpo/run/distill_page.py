"""The report's part about distillation: what the student kept of its teacher, and how far behind it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from grpo.run.charts import Line, line_chart
from grpo.run.samples_page import as_html
from grpo.run.wording import percent, plain

Row = Mapping[str, Any]
Column = Callable[[str], list[float | None]]  # of a metric, by step

PLACES = ((1, "first tenth", 1), (5, "fifth", 3), (10, "last", 2))  # of a completion; chart's colours
MOST_VALUES = 40  # rows of the table


def kept_html(folder: Path) -> str:
    """A table from eval/distill.json; nothing where there is none."""
    try:
        tree = json.loads((folder / "eval" / "distill.json").read_text(encoding="utf-8"))
        rows = list(_rows(tree))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return ""  # no teacher, or half a file, of a run that is still under way
    names = ("problems", "teacher", "student before", "student after", "share of the teacher kept", "of the gap closed")
    head = "".join(f"<th>{name}</th>" for name in names)
    title = "<h2>What was kept of the teacher <small>pass@1, with 95% intervals of a paired bootstrap</small></h2>"
    body = "".join(f"<tr><th>{as_html(name, 40)}</th>{cells}</tr>" for name, cells in rows[:MOST_VALUES])
    return f'{title}<div class="card scroll"><table><tr><th>held-out</th>{head}</tr>{body}</table></div>'


def _rows(tree: Row) -> Iterator[tuple[str, str]]:
    yield "all", _cells(tree)
    for column, values in tree["by"].items():
        for value, one in values.items():
            yield f"{column} {value}", _cells(one)


def _cells(one: Row) -> str:
    means = "".join(f"<td>{percent(one[name])}</td>" for name in ("teacher", "before", "after"))
    return f"<td>{one['problems']:,}</td>{means}{_ratio(one['kept'])}{_ratio(one['gap_closed'])}"


def _ratio(ratio: Row | None) -> str:
    if ratio is None:
        return "<td>–</td>"
    low, high = ("–" if ratio[end] is None else percent(ratio[end]) for end in ("low", "high"))
    return f"<td>{percent(ratio['mean'])}<small>{low} – {high}</small></td>"


def behind_charts(steps: Sequence[int], column: Column) -> list[str]:
    """How far the student's tokens are behind its teacher's; none where it has none."""
    mean, tail = column("distill/kl"), column("distill/kl_p95")
    if all(value is None for value in mean):
        return []
    lines = [Line("mean", mean), Line("95 % are below", tail, 2)]
    places = [Line(name, column(f"distill/kl_tenth_{tenth}"), color) for tenth, name, color in PLACES]
    far = [Line("of tokens", column("distill/kl_far"), 2)]
    return [
        line_chart("Behind the teacher, nats per token", steps, lines, plain),
        line_chart("Behind, by tenth of the answer", steps, places, plain),
        line_chart("More than 5 nats behind", steps, far, percent, least_top=0.02),
    ]
