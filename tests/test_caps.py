"""Gemma 2's cap on attention scores: policy and sampler have it, as vLLM does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from grpo.config import Optim
from grpo.learning.loading import load_model
from grpo.learning.policy import Policy
from grpo.sampling.hf import TransformersSampler
from tests.families import FAMILIES, write_family

SEQUENCE = (tuple(range(10, 40)), tuple(range(50, 60)))


def logprobs(model: Any) -> list[float]:
    prompt, completion = SEQUENCE
    with torch.no_grad():
        logits_TV = model(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1]
    found: list[float] = logits_TV.log_softmax(-1).gather(1, torch.tensor(completion)[:, None])[:, 0].tolist()
    return found


def test_scores_are_capped_though_transformers_leaves_that_to_its_eager_attention(tmp_path: Path) -> None:
    gemma = next(family for family in FAMILIES if family.name == "Gemma 2")
    folder = str(write_family(gemma, tmp_path, attn_logit_softcapping=0.5))
    opened = {
        kind: AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=kind).eval()
        for kind in ("eager", "sdpa")
    }
    expected, without = logprobs(opened["eager"]), logprobs(opened["sdpa"])
    assert max(abs(a - b) for a, b in zip(expected, without, strict=True)) > 0.1
    policy = Policy(
        load_model(folder, None, dtype="float32", device="cpu"), Optim(), temperature=1.0, gradient_checkpointing=False
    )
    sampler = TransformersSampler(folder, revision=None, dtype="float32", device="cpu", context=64)
    for scored in (policy.score([SEQUENCE]), sampler.score([SEQUENCE])):
        assert max(abs(a - b) for a, b in zip(scored[0], expected, strict=True)) < 1e-5
