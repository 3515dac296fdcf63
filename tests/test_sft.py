"""Fine-tuning shows a model what to write: its loss is the mean over target tokens, and it learns them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from grpo.assemble import ModelFiles, open_model
from grpo.config import Config, Optim, Sft
from grpo.errors import ConfigError, DataError, LearningError
from grpo.learning.loading import load_model
from grpo.learning.policy import Policy
from grpo.memory import Machine
from grpo.problems import Example
from grpo.sft import (
    Schedule,
    batch_of,
    cross_entropy,
    digest,
    fine_tune,
    load_examples,
    open_learner,
    warmup_cosine,
)

AS_SHOWN: dict[str, Any] = {"temperature": 1.0, "gradient_checkpointing": False}


@pytest.fixture
def examples(tmp_path) -> Path:
    path = tmp_path / "worked.jsonl"
    rows = [{"problem": f"{n}+1", "answer": str(n + 1), "solution": f"<answer>{n + 1}</answer>"} for n in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config(source: object, model: object = "m", **changes) -> Config:
    settings = {"source": str(source), "steps": 20, "batch_size": 4, "lr": 3e-3, **changes}
    return Config(model={"name": str(model)}, data={"source": str(source)}, sft=settings)


def loaded(config: Config, files: ModelFiles) -> list[Example]:
    return load_examples(config.data, config.sft, files, lambda said: None)


def tuned(config: Config, model: Path, target: Path, **options: Any) -> ModelFiles:
    """`model`, fine-tuned as `config` says; `options` replace what fine_tune is given."""
    files = open_model(str(model))
    given = {"policy": None, "seed": 0, "shown": lambda step, loss: None, **options}
    schedule = Schedule(config.sft, loaded(config, files), given["seed"])
    policy = given["policy"] or open_learner(config, files, schedule.examples)
    return fine_tune(schedule, policy, files, target, shown=given["shown"])


# --- Examples -----------------------------------------------------------------------------------------------------


def test_an_example_is_the_prompt_the_target_and_the_end_token(examples, tiny_model):
    files = open_model(str(tiny_model))
    found = loaded(config(examples), files)
    tokenizer = files.tokenizer
    assert [tokenizer.decode(example.tokens.tolist()) for example in found] == [
        f"<answer>{n + 1}</answer>{tokenizer.eos_token}" for n in range(4)
    ]
    assert tokenizer.decode(found[0].prompt.tolist()) == tokenizer.apply_chat_template(
        [{"role": "user", "content": "0+1"}], add_generation_prompt=True, tokenize=False
    )


def test_an_example_that_does_not_fit_the_model_is_refused_with_its_name(tmp_path, tiny_model):
    path = tmp_path / "long.jsonl"
    rows = [{"problem": "1+1", "answer": "2", "solution": "2"}, {"problem": "?", "answer": "2", "solution": "x" * 999}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(
        DataError, match=r"example long/1: prompt and target are 10\d\d tokens, .* context of 256 \(1 of 2"
    ):
        loaded(config(path), open_model(str(tiny_model)))


def test_half_a_surrogate_pair_is_nothing_that_a_model_could_write(tmp_path, tiny_model):
    path = tmp_path / "half.jsonl"
    path.write_text('{"problem": "1+1", "answer": "2", "solution": "\\ud83d"}\n')
    with pytest.raises(DataError, match=r"half.jsonl: solution of half/0 has half of a surrogate pair in it"):
        loaded(config(path), open_model(str(tiny_model)))


def test_without_worked_examples_there_is_nothing_to_learn_from(examples, tiny_model):
    settings = config(examples).with_changes(sft={"source": None})
    with pytest.raises(ConfigError, match=r"sft.source is not set; name the worked examples"):
        loaded(settings, open_model(str(tiny_model)))


# --- Loss ---------------------------------------------------------------------------------------------------------

pieces = st.lists(st.integers(3, 50), min_size=1, max_size=6).map(tuple)


made = st.builds(Example.of, st.just("?"), pieces, pieces)


@given(st.lists(made, min_size=1, max_size=5))
def test_every_target_token_weighs_the_same_and_all_together_one(examples):
    batch = batch_of(examples)
    weights = batch.targets.weights_BT[batch.targets.mask_BT]
    assert len(weights) == batch.n_tokens == sum(len(example.tokens) for example in examples)
    assert torch.allclose(weights, weights[0])
    assert float(weights.sum()) == pytest.approx(1)


def test_the_loss_of_fine_tuning_is_the_mean_over_target_tokens():
    batch = batch_of([Example.of("a", (1,), (2, 3, 4)), Example.of("b", (1,), (5,))])
    logprobs_BT = torch.where(batch.targets.mask_BT, -2.0, -1000.0)
    logprobs_BT[0, 0] = -6.0
    assert float(cross_entropy(logprobs_BT, batch.targets).loss) == pytest.approx((6 + 2 + 2 + 2) / 4)
    assert batch.targets.per_token == {}  # nobody invents values to fill a field


@given(st.lists(made, min_size=1, max_size=4), st.data())
def test_the_assistants_tokens_weigh_the_same_and_those_between_nothing(examples, data):
    masks = [
        data.draw(st.lists(st.booleans(), min_size=len(e.tokens) - 1, max_size=len(e.tokens) - 1)) for e in examples
    ]
    examples = [
        Example(e.id, e.prompt, e.tokens, np.array([*mask, True])) for e, mask in zip(examples, masks, strict=True)
    ]
    batch = batch_of(examples)
    assert batch.n_tokens == sum(int(example.learned.sum()) for example in examples)
    assert torch.equal(batch.targets.weights_BT > 0, batch.targets.mask_BT)
    assert float(batch.targets.weights_BT.sum()) == pytest.approx(1)


def with_a_question_between() -> list[Example]:
    learned = np.array([True, True, False, False, True])
    return [
        Example("a", np.array([7, 8], np.int32), np.array([9, 10, 11, 12, 13], np.int32), learned),
        Example.of("b", (7, 8, 9, 10), (20, 21)),
        Example.of("c", (5,), (30, 31, 32)),
    ]


def test_the_loss_and_its_gradient_are_transformers_cross_entropy_over_the_assistants_tokens(tiny_model):
    examples = with_a_question_between()
    policy = Policy(load_model(str(tiny_model), None, dtype="float32", device="cpu"), Optim(), **AS_SHOWN)
    totals = policy.forward_backward(batch_of(examples), cross_entropy)
    ours = policy.optimizer.take_gradients()
    model = load_model(str(tiny_model), None, dtype="float32", device="cpu")
    learned = sum(int(example.learned.sum()) for example in examples)
    loss = 0.0
    for example in examples:  # each by itself: no padding, nothing packed
        ids = torch.tensor(np.concatenate([example.prompt, example.tokens])).long()
        labels = torch.where(torch.tensor([*[False] * len(example.prompt), *example.learned]), ids, -100)
        part = model(input_ids=ids[None], labels=labels[None], num_items_in_batch=learned).loss
        part.backward()
        loss += float(part.detach())
    assert totals["loss"] == pytest.approx(loss, abs=1e-6)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(ours[name], weight.grad, atol=1e-6, rtol=1e-4)


def test_nothing_is_learned_from_what_the_user_says(tiny_model):
    """The gradient of the loss with respect to the log-probability of each token: zero but for the assistant's."""
    batch = batch_of(with_a_question_between())
    logprobs_BT = torch.zeros(batch.targets.mask_BT.shape, requires_grad=True)
    cross_entropy(logprobs_BT, batch.targets).loss.backward()
    assert torch.equal(logprobs_BT.grad != 0, batch.targets.mask_BT)


