"""The policy: its log-probabilities are the model's own, and no way of splitting a batch changes a gradient."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grpo.algorithm import policy_loss
from grpo.config import Objective, Optim
from grpo.learning import head
from grpo.learning.batch import Batch, Sequences, Targets, Terms
from grpo.learning.padded import Padded
from grpo.learning.policy import LanguageModel, Policy
from grpo.objectives import choose
from grpo.objectives.weights import WEIGHTS
from tests.batches import Row, collate
from tests.tiny import make_model

LOSS = partial(policy_loss, objective=choose(Objective()))


def policy(model: Any, temperature: float = 1.0, checkpointing: bool = False, **optim: Any) -> Policy:
    return Policy(model, Optim(**optim), temperature=temperature, gradient_checkpointing=checkpointing)


def ragged(n: int = 6, seed: int = 0, normalize: str = "token") -> Batch:
    """Rows with prompts of 1 to 6 tokens and completions of 1 to 9."""
    draw = random.Random(seed)
    shapes = [(draw.randint(1, 6), draw.randint(1, 9)) for _ in range(n)]
    weights = WEIGHTS[normalize]([length for _, length in shapes], 9)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(draw.randint(4, 90) for _ in range(count))

    return collate(
        [
            Row(tokens(S), tokens(T), tuple(-draw.random() for _ in range(T)), draw.uniform(-2, 2), weight)
            for (S, T), weight in zip(shapes, weights, strict=True)
        ]
    )


def plain_logprobs(model: Any, sequences: Sequences, temperature: float) -> list[list[float]]:
    """Row by row, from the model's own logits."""
    found = []
    for prompt, tokens, length in zip(sequences.prompts, sequences.tokens_BT.tolist(), sequences.lengths, strict=True):
        ids = torch.tensor([[*prompt, *tokens[:length]]])
        with torch.no_grad():
            logprobs_LV = (model(input_ids=ids).logits[0].float() / temperature).log_softmax(-1)
        found.append([float(logprobs_LV[len(prompt) + t - 1, tokens[t]]) for t in range(length)])
    return found


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_log_probabilities_are_those_of_the_models_own_logits(tied: bool, temperature: float) -> None:
    model, sequences = make_model(tied), ragged().sequences
    found_BT = policy(model, temperature, tokens_per_microbatch=20).logprobs(sequences)
    for row, expected in zip(found_BT.tolist(), plain_logprobs(model, sequences, temperature), strict=True):
        assert row[: len(expected)] == pytest.approx(expected, abs=1e-5)
        assert row[len(expected) :] == [0.0] * (len(row) - len(expected))


def test_a_policy_scores_at_temperature_one_whatever_it_samples_at() -> None:
    model, sequences = make_model(True), ragged().sequences
    completions = [row[:n] for row, n in zip(sequences.tokens_BT.tolist(), sequences.lengths, strict=True)]
    scores = policy(model, 0.3).score(list(zip(sequences.prompts, completions, strict=True)))
    for row, expected in zip(scores, plain_logprobs(model, sequences, 1.0), strict=True):
        assert row == pytest.approx(expected, abs=1e-5)


def plain_entropies(model: Any, sequences: Sequences, temperature: float) -> list[list[float]]:
    """Row by row in float64, from the model's own logits: of what each token was drawn from."""
    found = []
    for prompt, tokens, length in zip(sequences.prompts, sequences.tokens_BT.tolist(), sequences.lengths, strict=True):
        with torch.no_grad():
            logits_LV = model(input_ids=torch.tensor([[*prompt, *tokens[:length]]])).logits[0].double() / temperature
        entropies_L = torch.distributions.Categorical(logits=logits_LV).entropy()
        found.append(entropies_L[len(prompt) - 1 : -1].tolist())
    return found


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_entropies_are_those_of_the_models_own_logits(tied: bool, temperature: float) -> None:
    model, sequences = make_model(tied), ragged().sequences
    found_BT = policy(model, temperature, tokens_per_microbatch=20).entropies(sequences)
    assert found_BT.shape == sequences.tokens_BT.shape and found_BT.dtype == torch.float32
    assert not found_BT.requires_grad
    for row, expected in zip(found_BT.tolist(), plain_entropies(model, sequences, temperature), strict=True):
        assert row[: len(expected)] == pytest.approx(expected, abs=1e-4)
        assert row[len(expected) :] == [0.0] * (len(row) - len(expected))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("tile", [36, 9 * 4 * 7, 10**6])  # bytes: one column at a time, 7 of them, all
