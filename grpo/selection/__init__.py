"""`grpo select`: from collected completions, and from data that is trusted, to rows for fine-tuning.

    sources ──candidates──▶ problems ──filters──▶ kept rows ──mix──▶ rows, card    decontaminate, similar: filters

Rejection sampling, as DeepSeek-R1 (arXiv 2501.12948) and RFT (2308.01825) did it.  Everything is a stream: memory holds
a few problems, the index of the evaluation sets, and a digest of each row kept (0.8 GB for 10 million).
"""

from grpo.selection.select import select

__all__ = ["select"]
