"""The audit: rows are checked, figures add up, disagreements are listed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewards.math_answer import audit

ROWS = [
    {"id": "a", "gold": "1/2", "prediction": "0.5", "form": "answer", "label": True},
    {"id": "b", "gold": "5", "prediction": r"so \boxed{6}", "form": "completion", "label": False},
    {"id": "c", "gold": "5", "prediction": r"so \boxed{6}", "form": "completion", "label": True},  # a wrong label
    {"id": "d", "gold": 7, "prediction": r"\boxed{7}"},
]


def write(path: Path, rows: list[object]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


def test_grading_counts_and_names_what_differs_from_the_labels(tmp_path: Path) -> None:
    rows = audit.read_pairs(write(tmp_path / "pairs.jsonl", ROWS))
    report = audit.grade(rows, "train")
    text = "\n".join(report.lines)
    assert "4 pairs, policy train: 2 right" in text
    assert "accuracy 66.67 % of 3 labelled   false positives 0   false negatives 1" in text
    assert "false negative c: '5' | '6'" in text
    assert "pairs/s" in text and "p99" in text


def test_one_verdict_is_written_for_each_row(tmp_path: Path) -> None:
    report = audit.grade(audit.read_pairs(write(tmp_path / "pairs.jsonl", ROWS)))
    audit.write_verdicts(report, tmp_path / "out.jsonl")
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in written] == ["a", "b", "c", "d"]
    assert all(set(row) == {"id", "ok", "reason", "stage", "extracted", "ms"} for row in written)


def test_a_second_checker_s_disagreements_are_listed(tmp_path: Path) -> None:
    rows = audit.read_pairs(write(tmp_path / "pairs.jsonl", ROWS))
    report = audit.grade(rows, second=lambda gold, prediction, form: prediction == "0.5")
    assert "the second checker disagrees on 1 of 4" in report.lines
    assert any(line.startswith("  d: ours True, theirs False") for line in report.lines)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no rows"),
        ("{", "pairs.jsonl:1: not JSON"),
        ("[1]", "pairs.jsonl:1: list instead of an object"),
        ('{"gold": "1"}', "pairs.jsonl:1: prediction missing; there are gold"),
        (
            '{"gold": "1", "prediction": "1"}\n{"gold": "1", "prediction": 1}',
            "pairs.jsonl:2: gold must be text or a number",
        ),
        ('{"gold": "1", "prediction": "1", "form": "x"}', "form = 'x'; it must be"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(audit.BadRow, match=message.replace("[", r"\[")):
        audit.read_pairs(path)


def test_golds_are_checked_with_reasons() -> None:
    rejected, count = audit.check_golds([("1", "5"), ("2", ""), ("3", None), ("4", r"\frac12")])
    assert count == 4
    assert [name for name, _, _ in rejected] == ["2", "3"]
    assert all(reason for _, _, reason in rejected)
