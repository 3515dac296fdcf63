"""What is in the file, and why: the same numbers on the terminal, in FILE.json and in FILE.card.md.

No dates and no places of this machine: the same inputs give the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from grpo.run.wording import cut, percent
from grpo.selection.candidates import Opened
from grpo.selection.decontaminate import LOUD, SetReport
from grpo.selection.filters import Funnel
from grpo.selection.words import count_words

Row = Mapping[str, Any]

SHOWN = 1500  # characters of a message in an example
BAR = 40  # characters of the longest bar


class Tally:
    """Samples and lengths of the rows that go by, of `total`; lengths are in `unit`, "tokens" or "words"."""

    def __init__(self, unit: str, total: int) -> None:
        self.unit = unit
        self.samples: Counter[str] = Counter()  # by source
        self.lengths: Counter[str] = Counter()  # their sum, by source
        self.histogram: Counter[int] = Counter()  # rows, by the power of two that their length does not exceed
        self.examples: list[Row] = []
        self._shown = {0, total // 2, total - 1}

    def count(self, rows: Iterable[Row]) -> Iterator[Row]:
        for number, row in enumerate(rows):
            length = row["tokens"] if self.unit == "tokens" else words_said(row["messages"])
            self.samples[row["source"]] += 1
            self.lengths[row["source"]] += length
            self.histogram[max(64, 1 << (length - 1).bit_length())] += 1
            if number in self._shown:
                self.examples.append(row)
            yield row


def words_said(messages: Iterable[Mapping[str, str]]) -> int:
    return sum(count_words(one["content"]) for one in messages if one["role"] == "assistant")


def source_facts(source: Opened, funnel: Funnel, sha256: str, tally: Tally) -> dict[str, Any]:
    return {
        "name": source.name,
        "use": source.settings.use,
        "kept because": "its rewards" if source.judged else "trusted source",
        "sha256": sha256,
        "rows": funnel.seen,
        "problems": funnel.problems,
        "dropped": funnel.dropped,
        "kept": funnel.kept,
        "problems kept": funnel.kept_problems,
        "written": tally.samples[source.name],
        tally.unit: tally.lengths[source.name],
    }


def set_facts(name: str, report: SetReport) -> dict[str, Any]:
    return {
        "set": name,
        "items": report.items,
        "rows dropped": report.rows,
        "items touched": len(report.touched),
        "share touched": report.share,
    }


# --- On the terminal ------------------------------------------------------------------------------------------------


def funnel_lines(source: Opened, funnel: Funnel) -> list[str]:
    of = f"completions of {funnel.problems:,} problems" if source.judged else "rows, from a trusted source"
    lines = [f"{source.name}: {funnel.seen:,} {of}"]
    left = funnel.seen
    for name, dropped in funnel.dropped.items():
        left -= dropped
        lines.append(f"  {name:<32} {-dropped:>12,} {left:>12,}")
    of = f", {funnel.kept_problems:,} problems" if source.judged else ""
    return [*lines, f"  {'kept':<32} {'':>12} {funnel.kept:>12,}  {percent(_share(funnel.kept, funnel.seen))}{of}"]


def set_lines(reports: Mapping[str, SetReport]) -> list[str]:
    lines = []
    for name, report in reports.items():
        loud = "warning: the training data had the " if report.share > LOUD else ""
        line = f"{loud}evaluation set {name}: {report.rows:,} rows dropped, {percent(report.share)} of its"
        lines.append(f"{line} {report.items:,} items touched")
    return lines


def mix_lines(tally: Tally, sources: Sequence[str]) -> list[str]:
    rows = [("mix", "samples", "", tally.unit, "")]
    samples, lengths = tally.samples.total(), tally.lengths.total()
    for name in sources:
        own, length = tally.samples[name], tally.lengths[name]
        rows.append((name, f"{own:,}", percent(_share(own, samples)), f"{length:,}", percent(_share(length, lengths))))
    return [f"{a:<34} {b:>12} {c:>7} {d:>16} {e:>7}".rstrip() for a, b, c, d, e in rows]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


# --- The card -------------------------------------------------------------------------------------------------------


def card(facts: Mapping[str, Any]) -> str:
    """FILE.card.md, of what FILE.json holds."""
    file, unit = facts["file"], facts["unit"]
    parts = [
        f"# {file['name']}",
        f"{file['rows']:,} conversations for fine-tuning, selected by grpo {facts['grpo']}.  "
        f"SHA-256 `{file['sha256']}`.  Lengths are in {unit} of the assistant's messages.",
        "## Sources\n\n" + _sources(facts["sources"], unit),
        *(_funnel(source) for source in facts["sources"]),
        "## Decontamination\n\n" + _sets(facts["decontamination"]),
        f"## Lengths in {unit}\n\n" + _histogram(facts["lengths"]),
        "## Settings\n\n```json\n" + json.dumps(facts["settings"], indent=2, ensure_ascii=False) + "\n```",
        "## Examples",
        *(_example(row) for row in facts["examples"]),
    ]
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _sources(sources: Sequence[Mapping[str, Any]], unit: str) -> str:
    samples, lengths = sum(one["written"] for one in sources), sum(one[unit] for one in sources)
    rows = [
        [
            one["use"],
            f"{one['written']:,}",
            percent(_share(one["written"], samples)),
            f"{one[unit]:,}",
            percent(_share(one[unit], lengths)),
            one["kept because"],
            f"`{one['sha256']}`",
        ]
        for one in sources
    ]
    return _table(["source", "samples", "", unit, "", "kept because", "SHA-256"], rows)


def _funnel(source: Mapping[str, Any]) -> str:
    rows, left = [["read", "", f"{source['rows']:,}"]], source["rows"]
    for name, dropped in source["dropped"].items():
        left -= dropped
        rows.append([name, f"{dropped:,}", f"{left:,}"])
    rows.append(["kept", "", f"{source['kept']:,}"])
    return f"## What was dropped of {source['name']}\n\n" + _table(["", "dropped", "left"], rows)


def _sets(reports: Sequence[Mapping[str, Any]]) -> str:
    if not reports:
        return "None was asked for."
    rows = [
        [
            one["set"],
            f"{one['rows dropped']:,}",
            f"{one['items touched']:,} of {one['items']:,}",
            percent(one["share touched"]),
        ]
        for one in reports
    ]
    return _table(["evaluation set", "rows dropped", "items touched", ""], rows)


def _histogram(lengths: Sequence[Sequence[int]]) -> str:
    most = max(rows for _, rows in lengths)
    bars = [[f"≤ {length:,}", f"{rows:,}", "█" * round(BAR * rows / most)] for length, rows in lengths]
    return _table(["length", "rows", ""], bars).replace("---:", ":---")


def _example(row: Row) -> str:
    said = "\n\n".join(f"{one['role']}:\n{cut(one['content'], SHOWN)}" for one in row["messages"])
    quoted = "\n".join(f"    {line}" for line in said.splitlines())
    return f"{row['id']}, from {row['source']}:\n\n{quoted}"
