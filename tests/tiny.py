"""A Qwen2-shaped model small enough to make in a test, with a character-level tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

PAD, END, CONFIG_END, GENERATION_END, UNKNOWN = range(5)
CHARACTERS = ["<pad>", "<eos>", "<end>", "<halt>", "<unk>", *map(chr, range(32, 127)), "\n"]


def encode(text: str) -> tuple[int, ...]:
    return tuple(CHARACTERS.index(character) for character in text)


def make_model(tied: bool, seed: int = 0) -> Any:
    """Weights far larger than usual, so that what it says is far from uniform and depends on all of them."""
    torch.manual_seed(seed)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(CHARACTERS),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=512,
            tie_word_embeddings=tied,
            initializer_range=0.15,
            eos_token_id=END,
            pad_token_id=PAD,
            bos_token_id=None,
        )
    ).eval()


def save_model(folder: Path, tied: bool = True) -> Path:
    """A model directory with three end tokens, each named in one of the three files that may name some."""
    tokenizer = Tokenizer(models.WordLevel({c: i for i, c in enumerate(CHARACTERS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=["<end>", "<halt>"],
    ).save_pretrained(folder)
    model = make_model(tied)
    model.config.eos_token_id = CONFIG_END
    model.generation_config.eos_token_id = [GENERATION_END]
    model.save_pretrained(folder)
    return folder


def with_adapter(model: Any, rank: int, seed: int = 0, **settings: Any) -> Any:
    """The model with an adapter of this rank as a run puts it in; one without memory gets its values later, by
    `grpo.learning.lora.initialise`.  `settings` are the model's, such as `lora_target_modules`."""
    from grpo.config import Model
    from grpo.learning import lora

    lora.inject(model, Model(name="tiny", lora_rank=rank, **settings), "tiny")
    if next(model.parameters()).device.type != "meta":
        lora.initialise(model, seed)
    return model


def with_learned_adapter(model: Any, rank: int, **settings: Any) -> Any:
    """… as if it had learned: it changes what the model says, by as much as the weights themselves say."""
    draws = torch.Generator().manual_seed(1)
    for parameter in with_adapter(model, rank, **settings).parameters():
        if parameter.requires_grad:
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=draws).to(parameter)
    return model
