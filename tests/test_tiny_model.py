"""The quickstart's model: its tokenizer loses nothing, and everything that opens Qwen2 opens it."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase, Qwen2ForCausalLM

from grpo.learning.tiny_model import SIZES, make_tiny_model


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "model"
    make_tiny_model(path, seed=0)
    return path


@pytest.fixture(scope="module")
def tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(directory)


def pieces(tokenizer: PreTrainedTokenizerBase, text: str) -> list[str]:
    return [tokenizer.decode([token]) for token in tokenizer.encode(text, add_special_tokens=False)]


@given(text=st.text().map(lambda text: unicodedata.normalize("NFC", text)))  # Qwen2 tokenizers normalise to NFC
def test_any_text_comes_back_from_the_tokenizer_as_it_went_in(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


@given(text=st.text(alphabet="0123456789+-=", max_size=20))
def test_digits_and_signs_come_back_however_they_are_joined(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert "".join(pieces(tokenizer, text)) == text


def test_a_number_a_signed_digit_and_a_tag_are_one_token_each(tokenizer: PreTrainedTokenizerBase) -> None:
    text = "<think>7-2=5+9=14</think><answer>14</answer>"
    expected = ["<think>", "7", "-2", "=", "5", "+9", "=", "14", "</think>", "<answer>", "14", "</answer>"]
    assert pieces(tokenizer, text) == expected
    assert pieces(tokenizer, "+13 105") == ["+1", "3", " ", "10", "5"]


def test_decoding_without_special_tokens_keeps_the_tags_and_drops_the_end(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer.encode("<think>a b</think> ,x<|im_end|><|endoftext|>", add_special_tokens=False)
    assert ids[-2:] == [tokenizer.eos_token_id, tokenizer.pad_token_id]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think>a b</think> ,x"


def test_the_chat_template_adds_three_tokens_to_a_problem(tokenizer: PreTrainedTokenizerBase) -> None:
    chat = [{"role": "user", "content": "7-2+9"}]
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert text == "<|user|>7-2+9<|im_end|><|assistant|>"
    assert len(tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)) == 3 + 3


def test_the_tiny_model_is_a_small_qwen2_with_an_end_token(directory: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = AutoModelForCausalLM.from_pretrained(directory)
    assert isinstance(model, Qwen2ForCausalLM)
    assert model.dtype == torch.float32
    assert sum(parameter.numel() for parameter in model.parameters()) < 400_000
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id


def test_the_seed_fixes_the_tiny_models_weights_and_nothing_else_is_disturbed(directory: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make_tiny_model(tmp_path / "same", seed=0)
    assert torch.equal(torch.rand(3), expected)
    make_tiny_model(tmp_path / "other", seed=1)
    weights = [(path / "model.safetensors").read_bytes() for path in (directory, tmp_path / "same", tmp_path / "other")]
    assert weights[0] == weights[1] != weights[2]


def test_the_smaller_model_has_a_third_of_the_parameters_and_the_same_tokenizer(directory, tokenizer, tmp_path) -> None:
    make_tiny_model(tmp_path / "third", 0, SIZES["tiny-third"])
    whole, third = (AutoModelForCausalLM.from_pretrained(place) for place in (directory, tmp_path / "third"))
    assert 0.3 < third.num_parameters() / whole.num_parameters() < 0.36
    assert AutoTokenizer.from_pretrained(tmp_path / "third").get_vocab() == tokenizer.get_vocab()
