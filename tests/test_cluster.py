"""Runs on a Ray cluster of this machine: the run of one process, whatever happens to those who make it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from grpo import assemble, engines
from grpo.config import Config
from grpo.engine import Update
from grpo.errors import LearnerLost, SamplerError
from grpo.learning import rehearsal
from grpo.learning.batch import Batch, Loss, Terms
from grpo.learning.rehearsal import Seen, Worst
from grpo.train import train
from grpo.types import Group, Prompt, SamplingParams
from tests import runs, tiny
from tests.batches import Row, collate
from tests.engines import Wrapped, opening

ray = pytest.importorskip("ray")

from grpo.cluster.actors import Actor  # noqa: E402
from grpo.cluster.engine import RayEngine  # noqa: E402
from grpo.cluster.runtime import connected  # noqa: E402

STEPS = 4


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One for all tests here: whoever asks for a cluster in this process finds this one."""
    with connected("local"):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster")
    runs.write_inputs(folder)
    tiny.save_model(folder / "model")
    return folder


def settings(folder: Path, learners: int, samplers: int, **changes: dict[str, Any]) -> Config:
    own: dict[str, dict[str, Any]] = {
        "data": {"source": str(folder / "problems.jsonl"), "chat": False, "template": "{problem}="},
        "cluster": {"address": "local", "learners": learners, "samplers": samplers},
        "optim": {"updates_per_step": 1},
        "eval": {"source": None, "every": 0},
        "run": {"steps": STEPS, "save_every": 2, "keep": 9, "reward_workers": 1},
    }
    for group, values in changes.items():
        own[group] = {**own.get(group, {}), **values}
    return runs.settings(folder, folder / "model", **own)


def metrics(run: Path) -> list[dict[str, Any]]:
    """A step's numbers, without those about actors."""
    of_actors = ("learners/", "samplers/", "rollout/")
    rows = runs.rows(run / "metrics.jsonl")
    return [{name: value for name, value in row.items() if not name.startswith(of_actors)} for row in rows]


def drawn(run: Path) -> list[tuple[Any, ...]]:
    return [(row["step"], row["problem"], row["completion"]) for row in runs.completions(run)]


def close(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """Whether losses and gradients are the same but for the order in which they were added up."""
    names = ("policy/loss", "policy/grad_norm", "reward/mean")
    pairs = [(a[name], b[name]) for a, b in zip(found, expected, strict=True) for name in names]
    return all(a == pytest.approx(b, rel=1e-5, abs=1e-6) for a, b in pairs)


@pytest.fixture(scope="module")
def calm(folder: Path) -> Path:
    """A run with two learners and two samplers, to whom nothing happens."""
    train(settings(folder, 2, 2), folder / "calm")
    return folder / "calm"


# --- The run on a cluster is the run on the laptop ------------------------------------------------------------------


def test_one_learner_and_one_sampler_make_the_run_of_one_process_bit_for_bit(folder: Path) -> None:
    train(settings(folder, 0, 0), folder / "alone")
    train(settings(folder, 1, 1), folder / "one-and-one")
    assert metrics(folder / "one-and-one") == metrics(folder / "alone")
    assert drawn(folder / "one-and-one") == drawn(folder / "alone")


@pytest.mark.parametrize("learners", [1, 3])
def test_a_run_goes_on_from_its_checkpoint_on_another_number_of_learners(
    folder: Path, calm: Path, learners: int
) -> None:
    run = folder / f"resumed-on-{learners}"
    shutil.copytree(calm, run)
    shutil.rmtree(run / "checkpoints" / f"step-{STEPS}")
    train(settings(folder, learners, 2), run, resume=True)
    assert drawn(run) == drawn(calm)
    assert metrics(run)[:2] == metrics(calm)[:2]  # as they were
    assert close(metrics(run), metrics(calm))


def test_an_adapter_learns_on_a_cluster_what_it_learns_in_one_process(folder: Path) -> None:
    adapter = {"name": str(folder / "model"), "lora_rank": 2}
    train(settings(folder, 0, 0, model=adapter, objective={"kl_coef": 0.1}), folder / "adapter-alone")
    train(settings(folder, 2, 1, model=adapter, objective={"kl_coef": 0.1}), folder / "adapter")
    assert drawn(folder / "adapter") == drawn(folder / "adapter-alone")
    assert close(metrics(folder / "adapter"), metrics(folder / "adapter-alone"))
    from safetensors.torch import load_file

    last = f"checkpoints/step-{STEPS}/adapter_model.safetensors"
    found, expected = (load_file(folder / run / last) for run in ("adapter", "adapter-alone"))
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in expected)


# --- Somebody is lost -----------------------------------------------------------------------------------------------


class Disturbed(Wrapped):
    """Before call number n of a verb happens what `at` has for (verb, n)."""

    def __init__(self, inner: Any, step: int, at: dict[tuple[str, int], Callable[[Any], None]]) -> None:
        super().__init__(inner, step)
        self.at, self.calls = at, dict.fromkeys(("sample", "update", "publish"), 0)

    def _before(self, verb: str) -> None:
        self.calls[verb] += 1
        self.at.get((verb, self.calls[verb]), lambda engine: None)(self.inner)

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> Iterator[tuple[int, Group]]:
        self._before("sample")
        return super().sample(prompts, n, params)

    def update(self, batch: Batch, loss: Loss, lr: float) -> Update:
        self._before("update")
        return self.inner.update(batch, loss, lr)

    def publish(self, step: int) -> float:
        self._before("publish")
        return super().publish(step)


