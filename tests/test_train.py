"""Whole runs on a CPU: what they leave behind, how they stop, and that a resumed run is the run that never stopped."""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2MoeConfig, Qwen2MoeForCausalLM

from grpo import sizes
from grpo.alarms import Alarms
from grpo.config import Config
from grpo.config_file import load_config
from grpo.errors import CheckpointError, ConfigError, Interrupted, LearningError, RewardError, SamplerError
from grpo.interrupt import StopRequest
from grpo.memory import Machine, Sizes, Work, estimate_memory
from grpo.run import checkpoints, rollouts
from grpo.train import train
from grpo.types import Alarm
from tests import engines, runs
from tests.conftest import ROOT


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path) -> Config:
    runs.write_inputs(tmp_path)
    return runs.settings(tmp_path, tiny_model)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Config, Path]:
    """A run of six steps that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    runs.write_inputs(folder)
    config = runs.settings(folder, tiny_model)
    train(config, folder / "run")
    return config, folder / "run"


def test_a_run_leaves_its_settings_metrics_samples_models_and_report(whole: tuple[Config, Path]) -> None:
    _, path = whole
    steps = [row for row in runs.rows(path / "metrics.jsonl") if "solved" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    assert all(row["policy/updates"] == 2 and row["sync/logprob_gap"] < 1e-4 for row in steps)
    assert len(runs.completions(path)) == len(runs.rows(path / "samples.jsonl")) == 6 * 16  # four groups are shown
    assert {p.name for p in (path / "checkpoints").iterdir()} >= {"step-3", "step-6"}
    assert {p.name for p in (path / "eval").iterdir()} == {"before", "step-2", "step-4", "after"}
    assert "<svg" in (path / "report.html").read_text()
    assert 'use = "' in (path / "config.toml").read_text()


def test_what_a_step_takes_its_phases_take(whole: tuple[Config, Path]) -> None:
    steps = [json.loads(line) for line in (whole[1] / "metrics.jsonl").read_text().splitlines()]
    wholes = ("time/step", "time/wall")
    shares = [
        sum(v for name, v in row.items() if name.startswith("time/") and name not in wholes) / row["time/step"]
        for row in steps
        if "time/step" in row
    ]
    assert len(shares) == 6
    assert 0.95 <= median(shares) <= 1
    assert all(
        row["tokens/update"] > row["tokens/sample"] > 0 and 0 <= row["update/padded"] < 1
        for row in steps
        if "solved" in row
    )


def test_a_checkpoint_opens_with_from_pretrained(whole: tuple[Config, Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(whole[1] / "checkpoints" / "step-6")
    stored = load_file(whole[1] / "checkpoints" / "step-6" / "model.safetensors")
    assert torch.equal(model.state_dict()["model.norm.weight"], stored["model.norm.weight"])


def test_a_model_that_cannot_share_prompts_says_why_once(
    config: Config, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = shutil.copytree(tiny_model, tmp_path / "narrow")
    vocabulary = json.loads((tiny_model / "config.json").read_text())["vocab_size"]
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    experts = {
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
    }
    window = {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 0}
    shape = Qwen2MoeConfig(vocab_size=vocabulary, num_key_value_heads=1, **sizes, **experts, **window)
    Qwen2MoeForCausalLM(shape).save_pretrained(narrow)
    train(config.with_changes(model={"name": str(narrow)}, run={"steps": 2}), tmp_path / "run")
    said = capsys.readouterr().out
    assert said.count("computes each prompt once per completion") == 1
    assert re.search(
        rf"warning: {narrow}: computes each prompt once per completion, because .*mask alone.*; updates are slower and "
        "take more memory",
        said,
    )
    steps = [row for row in runs.rows(tmp_path / "run" / "metrics.jsonl") if "solved" in row]
    assert all(0 < row["update/padded"] < 1 for row in steps)


def test_what_is_open_is_spared_by_the_collector_until_the_run_ends(config: Config, tmp_path: Path) -> None:
    counts: list[int] = []
    counting = partial(engines.Calling, before=lambda engine, is_evaluation: counts.append(gc.get_freeze_count()))
    before = gc.get_freeze_count()
    train(config.with_changes(run={"steps": 1}), tmp_path / "run", open_engine=engines.opening(counting))
    assert counts[0] > before + 100_000
    assert gc.get_freeze_count() <= before


def test_the_reward_it_is_paid_for_goes_up(tmp_path: Path, tiny_model: Path) -> None:
    runs.write_inputs(tmp_path)
    longer = runs.settings(tmp_path, tiny_model, run={"steps": 25}, eval={"every": 0})
    train(longer, tmp_path / "run")
    rewards = [row["reward/mean"] for row in runs.rows(tmp_path / "run" / "metrics.jsonl") if "solved" in row]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.2


@pytest.mark.parametrize("where", ["update@5", "rollouts@5", "samples@5", "checkpoint@3", "checkpoint@6"])
def test_six_steps_equal_some_steps_a_kill_and_the_rest(whole: tuple[Config, Path], tmp_path: Path, where: str) -> None:
    config, uninterrupted = whole
    die(config, tmp_path / "run", where)
    train(config, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", uninterrupted)


@pytest.mark.slow
def test_with_vllm_six_steps_equal_some_steps_a_kill_and_the_rest(config: Config, tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    config = config.with_changes(sampling={"backend": "vllm", "gpu_memory_utilization": 0.01})
    train(config, tmp_path / "whole")
    die(config, tmp_path / "run", "update@5")
    train(config, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def die(config: Config, path: Path, where: str) -> None:
    """The run in a process of its own, killed at `where`."""
    command = [sys.executable, "-m", "tests.runs", config.to_toml(), str(path), where]
    killed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL, killed.stderr


def assert_same_run(path: Path, other: Path) -> None:
    """Metrics, samples and weights, to the last bit."""
    for name in ("metrics.jsonl", "samples.jsonl"):
        assert runs.rows(path / name) == runs.rows(other / name)
    assert runs.completions(path) == runs.completions(other)
    ours, theirs = (load_file(p / "checkpoints" / "step-6" / "model.safetensors") for p in (path, other))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_what_is_shown_of_a_step_changes_nothing_in_what_is_learned(whole: tuple[Config, Path], tmp_path: Path) -> None:
    config, shown = whole
    train(config.with_changes(run={"shown_groups": 0}), tmp_path / "run")
    assert runs.rows(tmp_path / "run" / "metrics.jsonl") == runs.rows(shown / "metrics.jsonl")
    assert runs.rows(tmp_path / "run" / "samples.jsonl") == []
    ours, theirs = (load_file(p / "checkpoints" / "step-6" / "model.safetensors") for p in (tmp_path / "run", shown))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_of_the_groups_that_are_shown_each_token_has_its_text_and_how_likely_it_was(whole: tuple[Config, Path]) -> None:
    config, path = whole
    tokenizer = AutoTokenizer.from_pretrained(config.model.name)
    for row in runs.completions(path):
        assert {len(row[name]) for name in rollouts.PER_TOKEN} == {row["tokens"]}
        assert "".join(row["pieces"]) == tokenizer.decode(row["token_ids"])
        assert row["policy_logprobs"] == pytest.approx(row["sampler_logprobs"], abs=1e-4)  # on-policy
        assert all(entropy >= 0 for entropy in row["entropies"])


@pytest.mark.parametrize("at", [2, 6])
def test_an_evaluation_that_was_interrupted_is_made_up_for(whole: tuple[Config, Path], tmp_path: Path, at: int) -> None:
    config, uninterrupted = whole

    def interrupt(engine: engines.Wrapped, is_evaluation: bool) -> None:
        if is_evaluation and engine.step == at:
            os.kill(os.getpid(), signal.SIGTERM)

    interrupted = engines.opening(partial(engines.Calling, before=interrupt))
    with pytest.raises(Interrupted, match=f"step {at} is saved"):
        train(config, tmp_path / "run", open_engine=interrupted)
    train(config, tmp_path / "run", resume=True)
    train(config, tmp_path / "run", resume=True)  # nothing is left to do, and nothing is done
    assert_same_run(tmp_path / "run", uninterrupted)


def test_a_step_that_fails_after_its_update_is_not_saved_as_the_step_before(
    whole: tuple[Config, Path], tmp_path: Path
) -> None:
    config, uninterrupted = whole
    with pytest.raises(SamplerError, match="the canary is dead"):
        train(config, tmp_path / "run", open_engine=engines.opening(engines.NotPublishing))
    assert checkpoints.latest(tmp_path / "run" / "checkpoints") == tmp_path / "run" / "checkpoints" / "step-3"
    train(config, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", uninterrupted)


def test_a_start_that_was_refused_leaves_no_model_to_the_next(config: Config, tmp_path: Path) -> None:
    for name in ("model", "cold-start"):
        (tmp_path / "run" / name).mkdir(parents=True)
        (tmp_path / "run" / name / "of-another-seed").touch()
    train(config.with_changes(run={"steps": 1}), tmp_path / "run")
    assert not list((tmp_path / "run").glob("*/of-another-seed"))


class Watching:
    """A tracker that remembers what it was told of, and of which step."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []
        self.values: dict[str, Any] = {}

    def log(self, row: object, step: int) -> None:
        self.seen.append(("log", step))

    def samples(self, rows: Sequence[Any], step: int) -> None:
        self.seen.append(("samples", step))

    def alarm(self, alarm: Alarm) -> None:
        self.seen.append(("alarm", alarm.step))

    def summary(self, values: dict[str, Any]) -> None:
        self.seen.append(("summary", 0))
        self.values = values

    def close(self) -> None:
        pass


