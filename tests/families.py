"""Small models of the families that people train, with made-up weights, in the layout that they have on the Hub.

Each keeps what sets its family apart, in the classes and files of the real one: its attention, norms, multipliers and
experts, its kind of tokenizer, its chat template and its end tokens.  Only the sizes are small, and windows and ranges
are cut down with them so that a few dozen tokens reach past them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GemmaTokenizer,
    GPTNeoXTokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
)

BYTES = {byte: i for i, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}

# vLLM's attention on CPUs has no heads smaller than 32, and its experts there want multiples of 32.
SIZES: Mapping[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "initializer_range": 0.15,
    "dtype": "bfloat16",
}
WINDOW = 16  # tokens


@dataclass(frozen=True)
class Family:
    """`kind` is transformers' `model_type`; `example` the Hub id of one that is built like this."""

    name: str
    example: str
    kind: str
    special: str  # what sets it apart
    tokenizer: Callable[[], PreTrainedTokenizerBase]
    ends: tuple[str, ...]  # of its generation_config.json
    config: Mapping[str, Any] = field(default_factory=dict)


def write_family(family: Family, folder: Path, seed: int = 0, **changes: Any) -> Path:
    """What `from_pretrained` finds on the Hub: weights, config.json, generation_config.json and the tokenizer.

    `changes` are the configuration's.
    """
    tokenizer = family.tokenizer()
    special = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    rows = len(tokenizer) + -len(tokenizer) % 64  # most have rows that no token names
    config = AutoConfig.for_model(family.kind, **{**SIZES, "vocab_size": rows, **special, **family.config, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = AutoModelForCausalLM.from_config(config)
        shake(model)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(list(family.ends))
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@torch.no_grad()
def shake(model: Any) -> None:
    """Change every weight by a good part of itself, norms and biases too, which begin as ones and zeros."""
    for weight in model.parameters():
        spread = weight.float().std().nan_to_num() if weight.numel() > 1 else torch.zeros(())
        weight.add_(torch.randn_like(weight) * (0.5 * spread).clamp(min=0.05))


# --- Tokenizers: a byte or a character per token, and the family's own signs ------------------------------------------


def chat(turn: str, end: str, begin: str = "", *, answerer: str = "assistant") -> str:
    """A chat template: each message after `turn`, in which ROLE stands for whose it is, and before `end`."""
    role = f"{{{{ '{answerer}' if message['role'] == 'assistant' else message['role'] }}}}"
    message = f"{turn.replace('ROLE', role)}{{{{ message['content'] }}}}{end}"
    asked = f"{{% if add_generation_prompt %}}{turn.replace('ROLE', answerer)}{{% endif %}}"
    return f"{begin}{{% for message in messages %}}{message}{{% endfor %}}{asked}"


CHATML = chat("<|im_start|>ROLE\n", "<|im_end|>\n")
LLAMA_3 = chat("<|start_header_id|>ROLE<|end_header_id|>\n\n", "<|eot_id|>", "{{ bos_token }}")
ROLES = chat("<|ROLE|>\n", "\n", "{{ bos_token }}")
GRANITE = chat("<|start_of_role|>ROLE<|end_of_role|>", "<|end_of_text|>\n")
PHI_3 = chat("<|ROLE|>\n", "<|end|>\n")
GEMMA_3 = chat("<start_of_turn>ROLE\n", "<end_of_turn>\n", "{{ bos_token }}", answerer="model")
GEMMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + GEMMA_3
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}[INST] {{ message['content'] }} [/INST]"
    "{% elif message['role'] == 'assistant' %} {{ message['content'] }}{{ eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported') }}{% endif %}{% endfor %}"
)
# Qwen 3's switch: without thinking, an empty thought is written for the model.
CHATML_THINKING = CHATML.replace(
    "{% endif %}",
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
)


def qwen(template: str = CHATML) -> PreTrainedTokenizerBase:
    tokenizer = Qwen2Tokenizer(
        vocab=BYTES, merges=[], eos_token="<|im_end|>", pad_token="<|endoftext|>", unk_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"], chat_template=template,
    )  # fmt: skip
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in ("<think>", "</think>")])
    return tokenizer


def qwen_thinking() -> PreTrainedTokenizerBase:
    return qwen(CHATML_THINKING)


def bytewise(template: str, *more: str, **special: str) -> PreTrainedTokenizerBase:
    """The class that transformers takes for a tokenizer.json that says all by itself."""
    tokenizer = Tokenizer(models.BPE(vocab=dict(BYTES), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, additional_special_tokens=list(more), chat_template=template, **special
    )


def llama_3() -> PreTrainedTokenizerBase:
    return bytewise(
        LLAMA_3, "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>",
        bos_token="<|begin_of_text|>", eos_token="<|eot_id|>",
    )  # fmt: skip


def smollm_3() -> PreTrainedTokenizerBase:
    return bytewise(CHATML, "<|im_start|>", "<|end_of_text|>", eos_token="<|im_end|>", pad_token="<|im_end|>")


def olmo_2() -> PreTrainedTokenizerBase:
    return bytewise(ROLES, bos_token="<|endoftext|>", eos_token="<|endoftext|>", pad_token="<|pad|>")


def granite() -> PreTrainedTokenizerBase:
    return bytewise(
        GRANITE, "<|start_of_role|>", "<|end_of_role|>",
        bos_token="<|end_of_text|>", eos_token="<|end_of_text|>", pad_token="<|end_of_text|>",
    )  # fmt: skip


def olmoe() -> PreTrainedTokenizerBase:
    return GPTNeoXTokenizer(vocab=BYTES, merges=[], chat_template=ROLES)


def pieces(*special: str) -> dict[str, int]:
    """A vocabulary as SentencePiece leaves it: bytes for what is no piece, and ▁ for a space."""
    signs = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *map(chr, range(33, 127)), "\n"]
    return {sign: i for i, sign in enumerate(signs)}


