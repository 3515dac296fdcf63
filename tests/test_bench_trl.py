"""`scripts/bench trl`: its arithmetic, our side of it on a small workload, and what it says without TRL."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.bench_growth import table
from scripts.benchmark import report, running
from scripts.benchmark.running import ROOT, Measured, SideFailed, read, run_side
from scripts.benchmark.workloads import Workload, make_model, make_prompts, operations

SMALL = Workload(2, 64, 128, 2, 128, problems=2, group=2, prompt=3, new=4)


def test_operations_of_a_workload_are_those_counted_by_hand() -> None:
    # Layer: 4·64² + 3·64·128 = 40,960 numbers; two of them 81,920.
    assert SMALL.layer_weights == 81_920
    # Through the layers: 2 problems × (3 + 2·3) = 18 tokens, each 6 × 81,920.
    layers = 18 * 6 * 81_920
    # Through the head: 2 × (1 + 2·3) = 14 positions, each 6 × 64 × 128.
    head = 14 * 6 * 8_192
    # Pairs: the prompt's 1 + 2 + 3 = 6; a completion's three tokens see 4, 5 and 6, so two completions 30: 36 × 2.
    attention = 72 * 2 * (4 * 64) * 3
    assert operations(SMALL) == layers + head + attention == 9_646_080


def test_prompts_have_the_asked_length_and_are_the_same_each_time() -> None:
    prompts = make_prompts(SMALL)
    assert [len(prompt) for prompt in prompts] == [3, 3]
    assert prompts == make_prompts(SMALL)
    assert all(3 <= token < SMALL.vocabulary for prompt in prompts for token in prompt)


def step(number: int, seconds: float, tokens: int = 16) -> dict[str, Any]:
    phases = {"sample": 1.0, "score": 0.0, "update": seconds - 1}
    return {"step": number, "seconds": seconds, **phases, "tokens": tokens, "learned": tokens}


FACTS = {
    "before": 0,
    "peak": 2**22,
    "growth": 2**21,
    "update_growth": 2**20,
    "matrix_rate": 1e9,
    "threads": 2,
    "dtype": "float32",
}


def test_the_first_and_the_last_step_of_a_side_are_not_timed() -> None:
    lines = [step(0, 90.0), step(1, 2.0), step(2, 3.0), step(3, 7.0), step(4, 80.0), FACTS]
    measured = read("ours", SMALL, lines)
    assert measured.times == {"seconds": 3.0, "sample": 1.0, "score": 0.0, "update": 2.0}
    assert (measured.growth, measured.update_growth) == (2**21, 2**20)


def test_a_side_that_sampled_other_numbers_of_tokens_is_not_compared() -> None:
    with pytest.raises(SideFailed, match="step 1 sampled 15 tokens and learned from 15, where 16 were asked for"):
        read("theirs", SMALL, [step(0, 2.0), step(1, 2.0, tokens=15), step(2, 2.0), FACTS])


def measured(side: str, seconds: float, growth: int) -> Measured:
    facts = {**FACTS, "growth": growth, "sampler": "a sampler", "choices": {"micro": 8}}
    return read(side, SMALL, [step(0, 9.0), step(1, seconds), step(2, 9.0), facts])


def test_ratios_are_of_adjacent_runs_and_come_with_their_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(report.TO_REACH, "small", {"step, s": 0.5, "growth, MiB": 0.4})
    rounds = [
        {"ours": measured("ours", ours, 2**20), "theirs": measured("theirs", theirs, 2**21)}
        for ours, theirs in ((2.0, 4.0), (3.0, 10.0), (9.0, 10.0))
    ]
    rows = report.comparison("small", SMALL, rounds).splitlines()
    # Ratios 0.5, 0.3, 0.9: their median is 0.5, where that of the medians would be 3/10.
    assert rows[2] == "| step, s | 3 | 10 | 0.50 | 0.30–0.90 | 0.5 | reached |"
    assert rows[5] == "| growth, MiB | 1 | 2 | 0.50 | 0.50–0.50 | 0.4 | **not reached** |"


def test_our_side_samples_and_learns_from_as_many_tokens_as_it_is_asked_to(tmp_path: Path) -> None:
    parameters = make_model(SMALL, tmp_path)
    # Layers, two norms and the biases of queries, keys and values in each; the last norm; the embedding once.
    assert parameters == 81_920 + 2 * (2 * 64 + 3 * 64) + 64 + 128 * 64
    done = run_side("ours", SMALL, tmp_path, {"sampling": {"backend": "transformers"}}, 1)
    assert [line["tokens"] for line in done.lines[:-1]] == [16, 16, 16]
    assert done.times["seconds"] >= done.times["update"] > 0
    assert done.facts["matrix_rate"] > done.achieved(SMALL) > 0
    assert done.peak > done.facts["before"] > 0 and done.growth == done.peak - done.facts["before"]


def test_a_side_that_fails_ends_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SideFailed, match=r"ours with \{\}: ended with exit code 1 \(.*no such directory"):
        run_side("ours", SMALL, tmp_path / "nothing", {}, 1)


def test_without_trl_the_benchmark_says_how_to_get_it(tmp_path: Path) -> None:
    for part in ("scripts", "grpo", "rewards"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "scripts/bench_trl.py", "short"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == (
        "scripts/bench trl: .venv-parity: TRL's environment is not there; run scripts/parity, which makes it, once\n"
    )


def test_every_workload_says_what_trl_is_told_and_what_is_to_be_reached() -> None:
    from scripts.benchmark import choices
    from scripts.benchmark.workloads import WORKLOADS

    assert list(WORKLOADS) == list(choices.TRL) == list(choices.OURS) == list(report.TO_REACH)
    for name, work in WORKLOADS.items():
        assert work.completions % choices.TRL[name]["micro"] == 0
        assert json.dumps(dict(choices.tried(work, choices.TRL[name])))
    assert running.cores() >= 1


def test_growth_is_compared_with_the_base_of_the_same_round() -> None:
    twice = replace(SMALL, problems=2 * SMALL.problems)
    rounds = [
        {"base": measured("ours", seconds, 0), "twice": replace(measured("ours", double, 0), update_growth=3 * 2**20)}
        for seconds, double in ((2.0, 3.0), (3.0, 5.0), (5.0, 7.0))
    ]
    rows = table({"base": SMALL, "twice": twice}, rounds).splitlines()
    # Updates 1, 2, 4 and 2, 4, 6 seconds: ratios 2, 2, 1.5.  Memory 1 MiB and 3.
    assert rows[2] == "| base | 1.00 | 2.00 | 1.00 | 1 | 1.00 |"
    assert rows[3] == "| twice | 2.00 | 4.00 | 2.00 | 3 | 3.00 |"
