"""The trial of leaner computations: bfloat16's noise does not make it refuse, and no depth hides a fault from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from grpo.learning import attention, trial
from grpo.learning.batch import Sequences
from grpo.learning.head import Projection
from grpo.learning.logprobs import decide
from grpo.learning.packed import SharedPrompts
from grpo.learning.padded import Padded, states_of
from tests.test_learning_shared_prompts import build

CPU = torch.device("cpu")
ROWS = Sequences.of([((1, 2, 3), (4, 5, 6, 7)), ((1, 2, 3), (8, 9)), ((10, 11), (12, 13, 14))])


@cache
def made(std: float, kind: str, window: int | None) -> Any:
    shape = {"num_hidden_layers": 28, "initializer_range": std, **({"sliding_window": window} if window else {})}
    return build(kind, **shape).to(torch.bfloat16)


def deep(std: float, kind: str = "qwen2", window: int | None = None) -> Any:
    """28 layers of bfloat16, where noise has room to grow."""
    model = made(std, kind, window)
    model.set_attn_implementation("sdpa")
    return model


def test_some_faults_are_smaller_than_bfloat16s_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why the trial compares no numbers of a whole model in bfloat16: no tolerance would part the two."""
    model = deep(0.02)
    exact = deepcopy(model).float()
    with torch.no_grad():
        plain, truth = (Padded(partial(states_of, each)).hidden_states(ROWS, CPU)[0].float() for each in (model, exact))
        positions_one_too_far(exact, monkeypatch)
        faulty = SharedPrompts(exact).hidden_states(ROWS, CPU)[0]
    noise, fault = ((found - truth).norm() / truth.norm() for found in (plain, faulty))
    assert 1e-3 < float(fault) < float(noise) / 2


@pytest.mark.parametrize(
    ("std", "kind", "window"),
    [(0.02, "qwen2", None), (0.06, "qwen2", None), (0.06, "qwen3", None), (0.06, "mistral", 3)],
)
def test_noise_does_not_refuse_what_is_right(std: float, kind: str, window: int | None) -> None:
    assert decide(deep(std, kind, window)).fallback == ""


Plant = Callable[[Any, pytest.MonkeyPatch], None]


def a_leak_in_a_late_layer(model: Any, patch: pytest.MonkeyPatch) -> None:
    """By another forward of the same class: no kind of layer gives it away."""
    mlp = model.model.layers[20].mlp
    forward = mlp.forward
    patch.setattr(mlp, "forward", lambda states: forward(states + 1e-3 * states.roll(1, dims=1)))


def positions_of_the_packed_row(model: Any, patch: pytest.MonkeyPatch) -> None:
    rotary = model.model.rotary_emb
    forward = type(rotary).forward

    def counted(self: nn.Module, states: Tensor, position_ids: Tensor) -> Any:
        return forward(self, states, torch.arange(position_ids.shape[1]).unsqueeze(0))

    patch.setattr(type(rotary), "forward", counted)


def positions_one_too_far(model: Any, patch: pytest.MonkeyPatch) -> None:
    """Of completions only, as if the prompt had one token more."""
    run = SharedPrompts._run

    def shifted(self: SharedPrompts, ids_N: Tensor, layout: Any, device: torch.device) -> Tensor:
        body = type(self.model.base_model)
        forward = body.forward

        def moved(self: nn.Module, **options: Any) -> Any:
            options["position_ids"][:, sum(layout.prompts) :] += 1
            return forward(self, **options)

        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(body, "forward", moved)
            return run(self, ids_N, layout, device)

    patch.setattr(SharedPrompts, "_run", shifted)


def no_causal_mask(model: Any, patch: pytest.MonkeyPatch) -> None:
    lengths = property(lambda self: attention.Part(self._lengths(), self._lengths(), causal=False))
    patch.setattr(
        attention.Layout,
        "_lengths",
        lambda self: (*self.prompts, *(length for group in self.completions for length in group)),
        raising=False,
    )
    patch.setattr(attention.Layout, "within", lengths)


def completions_that_see_their_neighbours(model: Any, patch: pytest.MonkeyPatch) -> None:
    """A group's completions as one text."""

    def within(self: attention.Layout) -> attention.Part:
        lengths = (*self.prompts, *map(sum, self.completions))
        return attention.Part(lengths, lengths, causal=True)

    patch.setattr(attention.Layout, "within", property(within))


