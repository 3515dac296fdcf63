"""Curves of `grpo show`: axes, smoothing, several seeds together, each number by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("duckdb", reason="grpo show needs the extra `show`")

from grpo.show.catalogue import Catalogue, ShownRun
from grpo.show.curves import POINTS, curves, names, smoothed, t_quantile
from tests.shown_runs import make_run


def made(folder: Path, seed: int, solved: Sequence[float | None], seconds: float = 10.0) -> Path:
    """A run whose steps take `seconds` and 100 tokens each, and solve these shares."""
    make_run(folder, seed=seed, steps=0)
    rows = [
        {"step": step, "solved": value, "tokens/sample": 100, "time/step": seconds}
        for step, value in enumerate(solved, start=1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def shown(*folders: Path) -> list[ShownRun]:
    return Catalogue(folders).runs()


def drawn(runs: Sequence[ShownRun], axis: Any = "step", smooth: float = 0.0, *, together: bool = False) -> list[Any]:
    found: list[Any] = curves(runs, "solved", axis, smooth, together=together)["series"]
    return found


@pytest.mark.parametrize(("axis", "x"), [("step", [1, 2, 3]), ("tokens", [100, 200, 300]), ("time", [10, 20, 30])])
def test_an_axis_counts_steps_or_adds_up_tokens_or_seconds(tmp_path: Path, axis: str, x: list[float]) -> None:
    (one,) = drawn(shown(made(tmp_path / "one", 1, [0.1, 0.2, 0.4])), axis)
    assert (one["x"], one["y"], one["raw"]) == (x, [0.1, 0.2, 0.4], [0.1, 0.2, 0.4])
    assert (one["run"], one["n"], one["low"], one["high"]) == ("one", 1, None, None)


def test_the_moving_mean_starts_at_the_first_value_and_passes_over_gaps() -> None:
    # m = ½ m + ½ x from 0: 0.5, 1.75, 1.875; divided by 1 − ½ᵗ: 0.5, 0.75, 0.875.
    expected = [1.0, 1.75 / 0.75, None, 1.875 / 0.875]
    assert smoothed([1.0, 3.0, None, 2.0], 0.5) == pytest.approx(expected)
    assert smoothed([0.1, None, 0.7], 0.0) == [0.1, None, 0.7]
    assert smoothed([0.7] * 50, 0.99) == pytest.approx([0.7] * 50)


def test_smoothing_keeps_the_raw_values_beside_it(tmp_path: Path) -> None:
    (one,) = drawn(shown(made(tmp_path / "one", 1, [1.0, 3.0])), smooth=0.5)
    assert one["y"] == pytest.approx([1.0, 7 / 3])
    assert one["raw"] == [1.0, 3.0]


def test_a_step_without_the_metric_is_a_gap_and_a_run_without_it_is_not_drawn(tmp_path: Path) -> None:
    runs = shown(made(tmp_path / "one", 1, [0.1, None, 0.3]), made(tmp_path / "two", 2, [None, None]))
    (one,) = drawn(runs)
    assert one["y"] == [0.1, None, 0.3]


def test_a_long_run_is_drawn_with_few_points_the_last_among_them(tmp_path: Path) -> None:
    (one,) = drawn(shown(made(tmp_path / "long", 1, [float(step) for step in range(1, 1301)])))
    assert len(one["x"]) == 434  # every third of 1,300
    assert (one["x"][:2], one["x"][-1], one["y"][-1]) == ([1, 4], 1300, 1300)
    (exact,) = drawn(shown(made(tmp_path / "exact", 1, [0.5] * POINTS)))
    assert len(exact["x"]) == POINTS


def test_two_seeds_together_have_a_mean_and_students_interval(tmp_path: Path) -> None:
    runs = shown(made(tmp_path / "one", 1, [0.1, 0.3]), made(tmp_path / "two", 2, [0.3, 0.7]))
    (both,) = drawn(runs, together=True)
    assert (both["x"], both["n"], both["run"], both["label"]) == ([1, 2], 2, None, "one and 1 more seed")
    assert both["y"] == pytest.approx([0.2, 0.5])
    # Standard deviations √0.02 and √0.08, over √2: 0.1 and 0.2; t of one degree of freedom: 12.706.
    assert both["low"] == pytest.approx([0.2 - 1.2706, 0.5 - 2.5412])
    assert both["high"] == pytest.approx([0.2 + 1.2706, 0.5 + 2.5412])
    assert both["experiment"] == runs[0].line()["experiment"]


def test_three_seeds_are_compared_where_all_were_measured(tmp_path: Path) -> None:
    values = [[0.1, 0.2, 0.9], [0.2, 0.2], [0.3, 0.5, 0.1, 0.1]]
    runs = shown(*(made(tmp_path / f"seed-{seed}", seed, one) for seed, one in enumerate(values)))
    (all_three,) = drawn(runs, together=True)
    assert (all_three["x"], all_three["n"]) == ([1, 2], 3)
    assert all_three["y"] == pytest.approx([0.2, 0.3])
    # Deviations −0.1, 0, 0.1: s = 0.1, over √3; t of two degrees of freedom: 4.303.
    assert all_three["high"][0] == pytest.approx(0.2 + 4.303 * 0.1 / math.sqrt(3))


def test_seeds_of_different_speed_are_compared_in_time_on_straight_lines_between_their_steps(tmp_path: Path) -> None:
    # At 10, 20, 30 s and at 12, 24, 36 s: from 12 to 30 s both are known.
    runs = shown(made(tmp_path / "one", 1, [0.0, 1.0, 2.0], 10.0), made(tmp_path / "two", 2, [0.0, 1.0, 2.0], 12.0))
    (both,) = drawn(runs, "time", together=True)
    assert (both["x"][0], both["x"][-1]) == (12, 30)
    assert both["y"][0] == pytest.approx((0.2 + 0.0) / 2)
    assert both["y"][-1] == pytest.approx((2.0 + 1.5) / 2)


def test_other_settings_are_another_experiment(tmp_path: Path) -> None:
    folders = [made(tmp_path / name, seed, [0.5]) for seed, name in enumerate(("one", "two", "other"))]
    config = folders[2] / "config.toml"
    config.write_text(config.read_text().replace("group_size = 8", "group_size = 16"))
    assert [series["n"] for series in drawn(shown(*folders), together=True)] == [2, 1]


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.706), (4, 2.776), (15, 2.131), (16, 2.120), (30, 2.042), (120, 1.980)]
)
def test_students_quantiles_are_those_of_the_tables(degrees: int, quantile: float) -> None:
    assert t_quantile(degrees) == pytest.approx(quantile, abs=1e-3)


@pytest.mark.parametrize(("axis", "at"), [("step", [0, 6]), ("time", [0, 60]), ("tokens", [0, 9936])])
def test_evaluations_stand_on_the_curve_of_what_was_solved(tmp_path: Path, axis: Any, at: list[float]) -> None:
    # Tokens: 6 · 1600 + 16 · (1 + … + 6) = 9936.
    runs = shown(make_run(tmp_path / "one", seed=1))
    dots = curves(runs, "solved", axis, 0.0, together=False)["dots"]
    assert [(dot["x"], dot["y"]) for dot in dots] == list(zip(at, [0.3, 0.6], strict=True))
    assert dots[1]["low"] == pytest.approx(0.313, abs=1e-3)  # Wilson's interval of 6 of 10
    assert curves(runs, "reward/mean", axis, 0.0, together=False)["dots"] == []


def test_an_evaluations_own_metrics_are_curves_too(tmp_path: Path) -> None:
    runs = shown(make_run(tmp_path / "one", seed=1))
    assert {"solved", "eval/pass@1", "some/odd_metric"} <= set(names(runs)) and "step" not in names(runs)
    (one,) = curves(runs, "eval/pass@1", "time", 0.0, together=False)["series"]
    assert (one["x"], one["y"]) == ([0, 60], [0.3, 0.6])
