"""`grpo pipeline --dry-run`: what would run, what each stage needs and whether it is there, and how many tokens."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from grpo.config import Eval, Sampling
from grpo.pipeline import checks
from grpo.pipeline.plan import Stage, reference
from grpo.pipeline.records import places
from grpo.pipeline.runner import Choice, Pipeline
from grpo.run.wording import count, plural


def dry_run(stages: Sequence[Stage], out: Path, say: Callable[[str], None], choice: Choice) -> Iterator[str]:
    """A paragraph per stage.  Asks nobody: what is on the Hub is said to be there."""
    _, chosen, _ = choice.of(stages)
    pipeline = Pipeline(stages, out, say)
    yield from (f"warning: {sentence}" for sentence in checks.overlaps(chosen))
    total = 0.0
    for stage in chosen:
        done = pipeline.look(stage) is not None if _is_known(pipeline, stage) else False
        tokens = sampled_tokens(stage.settings, stage.command)
        total += tokens or 0
        state = "finished" if done else "begun" if pipeline.begun(stage).exists() else "to do"
        yield f"stage {stage.number} of {len(pipeline.stages)}, {stage.name}: {state}"
        yield f"  {shlex.join(['grpo', *pipeline.command(stage)])}"
        yield from (f"  needs {what}" for what in needs(pipeline, stage))
        yield f"  {learned(stage.settings, stage.command, tokens)}"
    yield f"at most {count(total)} tokens sampled in all, as far as the sizes of the data are known here"


def _is_known(pipeline: Pipeline, stage: Stage) -> bool:
    return all(name in pipeline.outputs for name in stage.references.values())


def needs(pipeline: Pipeline, stage: Stage) -> Iterator[str]:
    """Models, data and rewards with where they are."""
    absent = set(checks.missing(stage))
    for key, text, place in places(stage):
        name = reference(text)
        if name is not None:
            there = pipeline.outputs.get(name)
            where = str(there.place) if there else "not made yet"
        elif place is None:
            where = "made on the spot"
        else:
            where = "MISSING" if f"{key} = {text}" in absent else "here" if place.exists() else "on the Hub"
        yield f"{text} for {key} ({where})"


def sampled_tokens(settings: Mapping[str, Any], run: str) -> float | None:
    """Prompts × completions × the longest, evaluations before and after included; None: the data must be downloaded to
    know."""
    sampling, held_out = Sampling(**settings.get("sampling", {})), settings.get("eval", {})
    asked = Eval(**held_out)
    problems = checks.count_problems(settings, "eval")
    evaluation = None if problems is None else problems * asked.n * (asked.max_tokens or sampling.max_tokens)
    if run == "eval":
        return evaluation
    if run in ("select", "export"):
        return 0
    if run == "collect":
        asked_of = checks.count_problems(settings, "data")
        return None if asked_of is None else asked_of * sampling.group_size * sampling.max_tokens
    steps = 0 if run == "sft" else settings.get("run", {}).get("steps", 200)
    drawn = steps * sampling.problems_per_step * sampling.group_size * sampling.max_tokens
    every = asked.every and steps // asked.every
    return None if evaluation is None else drawn + evaluation * (2 + every)


def learned(settings: Mapping[str, Any], run: str, tokens: float | None) -> str:
    """What a stage would sample and learn from, in words."""
    sampled = "samples as much as its data has" if tokens is None else f"samples {count(tokens)} tokens at most"
    if run != "sft":
        return sampled if tokens is None or tokens else "samples nothing"
    table = settings.get("sft", {})
    examples = table.get("steps", 0) * table.get("batch_size", 32)
    shown = f"learns from {plural(examples, 'example')}" if examples else "learns from all its examples"
    return f"{shown}; {sampled}"
