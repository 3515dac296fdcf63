"""`scripts/bench gpu` in its tiny size on the CPU: what it counts, that both sides do the same work, what it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.qwen2 import modeling_qwen2

from grpo.errors import LearningError
from grpo.learning import attention
from scripts import bench_gpu
from scripts.bench_gpu import Sample, Trial
from scripts.benchmark import variants
from scripts.benchmark.gpu import SIZES, Ours, Setting, Side, Theirs, Work, make_model, make_work, operations, textbook

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
TINY = SIZES["tiny"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/bench_gpu.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)


def test_operations_of_an_update_are_those_counted_by_hand() -> None:
    size = replace(TINY, layers=1, width=4, heads=2, key_value_heads=1, mlp=3, vocabulary=5)
    work = Work("by hand", prompts=((1, 1),), completions=((1, 1, 1), (1,)), advantages=(1.0, -1.0))
    assert size.layer_parameters == (4 * 4 + 4 * 4 + 4 * 2 + 4 * 2) + 3 * (4 * 3)  # q, o, k, v; gate, up, down
    pairs = 3 + (6 + 3 * 2) + (1 + 1 * 2)  # within the prompt; within each completion, and from it to the prompt
    assert operations(size, work) == 6 * 84 * (2 + 3 + 1) + 6 * (5 * 4) * (3 + 1) + 12 * 2 * 2 * pairs


def test_the_large_size_is_that_of_qwen_1_5b() -> None:
    size = SIZES["1.5b"]
    model = make_model(size, "bfloat16", torch.device("meta"))
    assert model.num_parameters() == pytest.approx(1.54e9, rel=0.01)  # as its model card says; 1.31e9 without embedding
    matrices = [weight for name, weight in model.named_parameters() if weight.ndim == 2 and "embed" not in name]
    assert sum(weight.numel() for weight in matrices) == size.layer_parameters


def test_ragged_work_has_lengths_in_range_and_a_group_shares_its_prompt() -> None:
    work = make_work(TINY, 8)
    lengths = set(map(len, work.completions))
    assert len(lengths) > 3 and min(lengths) >= 8 and max(lengths) <= 32
    assert [work.prompt_of(row) for row in range(8)] == [work.prompts[0]] * 4 + [work.prompts[1]] * 4
    assert work.distinct_tokens == 2 * 16 + work.completion_tokens


@pytest.mark.parametrize("checkpointing", [False, True])
def test_both_sides_have_the_same_gradient(checkpointing: bool) -> None:
    work = make_work(TINY, 8)
    sides: list[Side] = [
        Ours(TINY, Setting("float32", checkpointing, 128), CPU),
        Theirs(TINY, Setting("float32", checkpointing, 2), CPU, make_loss=textbook),
    ]
    norms = []
    for side in sides:
        side.take(work)
        side.forward_backward()
        norms.append(side.optim_step())
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


class Hungry:
    """A side that has room for four at a time."""

    def __init__(self, setting: Setting, error: Exception) -> None:
        self.setting, self.error = setting, error

    def take(self, work: Work) -> None:
        pass

    def forward_backward(self) -> None:
        if self.setting.at_a_time > 4:
            raise self.error

    def optim_step(self) -> float:
        return 1.0


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), LearningError("out of memory with 8")])
def test_a_setting_that_does_not_fit_is_named_and_larger_ones_are_not_tried(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [Setting("float32", checked, n) for checked in (True, False) for n in (4, 8, 16)]
    work = make_work(TINY, 8)
    trials = bench_gpu.search("ours", lambda setting: Hungry(setting, error), settings, work, CPU)
    assert [trial.setting.at_a_time for trial in trials] == [4, 4]
    printed = capsys.readouterr().out
    assert printed.count("| does not fit |") == 2
    assert printed.count("| does not fit, as less did not |") == 2


def test_an_error_that_is_not_about_memory_ends_the_benchmark() -> None:
    error = LearningError("the model has no output layer")
    with pytest.raises(LearningError, match="no output layer"):
        bench_gpu.tried(lambda setting: Hungry(setting, error), Setting("float32", True, 8), make_work(TINY, 8), CPU)


def test_of_settings_about_as_fast_the_leanest_that_learns_is_kept() -> None:
    def trial(seconds: float, peak: int, weights: str = "float32") -> Trial:
        sample = Sample(seconds, 0.1, 1.0, 1, peak)
        return Trial(Setting(weights, True, peak), sample, sample)

    trials = [trial(1.0, 90), trial(1.04, 50), trial(1.06, 10), trial(0.9, 5, "bfloat16")]
    assert bench_gpu.best(trials).setting.at_a_time == 50


def test_the_tiny_size_runs_on_the_cpu_and_prints_every_row(tmp_path: Path) -> None:
    done = run("--device", "cpu", "--size", "tiny", "--json", str(tmp_path / "found.json"))
    assert done.returncode == 0, done.stderr
    for row in ("seconds", "completion tokens/s", "distinct tokens/s", "share of the matrix rate", "optimizer's share"):
        assert done.stdout.count(f"\n| {row}") == 2
    for line in ("commit: ", "device: CPU", f"versions: torch {torch.__version__}", "matrix product: "):
        assert line in done.stdout
    assert "NOT THE SAME" not in done.stdout
    assert "32 new tokens each: 256 completion tokens, 288 distinct ones" in done.stdout

    found = json.loads((tmp_path / "found.json").read_text())
    assert found["matrix_rate"] > 1e6
    assert [len(trials) for trials in found["trials"].values()] == [4, 4]
    assert [len(side) for sides in found["rounds"].values() for side in sides.values()] == [bench_gpu.ROUNDS] * 4


def test_rows_by_themselves_are_not_timed_in_place_of_shared_prompts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = attention._Cpu.forward
    monkeypatch.setattr(attention._Cpu, "forward", lambda *arguments: [part * 2 for part in broken(*arguments)])
    monkeypatch.setattr(sys, "argv", ["bench_gpu.py", "--device", "cpu", "--size", "tiny"])
    assert bench_gpu.main() == 2
    said = capsys.readouterr()
    assert "ours does not share prompts here: its states" in said.err and "nothing was measured" in said.err
    assert "seconds |" not in said.out.replace("| seconds | peak GiB |", "")


def test_a_model_has_transformers_own_layers_whatever_the_other_side_put_in_their_place() -> None:
    """As Liger does, for the whole process."""

    class Fused(modeling_qwen2.Qwen2MLP):
        pass

    modeling_qwen2.Qwen2MLP = Fused
    layers = make_model(TINY, "float32", CPU).model.layers
    assert not any(isinstance(layer.mlp, Fused) for layer in layers) and modeling_qwen2.Qwen2MLP is not Fused


def test_other_layers_and_an_offloaded_optimizer_are_measured_beside_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def louder(model: Any) -> None:
        for layer in model.model.layers:
            layer.mlp.register_forward_hook(lambda _, __, output: 1.01 * output)

    found = [variants.Variant("ours"), variants.Variant("other", louder), variants.Variant("offloaded", offload=True)]
    monkeypatch.setattr(variants, "variants", lambda device: found)
    monkeypatch.setattr(variants, "ROUNDS", 1)
    variants.compare(TINY, CPU, bench_gpu.measured)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[5:]]
    assert [row[0] for row in rows] == [f"{v.name}{c}" for c in (", checkpointing", "") for v in found]
    norms, apart = [row[6] for row in rows], [row[7] for row in rows]
    assert norms[0] == norms[2] == norms[5] != norms[1]
    assert apart[0] == apart[2] == "0, 0" != apart[1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_one_sentence_says_what_to_do() -> None:
    done = run()
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "no CUDA device" in done.stderr and "--device cpu --size tiny" in done.stderr
