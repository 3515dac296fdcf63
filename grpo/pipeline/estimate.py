"""`grpo pipeline --dry-run`: what would run, what each stage needs and whether it is there, and how many tokens."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from grpo.config import CollectSampling, Eval, Run, Sampling, Sft
from grpo.pipeline import checks
from grpo.pipeline.plan import Stage, reference
from grpo.pipeline.records import places
from grpo.pipeline.runner import NOTHING_CHOSEN, Choice, Pipeline
from grpo.run.wording import count, plural


def dry_run(stages: Sequence[Stage], out: Path, say: Callable[[str], None], choice: Choice = NOTHING_CHOSEN) -> None:
    """A paragraph per stage.  Asks nobody: what is on the Hub is taken to be there."""
    for line in _lines(Pipeline(stages, out, say), choice.of(stages)[1]):
        say(line)


def _lines(pipeline: Pipeline, chosen: Sequence[Stage]) -> Iterator[str]:
    yield from (f"warning: {sentence}" for sentence in checks.overlaps(chosen))
    total = 0
    for stage in chosen:
        done = pipeline.look(stage) is not None if _is_known(pipeline, stage) else False
        total += sum(tokens or 0 for tokens in sampled(stage.settings, stage.command))
        state = "finished" if done else "begun" if pipeline.begun(stage).exists() else "to do"
        yield f"stage {stage.number} of {len(pipeline.stages)}, {stage.name}: {state}"
        yield f"  {shlex.join(['grpo', *pipeline.command(stage)])}"
        yield from (f"  needs {what}" for what in needs(pipeline, stage))
        yield f"  {in_words(stage.settings, stage.command)}"
    yield f"at most {count(total)} tokens sampled in all, where the size of the data is known without a download"


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
            where = "MISSING" if f"{key} = {text}" in absent else "here" if place.exists() else "from the Hub"
        yield f"{text} for {key} ({where})"


def sampled(settings: Mapping[str, Any], command: str) -> tuple[int | None, int | None]:
    """Tokens at most, prompts × completions × the longest, of the work itself and of its evaluations; None: the data
    would have to be downloaded to know."""
    kind = CollectSampling if command == "collect" else Sampling
    sampling, held_out = kind(**settings.get("sampling", {})), Eval(**settings.get("eval", {}))
    problems = checks.count_problems(settings, "eval")
    once = None if problems is None else problems * held_out.n * (held_out.max_tokens or sampling.max_tokens)
    if command == "eval":
        return once, 0
    if command == "collect":
        asked = checks.count_problems(settings, "data")
        return None if asked is None else asked * sampling.group_size * sampling.max_tokens, 0
    if command in ("select", "export"):
        return 0, 0
    steps = 0 if command == "sft" else Run(**settings.get("run", {})).steps
    times = 2 + (max(0, steps - 1) // held_out.every if held_out.every else 0)
    drawn = steps * sampling.problems_per_step * sampling.group_size * sampling.max_tokens
    return drawn, None if once is None else once * times


def in_words(settings: Mapping[str, Any], command: str) -> str:
    drawn, evaluations = sampled(settings, command)
    said = ["samples as much as its data has" if drawn is None else f"samples {count(drawn)} tokens at most"]
    if drawn == 0:
        said = ["samples nothing"] if evaluations == 0 else []
    if command == "sft":
        said.insert(0, f"learns from {_examples(Sft(**settings['sft']), checks.count_problems(settings, 'sft'))}")
    if evaluations != 0:
        said.append(
            f"evaluations {'as large as their data' if evaluations is None else f'{count(evaluations)} tokens at most'}"
        )
    return "; ".join(said)


def _examples(sft: Sft, rows: int | None) -> str:
    if sft.steps:
        return plural(sft.steps * sft.batch_size, "example")
    times = f"{sft.epochs} times" if sft.epochs else "as often as sft.epochs or sft.steps will say"
    return f"all its examples, {times}" if rows is None else f"{plural(rows, 'example')}, {times}"
