"""Prompts computed once per group: the numbers of the plain computation, or else the plain computation itself."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from grpo.algorithm import policy_loss
from grpo.caps import keep_caps
from grpo.config import Objective, Optim
from grpo.learning import attention, head
from grpo.learning.attention import Layout, completion_by_completion
from grpo.learning.batch import Batch, Loss, Sequences, Targets
from grpo.learning.logprobs import choose_computation
from grpo.learning.packed import SharedPrompts
from grpo.learning.padded import Padded
from grpo.learning.policy import Policy
from grpo.objectives import choose
from tests.batches import Row, collate
from tests.tiny import make_model

LOSS = partial(policy_loss, objective=choose(Objective()))

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.15,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}

CAPPED = {"head_dim": 16, "attn_logit_softcapping": 1.0, "final_logit_softcapping": 2.0}  # far into the bend
SHARING = {
    "qwen2": {},
    "llama": {"attention_bias": True},
    "gemma": {"head_dim": 16},
    "gemma2": {**CAPPED, "sliding_window": 7, "layer_types": ["sliding_attention", "full_attention"]},
    "gemma2 with plain logits": {**CAPPED, "final_logit_softcapping": None},
    "qwen3": {"head_dim": 32},
    "gemma3_text": {"head_dim": 16, "sliding_window": 7, "layer_types": ["sliding_attention", "full_attention"]},
    "granite": {"logits_scaling": 3.0, "embedding_multiplier": 2.0},
    "cohere": {"logit_scale": 0.3},
    "mistral": {"sliding_window": 9},
    "mistral with a wide window": {"sliding_window": 128},
}
# Each with a word of how it is said.
NOT_SHARING = {
    "recurrent_gemma": (
        {"head_dim": 16, "lru_width": 64, "num_hidden_layers": 3, "attention_window_size": 8},
        "logits",
    ),
    "qwen2_moe": ({"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 0}, "mask alone"),
}


def build(kind: str, **options: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind.split()[0], **{**SIZES, **options})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    keep_caps(model)
    return model


def ragged(groups: int, size: int, seed: int = 0, longest: int = 12) -> Batch:
    """Groups of completions of 1 to `longest` tokens after prompts of 1 to `longest`; their rows lie mixed up."""
    draw = random.Random(seed)

    def tokens(n: int) -> tuple[int, ...]:
        return tuple(draw.randint(3, 96) for _ in range(n))

    rows = []
    for prompt in [tokens(draw.randint(1, longest)) for _ in range(groups)]:
        for _ in range(size):
            T = draw.randint(1, longest)
            rows.append(Row(prompt, tokens(T), tuple(-draw.random() for _ in range(T)), draw.uniform(-2, 2), 0.05))
    draw.shuffle(rows)
    return collate(rows)


def of_policy(
    model: Any, batch: Batch, *, plain: bool = False, checkpointing: bool = False, loss: Loss = LOSS, **optim: Any
) -> Tensor:
    """The policy's gradient of the GRPO loss, all weights in a row."""
    policy = Policy(model, Optim(**optim), temperature=0.8, gradient_checkpointing=checkpointing)
    if plain:
        model.set_attn_implementation("eager")
        states = partial(hidden, model)
        policy.computation = type(policy.computation)(Padded(states), policy.computation.head, torch.device("cpu"))
    policy.forward_backward(batch, loss)
    return torch.cat([weight.grad.flatten() for weight in model.parameters()])


def hidden(model: Any, ids_BL: Tensor) -> Tensor:
    states: Tensor = model.base_model(input_ids=ids_BL, use_cache=False).last_hidden_state
    return states


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("kind", SHARING)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_each_completion_with_a_prompt_of_its_own(kind: str, checkpointing: bool) -> None:
    batch = ragged(3, 4)
    shared = build(kind, **SHARING[kind])
    found = of_policy(shared, batch, checkpointing=checkpointing)
    assert choose_computation(shared).fallback == ""
    assert relative(found, of_policy(build(kind, **SHARING[kind]), batch, plain=True)) < 1e-5


@settings(max_examples=15)
@given(st.integers(0, 1000), st.sampled_from(["dapo", "gspo", "cispo", "dppo"]))
def test_tokens_without_weight_or_outside_the_mask_may_lie_anywhere_in_a_row(seed: int, name: str) -> None:
    """Shared prompts against padded rows, under random masks and weights: what is masked is read, not learned from."""
    batch, draw = ragged(3, 4, seed=seed), torch.Generator().manual_seed(seed)
    shape, targets = batch.targets.mask_BT.shape, batch.targets
    mask_BT = targets.mask_BT & (torch.rand(shape, generator=draw) < 0.7)
    mask_BT[0] |= targets.mask_BT[0]  # something is left of the update
    weights_BT = torch.rand(shape, generator=draw) * mask_BT * (torch.rand(shape, generator=draw) < 0.7)
    masked = Batch(batch.sequences, Targets(mask_BT, weights_BT, targets.per_token))
    loss = partial(policy_loss, objective=choose(Objective(name=name)))
    shared, padded = (of_policy(make_model(True), masked, plain=plain, loss=loss) for plain in (False, True))
    assert float(padded.abs().max()) > 1e-3
    assert float((shared - padded).abs().max()) < 1e-6 * max(1.0, float(padded.norm()))


