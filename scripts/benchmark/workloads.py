"""The work that both sides do: models made from a seed, prompts of an exact length, and the operations it takes.

Nothing here imports grpo or TRL, so that each side can use it from an environment of its own.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

SEED = 5
LEARNING_RATE = 1e-6
BETAS = (0.9, 0.99)
PAD, END, UNKNOWN = range(3)


@dataclass(frozen=True, slots=True)
class Workload:
    """A Qwen2-shaped model with tied embeddings, and what one step asks of it."""

    layers: int
    width: int
    mlp: int
    heads: int  # of queries, and as many of keys and values
    vocabulary: int
    problems: int
    group: int  # completions per problem
    prompt: int  # tokens
    new: int  # tokens of every completion

    @property
    def completions(self) -> int:
        return self.problems * self.group

    @property
    def tokens(self) -> int:
        """Sampled in one step."""
        return self.completions * self.new

    @property
    def layer_weights(self) -> int:
        """Numbers in the matrices of all layers: four of attention, three of the gated MLP."""
        return self.layers * (4 * self.width**2 + 3 * self.width * self.mlp)


# 15 M parameters, the embedding (and head, which is the same matrix) among them.
PROMPT_HEAVY = Workload(6, 384, 1408, 6, 4096, problems=16, group=8, prompt=256, new=64)

WORKLOADS = {
    "short": Workload(4, 256, 576, 8, 1024, problems=64, group=8, prompt=10, new=16),
    "prompt-heavy": PROMPT_HEAVY,
    "long": Workload(6, 384, 1408, 6, 4096, problems=8, group=8, prompt=64, new=512),
    "vocabulary": Workload(2, 256, 1024, 4, 151_936, problems=4, group=8, prompt=128, new=128),
}


def operations(work: Workload) -> float:
    """Floating-point operations that one update cannot avoid: forward and backward over each distinct token once.

    A multiplication with its addition counts as two, and the backward pass as twice the forward pass, so every weight
    that a token meets costs 6.  With P problems, G completions of T tokens each, and S prompt tokens,

        P · (S + G·(T - 1))   tokens go through the layers: a prompt once per group, and a completion's last token
                              not at all, for it predicts nothing that is learned
        P · (1 + G·(T - 1))   positions predict a completion token and meet the head: the first one is the prompt's
                              last, and the group's completions share it
        P · (S·(S+1)/2 + G·Σ_{t=1}^{T-1} (S + t))   pairs (query, key) are attended, each costing 2 · width for the
                              score and 2 · width for the sum of values in every layer, three times over

    Norms, rotations, softmax, the loss and AdamW come on top and are not counted; nor is anything computed again.
    """
    P, G, S, T = work.problems, work.group, work.prompt, work.new
    through_layers = P * (S + G * (T - 1))
    through_head = P * (1 + G * (T - 1))
    pairs = P * (S * (S + 1) // 2 + G * ((T - 1) * S + (T - 1) * T // 2))
    matrices = 6 * work.layer_weights * through_layers + 6 * work.width * work.vocabulary * through_head
    return float(matrices + 3 * 2 * 2 * work.width * work.layers * pairs)


def make_model(work: Workload, folder: Path) -> int:
    """Write the model and its tokenizer, and return the number of parameters, each once."""
    words = {"<pad>": PAD, "<end>": END, "<unk>": UNKNOWN}
    words |= {f"w{i}": i for i in range(len(words), work.vocabulary)}
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="<unk>")),
        pad_token="<pad>",
        eos_token="<end>",
        unk_token="<unk>",
    ).save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=work.vocabulary,
        hidden_size=work.width,
        intermediate_size=work.mlp,
        num_hidden_layers=work.layers,
        num_attention_heads=work.heads,
        num_key_value_heads=work.heads,
        max_position_embeddings=work.prompt + work.new + 1,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=END,
        pad_token_id=PAD,
        dtype="float32",
    )
    torch.manual_seed(SEED)
    model = Qwen2ForCausalLM(config)
    model.save_pretrained(folder)
    return int(model.num_parameters())


def make_prompts(work: Workload) -> list[list[int]]:
    """Token ids of each problem; those of the first three entries of the vocabulary are never among them."""
    draw = random.Random(SEED)
    return [[draw.randrange(3, work.vocabulary) for _ in range(work.prompt)] for _ in range(work.problems)]
