"""Results of a run's evaluations by column, and the problems won and lost between two of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grpo.errors import DataError
from grpo.estimates import paired_difference
from grpo.run.columns import Row
from grpo.run.samples_page import lines_of
from grpo.run.summary import Summary, is_measure
from grpo.show.catalogue import NotThere

_MOST = 200  # problems won, or lost, that are listed
_ANSWERS = 4  # completions shown of each


def evaluations(run: Summary) -> list[dict[str, Any]]:
    last = int(run.steps[-1]["step"]) if run.steps else 0
    return [
        {
            "label": label,
            "step": step_of(label, last),
            "problems": result.get("problems"),
            "measures": {name: _measure(value) for name, value in result.items() if is_measure(value)},
            "columns": {
                column: {str(value): {**_measure(share), "n": share.get("problems")} for value, share in table.items()}
                for column, table in (result.get("breakdown") or {}).items()
            },
        }
        for label, result in run.results.items()
    ]


def step_of(label: str, last: int) -> int:
    """ "before" → 0, "step-40" → 40, "after" → the last."""
    number = label.rsplit("-", 1)[-1]
    return 0 if label == "before" else int(number) if number.isdecimal() else last


def _measure(value: Row) -> dict[str, Any]:
    return {name: value.get(name) for name in ("mean", "low", "high")}


def won_and_lost(folder: Path, results: Mapping[str, Row], a: str, b: str) -> dict[str, Any]:
    """The problems that evaluation `b` solves more often than `a`, and less often; p of a paired permutation test."""
    for label in (a, b):
        if label not in results:
            raise NotThere(f"there is no evaluation {label!r}; there are {', '.join(results) or 'none'}")
    before, after = (results[label].get("solved") or {} for label in (a, b))
    shared = before.keys() & after.keys()
    if not shared:
        raise DataError(f"{a} and {b} have no problem in common")
    won = sorted(name for name in shared if after[name] > before[name])
    lost = sorted(name for name in shared if after[name] < before[name])
    same = [before[name] for name in shared if after[name] == before[name]]
    listed = {*won[:_MOST], *lost[:_MOST]}
    of_a, of_b = (_answers(folder / label / "samples.jsonl", listed) for label in (a, b))
    return {
        "won": [_change(name, of_a, of_b) for name in won[:_MOST]],
        "lost": [_change(name, of_a, of_b) for name in lost[:_MOST]],
        "won_count": len(won),
        "lost_count": len(lost),
        "same_right": sum(value > 0 for value in same),
        "same_wrong": sum(value == 0 for value in same),
        "p": paired_difference({k: before[k] for k in shared}, {k: after[k] for k in shared}).p,
    }


def _answers(path: Path, wanted: set[str]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in lines_of(path):
        if row.get("problem") in wanted:
            found.setdefault(str(row["problem"]), []).append(row)
    return found


def _change(problem: str, of_a: Mapping[str, list[Row]], of_b: Mapping[str, list[Row]]) -> dict[str, Any]:
    known: Row = next(iter(of_b.get(problem, of_a.get(problem, []))), {})
    return {
        "problem": problem,
        "prompt": known.get("prompt", ""),
        "gold": known.get("gold"),
        **{side: [_answer(row) for row in of.get(problem, [])[:_ANSWERS]] for side, of in (("a", of_a), ("b", of_b))},
    }


def _answer(row: Row) -> dict[str, Any]:
    return {"completion": row.get("completion", ""), "value": row.get("reward")}