@pytest.mark.parametrize("kind", SHARING)
def test_log_probabilities_are_those_of_the_models_own_logits(kind: str) -> None:
    model, sequences = build(kind, **SHARING[kind]), ragged(3, 4, seed=1).sequences
    expected = []
    for prompt, tokens, length in zip(sequences.prompts, sequences.tokens_BT, sequences.lengths, strict=True):
        ids = torch.tensor([[*prompt, *tokens[:length].tolist()]])
        with torch.no_grad():
            logprobs_LV = (model(input_ids=ids).logits[0] / 0.8).log_softmax(-1)
        expected.append(logprobs_LV[len(prompt) - 1 : -1].gather(1, tokens[:length, None])[:, 0])
    policy = Policy(model, Optim(tokens_per_microbatch=40), temperature=0.8, gradient_checkpointing=False)
    assert isinstance(policy.computation.body, SharedPrompts)
    for row, values in zip(policy.logprobs(sequences), expected, strict=True):
        assert torch.allclose(row[: len(values)], values, atol=1e-5)


@pytest.mark.parametrize("kind", NOT_SHARING)
def test_what_an_architecture_cannot_do_is_done_in_the_plain_way_and_said(kind: str) -> None:
    options, word = NOT_SHARING[kind]
    sequences, model = ragged(2, 3).sequences, build(kind, **options)
    computation = choose_computation(model)
    assert word in computation.fallback and isinstance(computation.body, Padded)
    assert model.config._attn_implementation != attention.NAME
    logprobs_BT = computation.logprobs(sequences, 1.0)[0]
    for prompt, tokens, length, row in zip(
        sequences.prompts, sequences.tokens_BT, sequences.lengths, logprobs_BT, strict=True
    ):
        ids = torch.tensor([[*prompt, *tokens[:length].tolist()]])
        logprobs_LV = model(input_ids=ids).logits[0].log_softmax(-1)
        expected = logprobs_LV[len(prompt) - 1 : -1].gather(1, tokens[:length, None])[:, 0]
        assert torch.allclose(row[:length], expected, atol=1e-5)


def test_a_layer_that_mixes_tokens_past_attention_is_found_out() -> None:
    model = make_model(True)

    class Leaking(nn.Module):
        """Adds the state of the token before, as a convolution would."""

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, states: Tensor) -> Any:
            return self.inner(states + 0.1 * states.roll(1, dims=1))

    model.model.layers[1].mlp = Leaking(model.model.layers[1].mlp)
    computation = choose_computation(model)
    assert "more or less than their own prompt" in computation.fallback
    assert isinstance(computation.body, Padded)


def test_a_kernel_that_gives_no_numbers_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = attention._Cpu.forward

    def broken(*arguments: Any) -> tuple[Tensor, Tensor]:
        out_NHd, lse_HN = real(*arguments)
        return out_NHd * torch.nan, lse_HN

    monkeypatch.setattr(attention._Cpu, "forward", broken)
    assert isinstance(choose_computation(make_model(True)).body, Padded)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(0, 9), min_size=1, max_size=5)), min_size=1, max_size=4),
    st.integers(0, 3),
)
def test_merged_attention_is_that_of_each_completion_by_itself(shapes: list[tuple[int, list[int]]], seed: int) -> None:
    layout = Layout(tuple(S for S, _ in shapes), tuple(tuple(group) for _, group in shapes))
    draw, N = torch.Generator().manual_seed(seed), sum(layout.within.queries)
    leaves = [torch.randn(N, 2, 8, generator=draw, requires_grad=True) for _ in range(3)]
    q, k, v = leaves
    weights_NHd = torch.randn(N, 2, 8, generator=draw)
    results = []
    for out in (
        attention._Attention.apply(q, k, v, layout, 0.4),  # type: ignore[no-untyped-call]
        completion_by_completion(q, k, v, layout, 0.4, None),
    ):
        results.append((out.detach(), *torch.autograd.grad((out * weights_NHd).sum(), leaves)))
    for found, expected in zip(*results, strict=True):
        assert torch.allclose(found, expected, atol=2e-5)


def test_a_packed_row_by_hand() -> None:
    """Prompt of 2, completions of 3 and 1: their last tokens predict nothing, so 2 + 2 + 0 tokens and padding."""
    sequences = Sequences.of([((5, 6), (7, 8, 9)), ((5, 6), (9,))])
    seen: list[Any] = []

    class Body(nn.Module):
        def forward(self, **inputs: Any) -> Any:
            seen.append(inputs)
            states = inputs["input_ids"].float().unsqueeze(-1)
            return transformers.modeling_outputs.BaseModelOutput(last_hidden_state=states)

    shared = SharedPrompts(make_model(True))
    shared.model = type("Model", (), {"base_model": Body()})()  # type: ignore[assignment]
    found = shared.hidden_states(sequences, torch.device("cpu"))
    assert seen[0]["input_ids"].tolist() == [[5, 6, 7, 8, *[0] * 60]]
    assert seen[0]["position_ids"].tolist() == [[0, 1, 2, 3, *range(2, 62)]]
    assert seen[0]["layout"] == Layout((2,), ((2, 0, 60),))
    assert found[0][:, 0].tolist() == [6, 7, 8, 6]  # the tokens whose states predict 7, 8, 9 and 9
    assert found[1:] == (64, 60)


