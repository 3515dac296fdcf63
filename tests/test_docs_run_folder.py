"""docs/run-folder.md names every file that a run leaves and every column in it: a small run is held against it."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from grpo import collect, completions, parts
from grpo.pipeline import records
from grpo.train import train
from tests import runs
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "run-folder.md").read_text(encoding="utf-8")


def named(heading: str) -> set[str]:
    """What stands in backticks in the first column of the tables under a heading."""
    _, _, after = TEXT.partition(f"\n## {heading}\n")
    rows = re.findall(r"^\| (`[^|]*) \|", after.partition("\n## ")[0], re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def matches(name: str, patterns: set[str]) -> bool:
    """`*` is one part of a path, as the page says."""
    return any(
        len(name.split("/")) == len(pattern.split("/"))
        and all(fnmatchcase(*both) for both in zip(name.split("/"), pattern.split("/"), strict=True))
        for pattern in patterns
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("documented")
    runs.write_inputs(folder)
    run = {"steps": 2, "save_every": 1, "reward_workers": 1, "preflight": "report"}
    train(runs.settings(folder, tiny_model, run=run), folder / "run")
    return folder / "run"


def test_every_file_that_a_run_leaves_is_named(run: Path) -> None:
    patterns = named("Of every run") | named("Checkpoints and models") | named("Evaluations")
    left = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {"config.toml", "metrics.jsonl", "report.html", ".lock"} <= left
    assert {name for name in left if not matches(name, patterns)} == set()


def test_every_column_of_metrics_is_named(run: Path) -> None:
    patterns = named("metrics.jsonl")
    columns = {name for row in runs.rows(run / "metrics.jsonl") for name in row}
    columns |= set(json.loads((run / "metrics.jsonl").read_text().splitlines()[1]))
    assert {name for name in columns if not matches(name, patterns)} == set()


def test_every_column_of_samples_and_rollouts_is_named(run: Path) -> None:
    columns = {name for row in runs.rows(run / "samples.jsonl") for name in row}
    assert columns <= named("samples.jsonl")
    for file in run.glob("rollouts/*.parquet"):
        assert set(pq.read_schema(file).names) == named("rollouts/")


def test_what_other_commands_leave_is_named() -> None:
    others = named("Other commands") | {f"N-NAME/{records.RECORD}"}
    assert completions.COMPLETIONS in others and f"N-NAME/{records.RECORD}" in named("Other commands")
    assert set(completions.SCHEMA.names) == named("completions.parquet")
    assert "parts/000012.parquet" in str(parts.__doc__) and "parts/*.parquet" in others
    assert "completions.parquet" in str(collect.__doc__)


@pytest.mark.parametrize("link", re.findall(r"\]\(([a-z-]+\.md)(?:#[^)]*)?\)", TEXT))
def test_pages_that_it_points_to_are_there(link: str) -> None:
    assert (ROOT / "docs" / link).is_file()