def test_examples_that_are_packed_together_do_not_see_each_other(tiny_model):
    policy = Policy(load_model(str(tiny_model), None, dtype="float32", device="cpu"), Optim(), **AS_SHOWN)
    assert not policy.computation.fallback
    examples = with_a_question_between()
    together = policy.logprobs(batch_of(examples).sequences)
    for row, example in enumerate(examples):
        alone = policy.logprobs(batch_of([example]).sequences)
        torch.testing.assert_close(together[row, : len(example.tokens)], alone[0], atol=1e-5, rtol=0)


# --- Which examples, and when -------------------------------------------------------------------------------------


def schedule(count: int, seed: int = 0, **settings: Any) -> Schedule:
    examples = [Example.of(str(n), (1,), (2,)) for n in range(count)]
    return Schedule(Sft(source="x", **settings), examples, seed)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 4), st.integers(0, 3))
def test_every_epoch_shows_each_example_once_in_an_order_of_its_own(count, batch_size, epochs, seed):
    shown = schedule(count, seed, epochs=epochs, batch_size=batch_size)
    batches = [[example.id for example in shown.batch(step)] for step in range(shown.steps)]
    assert all(len(batch) == batch_size for batch in batches[:-1]) and 0 < len(batches[-1]) <= batch_size
    order = [id for batch in batches for id in batch]
    parts = [order[start : start + count] for start in range(0, len(order), count)]
    assert len(parts) == epochs and all(sorted(part) == sorted(parts[0]) for part in parts)
    assert len(set(parts[0])) == count
    assert shown.drawn(shown.steps) == epochs * count


def test_a_number_of_steps_goes_on_from_epoch_to_epoch():
    shown = schedule(5, steps=4, batch_size=3)
    assert [len(shown.batch(step)) for step in range(4)] == [3, 3, 3, 3]
    assert shown.lr(2) == pytest.approx(shown.settings.lr * warmup_cosine(2, 4))


