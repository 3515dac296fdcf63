"""The audit: how often the checker is right on labelled pairs, and which golds it cannot use.

Behind `grpo rewards grade` and `grpo rewards check`: plain functions that return a report whose `lines` are printed.

A row of pairs is `{id, gold, prediction, form, label?}`; `form` is "answer" for a bare answer, "completion" for a
whole text.  A row that is no such object is an error of the file and named by its line.
"""

from __future__ import annotations

import importlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rewards.math_answer.leniency import Leniency, named
from rewards.math_answer.reward import gold_problem
from rewards.math_answer.verdict import Verdict, verify, verify_answer

SHOWN = 20  # examples of a kind in a report

Second = Callable[[str, str, str], bool]  # (gold, prediction, form) to right or wrong


class BadRow(ValueError):
    """A row that cannot be graded; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Graded:
    row: Mapping[str, Any]
    verdict: Verdict
    second: bool | None  # what the second checker said, if there was one


@dataclass(frozen=True, slots=True)
class Report:
    graded: tuple[Graded, ...]
    lines: tuple[str, ...]


def read_pairs(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file of pairs, checked."""
    rows = []
    with open(path, encoding="utf-8") as handle:
        for at, line in enumerate(handle, 1):
            if line.strip():
                rows.append(_checked(line, f"{path}:{at}", at))
    if not rows:
        raise BadRow(f"{path}: no rows; each line must be an object with gold, prediction, form")
    return rows


def _checked(line: str, place: str, at: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadRow(f"{place}: not JSON ({error.msg}); each line must be one object") from None
    if not isinstance(row, dict):
        raise BadRow(f"{place}: {type(row).__name__} instead of an object with gold, prediction, form")
    missing = [name for name in ("gold", "prediction") if name not in row]
    if missing:
        raise BadRow(f"{place}: {' and '.join(missing)} missing; there are {', '.join(row)}")
    row.setdefault("id", str(at))
    row.setdefault("form", "completion")
    if row["form"] not in ("answer", "completion"):
        raise BadRow(f'{place}: form = {row["form"]!r}; it must be "answer" or "completion"')
    if not isinstance(row["prediction"], str) or not isinstance(row["gold"], str | int | float):
        raise BadRow(f"{place}: gold must be text or a number, prediction text")
    return row


def grade(rows: Iterable[Mapping[str, Any]], policy: str | Leniency = "train", second: Second | None = None) -> Report:
    """Verdicts for all rows, and the figures."""
    graded = []
    for row in rows:
        verdict = judge_row(row, policy)
        said = second(str(row["gold"]), row["prediction"], row["form"]) if second else None
        graded.append(Graded(row, verdict, said))
    return Report(tuple(graded), tuple(_lines(graded, named(policy))))


def judge_row(row: Mapping[str, Any], policy: str | Leniency) -> Verdict:
    judge = verify_answer if row["form"] == "answer" else verify
    return judge(row["gold"], row["prediction"], policy)


def write_verdicts(report: Report, path: str | Path) -> None:
    """One line for each row: `{id, ok, reason, stage, extracted, ms}`."""
    with open(path, "w", encoding="utf-8") as handle:
        for item in report.graded:
            handle.write(json.dumps({"id": item.row["id"], **asdict(item.verdict)}, ensure_ascii=False) + "\n")


def _lines(graded: list[Graded], leniency: Leniency) -> Iterator[str]:
    yield f"{len(graded)} pairs, policy {leniency.name}: {sum(item.verdict.ok for item in graded)} right"
    labelled = [item for item in graded if isinstance(item.row.get("label"), bool)]
    if labelled:
        yield from _accuracy(labelled)
    times = sorted(item.verdict.ms for item in graded)
    total = sum(times) / 1000
    yield (
        f"{len(graded) / max(total, 1e-9):,.0f} pairs/s   p50 {_quantile(times, 0.5):.2f} ms   "
        f"p99 {_quantile(times, 0.99):.2f} ms   slowest {times[-1]:.1f} ms"
    )
    stages = Counter(item.verdict.stage for item in graded)
    yield "decided by: " + ", ".join(f"{stage} {count}" for stage, count in stages.most_common())
    if any(item.second is not None for item in graded):
        yield from _disagreements(graded)


def _accuracy(labelled: list[Graded]) -> Iterator[str]:
    wrong = [item for item in labelled if item.verdict.ok != item.row["label"]]
    positives = [item for item in wrong if item.verdict.ok]
    share = 100 * (1 - len(wrong) / len(labelled))
    yield (
        f"accuracy {share:.2f} % of {len(labelled)} labelled   "
        f"false positives {len(positives)}   false negatives {len(wrong) - len(positives)}"
    )
    for item in wrong[:SHOWN]:
        kind = "false positive" if item.verdict.ok else "false negative"
        yield f"  {kind} {item.row['id']}: {_pair(item)}"
    if len(wrong) > SHOWN:
        yield f"  … and {len(wrong) - SHOWN} more"


def _disagreements(graded: list[Graded]) -> Iterator[str]:
    differ = [item for item in graded if item.second is not None and item.second != item.verdict.ok]
    yield f"the second checker disagrees on {len(differ)} of {len(graded)}"
    for item in differ[:SHOWN]:
        yield f"  {item.row['id']}: ours {item.verdict.ok}, theirs {item.second}: {_pair(item)}"
    if len(differ) > SHOWN:
        yield f"  … and {len(differ) - SHOWN} more"


def _pair(item: Graded) -> str:
    found = item.verdict.extracted
    text = f"{str(item.row['gold'])[-60:]!r} | {(found if found is not None else item.row['prediction'])[-60:]!r}"
    return f"{text} ({item.verdict.stage}: {item.verdict.reason})"


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def check_golds(golds: Iterable[tuple[str, Any]]) -> tuple[list[tuple[str, Any, str]], int]:
    """(id, gold, reason) for every gold answer that the checker cannot use, and how many there were."""
    rejected, count = [], 0
    for name, gold in golds:
        count += 1
        reason = gold_problem(gold)
        if reason is not None:
            rejected.append((name, gold, reason))
    return rejected, count


def math_verify() -> Second:
    """Math-Verify as the second checker.  Raises ImportError where it is not installed."""
    checker = importlib.import_module("math_verify")  # no dependency of ours
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it prints every text that takes it too long

    def judge(gold: str, prediction: str, form: str) -> bool:
        delimited = "$" in gold or "boxed" in gold or "\\(" in gold or "\\[" in gold
        right = checker.parse(gold if delimited else f"${gold}$")
        answer = checker.parse(prediction if form == "completion" or "$" in prediction else f"${prediction}$")
        return bool(checker.verify(right, answer))

    return judge


SECONDS: dict[str, Callable[[], Second]] = {"math-verify": math_verify}
