"""docs/choosing.md and docs/reading-the-report.md: their arithmetic is right, and what they name is there."""

from __future__ import annotations

import re
from typing import Any

import pytest

from grpo.config import Config
from grpo.config_file import load_config
from grpo.run import console, report
from tests.conftest import ROOT
from tests.test_config import SETTINGS
from tests.test_docs_run_folder import matches, named

PAGES = {
    name: (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("choosing", "reading-the-report")
}


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the table whose head begins with this, without the head."""
    _, _, after = text.partition(f"\n| {heading} |")
    return [[cell.strip() for cell in row[1:-1].split("|")] for row in after.partition("\n\n")[0].splitlines()[2:]]


def test_the_shares_of_groups_that_teach_are_computed_right() -> None:
    for share, *cells in rows(PAGES["choosing"], "p"):
        p = float(share)
        expected = [f"{1 - p**size - (1 - p) ** size:.0%}".replace("%", " %") for size in (4, 8, 16, 32)]
        assert cells == expected, share


def test_our_defaults_in_the_table_of_recipes_are_the_defaults() -> None:
    ours = rows(PAGES["choosing"], "run")[-1]
    config = Config.model_validate({"model": {"name": "m"}, "data": {"source": "d"}})
    sampling, optim = config.sampling, config.optim
    size = f"{sampling.problems_per_step} × {sampling.group_size}"
    assert ours == [
        "here, by default",
        size,
        str(optim.updates_per_step),
        "1e-6",
        f"{sampling.max_tokens:,}",
        f"{sampling.temperature:g}",
        "none",
    ]
    assert optim.lr == 1e-6 and config.objective.kl_coef == 0


@pytest.mark.parametrize("page", PAGES)
def test_settings_and_columns_that_the_guides_name_are_there(page: str) -> None:
    text = PAGES[page]
    groups = "|".join({key.partition(".")[0] for key in SETTINGS})
    settings = set(re.findall(rf"`((?:{groups})\.[a-z][a-z_0-9]*)", text)) - {"metrics.jsonl"}
    assert settings <= set(SETTINGS)
    columns = set(re.findall(r"`([a-z]+/[a-z_]+)`", text)) - {"tok/s"}
    assert {name for name in columns if not matches(name, named("metrics.jsonl"))} == set()


def test_every_column_of_the_console_is_explained() -> None:
    text = PAGES["reading-the-report"]
    titles = {column.title for column in (*console.GRPO, *console.FINE_TUNING)}
    assert {title for title in titles if f"`{title}`" not in text} == set()


def test_every_chart_of_the_report_is_explained() -> None:
    steps: list[dict[str, Any]] = [
        {
            "step": step,
            "solved": 0.5,
            "policy/ratio_max": 2.0,
            "policy/sampler_gap_from_0": 1e-6,
            "policy/sampler_gap_from_16": 1e-6,
        }
        for step in (1, 2)
    ]
    titles = set(re.findall(r"<h3>([^<]*)</h3>", report._curves(steps, [])))
    assert len(titles) >= 12
    assert titles - {row[0] for row in rows(PAGES["reading-the-report"], "chart")} == set()


def test_the_example_lines_are_those_of_the_quickstart() -> None:
    head = next(line for line in PAGES["reading-the-report"].splitlines() if line.startswith(" step"))
    assert head.split() == ["step", *(column.title for column in console.GRPO)]
    assert load_config("quickstart").sampling.group_size == 8
