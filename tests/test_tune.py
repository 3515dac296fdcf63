"""`grpo sft` is a run like any other: what it leaves behind, how it stops, and that it goes on to the same weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from grpo.config import Config
from grpo.config_file import load_config
from grpo.errors import CheckpointError, ConfigError, DataError, Interrupted, LearningError, SamplerError
from grpo.run import checkpoints
from grpo.tune import tune
from tests import engines, runs
from tests.conftest import ROOT

STEPS = 6  # 14 examples, twice, in batches of 5: the last has 3


def settings(folder: Path, model: Path, **changes: dict[str, Any]) -> Config:
    runs.write_inputs(folder)
    rows = [
        {
            "id": f"c{n}",
            "messages": [
                {"role": "user", "content": f"{n}+1"},
                {"role": "assistant", "content": f"<answer>{n + 1}</answer>"},
                *(
                    [{"role": "user", "content": "sure?"}, {"role": "assistant", "content": "yes"}]
                    if n % 3 == 0
                    else []
                ),
            ],
        }
        for n in range(14)
    ]
    (folder / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sft = {"source": str(folder / "chat.jsonl"), "epochs": 2, "batch_size": 5, "lr": 3e-3}
    tree = {"sft": sft, "run": {"save_every": 2, "reward_workers": 1}, "sampling": {"max_tokens": 8}, **changes}
    return runs.settings(folder, model, **tree)


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path) -> Config:
    return settings(tmp_path, tiny_model)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Config, Path]:
    """A run that was never stopped, evaluated every two steps."""
    folder = tmp_path_factory.mktemp("tuned")
    config = settings(folder, tiny_model)
    tune(config, folder / "run")
    return config, folder / "run"


def steps_of(path: Path) -> list[dict[str, Any]]:
    return [row for row in runs.rows(path / "metrics.jsonl") if "sft/loss" in row]


def test_a_run_leaves_its_settings_metrics_models_evaluations_and_report(whole: tuple[Config, Path]) -> None:
    _, path = whole
    rows = steps_of(path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["sft/examples"] for row in rows] == [5, 5, 5, 5, 5, 3]
    assert rows[-1]["sft/epoch"] == 2
    assert rows[-1]["sft/loss"] < rows[0]["sft/loss"]
    assert all(row["tokens/learned"] < row["tokens/shown"] and 0 <= row["update/padded"] < 1 for row in rows)
    assert {p.name for p in (path / "checkpoints").iterdir()} >= {"step-4", "step-6"}
    assert {p.name for p in (path / "eval").iterdir()} == {"before", "step-2", "step-4", "after"}
    assert load_config(str(path / "config.toml")).sft.epochs == 2
    report = (path / "report.html").read_text()
    assert "Loss, nats per token" in report and "Learning rate" in report
    assert "Useful groups" not in report and "Entropy" not in report


def test_each_epoch_shows_every_token_once(whole: tuple[Config, Path]) -> None:
    rows = steps_of(whole[1])
    state = json.loads((whole[1] / "checkpoints" / "step-6" / "trainer" / "state.json").read_text())
    shown = sum(row["tokens/shown"] for row in rows)
    assert (state["drawn"], state["tokens"]) == (28, shown)
    answers = 2 * sum(len("<answer>") - 7 + 3 for _ in range(14))  # <answer>, a number, </answer>, the end: 4 tokens
    assert answers == 2 * 14 * 4
    assert sum(row["tokens/learned"] for row in rows) == answers + 2 * 5 * len(["y", "e", "s", "<|im_end|>"])


def test_a_checkpoint_opens_with_from_pretrained(whole: tuple[Config, Path]) -> None:
    place = whole[1] / "checkpoints" / "step-6"
    model = AutoModelForCausalLM.from_pretrained(place)
    stored = load_file(place / "model.safetensors")
    assert torch.equal(model.state_dict()["model.norm.weight"], stored["model.norm.weight"])


def test_a_teacher_of_the_recipe_has_no_part_in_it(whole: tuple[Config, Path], tmp_path: Path) -> None:
    """What learns is the text, by its log-probabilities; a divergence in their place would be another loss."""
    config, path = whole
    once: dict[str, Any] = {"sft": {"steps": 1, "epochs": None}, "eval": {"source": None, "every": 0}}
    teacher = {"teacher": config.model.name, "mode": "full"}
    tune(config.with_changes(**once, distill=teacher), tmp_path / "run")
    assert steps_of(tmp_path / "run")[0]["sft/loss"] == steps_of(path)[0]["sft/loss"]


# --- Interruptions ------------------------------------------------------------------------------------------------


def assert_same_run(path: Path, other: Path) -> None:
    """Metrics, evaluations, every byte of the model, and every number that the optimizer keeps."""
    assert runs.rows(path / "metrics.jsonl") == runs.rows(other / "metrics.jsonl")
    one, two = (place / "checkpoints" / "step-6" for place in (path, other))
    for name in ("model.safetensors", "config.json", "tokenizer.json", "trainer/state.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    (ours,), (theirs,) = (list((place / "trainer" / "optimizer").glob("*.safetensors")) for place in (one, two))
    kept, others = load_file(ours), load_file(theirs)
    assert kept.keys() == others.keys() and all(torch.equal(kept[name], others[name]) for name in kept)
    results = [json.loads((place / "eval" / "after" / "results.json").read_text()) for place in (path, other)]
    assert results[0]["solved"] == results[1]["solved"]


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "where", ["row@3", "checkpoint@6", pytest.param("row@6", marks=slow), pytest.param("checkpoint@2", marks=slow)]
)
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(
    whole: tuple[Config, Path], tmp_path: Path, where: str
) -> None:
    config, uninterrupted = whole
    command = [sys.executable, "-m", "tests.runs", config.to_toml(), str(tmp_path / "run"), where, "tune"]
    killed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    tune(config, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("at", [0, 2, 6])
def test_an_evaluation_that_was_interrupted_is_made_up_for(whole: tuple[Config, Path], tmp_path: Path, at: int) -> None:
    config, uninterrupted = whole

    def interrupt(engine: engines.Wrapped, is_evaluation: bool) -> None:
        if engine.step == at:
            os.kill(os.getpid(), signal.SIGTERM)

    interrupted = engines.opening(partial(engines.Calling, before=interrupt))
    with pytest.raises(Interrupted, match=f"step {at} is saved" if at else "no step was finished"):
        tune(config, tmp_path / "run", open_engine=interrupted)
    tune(config, tmp_path / "run", resume=True)
    tune(config, tmp_path / "run", resume=True)  # nothing is left to do, and nothing is done
    assert_same_run(tmp_path / "run", uninterrupted)


def test_other_examples_than_a_run_began_with_are_refused(config: Config, tmp_path: Path) -> None:
    few = config.with_changes(sft={"epochs": None, "steps": 2}, eval={"source": None, "every": 0})
    tune(few, tmp_path / "run")
    with (tmp_path / "chat.jsonl").open("a") as file:
        row = {"messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]}
        file.write(json.dumps(row) + "\n")
    with pytest.raises(CheckpointError, match=r"step-2: was made from other examples than sft.source has now"):
        tune(few, tmp_path / "run", resume=True)


def test_other_settings_of_fine_tuning_are_refused_and_others_may_change(whole: tuple[Config, Path]) -> None:
    config, path = whole
    with pytest.raises(CheckpointError, match=r"sft\.lr: 0\.003 in the run, 0\.5 given"):
        tune(config.with_changes(sft={"lr": 0.5}), path, resume=True)
    with pytest.raises(CheckpointError, match="already holds a run"):
        tune(config, path)
    tune(config.with_changes(run={"keep": 1}), path, resume=True)


def test_weights_that_never_arrive_are_noticed_before_their_evaluation_is_written(
    config: Config, tmp_path: Path
) -> None:
    forgetful = engines.with_sampler(engines.ForgetfulSampler)
    with pytest.raises(SamplerError, match="did not take the weights of step 2"):
        tune(config, tmp_path / "run", open_engine=forgetful)
    assert {p.name for p in (tmp_path / "run" / "eval").iterdir()} == {"before"}


def test_gradients_that_are_not_finite_stop_the_run_at_its_last_checkpoint(config: Config, tmp_path: Path) -> None:
    class Late(engines.WithoutNumbers):
        def update(self, *arguments: Any) -> Any:
            self.updates = getattr(self, "updates", 0) + 1
            return super().update(*arguments) if self.updates == 4 else self.inner.update(*arguments)

    with pytest.raises(LearningError, match=r"sft: gradients of step 4 are not finite \(loss nan\); lower sft.lr"):
        tune(config, tmp_path / "run", open_engine=engines.opening(Late))
    assert checkpoints.latest(tmp_path / "run" / "checkpoints") == tmp_path / "run" / "checkpoints" / "step-2"


# --- With less, and with more -------------------------------------------------------------------------------------


def test_without_held_out_problems_nobody_samples_and_nothing_is_scored(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("this was not to be opened")

    monkeypatch.setattr("grpo.engines.open_sampler", refuse)
    monkeypatch.setattr("grpo.assemble.open_scorer", refuse)
    tune(config.with_changes(eval={"source": None, "every": 0}), tmp_path / "run")
    assert not (tmp_path / "run" / "eval").exists()
    assert len(steps_of(tmp_path / "run")) == STEPS
    said = capsys.readouterr().out
    assert "examples: 14, " in said and ", 6 steps" in said
    assert "nats per token of the assistant" in (tmp_path / "run" / "report.html").read_text()


def test_a_dry_run_takes_two_steps_and_leaves_nothing(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tune(config, tmp_path / "run", dry_run=True)
    assert not (tmp_path / "run").exists()
    said = capsys.readouterr().out
    assert "dry run: loss " in said and "evaluations, start and checkpoints come on top; nothing was kept" in said


def test_an_adapter_is_learned_and_gone_on_with(config: Config, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    adapted = config.with_changes(model={"lora_rank": 4}, eval={"source": None, "every": 0})
    tune(adapted, tmp_path / "whole")
    place = Path("checkpoints", "step-6", "adapter_model.safetensors")

    class Stops(engines.Wrapped):
        def update(self, *arguments: Any) -> Any:
            os.kill(os.getpid(), signal.SIGTERM)
            return self.inner.update(*arguments)

    with pytest.raises(Interrupted, match="step 1 is saved"):
        tune(adapted, tmp_path / "run", open_engine=engines.opening(Stops))
    tune(adapted, tmp_path / "run", resume=True)
    ours, theirs = (load_file(tmp_path / run / place) for run in ("run", "whole"))  # the header's order is PEFT's own
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
def test_two_learners_come_to_what_one_comes_to(whole: tuple[Config, Path], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    config, alone = whole
    tune(config.with_changes(cluster={"learners": 2, "samplers": 1, "timeout": 300.0}), tmp_path / "run")
    ours, theirs = ([row["sft/loss"] for row in steps_of(path)] for path in (tmp_path / "run", alone))
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert {p.name for p in (tmp_path / "run" / "eval").iterdir()} == {"before", "step-2", "step-4", "after"}


def test_the_built_in_model_is_made_in_the_run_folder(config: Config, tmp_path: Path) -> None:
    one = {"sft": {"epochs": None, "steps": 1}, "eval": {"source": None, "every": 0}}
    tune(config.with_changes(model={"name": "builtin:tiny"}, **one), tmp_path / "run")
    assert (tmp_path / "run" / "model" / "config.json").exists()


def test_an_example_that_is_too_long_is_said_before_a_model_is_opened(config: Config, tmp_path: Path) -> None:
    with (tmp_path / "chat.jsonl").open("a") as file:
        row = {
            "id": "long",
            "messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "x" * 300}],
        }
        file.write(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"example long: prompt and target are 30\d tokens, more than the model's"):
        tune(config, tmp_path / "run")


def test_nothing_to_do_is_said(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sft.steps = 0: nothing to do"):
        tune(config.with_changes(sft={"epochs": None}), tmp_path / "run")


def test_a_control_of_what_reads_no_rewards_is_refused(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fine-tuning reads no rewards"):
        tune(config.with_changes(run={"control": "random-reward"}), tmp_path / "run")