def mistral() -> PreTrainedTokenizerBase:
    return LlamaTokenizer(
        vocab=pieces("<unk>", "<s>", "</s>"), additional_special_tokens=["[INST]", "[/INST]"], chat_template=MISTRAL
    )


def phi_3() -> PreTrainedTokenizerBase:
    return LlamaTokenizer(
        vocab=pieces("<unk>", "<s>", "</s>"),
        eos_token="<|endoftext|>", pad_token="<|endoftext|>",
        additional_special_tokens=["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"],
        chat_template=PHI_3,
    )  # fmt: skip


def gemma(template: str) -> Callable[[], PreTrainedTokenizerBase]:
    def made() -> PreTrainedTokenizerBase:
        return GemmaTokenizer(
            vocab=pieces("<pad>", "<eos>", "<bos>", "<unk>", "<mask>"),
            additional_special_tokens=["<start_of_turn>", "<end_of_turn>"],
            chat_template=template,
        )

    return made


# --- The families -----------------------------------------------------------------------------------------------------

WIDE_HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}  # 4 × 32 of 64 wide
GEMMA_CONFIG = {
    **WIDE_HEADS,
    "query_pre_attn_scalar": 24,
    "sliding_window": WINDOW,
    "layer_types": ["sliding_attention", "full_attention"],
}
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2}
QWEN_ENDS = ("<|im_end|>", "<|endoftext|>")

FAMILIES = (
    Family(
        "Qwen2", "Qwen/Qwen2-1.5B-Instruct", "qwen2", "biased q, k, v; tied head", qwen, QWEN_ENDS,
        {"tie_word_embeddings": True},
    ),
    Family("Qwen2.5", "Qwen/Qwen2.5-7B-Instruct", "qwen2", "the same with a head of its own", qwen, QWEN_ENDS),
    Family(
        "Qwen3", "Qwen/Qwen3-0.6B", "qwen3", "normed q, k; heads wider than the model; tied head",
        qwen_thinking, QWEN_ENDS, {**WIDE_HEADS, "tie_word_embeddings": True},
    ),
    Family(
        "Llama 3", "meta-llama/Llama-3.2-1B-Instruct", "llama", "scaled rotations; tied head", llama_3,
        ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"),
        {
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
            },
        },
    ),
    Family(
        "Mistral", "mistralai/Mistral-7B-Instruct-v0.1", "mistral", "sliding window", mistral, ("</s>",),
        {"sliding_window": WINDOW},
    ),
    Family(
        "Gemma 2", "google/gemma-2-2b-it", "gemma2",
        "capped scores and logits; windows in every other layer; norms on both sides; scaled embeddings; tied head",
        gemma(GEMMA_2), ("<eos>", "<end_of_turn>"), GEMMA_CONFIG,
    ),
    Family(
        "Gemma 3", "google/gemma-3-1b-it", "gemma3_text",
        "normed q, k; rotations of their own in layers with windows; norms on both sides; scaled embeddings; tied head",
        gemma(GEMMA_3), ("<eos>", "<end_of_turn>"), GEMMA_CONFIG,
    ),
    Family(
        "Phi-3", "microsoft/Phi-3-mini-4k-instruct", "phi3", "q, k, v in one weight, gate, up in one; sliding window",
        phi_3, ("<|endoftext|>", "<|assistant|>", "<|end|>"),
        {"num_key_value_heads": 2, "sliding_window": WINDOW, "original_max_position_embeddings": 512},
    ),
    Family(
        "OLMo 2", "allenai/OLMo-2-0425-1B-Instruct", "olmo2", "norms after attention and MLP; normed q, k", olmo_2,
        ("<|endoftext|>",), {"num_key_value_heads": 2},
    ),
    Family(
        "SmolLM 3", "HuggingFaceTB/SmolLM3-3B", "smollm3", "layers without rotations; tied head", smollm_3,
        ("<|im_end|>",), {"no_rope_layers": [1, 0]},
    ),
    Family(
        "Granite", "ibm-granite/granite-3.3-2b-instruct", "granite",
        "multipliers of embeddings, attention, residuals and logits; tied head", granite, ("<|end_of_text|>",),
        {
            "tie_word_embeddings": True, "embedding_multiplier": 3.0, "attention_multiplier": 0.125,
            "residual_multiplier": 0.5, "logits_scaling": 4.0,
        },
    ),
    Family(
        "Qwen3-MoE", "Qwen/Qwen3-30B-A3B", "qwen3_moe", "experts; normed q, k; heads wider than the model",
        qwen_thinking, QWEN_ENDS, {**WIDE_HEADS, **EXPERTS, "moe_intermediate_size": 32, "norm_topk_prob": True},
    ),
    Family(
        "OLMoE", "allenai/OLMoE-1B-7B-0924-Instruct", "olmoe", "experts; normed q, k", olmoe, ("<|endoftext|>",),
        {**EXPERTS, "num_key_value_heads": 2, "intermediate_size": 64},
    ),
)  # fmt: skip