@pytest.mark.parametrize("temperature", [1.0, 0.3, 2.0])
def test_the_entropy_of_the_head_in_tiles_is_that_of_the_softmax(
    bias: bool, tile: int, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    layer, states_ND = torch.nn.Linear(16, 51, bias=bias), 8 * torch.randn(9, 16)  # from nearly sure to undecided
    states_ND[0] = 0
    monkeypatch.setattr(head, "TILE", {"cpu": tile})
    found_N = head.head_entropies(layer, states_ND, head.Projection(temperature))
    with torch.no_grad():
        probs_NV = (layer.double()(states_ND.double()) / temperature).softmax(1)
    expected_N = -(probs_NV * probs_NV.log()).sum(1)
    assert found_N.dtype == torch.float32 and not found_N.requires_grad
    assert torch.allclose(found_N.double(), expected_N, atol=1e-5)
    assert expected_N.min() < 0.5 * expected_N.max()
    if not bias:
        assert float(found_N[0]) == pytest.approx(math.log(51))  # all alike


def test_entropies_stay_finite_however_large_the_logits_are() -> None:
    layer = torch.nn.Linear(1, 4, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0], [1.0], [-1.0], [-2.0]]))
    states_ND = torch.tensor([[1e4], [-1e4]])  # two alike and the rest impossible; and one of which it is sure
    # float32 knows a logit of 10,000 to 0.001
    assert head.head_entropies(layer, states_ND, head.Projection()).tolist() == pytest.approx(
        [math.log(2), 0.0], abs=1e-3
    )


def test_an_architecture_with_more_after_the_body_falls_back_to_its_own_logits() -> None:
    class Capped(torch.nn.Module):
        """As Gemma 2: logits are squeezed into (-5, 5) after the output layer."""

        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner, self.base_model, self.config = inner, inner.base_model, inner.config
            self.get_output_embeddings = inner.get_output_embeddings

        def forward(self, input_ids: torch.Tensor, **options: Any) -> Any:
            output = self.inner(input_ids=input_ids, **options)
            output.logits = 5 * torch.tanh(output.logits / 5)
            return output

    model: Any = Capped(make_model(False))
    sequences = ragged().sequences
    found_BT = LanguageModel(model, temperature=1.0, tokens_per_microbatch=99).logprobs(sequences)
    for row, expected in zip(found_BT.tolist(), plain_logprobs(model, sequences, 1.0), strict=True):
        assert row[: len(expected)] == pytest.approx(expected, abs=1e-5)
    entropies_BT = LanguageModel(model, temperature=0.7, tokens_per_microbatch=99).entropies(sequences)
    for row, expected in zip(entropies_BT.tolist(), plain_entropies(model, sequences, 0.7), strict=True):
        assert row[: len(expected)] == pytest.approx(expected, abs=1e-5)


def gradients(batch: Batch, checkpointing: bool = False, **optim: Any) -> tuple[dict[str, float], torch.Tensor]:
    model = make_model(True)
    learner = policy(model, checkpointing=checkpointing, **optim)
    totals = learner.forward_backward(batch, LOSS)
    return totals, torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])


