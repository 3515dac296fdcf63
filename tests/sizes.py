"""Models and cards to settle sizes for, and the table in docs/sizes.md: `python -m tests.sizes` writes it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from grpo.assemble import Place
from grpo.config import Cluster, Config
from grpo.memory import GIB, Machine, Shape, Work
from grpo.sizes import Choice, choose
from tests.conftest import ROOT
from tests.tiny import with_adapter

DOCS = ROOT / "docs" / "sizes.md"
RANK = 32
CARDS = (24, 48, 80, 141)  # GB
# Qwen2.5's published shapes: hidden size, layers, heads of queries and of keys, width of the MLP, vocabulary, tied
SHAPES = {
    0.5: (896, 24, 14, 2, 4864, 151_936, True),
    1.5: (1536, 28, 12, 2, 8960, 151_936, True),
    3: (2048, 36, 16, 2, 11_008, 151_936, True),
    7: (3584, 28, 28, 4, 18_944, 152_064, False),
    14: (5120, 48, 40, 8, 13_824, 152_064, False),
}
ALONE = Cluster(learners=0, samplers=0, colocate=False)


@cache
def shape_of_qwen(billions: float, rank: int) -> Shape:
    hidden, layers, heads, key_heads, mlp, vocabulary, tied = SHAPES[billions]
    config = Qwen2Config(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        intermediate_size=mlp,
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
    )
    with torch.device("meta"):
        model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    return Shape.of(with_adapter(model, rank) if rank else model)


def work_on(billions: float, rank: int, cluster: Cluster = ALONE) -> Work:
    """gsm8k's step: 32 × 8 completions of up to 1,024 tokens, prompts of up to 256; a card for each process."""
    shape, place = shape_of_qwen(billions, rank), Place("cuda", "bfloat16")
    return Work(shape, place, 1280, 1280, completions=256, backend="vllm", cluster=cluster)


def card(gigabytes: float, host: float = 1000.0) -> Machine:
    """Sold with so many GB, of 10⁹ bytes; `host` in GiB."""
    return Machine(gigabytes * 1e9 / GIB, host)


def settings(**groups: dict[str, object]) -> Config:
    return resolved_on_a_gpu(Config(model={"name": "m"}, data={"source": "d"}).with_changes(**groups))


def resolved_on_a_gpu(config: Config) -> Config:
    return config.with_changes(
        model={"device": "cuda", "dtype": "bfloat16"}, sampling={"backend": "vllm"}, cluster=ALONE.model_dump()
    )


# --- The table ----------------------------------------------------------------------------------------------------

HEADER = ("GPU", "model", "tokens at a time", "checkpointing", "optimizer", "vLLM's share", "to learn", "to sample")


def page() -> str:
    """docs/sizes.md with its tables made anew: what stands before the first of them is kept."""
    before = DOCS.read_text(encoding="utf-8").partition("\n## Full fine-tuning")[0].rstrip("\n")
    tables = ["## Full fine-tuning", table(0), f"## LoRA of rank {RANK}", table(RANK)]
    return "\n\n".join([before, *tables]) + "\n"


def table(rank: int) -> str:
    rows = [HEADER, tuple("--:" if column > 1 else "---" for column in range(len(HEADER)))]
    for size in CARDS:
        for billions in SHAPES:
            rows.append(
                (f"{size} GB", f"{billions:g}B", *cells(choose(settings(), work_on(billions, rank), card(size))))
            )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cells(choice: Choice) -> Iterator[str]:
    if choice.lack:
        return iter(("does not fit", *[""] * 5))
    sizes, memory = choice.sizes, choice.memory
    return iter(
        (
            f"{sizes.tokens:,}",
            "yes" if sizes.checkpointing else "no",
            f"host, {memory.host:.0f} GiB there" if sizes.offload else "GPU",
            f"{sizes.share:.2f}",
            f"{memory.to_learn:.1f} GiB",
            f"{memory.always + memory.sampling:.1f} GiB",
        )
    )


if __name__ == "__main__":
    DOCS.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{DOCS}: written\n")
