"""What a finished stage came to, from the files of its folder: tokens, samples, and its held-out score."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpo.run.samples_page import rows_of

BATCH = 65_536  # rows of one column at a time


def figures(command: str, folder: Path, output: Path) -> dict[str, float]:
    """By name: tokens/sample and tokens/update as in metrics.jsonl but of the whole stage, samples drawn, and of a
    selection the samples seen and kept."""
    if command == "collect":
        sizes = list(_column(output / "completions.parquet", "tokens"))
        return {"samples": sum(count for count, _ in sizes), "tokens/sample": sum(tokens for _, tokens in sizes)}
    if command == "select":
        return _of_selection(output)
    found: dict[str, float] = {}
    for row in rows_of(folder / "metrics.jsonl"):
        for name in ("tokens/sample", "tokens/update"):
            if isinstance(row.get(name), int | float):
                found[name] = found.get(name, 0) + row[name]
        found["steps"] = max(found.get("steps", 0), row["step"])
    return found


def _of_selection(file: Path) -> dict[str, float]:
    card = selection_card(file) or {}
    sources = card.get("sources", [])
    written = {card["unit"]: sum(source[card["unit"]] for source in sources)} if sources else {}
    return {"seen": sum(source["rows"] for source in sources), "kept": card["file"]["rows"], **written} if card else {}


def selection_card(file: Path) -> Mapping[str, Any] | None:
    """What `grpo select` wrote beside its rows; None: nothing that can be read."""
    try:
        card: dict[str, Any] = json.loads(file.with_name(f"{file.name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return card


def _column(file: Path, name: str) -> Iterator[tuple[int, int]]:
    """(rows, sum) of each batch, so that ten million completions need no memory."""
    import pyarrow.parquet as pq  # type: ignore[import-untyped]  # ships no types

    with pq.ParquetFile(file) as table:
        for batch in table.iter_batches(batch_size=BATCH, columns=[name]):
            values = batch.column(0)
            yield len(values), values.sum().as_py() or 0


@dataclass(frozen=True, slots=True)
class Score:
    """A held-out evaluation: measures by name, and the share of right samples by problem."""

    measures: Mapping[str, Mapping[str, float]]
    solved: Mapping[str, float]
    breakdown: Mapping[str, Mapping[str, Mapping[str, float]]]
    asked: Any
    """How it was asked: two that differ here do not compare."""


def score_before(folder: Path) -> Score | None:
    """Of the model that a run began with; None: it was not evaluated."""
    return _score(folder / "eval" / "before")


def score_after(folder: Path) -> Score | None:
    """Of the model that a run ended with, or of the one that `grpo eval` looked at."""
    return _score(folder / "eval" / "after") or _score(folder)


def _score(folder: Path) -> Score | None:
    try:
        text = (folder / "results.json").read_text(encoding="utf-8")
        results = json.loads(text, parse_constant=lambda name: None)
        measures = {name: value for name, value in results.items() if isinstance(value, dict) and "mean" in value}
        return Score(measures, results["solved"], results.get("breakdown", {}), _asked(results))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # no evaluation, or none that can be read: the page shows the rest


def _asked(results: Mapping[str, Any]) -> Any:
    settings = results["recipe"]["config"]
    return {"problems": sorted(results["solved"]), "reward": settings.get("reward")}