@settings(max_examples=10)
@given(st.integers(1, 120), st.integers(0, 5), st.sampled_from(sorted(WEIGHTS)))
def test_microbatches_of_any_size_add_up_to_the_same_loss_and_gradient(tokens: int, seed: int, normalize: str) -> None:
    batch = ragged(seed=seed, normalize=normalize)
    whole_totals, whole = gradients(batch, tokens_per_microbatch=10_000)
    split_totals, split = gradients(batch, tokens_per_microbatch=tokens)
    for totals in (whole_totals, split_totals):  # how much is computed depends on the split, what comes of it does not
        del totals["tokens/update"], totals["tokens/padding"]
    assert split_totals == pytest.approx(whole_totals, rel=1e-4, abs=1e-5)
    assert float((split - whole).norm() / whole.norm()) < 1e-5


def test_a_longer_neighbour_changes_nothing_for_a_row() -> None:
    sequences = ragged().sequences
    alone = policy(make_model(True)).logprobs(sequences.rows([0]))
    together = policy(make_model(True)).logprobs(sequences)
    assert torch.allclose(alone[0], together[0, : alone.shape[1]], atol=1e-5)


def test_gradient_checkpointing_and_chunked_logits_change_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    _, plain = gradients(ragged())
    _, checkpointed = gradients(ragged(), checkpointing=True)
    monkeypatch.setattr(head, "TILE", {"cpu": 1600})
    _, chunked = gradients(ragged())
    assert float((checkpointed - plain).norm() / plain.norm()) < 1e-5
    assert float((chunked - plain).norm() / plain.norm()) < 1e-5


def test_gradients_that_are_asked_for_are_those_of_the_update_and_move_nothing() -> None:
    model = make_model(True)
    learner, before = policy(model), [weight.clone() for weight in model.parameters()]
    found = learner.gradients(ragged(), LOSS)
    assert set(found) == {name for name, _ in model.named_parameters()}
    _, expected = gradients(ragged())
    assert torch.equal(torch.cat([gradient.flatten() for gradient in found.values()]), expected)
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_the_update_raises_the_probability_of_what_did_better_than_its_group() -> None:
    batch = ragged()
    learner = policy(make_model(True), lr=1e-4)
    before = learner.logprobs(batch.sequences)
    learner.forward_backward(batch, LOSS)
    learner.optim_step(1e-4)
    after, targets = learner.logprobs(batch.sequences), batch.targets
    gain = ((after - before) * targets.weights_BT * targets["advantages"]).sum()
    assert float(gain) > 0


def test_tokens_of_an_update_are_counted_and_its_padding_too() -> None:
    rows = [Row((5, 6, 7), (8,) * T, (-1.0,) * T, 1.0, 0.1) for T in (2, 3)] + [Row((9,), (8,), (-1.0,), 1.0, 0.1)]
    learner = policy(make_model(True))
    shared = learner.forward_backward(collate(rows), LOSS)
    # a prompt of 3 with 1 and 2 tokens that predict something, and a prompt of 1; 64 in all
    assert (shared["tokens/update"], shared["tokens/padding"]) == (64, 64 - (3 + 1 + 2 + 1))
    learner.computation = replace(learner.computation, body=Padded(lambda ids_BL: learner.model.base_model(ids_BL)[0]))
    padded = learner.forward_backward(collate(rows), LOSS)
    assert (padded["tokens/update"], padded["tokens/padding"]) == (3 * 5, 15 - (3 + 1) - (3 + 2) - 1)


def test_gradients_that_are_not_finite_move_nothing_and_are_forgotten() -> None:
    model = make_model(True)
    learner = policy(model)
    before = [weight.clone() for weight in model.parameters()]

    def broken(logprobs_BT: torch.Tensor, targets: Targets) -> Terms:
        return Terms(logprobs_BT.sum() * math.nan)

    learner.forward_backward(ragged(), broken)
    assert not math.isfinite(learner.optim_step(1e-3))
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert all(weight.grad is None for weight in model.parameters())


def test_weights_are_handed_out_once_and_under_the_checkpoints_names() -> None:
    tied, untied = ({name for name, _ in policy(make_model(tied)).weights()} for tied in (True, False))
    assert untied - tied == {"lm_head.weight"}
    assert "model.embed_tokens.weight" in tied
