"""One GRPO step, ours and TRL's, on the same work: what `scripts/bench trl` and `scripts/bench growth` share."""