def test_a_tracker_that_fails_does_not_end_the_run(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        def log(self, row: object, step: int) -> None:
            raise ConnectionError("no route to the dashboard")

        def close(self) -> None:
            pass

    class Mute(Watching):
        def samples(self, rows: Sequence[Any], step: int) -> None:
            raise ValueError("no tables here")

    broken, mute, watching = Broken(), Mute(), Watching()
    train(config.with_changes(run={"steps": 2}), tmp_path / "run", open_trackers=lambda *_: [broken, mute, watching])
    said = capsys.readouterr().out
    assert said.count("Broken failed (no route to the dashboard)") == said.count("Mute failed (no tables here)") == 1
    assert mute.seen == [("log", 0)]
    steps = [("samples", 1), ("log", 1), ("samples", 2), ("log", 2)]
    assert watching.seen == [("log", 0), *steps, ("log", 2), ("summary", 0)]  # with an evaluation before and after
    assert watching.values["cost/steps"] == 2 and "after" in watching.values


def test_an_alarm_is_told_to_trackers(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Alarms, "step", lambda alarms, row, signs: [Alarm("loops", row["step"], "it repeats")])
    watching = Watching()
    train(config.with_changes(run={"steps": 1}), tmp_path / "run", open_trackers=lambda *_: [watching])
    assert ("alarm", 1) in watching.seen


def test_ctrl_c_saves_the_last_whole_step_and_the_run_goes_on_from_there(
    whole: tuple[Config, Path], tmp_path: Path
) -> None:
    config, uninterrupted = whole

    def interrupt(engine: engines.Wrapped, is_evaluation: bool) -> None:
        if not is_evaluation and engine.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    interrupted = engines.opening(partial(engines.Calling, before=interrupt))
    with pytest.raises(Interrupted, match=r"SIGTERM; step 2 is saved .*--resume") as stopped:
        train(config, tmp_path / "run", open_engine=interrupted)
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    train(config, tmp_path / "run", resume=True)
    assert runs.rows(tmp_path / "run" / "metrics.jsonl") == runs.rows(uninterrupted / "metrics.jsonl")


def test_a_dry_run_says_what_a_step_solves_and_how_long_it_takes_and_leaves_nothing(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_trackers(names: Sequence[str], *_: object) -> list[Any]:
        assert not names  # a step that never was is no run on anyone's dashboard
        return []

    tracked = config.with_changes(run={"trackers": ["tensorboard"]})
    train(tracked, tmp_path / "run", dry_run=True, open_trackers=no_trackers)
    assert not (tmp_path / "run").exists()
    said = capsys.readouterr().out
    found = re.search(r"^dry run: solved [\d.]+%, useful ([\d.]+)%, truncated ([\d.]+)%, [\d.]+s per step$", said, re.M)
    assert found is not None
    line = next(line for line in said.splitlines() if line.strip().startswith("1/6"))  # the step, as it would be
    assert f"{found[1]}%" in line and f"{found[2]}%" in line
    assert re.search(r"^time, all +[\d.]+s  \d+ s$", said, re.M) and re.search(
        r"^4 evaluations +[\d.]+s  \d+ s$", said, re.M
    )
    assert "dry run: by the second step, because the first is slower; start and checkpoints come on top" in said
    assert "evaluation before" not in said
    assert "once per completion" not in said  # this model shares prompts


def test_a_second_run_into_the_same_folder_is_refused(whole: tuple[Config, Path]) -> None:
    with pytest.raises(CheckpointError, match="already holds a run"):
        train(*whole)


def test_a_run_folder_says_what_auto_came_to(whole: tuple[Config, Path]) -> None:
    text = (whole[1] / "config.toml").read_text()
    assert 'device = "cpu"' in text
    assert 'dtype = "float32"' in text
    assert "tokens_per_microbatch = 2048" in text
    assert '"auto"' not in text.replace('address = "auto"', "")  # where to look, which is asked anew


def test_a_run_that_goes_on_where_its_sizes_do_not_fit_settles_others_and_says_so(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Work] = []

    def choose(config: Config, work: Work, machine: Machine) -> sizes.Choice:
        seen.append(work)
        return chosen(config, work, machine)

    chosen = sizes.choose
    monkeypatch.setattr(sizes, "choose", choose)
    train(config.with_changes(run={"steps": 1}), tmp_path / "run")
    assert load_config(str(tmp_path / "run" / "config.toml")).model.gradient_checkpointing is False
    without, with_it = (
        estimate_memory(seen[0], Sizes(2048, on, False, 0.45), Machine(64.0)).total for on in (False, True)
    )
    monkeypatch.setattr("grpo.opening.this_machine", lambda place, learners: Machine((without + with_it) / 2))
    train(config.with_changes(run={"steps": 2}), tmp_path / "run", resume=True)
    said = capsys.readouterr().out
    assert "warning: sizes: those that the run was begun with do not fit here (the run may need" in said
    assert "with gradient checkpointing: " in said and "without checkpointing it would be" in said
    assert load_config(str(tmp_path / "run" / "config.toml")).model.gradient_checkpointing is True


def test_a_disk_without_room_for_a_checkpoint_is_refused_before_anything_is_sampled(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grpo.preflight.free_space", lambda folder: 1e-4)
    with pytest.raises(ConfigError, match=r"^preflight: .*/run/checkpoints needs .* GiB for 2 checkpoints of 0"):
        train(config.with_changes(run={"preflight": "refuse"}), tmp_path / "run")
    assert not (tmp_path / "run" / "samples.jsonl").exists()


def test_resume_with_other_mathematics_is_refused(whole: tuple[Config, Path]) -> None:
    config, path = whole
    with pytest.raises(CheckpointError, match=r"optim\.lr: 0\.001 in the run, 0\.5 given"):
        train(config.with_changes(optim={"lr": 0.5}), path, resume=True)


@pytest.mark.parametrize("lr", [1e-3, 1e-6])
def test_the_canary_stops_a_run_whose_weights_never_arrive_however_small_its_steps(
    config: Config, tmp_path: Path, lr: float
) -> None:
    forgetful = engines.with_sampler(engines.ForgetfulSampler)
    with pytest.raises(SamplerError, match="did not take the weights of step 1"):
        train(config.with_changes(optim={"lr": lr}), tmp_path / "run", open_engine=forgetful)
    assert not checkpoints.latest(tmp_path / "run" / "checkpoints")


def test_the_canary_stops_a_run_whose_weights_arrive_in_part(config: Config, tmp_path: Path) -> None:
    half = engines.with_sampler(engines.HalfDeafSampler)
    with pytest.raises(SamplerError, match="does not serve the policy's weights or computes them differently"):
        train(config.with_changes(optim={"lr": 1e-2}), tmp_path / "run", open_engine=half)


def test_a_few_bad_gradients_are_skipped_and_counted_and_more_stop_the_run(config: Config, tmp_path: Path) -> None:
    with pytest.raises(LearningError, match=r"not finite in 3 steps in a row.*failed-batch\.pt"):
        train(config, tmp_path / "run", open_engine=engines.opening(engines.WithoutNumbers))
    steps = [row for row in runs.rows(tmp_path / "run" / "metrics.jsonl") if "solved" in row]
    assert [row["policy/skipped_updates"] for row in steps] == [2, 2, 2]
    assert (tmp_path / "run" / "failed-batch.pt").exists()


def test_a_reward_that_never_answers_is_no_run_that_cannot_solve(config: Config, tmp_path: Path) -> None:
    (tmp_path / "reward.py").write_text(
        "import time\ndef digits(completion, problem):\n"
        "    stated = 'answer' in completion or completion in ('', problem['answer'])\n"
        "    return 1.0 if stated else time.sleep(9)\n"
    )
    hanging = config.reward[0].model_copy(update={"timeout": 0.05})
    slow = config.model_copy(update={"reward": (hanging,)})
    with pytest.raises(RewardError, match="every call of every reward ended in a timeout in step 1"):
        train(slow, tmp_path / "run")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_that_goes_away_is_a_request_to_stop(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_DFL)  # the tests may run under nohup, where SIGHUP stays ignored
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), number)
            with pytest.raises(Interrupted, match=number.name) as stopped:
                stop.check()
    finally:
        signal.signal(number, before)
    assert stopped.value.exit_code == 128 + number


def test_a_reader_of_the_console_that_goes_away_does_not_end_the_run(config: Config, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(config.with_changes(run={"steps": 2}).to_toml())
    grpo = f"{sys.executable} -c 'from grpo.cli import main; main()'"
    command = f"{grpo} train {tmp_path}/settings.toml --out {tmp_path}/run | head -n 1"
    piped = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, cwd=ROOT)
    assert (piped.returncode, piped.stderr) == (0, "")
    assert (tmp_path / "run" / "checkpoints" / "step-2").is_dir()


def test_a_sampler_that_dies_in_a_step_loses_nothing(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def die(engine: engines.Wrapped, is_evaluation: bool) -> None:
        if not is_evaluation and engine.step == 2:
            raise SamplerError("the engine is dead")

    with pytest.raises(SamplerError, match="the engine is dead"):
        train(config, tmp_path / "run", open_engine=engines.opening(partial(engines.Calling, before=die)))
    assert checkpoints.latest(tmp_path / "run" / "checkpoints") == tmp_path / "run" / "checkpoints" / "step-2"
    assert "go on with --resume" in capsys.readouterr().out


def test_a_run_that_can_learn_nothing_is_refused_before_its_first_step(config: Config, tmp_path: Path) -> None:
    (tmp_path / "reward.py").write_text("def digits(completion, problem):\n    return 0.0\n")
    with pytest.raises(ConfigError, match=r"does not give 12 of 12 gold answers its best value"):
        train(config.with_changes(run={"preflight": "refuse"}), tmp_path / "run")


def test_the_best_model_is_the_one_of_the_best_evaluation(config: Config, tmp_path: Path) -> None:
    (tmp_path / "reward.py").write_text(
        "def digits(completion, problem):\n"
        "    return 1.0 if completion == 'right' else 0.5 * sum(map(str.isdigit, completion)) / (len(completion) + 1)\n"
    )
    shares = {0: 0.25, 2: 0.5, 4: 0.75, 6: 0.5}
    answering = engines.opening(partial(engines.Answering, shares=shares))
    train(config.with_changes(run={"save_every": 2, "keep": 3}), tmp_path / "run", open_engine=answering)
    folder = tmp_path / "run" / "checkpoints"
    assert (folder / "best" / "model.safetensors").read_bytes() == (
        folder / "step-4" / "model.safetensors"
    ).read_bytes()
    state = json.loads((folder / "step-6" / "trainer" / "state.json").read_text())
    assert (state["best_step"], state["best_score"]) == (4, 0.75)


# --- Dynamic sampling, a curriculum, several passes ---------------------------------------------------------------

HALF_SOLVED = """
def digits(completion, problem):
    return float(len(completion.encode()) % 2 and int(problem["answer"]) % 4 == 1)
"""


@pytest.fixture
def everything(tmp_path: Path, tiny_model: Path) -> Config:
    """Half of the problems never carry a signal; sampling is refilled, the curriculum remembers, data is used twice."""
    runs.write_inputs(tmp_path)
    (tmp_path / "reward.py").write_text(HALF_SOLVED)
    return runs.settings(
        tmp_path,
        tiny_model,
        sampling={"max_num_gen_batches": 3, "problems_per_step": 3},
        curriculum={"easy": 0.3, "hard": 0.3, "retire_after": 2},
        optim={"lr": 1e-3, "updates_per_step": 2, "num_iterations": 2},
    )


@pytest.mark.parametrize("where", ["update@5", "checkpoint@6"])
def test_refill_and_curriculum_go_on_bit_for_bit_after_a_kill(everything: Config, tmp_path: Path, where: str) -> None:
    train(everything, tmp_path / "whole")
    steps = [row for row in runs.rows(tmp_path / "whole" / "metrics.jsonl") if "solved" in row]
    assert any(row["groups/rounds"] > 1 for row in steps)
    samples = runs.completions(tmp_path / "whole")
    assert len(samples) == 4 * sum(row["groups/sampled"] for row in steps)  # whatever was sampled is on record
    die(everything, tmp_path / "run", where)
    train(everything, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    states = [
        json.loads((tmp_path / name / "checkpoints" / "step-6" / "trainer" / "state.json").read_text())
        for name in ("run", "whole")
    ]
    assert states[0] == states[1] and states[0]["solve_rates"]
