from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from grpo import cost
from grpo.config import Config
from grpo.memory import Shape
from grpo.run.cost_page import cost_html
from grpo.run.report import write_report
from grpo.train import train
from tests import runs

SHAPE = Shape(
    numbers=1000,
    learned=1000,
    width=2,
    packed=0,
    gathered=0.0,
    layers=2,
    hidden=8,
    heads=2,
    key_heads=1,
    head=4,
    mlp=16,
    vocabulary=50,
    normed=16.0,
    output=0,
)


def step(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "step": number,
        "groups/sampled": 4,
        "groups/solved": 0.5,
        "tokens/sample": 100,
        "tokens/update": 160,
        "completions/length_mean": 10.0,
        "time/sample": 20.0,
        "time/update": 15.0,
        "time/step": 36.0,
        "time/wall": 36.0,
        "memory/sample_gib": 3.0,
        "memory/update_gib": 2.0 + number,
    }
    return row | {name.replace("__", "/"): value for name, value in changes.items()}


def evaluation(number: int, solved: float) -> dict[str, Any]:
    return {"step": number, "eval/pass@1": solved, "time/evaluate": 18.0, "time/wall": 54.0, "tokens/evaluate": 40}


ROWS = [evaluation(0, 0.25), step(1), step(2), evaluation(2, 0.30)]


def test_what_a_run_has_cost_is_the_sum_of_its_rows() -> None:
    found = cost.cost_of(ROWS, devices=2, price=2.5, rest=180.0)
    assert found["hours"] == pytest.approx((54 + 36 + 36 + 54 + 180) / 3600)  # 0.1
    assert found["hours_in_steps"] == pytest.approx(72 / 3600)
    assert found["hours_in_evaluations"] == pytest.approx(36 / 3600)
    assert found["device_hours"] == pytest.approx(0.2) and found["money"] == pytest.approx(0.5)
    assert found["hours_by_phase"] == pytest.approx({"sample": 40 / 3600, "update": 30 / 3600})
    assert (found["tokens_sampled"], found["tokens_learned"], found["tokens_evaluated"]) == (200, 320, 80)
    assert found["problems_solved"] == 4  # half of 4, twice
    assert found["money_per_solved_problem"] == pytest.approx(0.125)  # 0.5 / 4
    assert found["points_gained"] == pytest.approx(5.0) and found["money_per_point"] == pytest.approx(0.1)
    assert found["peak_gib"] == {"sample": 3.0, "update": 4.0}


def test_what_it_has_cost_is_said_in_three_lines_that_can_be_read() -> None:
    # 180 s for 4 solved problems and 5 points: 45 s and 36 s; at 2 an hour 0.10, so 0.025 and 0.02
    first, second, third = cost.in_words(cost.cost_of(ROWS, 1, None), "2 cores")
    assert first == "cost: 3 min on 2 cores: steps 72 s, evaluations 36 s, the rest to start and to save"
    assert second == "cost: sample 40 s, update 30 s; 200 tokens sampled, 320 learned"
    assert third == (
        "cost: 0.05 device hours; 45.0s of a device for a solved problem (4); 36.0s of a device for a point gained (5)"
    )
    priced = cost.in_words(cost.cost_of(ROWS, 1, 2.0), "2 cores")[2]
    assert priced == (
        "cost: 0.05 device hours, 0.10 at 2 an hour; 0.025 for a solved problem (4); 0.02 for a point gained (5)"
    )


def test_what_is_not_known_is_not_made_up() -> None:
    found = cost.cost_of([step(1, groups__solved=0.0)], devices=1, price=None)
    for name in ("money", "money_per_point", "points_gained", "device_hours_per_solved_problem"):
        assert found[name] is None, name
    worse = cost.cost_of([evaluation(0, 0.5), evaluation(1, 0.4)], devices=1, price=1.0)
    assert worse["points_gained"] == pytest.approx(-10.0) and worse["money_per_point"] is None