shapes = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 30)), min_size=1, max_size=20)


@given(shapes, st.integers(1, 200))
def test_microbatches_hold_every_row_once_and_fit_unless_one_row_does_not(
    rows: list[tuple[int, int]], tokens: int
) -> None:
    """`rows`: which of four prompts, of 2, 7, 12 and 17 tokens, and how many tokens of completion."""
    sequences = Sequences.of([((p,) * (2 + 5 * p), (1,) * T) for p, T in rows])
    shared = SharedPrompts(make_model(True))
    parts = list(shared.microbatches(sequences, tokens))
    assert sorted(i for part in parts for i in part) == list(range(len(rows)))
    for part in parts:
        computed = sum({p: 2 + 5 * p for p, _ in (rows[i] for i in part)}.values()) + sum(rows[i][1] - 1 for i in part)
        assert computed <= tokens or len(part) == 1
        assert computed + -computed % 64 == len(shared_tokens(shared, sequences.rows(part)))


def shared_tokens(shared: SharedPrompts, rows: Sequences) -> list[int]:
    """The tokens that `shared` puts into its packed row."""
    caught: list[Tensor] = []
    hook = shared.model.get_input_embeddings().register_forward_hook(lambda _, inputs, __: caught.append(inputs[0]))
    shared.hidden_states(rows, torch.device("cpu"))
    hook.remove()
    found: list[int] = caught[0].flatten().tolist()
    return found


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("tile", [400, 10**6])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_head_in_tiles_is_the_log_softmax(
    bias: bool, tile: int, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    layer, states_ND, tokens_N = nn.Linear(16, 51, bias=bias), torch.randn(9, 16), torch.randint(0, 51, (9,))
    monkeypatch.setattr(head, "TILE", {"cpu": tile})
    results = []
    for logprobs in (
        lambda states: head.head_logprobs(layer, states, tokens_N, head.Projection(temperature)),
        lambda states: (layer(states) / temperature).log_softmax(1).gather(1, tokens_N[:, None])[:, 0],
    ):
        states = states_ND.clone().requires_grad_()
        found_N = logprobs(states)
        leaves = [states, *layer.parameters()]
        results.append([found_N, *torch.autograd.grad((found_N * torch.arange(9.0)).sum(), leaves)])
    for found, expected in zip(*results, strict=True):
        assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_a_temperature_divides_bfloat16_logits_in_float32(temperature: float) -> None:
    """As the sampler divides them: in bfloat16 a logit of 50 would come out up to 0.125 off."""
    torch.manual_seed(0)
    layer, states_ND = nn.Linear(32, 51, bias=False), 8 * torch.randn(64, 32)
    layer, states_ND, tokens_N = layer.to(torch.bfloat16), states_ND.to(torch.bfloat16), torch.randint(0, 51, (64,))
    with torch.no_grad():
        logits_NV = torch.mm(states_ND, layer.weight.t()).float() / temperature
        expected_N = logits_NV.log_softmax(1).gather(1, tokens_N[:, None])[:, 0]
        assert torch.allclose(
            head.head_logprobs(layer, states_ND, tokens_N, head.Projection(temperature)), expected_N, atol=1e-5
        )
        entropies_N = torch.distributions.Categorical(logits=logits_NV).entropy()
        assert torch.allclose(
            head.head_entropies(layer, states_ND, head.Projection(temperature)), entropies_N, atol=1e-5
        )


def test_no_logits_exist_for_more_than_a_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes of all tensors that a forward and backward pass through the head makes."""
    monkeypatch.setattr(head, "TILE", {"cpu": 64 * 40 * 4})
    layer, states_ND, tokens_N = nn.Linear(8, 5000, bias=False), torch.randn(64, 8), torch.zeros(64, dtype=torch.int64)
    layer.requires_grad_(False)

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = function(*args, **(kwargs or {}))
            if (
                isinstance(out, Tensor)
                and out.untyped_storage().data_ptr() != layer.weight.untyped_storage().data_ptr()
            ):
                self.numbers = max(self.numbers, out.untyped_storage().nbytes() // 4)
            return out

    with Largest() as largest:
        head.head_logprobs(layer, states_ND.requires_grad_(), tokens_N, head.Projection()).sum().backward()
    assert 64 * 40 <= largest.numbers < 64 * 5000 / 10


def test_a_saved_policy_does_not_name_the_attention_it_was_trained_with(tmp_path: Path) -> None:
    policy = Policy(make_model(True), Optim(), temperature=1.0, gradient_checkpointing=False)
    policy.save(tmp_path)
    assert policy.model.config._attn_implementation == attention.NAME
    assert attention.NAME not in (tmp_path / "config.json").read_text()
    assert transformers.AutoModelForCausalLM.from_pretrained(tmp_path).config._attn_implementation == "sdpa"
