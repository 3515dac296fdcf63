"""The largest micro-batch, rehearsed: as large as any can be, without a trace, and what does not fit gives way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from grpo import engines
from grpo.config import Optim
from grpo.config_file import load_config
from grpo.engine.local import LocalEngine
from grpo.errors import LearningError, OutOfMemory
from grpo.learning import rehearsal
from grpo.learning.batch import Sequences, Terms
from grpo.learning.policy import Policy
from grpo.learning.rehearsal import Seen, Worst, largest
from grpo.train import train
from tests import runs
from tests.batches import Row, collate
from tests.fakes import FakeSampler
from tests.tiny import make_model

WORST = Worst(prompt=5, completion=20, least_tokens=32, may_checkpoint=True)


def made(**optim: Any) -> Policy:
    return Policy(make_model(True), Optim(**optim), temperature=1.0, gradient_checkpointing=False)


BODY = made().computation.body


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 400), st.integers(1, 3))
def test_it_is_as_large_as_any_micro_batch_can_be(prompt: int, completion: int, tokens: int, groups: int) -> None:
    batch = largest(Worst(prompt, completion, 1, False), tokens, vocabulary=90, groups=groups)
    sequences = batch.sequences
    assert max(sequences.lengths) == completion and len(set(sequences.prompts)) == groups
    first = next(iter(BODY.microbatches(sequences, tokens)))
    computed = BODY.tokens(sequences, first)
    row = prompt + completion - 1
    assert computed == (max(tokens, row) if completion > 1 else row)
    assert len(list(BODY.microbatches(sequences, max(tokens, row)))) <= groups


def test_it_leaves_no_trace() -> None:
    rehearsed, other = made(), made()
    drawn = torch.get_rng_state()
    seen = rehearsed.rehearse(WORST)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert seen == Seen(2048, False, 0.0)  # a CPU's memory is not measured
    batch = collate([Row((5, 6), (7, 8, 9), (-1.0,) * 3, 1.0, 0.1)])
    norms = []
    for policy in (rehearsed, other):
        policy.forward_backward(batch, lambda logprobs_BT, targets: Terms(-logprobs_BT.sum()))
        norms.append(policy.optim_step(0.1))
    assert norms[0] == norms[1]
    assert all(torch.equal(a, b) for a, b in zip(rehearsed.model.parameters(), other.model.parameters(), strict=True))


def test_the_moments_are_there_while_it_is_measured() -> None:
    policy = made()
    seen = []
    policy.forward_backward = lambda batch, loss: seen.append(len(policy.optimizer.kept._moments))  # type: ignore[method-assign]
    policy.rehearse(WORST)
    assert seen == [len(list(policy.model.parameters()))]


# --- What does not fit --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Small:
    """A body on a device that holds `most` tokens of a micro-batch, and four times as many with checkpointing."""

    inner: Any
    model: Any
    most: int
    tried: list[int]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def hidden_states(self, rows: Sequences, device: torch.device) -> tuple[Tensor, int, int]:
        found: tuple[Tensor, int, int] = self.inner.hidden_states(rows, device)
        self.tried.append(found[1] - found[2])
        if self.tried[-1] > self.most * (4 if self.model.is_gradient_checkpointing else 1):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return found


def on_a_small_device(policy: Policy, most: int) -> list[int]:
    """The tokens that were tried, in turn."""
    tried: list[int] = []
    policy.computation = replace(policy.computation, body=Small(policy.computation.body, policy.model, most, tried))
    return tried


def test_tokens_give_way_first_and_then_checkpointing() -> None:
    policy = made(tokens_per_microbatch=256)
    tried = on_a_small_device(policy, 100)
    assert policy.rehearse(WORST) == Seen(64, False, 0.0)
    assert tried == [256, 128, 64]
    assert policy.tokens_per_microbatch == 64
    policy = made(tokens_per_microbatch=256)
    tried = on_a_small_device(policy, 20)
    assert policy.rehearse(WORST) == Seen(32, True, 0.0)
    assert tried == [256, 128, 64, 32, 32]
    assert policy.checkpointing and policy.model.is_gradient_checkpointing


def test_nothing_is_left_of_what_was_tried_in_vain() -> None:
    policy = made(tokens_per_microbatch=64)
    on_a_small_device(policy, 40)
    policy.rehearse(WORST)
    assert not policy.optimizer.take_gradients()


def test_what_is_set_by_hand_does_not_give_way_and_is_refused_with_what_to_set() -> None:
    policy = made(tokens_per_microbatch=256)
    tried = on_a_small_device(policy, 100)
    with pytest.raises(OutOfMemory, match=r"^out of memory with 14 rows of up to 20 new tokens at a time; ") as raised:
        policy.rehearse(Worst(5, 20, least_tokens=256, may_checkpoint=False))
    assert str(raised.value).endswith(
        "; lower optim.tokens_per_microbatch = 256, or set model.gradient_checkpointing = true, or set optim.offload = "
        "true"
    )
    assert tried == [256]


def test_fewer_tokens_than_the_longest_row_are_not_tried() -> None:
    policy = made(tokens_per_microbatch=256)
    tried = on_a_small_device(policy, 100)
    policy.rehearse(Worst(120, 20, least_tokens=32, may_checkpoint=True))
    assert tried == [256, 139, 139]  # 128 tokens are a row alone; then with checkpointing


def test_ranks_wait_for_each_other_and_never_give_way() -> None:
    policy = made(tokens_per_microbatch=256)
    tried = on_a_small_device(policy, 100)
    policy.ranks.size = 2  # type: ignore[misc]
    with pytest.raises(OutOfMemory):
        policy.rehearse(WORST)
    assert len(tried) == 1


# --- In a run -----------------------------------------------------------------------------------------------------


@pytest.fixture
def rehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "ON", {"cpu"})


def run(folder: Path, model: Path, **changes: dict[str, Any]) -> Callable[..., None]:
    runs.write_inputs(folder)
    return partial(train, runs.settings(folder, model, **{"run": {"steps": 2}, "eval": {"every": 0}, **changes}))


def test_a_run_is_the_same_to_the_last_bit_with_a_rehearsal_and_says_so(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = run(tmp_path, tiny_model)
    start(tmp_path / "without")
    assert "rehearsed" not in capsys.readouterr().out
    monkeypatch.setattr(rehearsal, "ON", {"cpu"})
    start(tmp_path / "with")
    said = capsys.readouterr().out
    assert "rehearsed: the largest micro-batch, 2,048 tokens at a time, no gradient checkpointing, took 0.0 GiB" in said
    for name in ("metrics.jsonl", "samples.jsonl"):
        assert runs.rows(tmp_path / "with" / name) == runs.rows(tmp_path / "without" / name)


@pytest.mark.usefixtures("rehearsed")
def test_what_gave_way_is_written_down_and_kept(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class SmallPolicy(Policy):
        def rehearse(self, worst: Worst) -> Seen:
            on_a_small_device(self, 1100)
            return super().rehearse(replace(worst, least_tokens=512))

    monkeypatch.setattr(engines, "Policy", SmallPolicy)
    run(tmp_path, tiny_model)(tmp_path / "run")
    assert "warning: sizes: the largest micro-batch did not fit" in capsys.readouterr().out
    assert load_config(str(tmp_path / "run" / "config.toml")).optim.tokens == 1024
    monkeypatch.undo()
    run(tmp_path, tiny_model, run={"steps": 3})(tmp_path / "run", resume=True)
    assert "sizes: 1,024 tokens at a time" in capsys.readouterr().out


@pytest.mark.usefixtures("rehearsed")
def test_a_run_that_does_not_fit_ends_before_it_samples(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SmallPolicy(Policy):
        def rehearse(self, worst: Worst) -> Seen:
            on_a_small_device(self, 100)
            return super().rehearse(worst)

    monkeypatch.setattr(engines, "Policy", SmallPolicy)
    by_hand = run(tmp_path, tiny_model, optim={"tokens_per_microbatch": 4096})
    with pytest.raises(LearningError, match=r"out of memory .* lower optim\.tokens_per_microbatch = 4096, or set opt"):
        by_hand(tmp_path / "run")
    assert not (tmp_path / "run" / "samples.jsonl").exists()


def test_the_sampler_sleeps_meanwhile_and_wakes_for_the_first_weights() -> None:
    sampler = FakeSampler(lambda problem, g, seed: "1")
    policy = made()
    calls: list[list[str]] = []
    policy.rehearse = lambda worst: calls.append(list(sampler.calls))  # type: ignore[method-assign, assignment, func-returns-value]
    engine = LocalEngine(engines.Models(policy, {}), sampler, None, tolerance=1.0)  # type: ignore[arg-type]
    engine.rehearse(WORST)
    engine.load(0)
    assert calls == [["sleep"]] and sampler.calls == ["sleep", "wake"] and sampler.loaded == [0]