def test_operations_are_those_of_both_passes() -> None:
    # c = 5; attention 4 · 2 layers · 8 wide · 5 = 320 a token; forward 2 · 1000 + 320 = 2320
    # sample 100 · 2320; learn 160 · (2 · 2320 + 2 · 1000)
    assert cost.operations(step(1), SHAPE) == 100 * 2320 + 160 * 6640
    adapter = replace(SHAPE, learned=10)  # the gradient of 10 numbers, through all 1000
    assert cost.operations(step(1), adapter) == 100 * 2320 + 160 * (4640 + 20)
    shown = {"tokens/update": 160}  # fine-tuning samples nothing, and does not say how long its examples are
    assert cost.operations(shown, SHAPE) == 160 * (2 * 2000 + 2000)


@pytest.mark.parametrize(("steps", "every", "times"), [(6, 2, 4), (6, 4, 3), (6, 0, 2), (1, 1, 2)])
def test_evaluations_are_counted_as_the_run_makes_them(steps: int, every: int, times: int) -> None:
    assert cost.evaluations_of(steps, every) == times  # (6, 2): before, 2, 4, after


def test_before_a_run_one_step_stands_for_all() -> None:
    lines = list(cost.expected(step(2), SHAPE, steps=100, devices=2, price=2.5, answers=50, evaluations=4))
    said = {line[:16].strip(): " ".join(line[16:].split()) for line in lines}
    assert said["tokens sampled"] == "100 10.0k"
    assert said["time, sample"] == "20.0s 33 min"
    assert said["time, all"] == "36.0s 1 h 00 min"
    # 50 answers of 10 tokens at 0.2 s each: 100 s an evaluation
    assert said["4 evaluations"] == "100s 7 min"
    # 3600 + 400 s on two devices: 2.22 hours, for 5.56
    assert said["device hours"] == "2.22 (2 devices, 1 h 07 min)"
    assert said["money"] == "5.56 (2.5 an hour of one device)"


@pytest.mark.parametrize(
    ("device", "cluster", "devices"),
    [
        ("cuda", {"learners": 0, "samplers": 0}, 1),
        ("cuda", {"learners": 2, "samplers": 3, "tensor_parallel": 2, "colocate": False}, 8),
        ("cuda", {"learners": 4, "samplers": 2, "tensor_parallel": 2, "colocate": True}, 4),
        ("cpu", {"learners": 2, "samplers": 2, "colocate": False}, 1),
    ],
)
def test_devices_are_all_that_the_run_holds(device: str, cluster: dict[str, Any], devices: int) -> None:
    tree = {"model": {"name": "builtin:tiny", "device": device}, "data": {"source": "builtin:arithmetic"}}
    assert cost.devices_of(Config.model_validate(tree | {"cluster": cluster})) == devices


def test_a_run_says_what_it_cost_and_a_resumed_one_counts_nothing_twice(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.write_inputs(tmp_path)
    config = runs.settings(tmp_path, tiny_model, run={"steps": 3, "save_every": 2, "price": 3.0})
    train(config.with_changes(run={"steps": 2}), tmp_path / "run")
    first = json.loads((tmp_path / "run" / "cost.json").read_text())
    said = capsys.readouterr().out.splitlines()
    assert len([line for line in said if line.startswith("cost: ")]) == 3
    train(config, tmp_path / "run", resume=True)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    whole = json.loads((tmp_path / "run" / "cost.json").read_text())
    assert whole["steps"] == 3 and first["steps"] == 2
    assert whole["tokens_sampled"] == sum(row.get("tokens/sample", 0) for row in rows)
    assert whole["tokens_evaluated"] > first["tokens_evaluated"] > 0
    assert whole["hours"] >= sum(row["time/wall"] for row in rows) / 3600
    assert whole["money"] == pytest.approx(3 * whole["device_hours"]) and whole["hardware"].endswith("cores")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<h2>Cost" in page and "at 3 for a device" in page


def test_the_report_escapes_and_survives_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "cost.json").write_text('{"hardware": "<script>", "hours": 1.5}')
    assert "&lt;script&gt;" in cost_html(tmp_path) and "1 h 30 min" in cost_html(tmp_path)
    (tmp_path / "cost.json").write_text('{"hours": 1.')
    assert cost_html(tmp_path) == ""
    write_report(tmp_path)