def send(number: signal.Signals, actor: Actor) -> None:
    os.kill(ray.get(actor.handle.pulse.remote()).pid, number)


def kill_sampler(engine: RayEngine) -> None:
    send(signal.SIGKILL, engine.samplers.seats[1].actor)


def freeze_sampler(engine: RayEngine) -> None:
    send(signal.SIGSTOP, engine.samplers.seats[0].actor)


def kill_learner(engine: RayEngine) -> None:
    send(signal.SIGKILL, engine.learners.actors[1])


def test_a_run_that_loses_samplers_and_a_learner_is_bit_for_bit_the_undisturbed_one(
    folder: Path, calm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = {  # the first call of each is the preflight's
        ("sample", 2): kill_sampler,  # found while step 1 is sampled
        ("update", 3): kill_learner,  # of step 3, after the checkpoint of step 2
        ("publish", 5): freeze_sampler,  # of step 4: the third was never made
    }
    config = settings(folder, 2, 2, cluster={"timeout": 8.0})
    train(config, folder / "disturbed", open_engine=opening(partial(Disturbed, at=at)))
    assert metrics(folder / "disturbed") == metrics(calm)
    assert drawn(folder / "disturbed") == drawn(calm)
    told = " ".join(capsys.readouterr().out.split())
    assert "learner 2 of 2: died during update; going on from step 2 (restart 1 of 3)" in told


def test_learners_that_are_lost_too_often_end_the_run_with_what_is_saved(folder: Path) -> None:
    config = settings(folder, 1, 1, cluster={"restarts": 0})
    lose = partial(Disturbed, at={("update", 3): lambda engine: send(signal.SIGKILL, engine.learners.actors[0])})
    with pytest.raises(LearnerLost, match="learner 1 of 1: died during update"):
        train(config, folder / "lost", open_engine=opening(lose))
    assert [row["step"] for row in metrics(folder / "lost")] == [1, 2]


def test_a_driver_that_is_killed_leaves_no_actor_behind_and_its_run_can_be_resumed(folder: Path, calm: Path) -> None:
    run, toml = folder / "killed", folder / "killed.toml"
    toml.write_text(settings(folder, 2, 2).to_toml())
    command = [sys.executable, "-c", "from grpo.cli import main; main()", "train", str(toml), "--out", str(run)]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 300
    while not list(run.glob("checkpoints/step-2/trainer")) and driver.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    relatives = psutil.Process(driver.pid).children(recursive=True)
    actors = [process for process in relatives if process.name().startswith(("ray::Learner", "ray::Sampler"))]
    assert len(actors) == 4
    driver.kill()
    driver.wait()
    _, alive = psutil.wait_procs(actors, timeout=60)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    train(settings(folder, 2, 2), run, resume=True)
    assert metrics(run) == metrics(calm)
    assert drawn(run) == drawn(calm)


def test_an_engine_that_was_not_given_the_weights_is_found_by_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = assemble.resolved(settings(folder, 2, 2))
    files = assemble.open_model(str(folder / "model"))
    monkeypatch.setattr(rehearsal, "ON", {"cpu"})
    worst = Worst(4, 8, least_tokens=64, may_checkpoint=True)
    opened = engines.open_engine(config, files, files, context=64, step=0, checkpoint=None, folder=folder, worst=worst)
    with closing(opened) as engine:
        assert isinstance(engine, RayEngine)
        assert engine.seen == Seen(2048, False, 0.0)  # all learners have rehearsed
        rows = [Row((5, 6), (7, 8, 9), (-1.0, -1.0, -1.0), advantage, 0.1) for advantage in (1.0, -1.0)]
        prompts = [runs.prompt("p0", (5, 6)), runs.prompt("p1", (7, 8))]
        list(engine.sample(prompts, 2, SamplingParams(max_tokens=4)))
        assert engine.publish(0) < 1e-4
        engine.update(collate(rows), lambda logprobs, targets: Terms(-logprobs.sum()), 0.05)
        first, second = engine.samplers.actors()
        engine._send([first], 1)
        engine._policy_scores.clear()
        groups = list(engine._sampled.values())
        assert engine._check(first, groups, 1) < 1e-4
        with pytest.raises(SamplerError, match=r"sampler 2 of 2 \(.*did not take the weights of step 1"):
            engine._check(second, groups, 1)


# --- Ahead of learning, with vLLM ------------------------------------------------------------------------------------


@pytest.mark.parametrize("staleness", [1, 4])
def test_sampling_runs_ahead_by_no_more_than_is_allowed(folder: Path, staleness: int) -> None:
    pytest.importorskip("vllm")
    run = folder / f"ahead-{staleness}"
    ahead = {"max_staleness": staleness}
    sampling = {"backend": "vllm", "gpu_memory_utilization": 0.05, "max_tokens": 24}
    train(settings(folder, 2, 2, cluster=ahead, sampling=sampling, run={"steps": 6}), run)
    rows = metrics(run)
    assert [row["step"] for row in rows] == list(range(1, 7))
    assert max(row["staleness/max"] for row in rows) <= staleness
    assert all(row["groups/sampled"] == 4 for row in rows)
    assert all(row["sync/logprob_gap"] < 1e-3 for row in rows)
    problems = [json.loads(line)["id"] for line in (folder / "problems.jsonl").read_text().splitlines()]
    asked = {problem for _, problem, _ in drawn(run)}
    assert asked == set(problems)  # 24 of 12: twice through