@given(st.lists(made, min_size=1, max_size=3))
def test_other_examples_have_another_digest(examples):
    same = [Example(e.id, e.prompt.copy(), e.tokens.copy(), e.learned.copy()) for e in examples]
    assert digest(examples) == digest(same)
    first = examples[0]
    moved = Example.of("?", [*first.prompt, first.tokens[0]], [*first.tokens[1:], 3])
    assert digest([moved, *examples[1:]]) != digest(examples)


# --- Learning rate ------------------------------------------------------------------------------------------------


@given(st.integers(1, 1000), st.data())
def test_the_learning_rate_of_fine_tuning_is_a_share_of_its_peak_and_never_zero(steps, data):
    step = data.draw(st.integers(0, steps - 1))
    assert 0 < warmup_cosine(step, steps) <= 1


@given(st.integers(20, 1000))
def test_the_learning_rate_of_fine_tuning_rises_over_a_tenth_and_falls_to_a_tenth(steps):
    shares = [warmup_cosine(step, steps) for step in range(steps)]
    peak = steps // 10
    assert shares[: peak + 1] == sorted(shares[: peak + 1])
    assert shares[peak:] == sorted(shares[peak:], reverse=True)
    assert shares[peak] == 1
    assert warmup_cosine(steps, steps) == pytest.approx(0.1)


def test_the_learning_rate_of_fine_tuning_by_hand():
    # 20 steps: 2 of warm-up; half-way down after 9 of 18: 0.1 + 0.45.
    assert [warmup_cosine(step, 20) for step in (0, 1, 2, 11)] == pytest.approx([0.5, 1, 1, 0.55])


# --- Fine-tuning --------------------------------------------------------------------------------------------------


def test_a_model_learns_what_it_is_shown_and_opens_elsewhere(examples, tiny_model, tmp_path):
    shown = []
    files = tuned(config(examples, steps=40), tiny_model, tmp_path / "tuned", shown=lambda *s: shown.append(s))
    assert [step for step, _ in shown] == list(range(1, 41))
    assert shown[-1][1] < 0.3 * shown[0][1]
    rows = [json.loads(line) for line in (tmp_path / "tuned" / "losses.jsonl").read_text().splitlines()]
    assert [(row["step"], row["sft/loss"]) for row in rows] == shown
    tokenizer = AutoTokenizer.from_pretrained(files.name)
    model = AutoModelForCausalLM.from_pretrained(files.name)
    assert tokenizer.eos_token_id == model.config.eos_token_id
    assert files.context == 256


def test_a_model_is_shown_examples_at_temperature_one_whatever_it_will_be_sampled_with(examples, tiny_model):
    settings = config(examples, tiny_model).with_changes(sampling={"temperature": 0.6})
    files = open_model(str(tiny_model))
    assert open_learner(settings, files, loaded(settings, files)).temperature == 1.0


def test_fine_tuning_settles_sizes_of_its_own_and_refuses_what_cannot_fit(examples, tiny_model, monkeypatch):
    settings, files = config(examples, tiny_model), open_model(str(tiny_model))
    shown = loaded(settings, files)
    without = open_learner(settings, files, shown)
    monkeypatch.setattr("grpo.sft.this_machine", lambda place, learners: Machine(2.01))
    assert (without.checkpointing, open_learner(settings, files, shown).checkpointing) == (False, True)
    monkeypatch.setattr("grpo.sft.this_machine", lambda place, learners: Machine(1.0))
    with pytest.raises(
        ConfigError, match=r"^sft: the run may need at most about .* GiB of 1\.0 on the machine: .*; take a"
    ):
        open_learner(settings, files, shown)


def test_the_same_seed_gives_the_same_model_and_another_seed_another(examples, tiny_model, tmp_path):
    def weights(name: str, seed: int) -> dict[str, torch.Tensor]:
        files = tuned(config(examples, steps=3, batch_size=2), tiny_model, tmp_path / name, seed=seed)
        return dict(load_model(files.name, None, dtype="float32", device="cpu").named_parameters())

    one, two, three = weights("one", 0), weights("two", 0), weights("three", 1)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], three[name]) for name in one)  # other examples came first


class Broken:
    """A policy whose gradients are not finite."""

    def forward_backward(self, batch, loss):
        return {"loss": math.nan}

    def optim_step(self, lr):
        return math.nan


def test_gradients_that_are_not_finite_stop_fine_tuning_and_leave_nothing(examples, tiny_model, tmp_path):
    with pytest.raises(
        LearningError, match=r"sft: gradients of step 1 are not finite \(loss nan\); lower sft.lr = 0.003"
    ):
        tuned(config(examples), tiny_model, tmp_path / "tuned", policy=Broken())
    assert not (tmp_path / "tuned").exists()
