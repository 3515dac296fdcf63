"""GRPO: teach a language model to reason, by reward alone."""

DISTRIBUTION = "grpo-train"  # what is installed; the name "grpo" belongs to something else on the package index
