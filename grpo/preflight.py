"""Before the first step: what would silently ruin the run is said now.

Real groups are sampled and scored with the policy's own weights.  A finding is *certain* when nothing can come of the
run (every gold answer rejected, no completion ever ends); then it is refused unless `run.preflight = "report"`.
The rest is reported and the run goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psutil
import torch
from torch import nn

from grpo.algorithm import agrees
from grpo.config import Config
from grpo.errors import ConfigError
from grpo.metrics import completion_shares
from grpo.scoring import check_golds
from grpo.types import Problem, ScoredGroup

GROUPS = 8  # sampled before the first step
GOLDS = 500  # gold answers checked before the first step; `grpo rewards check` looks at all of them


@dataclass(frozen=True, slots=True)
class Finding:
    text: str
    certain: bool = False  # nothing can be learned


def check_rejected_golds(config: Config, problems: Sequence[Problem]) -> list[Finding]:
    """Gold answers that the first reward, the one that says "solved", does not accept."""
    some = [problem for problem in problems if problem.facts.get("answer")][:GOLDS]  # rewards may do without
    rejected = check_golds(config.reward[0], some, chat=config.data.chat)
    if not rejected:
        return []
    first = rejected[0]
    text = (
        f"reward {config.reward[0].use} does not give {len(rejected)} of {len(some)} gold answers its best value, such "
        f"as {first.gold[:60]!r} of {first.problem_id} ({first.why})"
    )
    return [Finding(text, certain=len(rejected) == len(some))]


def check_groups(config: Config, scored: Sequence[ScoredGroup]) -> list[Finding]:
    """What the first groups show."""
    shares = completion_shares(scored, next(iter(scored[0].scores[0])))
    truncated, unreadable = shares["completions/truncated"], shares["completions/unparseable"]
    limit, reason = config.sampling.max_tokens, _first_reason(scored)
    findings = []
    if truncated == 1:
        advice = "raise it, or give the model a text to stop at with sampling.stop"
        findings.append(Finding(f"no completion ended within sampling.max_tokens = {limit}; {advice}", certain=True))
    elif truncated > 0.3:
        findings.append(Finding(f"sampling.max_tokens = {limit} cuts off {truncated:.0%} of completions; raise it"))
    if all(agrees(group.rewards) for group in scored):
        seen = sorted({"unscored" if reward is None else f"{reward:g}" for group in scored for reward in group.rewards})
        what = f"all completions got the same reward in each of {len(scored)} groups ({', '.join(seen[:4])})"
        findings.append(Finding(f"{what}, so there is nothing to learn from yet; {reason}"))
    if unreadable > 0.5:
        advice = "say in data.system or data.template how the answer is to be written"
        findings.append(Finding(f"{unreadable:.0%} of completions have no answer that can be read; {reason}; {advice}"))
    return findings


def _first_reason(scored: Sequence[ScoredGroup]) -> str:
    for group in scored:
        for scores in group.scores:
            for name, score in scores.items():
                if score.why:
                    return f'reward {name} says "{score.why[:80]}" of the first'
    return "the rewards give no reasons"


@dataclass(frozen=True, slots=True)
class Memory:
    """Estimated need of the learner at its peak, and what the machine has, in GiB."""

    weights: float
    optimizer: float
    batch: float
    available: float
    where: str

    @property
    def total(self) -> float:
        return self.weights + self.optimizer + self.batch

    def __str__(self) -> str:
        return (
            f"{self.total:.1f} GiB of {self.available:.1f} on the {self.where} for the longest batch (weights "
            f"{self.weights:.1f}, optimizer and gradients {self.optimizer:.1f}, activations {self.batch:.1f})"
        )


def estimate_memory(config: Config, model: nn.Module, longest_row: int) -> Memory:
    """What the learner will need when a batch of the longest rows comes.

    Activations are an upper estimate from shapes alone: about 34 values per token, layer and unit of width without
    checkpointing (arXiv 2205.05198, eq. 2, without dropout and with fused attention), 1 with it, and the logits of a
    chunk of 1,024 positions three times over in float32.
    """
    shape = model.config.get_text_config()  # type: ignore[operator, union-attr]
    weights = list(model.parameters())
    numbers, width = sum(weight.numel() for weight in weights), weights[0].element_size()
    has_masters = width < 4
    optimizer = numbers * (8 + 4 + 4 * has_masters)  # moments, gradients, masters
    tokens = max(config.optim.tokens_per_microbatch, longest_row)
    per_token = 2 if config.model.gradient_checkpointing else 34 * width / 2
    layers, hidden = shape.num_hidden_layers, shape.hidden_size
    activations = tokens * layers * hidden * per_token + 3 * 4 * 1024 * shape.vocab_size
    on_gpu = weights[0].is_cuda
    available = torch.cuda.mem_get_info()[1] if on_gpu else psutil.virtual_memory().total
    return Memory(
        weights=numbers * width / 2**30,
        optimizer=0.0 if on_gpu and config.optim.offload else optimizer / 2**30,
        batch=activations / 2**30,
        available=available / 2**30,
        where="GPU" if on_gpu else "machine",
    )


def check_memory(memory: Memory) -> list[Finding]:
    if memory.total <= memory.available:
        return []
    certain = memory.weights + memory.optimizer > memory.available
    advice = "lower optim.tokens_per_microbatch, set model.gradient_checkpointing = true or optim.offload = true"
    return [Finding(f"memory: the run may need {memory}; {advice}", certain)]


def refuse(findings: Sequence[Finding], config: Config) -> None:
    """Raise for what is certain, unless the settings say to go on."""
    certain = [finding.text for finding in findings if finding.certain]
    if certain and config.run.preflight == "refuse":
        raise ConfigError(f'preflight: {certain[0]} (run.preflight = "report" goes on regardless)')