def prompts_that_are_not_seen(model: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(torch, "sigmoid", torch.zeros_like)  # their share of the attention


@pytest.mark.parametrize(
    ("std", "plant"),
    [
        (0.02, a_leak_in_a_late_layer),
        (0.06, a_leak_in_a_late_layer),
        (0.02, positions_of_the_packed_row),
        (0.02, positions_one_too_far),
        (0.06, positions_one_too_far),
        (0.02, no_causal_mask),
        (0.02, completions_that_see_their_neighbours),
        (0.02, prompts_that_are_not_seen),
    ],
)
def test_a_fault_is_found_whatever_the_noise(std: float, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    model = deep(std)
    plant(model, monkeypatch)
    assert decide(model).fallback


def test_a_sliding_window_that_is_ignored_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = attention.completion_by_completion
    monkeypatch.setattr(attention, "completion_by_completion", lambda *arguments: slow(*arguments[:5], None))
    assert decide(deep(0.06, "mistral", 3)).fallback


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_kernel_that_is_inexact_in_one_type_only_is_found(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = attention._Cpu.forward

    def inexact(q_NHd: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
        out_NHd, lse_HN = forward(q_NHd, *arguments)
        return (out_NHd * 1.03 if q_NHd.dtype == dtype else out_NHd), lse_HN

    monkeypatch.setattr(attention._Cpu, "forward", inexact)
    other = torch.bfloat16 if dtype == torch.float32 else torch.float32
    assert decide(build("qwen2").to(dtype)).fallback
    assert dtype == torch.float32 or decide(build("qwen2").to(other)).fallback == ""


def test_the_copy_has_the_models_own_weights_of_every_kind_of_layer_and_leaves_the_model_as_it_is() -> None:
    types = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]
    model = build("gemma3_text", num_hidden_layers=4, layer_types=types, sliding_window=7, head_dim=16)
    model = model.to(torch.bfloat16)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    few = trial.first_layers(model)
    assert len(few.layers) == 3
    assert {weight.dtype for weight in few.parameters()} == {torch.float32}
    assert few.embed_tokens.weight.shape == (trial.IDS, 64)
    for name, weight in few.named_parameters():
        assert torch.equal(weight, before[f"model.{name}"][: len(weight)].float())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert len(model.model.layers) == 4


@contextmanager
def scaled_head(model: Any) -> Iterator[None]:
    """What goes into the output layer is the body's, and a thousandth more."""
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: (inputs[0] * 1.01,))
    try:
        yield
    finally:
        hook.remove()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_head_is_taken_apart_only_from_the_very_states_of_the_body(dtype: torch.dtype) -> None:
    model = build("qwen2").to(dtype)
    assert trial.projection_of(model, CPU) == Projection()
    with scaled_head(model):
        assert trial.projection_of(model, CPU) is None


def test_a_body_that_is_asked_for_more_is_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("qwen2")
    body = model.model
    forward = model.forward

    def with_positions(**options: Any) -> Any:
        return forward(**options, position_ids=torch.arange(8).unsqueeze(0) * 2)

    monkeypatch.setattr(model, "forward", with_positions)
    assert body is model.base_model
    assert trial.projection_of(model, CPU) is None


@pytest.mark.parametrize("result", range(4))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_kernel_whose_output_or_one_gradient_is_a_few_percent_off_is_refused(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, result: int
) -> None:
    """And one that rounds each of two parts of its gradients, as GPUs' kernels do, is not."""
    model = build("qwen2").to(dtype)
    trial._try_kernel(model, CPU)

    def off(results: Any) -> list[Tensor]:
        return [value * 1.03 if index == result else value for index, value in enumerate(results)]

    forward, backward = attention._Cpu.forward, attention._Cpu.backward
    if result:
        monkeypatch.setattr(attention._Cpu, "backward", lambda *given: off([None, *backward(*given)])[1:])
    else:
        monkeypatch.setattr(attention._Cpu, "forward", lambda *given: tuple(off(forward(*given))))
    with pytest.raises(attention.Unsupported, match="is not exact here"):
        trial._try_kernel(model, CPU)
