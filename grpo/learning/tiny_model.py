"""A Qwen2-shaped language model small enough to learn arithmetic on a laptop's CPU, with its tokenizer.

The architecture and the files are those of Qwen2, so everything that opens a model from the Hub opens this one; only
the sizes differ, and the weights are random.  Its tokenizer is a Qwen2 tokenizer over bytes, so it has a token for any
text (which it brings into Unicode's NFC, as Qwen2's do).  But a number up to 99 is one token, and so is a digit with
its sign: copying a number is copying one token, "+9" in a problem is told from a total of 9, and an answer takes few
decoding steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import AddedToken, pre_tokenizers
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

END, PAD = "<|im_end|>", "<|endoftext|>"  # as in Qwen2.5
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
NUMBERS = (*map(str, range(10, 100)), *(f"{sign}{digit}" for sign in "+-" for digit in range(10)))

# One token per role, one for the end of a turn: three tokens around a problem.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

CONTEXT = 256  # tokens
HEAD = 32  # numbers of a head


class Size(NamedTuple):
    width: int  # numbers of a hidden state
    mlp: int


# "builtin:tiny", and a model of a third of its parameters to distill it into.
SIZES = {"tiny": Size(96, 384), "tiny-third": Size(64, 144)}


def make_tiny_model(directory: Path, seed: int, size: Size = SIZES["tiny"]) -> None:
    """Write a model with random weights, which `seed` fixes, and its tokenizer into `directory`.

    Each number has a reason (figures in docs/quickstart-design.md); those of the width and the MLP are of "tiny":

    - 2 layers: the fewest that can look up the number used last in the problem and take the one after it.
    - 3 heads of 32, hence 96 wide: vLLM's attention on CPUs refuses smaller heads, and takes the head's size to be
      width / heads.  128 wide costs half as much again and was no better; 64 wide, with two heads, learned slowly.
    - an MLP of 384, the usual 4 × the width: the table of sums.
    - rotary base 100, not 10,000: a problem with its answer is about 40 tokens, and the slow half of the rotations
      would hardly move over so few.  As good after 400 steps of the cold start as the other after 500.
    - weights drawn with deviation 0.08, not 0.02, which is meant for widths in the thousands (1/√96 = 0.1).
    - tied embeddings, as in the small Qwen2 models.
    """
    tokenizer = _tokenizer()
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=size.width,
        intermediate_size=size.mlp,
        num_hidden_layers=2,
        num_attention_heads=size.width // HEAD,
        num_key_value_heads=size.width // HEAD,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
        initializer_range=0.08,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def _tokenizer() -> Qwen2Tokenizer:
    """Bytes, and the tokens above them that make arithmetic easy.

    The latter are added tokens rather than merges because a Qwen2 tokenizer cuts numbers into digits before it
    merges, and transformers opens the directory of a Qwen2 model with that class whatever the files say.
    """
    tokenizer = Qwen2Tokenizer(
        vocab={byte: i for i, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))},
        merges=[],
        eos_token=END,
        pad_token=PAD,
        unk_token=PAD,  # never used: every byte is in the vocabulary
        additional_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT,
    )
    # The tags are ordinary text for the reward, so they are not "special": decoding keeps them.
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in (*TAGS, *NUMBERS)])
    return tokenizer
