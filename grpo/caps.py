"""Caps on attention scores, score → c tanh(score / c), as Gemma 2 has them.

transformers' default attention leaves them out without a word, and vLLM does not: a policy would learn another model
than the one that samples.  Only its eager attention has them, and that of shared prompts.
"""

from __future__ import annotations

from typing import Any


def keep_caps(model: Any) -> None:
    if getattr(model.config.get_text_config(), "attn_logit_softcapping", None) is not None:
        model.set_attn_implementation("eager")
