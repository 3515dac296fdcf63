"""A model that is outlined without memory, and its small twin."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from grpo.errors import ModelError
from grpo.learning.loading import load_model
from grpo.learning.logprobs import decide
from grpo.learning.streaming import agree, choose_on_twin, on_meta
from grpo.learning.trial import layers_of_every_kind
from tests.test_learning_shared_prompts import NOT_SHARING, SHARING, build
from tests.tiny import GENERATION_END, save_model


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_is_outlined_without_memory_and_keeps_what_no_file_has(tmp_path: Path, tied: bool) -> None:
    path = str(save_model(tmp_path, tied))
    model, whole = on_meta(path, None, dtype="float32"), load_model(path, None, dtype="float32", device="cpu")
    assert all(weight.is_meta for weight in model.parameters())
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in whole.named_parameters()]
    for (name, buffer), (other, expected) in zip(model.named_buffers(), whole.named_buffers(), strict=True):
        assert name == other and torch.equal(buffer, expected)
    assert model.generation_config.eos_token_id == whole.generation_config.eos_token_id == [GENERATION_END]


@pytest.mark.parametrize("kind", [*SHARING, *NOT_SHARING])
def test_a_small_twin_chooses_as_the_model_would(kind: str) -> None:
    options = SHARING[kind] if kind in SHARING else NOT_SHARING[kind][0]
    model = build(kind, **options)
    assert choose_on_twin(model, torch.device("cpu")) == decide(build(kind, **options))


@pytest.mark.parametrize(
    ("types", "kept"),
    [(["full_attention"] * 5, 1), (["sliding_attention"] * 3 + ["full_attention", "sliding_attention"], 4)],
)
def test_a_twin_has_as_many_layers_as_show_every_kind(types: list[str], kept: int) -> None:
    model = build("gemma3_text", num_hidden_layers=5, layer_types=types, sliding_window=7, head_dim=16)
    assert layers_of_every_kind(model, 5) == kept
    assert choose_on_twin(model, torch.device("cpu")) == decide(model)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([(True, ""), (False, "no space")], r"m: rank 1 cannot read its files \(no space\)"),
        ([(False, ""), (True, ""), (False, "")], r"m: its files are not the same .*ranks \[1\] have .*ranks \[0, 2\]"),
    ],
)
def test_ranks_that_cannot_go_the_same_way_say_so(answers: list[tuple[bool, str]], said: str) -> None:
    for alike in (True, False):
        agree("m", [(alike, "")] * 3)
    with pytest.raises(ModelError, match=said):
        agree("m", answers)
