"""Before the first step: what would silently ruin the run is said now.

Real groups are sampled and scored with the policy's own weights.  A finding is *certain* when nothing can come of the
run (every gold answer rejected, no completion ever ends); then it is refused unless `run.preflight = "report"`.
The rest is reported and the run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from grpo.config import Config, Reward, Run
from grpo.errors import ConfigError
from grpo.memory import Shape, checkpoint_size, model_size
from grpo.metrics import completion_shares
from grpo.objectives import zero_variance
from grpo.run.checkpoints import free_space
from grpo.run.wording import plural
from grpo.scoring import check_golds
from grpo.sizes import Choice
from grpo.types import Problem, ScoredGroup
from rewards import Declaration, Failure

GROUPS = 8  # sampled before the first step
GOLDS = 500  # gold answers checked before the first step; `grpo rewards check` looks at all of them


@dataclass(frozen=True, slots=True)
class Finding:
    text: str
    certain: bool = False  # nothing can be learned


def check_rejected_golds(
    reward: Reward, declaration: Declaration, problems: Sequence[Problem], *, chat: bool
) -> list[Finding]:
    """Gold answers that the first reward, the one that says "solved", does not accept.

    One that drops such problems has tried them all when they were loaded.
    """
    if declaration.rejected_golds != "report":
        return []
    some = [problem for problem in problems if problem.facts.get("answer")][:GOLDS]  # rewards may do without
    rejected = check_golds(reward, some, chat=chat)
    if not rejected:
        return []
    first = rejected[0]
    text = (
        f"reward {reward.use} does not give {len(rejected)} of {len(some)} gold answers its best value, such "
        f"as {first.gold[:60]!r} of {first.problem_id} ({first.why})"
    )
    return [Finding(text, certain=len(rejected) == len(some))]


def check_groups(scored: Sequence[ScoredGroup], *, max_tokens: int, taught: bool = False) -> list[Finding]:
    """What the first groups show.  `max_tokens`: the longest that a completion may be; `taught`: by a teacher, from
    whom there is something to learn whatever the rewards are."""
    shares = completion_shares(scored, next(iter(scored[0].scores[0])))
    truncated, unreadable = shares["completions/truncated"], shares["completions/unparseable"]
    reason = _first_reason(scored)
    findings = []
    for kind in get_args(Failure):
        if share := shares[f"completions/{kind}"]:
            text = f"{share:.0%} of the rewards' calls ended in a {kind}; {_reason_of(scored, kind)}"
            findings.append(Finding(text, certain=share >= 1))
    if truncated == 1:
        advice = "raise it, or give the model a text to stop at with sampling.stop"
        findings.append(
            Finding(f"no completion ended within sampling.max_tokens = {max_tokens}; {advice}", certain=not taught)
        )
    elif truncated > 0.3:
        findings.append(
            Finding(f"sampling.max_tokens = {max_tokens} cuts off {truncated:.0%} of completions; raise it")
        )
    alike = not taught and all(zero_variance(group.rewards) for group in scored)
    if alike:
        seen = sorted({"unscored" if reward is None else f"{reward:g}" for group in scored for reward in group.rewards})
        what = f"all completions got the same reward in each of {len(scored)} groups ({', '.join(seen[:4])})"
        findings.append(Finding(f"{what}, so there is nothing to learn from yet; {reason}"))
    if unreadable > 0.5:
        advice = "say in data.system or data.template how the answer is to be written"
        share = "no completion has an" if unreadable == 1 else f"{unreadable:.0%} of completions have no"
        text = f"{share} answer that can be read; {reason}; {advice}"
        findings.append(Finding(text, certain=unreadable == 1 and alike))  # unlike: another reward tells them apart
    return findings


def show_one(scored: Sequence[ScoredGroup]) -> str:
    """One real completion with its reward and the reasons, so that a person sees what is being paid for."""
    group, scores, reward = scored[0], scored[0].scores[0], scored[0].rewards[0]
    text = group.group.completions[0].text
    shown = repr(text if len(text) <= 120 else f"{text[:60]} … {text[-60:]}")
    reasons = "; ".join(f"{name}: {score.why}" for name, score in scores.items() if score.why)
    value = "unscored" if reward is None else f"{reward:g}"
    return f"sample: {group.group.prompt.problem.id} got {shown}, reward {value}" + (f" ({reasons})" if reasons else "")


def _reason_of(scored: Sequence[ScoredGroup], kind: Failure) -> str:
    scores = (score for group in scored for by_name in group.scores for score in by_name.values())
    return next((score.why[:120] for score in scores if score.failure == kind), "they gave no reason")


def _first_reason(scored: Sequence[ScoredGroup]) -> str:
    for group in scored:
        for scores in group.scores:
            for name, score in scores.items():
                if score.why:
                    return f'reward {name} says "{score.why[:80]}" of the first'
    return "the rewards give no reasons"


def check_memory(choice: Choice) -> list[Finding]:
    if not choice.lack:
        return []
    advice = "lower optim.tokens_per_microbatch, set model.gradient_checkpointing = true or optim.offload = true"
    if choice.sizes.checkpointing and choice.sizes.offload:
        advice = "take a smaller model, an adapter (model.lora_rank = 32), or a lower sampling.max_tokens"
    if choice.memory.by_turns:  # on GPUs; the learners of processors share one memory
        advice += ", or raise cluster.learners"
    return [Finding(f"{choice.lack}; {advice}", certain=choice.certain)]


def check_disk(shape: Shape, config: Config, checkpoints: Path) -> list[Finding]:
    """Whether what the run will write fits beside what it has written; `checkpoints` may not be there yet."""
    whole, model = checkpoint_size(shape), model_size(shape)
    written = -(-config.run.steps // config.run.save_every)
    at_once = min(written, max(2, config.run.keep))  # a new one is whole before the last one goes
    best = 2 * model if config.eval.source else 0.0  # likewise
    room = free_space(checkpoints)
    needed = at_once * whole + best
    if needed <= room:
        return []
    text = (
        f"{checkpoints} needs {needed:.1f} GiB for {plural(at_once, 'checkpoint')} of {whole:.1f}"
        f"{f' and the best model of {model:.1f}, twice while it is replaced' if best else ''}, and the disk has "
        f"{room:.1f}; make room, lower run.keep = {config.run.keep}, or choose another disk with --out"
    )
    return [Finding(text, certain=whole > room)]


def settle(findings: Sequence[Finding], run: Run, warn: Callable[[str], None]) -> None:
    """Say what was found; raise for what is certain, unless the settings say to go on."""
    refused = [finding for finding in findings if finding.certain and run.preflight == "refuse"]
    for finding in findings:
        if finding not in refused:
            warn(finding.text)
    if refused:
        raise ConfigError(f'preflight: {refused[0].text} (run.preflight = "report" goes on regardless)')
