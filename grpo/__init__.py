"""GRPO: teach a language model to reason, by reward alone."""
