"""Run the stages one after the other: skip what is finished, go on with what was cut, refuse what changed underneath.

The state of a pipeline is its folder and nothing else:

    OUT/1-cold-start.toml          the stage's settings, which `grpo sft` reads
    OUT/1-cold-start/              its run folder, with stage.json once it is finished
    OUT/1-cold-start.begun.json    while it is not
    OUT/report.html                the stages side by side

A kill at any moment leaves a stage finished, begun or not there, and each has one way on.
"""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import tomli_w

from grpo.errors import EXIT_AGAIN, CheckpointError, ConfigError, GrpoError, Interrupted, StageError
from grpo.interrupt import exit_code_for
from grpo.pipeline import checks, records
from grpo.pipeline.figures import figures
from grpo.pipeline.page import PAGE, Shown, console_table, write_page
from grpo.pipeline.plan import Stage, find, replaced
from grpo.pipeline.process import Forwarding, wait_for_leftover
from grpo.pipeline.records import RECORD, Output, Record
from grpo.run.folder import RunFolder, replace_file
from grpo.run.wording import duration

LEFTOVER = ".command"  # in OUT: which process runs the command

Say = Callable[[str], None]


class Commands(Protocol):
    """Who runs a stage's command: `Forwarding`, or a test."""

    received: Any

    def run(self, arguments: Sequence[str], note: Path) -> int: ...


class Pipeline:
    """The stages and where they stand.  `outputs` are those of the stages that were found finished so far."""

    def __init__(self, stages: Sequence[Stage], out: Path, say: Say) -> None:
        self.stages, self.out, self.say = stages, out, say
        self.outputs: dict[str, Output] = {}
        self.finished: dict[str, Record] = {}
        self.commits = self._known_commits()

    # --- Where a stage stands ---------------------------------------------------------------------------------------

    def folder(self, stage: Stage) -> Path:
        return self.out / stage.folder

    def toml(self, stage: Stage) -> Path:
        return self.out / f"{stage.folder}.toml"

    def begun(self, stage: Stage) -> Path:
        return self.out / f"{stage.folder}.begun.json"

    def command(self, stage: Stage) -> list[str]:
        """What follows `grpo`; an earlier stage that is not finished stands there by its name."""
        return stage.kind.command(self.resolved(stage), str(self.toml(stage)), str(self.folder(stage)))

    def resolved(self, stage: Stage) -> dict[str, Any]:
        """The stage's settings with the outputs of earlier stages in their places, and a Hub's model at its commit."""
        found = {name: str(output.place) for name, output in self.outputs.items()}
        tree: dict[str, Any] = replaced(stage.settings, found.get)
        commit = next(iter(self.known_commit(stage).values()), None)
        return {**tree, "model": {**tree["model"], "revision": commit}} if commit else tree

    def known_commit(self, stage: Stage) -> dict[str, str]:
        key = records.hub_key(stage)
        return {key: self.commits[key]} if key in self.commits else {}

    def _known_commits(self) -> dict[str, str]:
        kept = [
            records.read(path) for stage in self.stages for path in (self.folder(stage) / RECORD, self.begun(stage))
        ]
        pairs = [pair for record in kept if record for pair in record.inputs.items()]
        return {key: commit for key, commit in pairs if key.startswith("hub:")}

    def look(self, stage: Stage) -> Record | None:
        """The record of a finished stage, after everything in it was compared with what is there now; None: it is not
        finished.  Raises `CheckpointError` where something changed."""
        folder = self.folder(stage)
        record = records.read(folder / RECORD)
        if record is None:
            return None
        output = records.output_of(stage.kind, folder)
        lost = records.changed_files(record.outputs, records.sums(output) if output else {})
        self._refuse_changes(stage, record, self.now(stage), [f"{folder}/{what}" for what in lost])
        assert output is not None, "a record names at least one file"
        self.outputs[stage.name], self.finished[stage.name] = output, record
        return record

    def now(self, stage: Stage) -> Record:
        """The record it would begin with."""
        self.commits |= records.commit_of_model(stage, self.commits)
        return records.of_now(stage, shlex.join(["grpo", *self.command(stage)]), self.outputs, self.known_commit(stage))

    def _refuse_changes(self, stage: Stage, then: Record, now: Record, lost: Sequence[str] = ()) -> None:
        changed = [
            *records.changed_settings(then, now),
            *records.changed_files(then.inputs, now.inputs),
            *lost,
        ]
        if changed:
            more = f"; and {len(changed) - 3} more" if len(changed) > 3 else ""
            raise CheckpointError(
                f"{self.folder(stage)}: no longer fits what it was made from ({'; '.join(changed[:3])}{more}); put "
                f"that back, or make this stage and those after it anew with --redo {stage.name}",
                exit_code=2,
            )
        if other := records.changed_files(then.measured_by, now.measured_by):
            self.say(f"warning: stage {stage.name} was evaluated before {'; '.join(other)}: its score may not compare")

    def check_numbers(self) -> None:
        """A stage put between others moves those after it, whose folders have their numbers."""
        for stage in self.stages:
            for other in self.out.glob(f"*-{stage.name}"):
                number = other.name.removesuffix(f"-{stage.name}")
                if number.isdigit() and int(number) != stage.number:
                    raise ConfigError(
                        f"{other}: is of stage {stage.name}, which is number {stage.number} now; rename it, and the "
                        f".toml and .json beside it, to {stage.folder}, or choose another folder with --out"
                    )

    # --- Running ----------------------------------------------------------------------------------------------------

    def run(self, stage: Stage, commands: Commands) -> Record:
        """Start or go on with a stage that is not finished, to its end."""
        folder, now = self.folder(stage), self.now(stage)
        then = records.read(self.begun(stage))
        resumes = stage.kind.resumes and (folder / "config.toml").is_file()
        if resumes and then is not None:
            self._refuse_changes(stage, then, now)
            now = replace(now, seconds=then.seconds)
        elif not resumes:
            self._clear(stage, then)
        arguments = self.command(stage)
        replace_file(self.toml(stage), [self._toml_text(stage).encode()])
        now.write(self.begun(stage))
        self.say(f"\nstage {stage.number} of {len(self.stages)}, {stage.name}: {shlex.join(['grpo', *arguments])}")
        began = time.monotonic()
        code = commands.run([*arguments, "--resume"] if resumes else arguments, self.out / LEFTOVER)
        now = replace(now, seconds=now.seconds + time.monotonic() - began)
        if code:
            now.write(self.begun(stage))
            raise self._failed(stage, code, commands)
        return self._finish(stage, now)

    def _clear(self, stage: Stage, begun: Record | None) -> None:
        """Away with what a kill left of a stage that cannot go on from it."""
        folder = self.folder(stage)
        if folder.exists() and begun is None and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise CheckpointError(
                f"{folder}: is not of this pipeline; move it away, or choose another --out", exit_code=2
            )
        if folder.exists():
            shutil.rmtree(folder)

    def _toml_text(self, stage: Stage) -> str:
        settings = records.as_json(self.resolved(stage))
        return f"# {shlex.join(['grpo', *self.command(stage)])}\n\n{tomli_w.dumps(settings)}"

    def _failed(self, stage: Stage, code: int, commands: Commands) -> GrpoError:
        if commands.received is not None:
            return Interrupted(
                f"stopped by {commands.received.name} in stage {stage.name}; the same command goes on from there",
                exit_code=exit_code_for(commands.received),
            )
        if code == EXIT_AGAIN:
            return Interrupted(
                f"stage {stage.name} stopped in time for its deadline; the same command goes on from there",
                exit_code=EXIT_AGAIN,
            )
        return StageError(
            f"stage {stage.name} ended with exit code {code}, and what it printed says why; once that is mended, the "
            "same command goes on from there",
            exit_code=code,
        )

    def _finish(self, stage: Stage, record: Record) -> Record:
        folder = self.folder(stage)
        output = records.output_of(stage.kind, folder)
        if output is None or not output.files:
            raise StageError(f"{folder}: stage {stage.name} ended well and left no result; see what it printed")
        record = replace(
            record,
            outputs=records.sums(output),
            start=records.start_of(self.resolved(stage), folder),
            figures=figures(stage.command, folder, output.place),
        )
        record.write(folder / RECORD)
        self.begun(stage).unlink()
        self.outputs[stage.name], self.finished[stage.name] = output, record
        return record

    def redo(self, first: Stage) -> None:
        """Move the stage and all after it aside, the last first, so that a kill leaves whole ones before."""
        aside = next(place for n in range(1, 10_000) if not (place := self.out / f"before-redo-{n}").exists())
        moved = []
        for stage in reversed(self.stages[first.number - 1 :]):
            for path in (self.folder(stage), self.begun(stage), self.toml(stage)):
                if path.exists():
                    aside.mkdir(exist_ok=True)
                    path.rename(aside / path.name)
                    moved.append(path.name)
        if moved:
            self.say(f"moved to {aside}: {', '.join(sorted(moved))}; delete it when it is of no more use")

    def shown(self) -> list[Shown]:
        return [Shown(stage, self.folder(stage), self.finished.get(stage.name)) for stage in self.stages]

    def write_page(self) -> None:
        write_page(self.out, self.shown())


@dataclass(frozen=True, slots=True)
class Choice:
    """Of the stages, by their names: from `start` (those before must be finished) `until`; `redo` and those after it
    are made anew."""

    start: str | None = None
    until: str | None = None
    redo: str | None = None

    def of(self, stages: Sequence[Stage]) -> tuple[Stage, Sequence[Stage], Stage | None]:
        """The first that may run, all up to the last one, and the first to be made anew."""
        first = find(stages, self.start, "--from") if self.start else stages[0]
        last = find(stages, self.until, "--until") if self.until else stages[-1]
        if last.number < first.number:
            raise ConfigError(f"--until {last.name}: comes before --from {first.name}; leave one of them out")
        return first, stages[: last.number], find(stages, self.redo, "--redo") if self.redo else None


NOTHING_CHOSEN = Choice()


def run_pipeline(
    stages: Sequence[Stage],
    out: Path,
    say: Say,
    choice: Choice = NOTHING_CHOSEN,
    *,
    open_commands: Callable[[], AbstractContextManager[Commands]] = Forwarding,
) -> None:
    """`grpo pipeline`: the stages in `out`, one after the other.  Raises what a stage ended with."""
    first, chosen, again = choice.of(stages)
    with RunFolder.hold(out), open_commands() as commands:
        wait_for_leftover(out / LEFTOVER, say)
        pipeline = Pipeline(stages, out, say)
        pipeline.check_numbers()
        if again:
            pipeline.redo(again)
        _check_before(pipeline, chosen)
        try:
            for stage in chosen:
                _one(pipeline, stage, commands, must_be_finished=stage.number < first.number)
        finally:
            pipeline.write_page()
        for line in console_table(pipeline.shown()):
            say(line)
        say(f"report: {out / PAGE}")


def _check_before(pipeline: Pipeline, stages: Sequence[Stage]) -> None:
    """All that can be wrong and does not need an earlier stage's output."""
    ahead = [stage for stage in stages if not (pipeline.folder(stage) / RECORD).exists()]
    checks.check_inputs(ahead)
    for stage in ahead:
        pipeline.commits |= records.commit_of_model(stage, pipeline.commits)
    for sentence in checks.overlaps(ahead):
        pipeline.say(f"warning: {sentence}")


def _one(pipeline: Pipeline, stage: Stage, forwarding: Commands, *, must_be_finished: bool) -> None:
    if record := pipeline.look(stage):
        pipeline.say(
            f"stage {stage.number} of {len(pipeline.stages)}, {stage.name}: finished, in {duration(record.seconds)}"
        )
        return
    if must_be_finished:
        raise ConfigError(
            f"--from: stage {stage.name} comes before and is not finished; start with --from {stage.name}"
        )
    if forwarding.received is not None:
        raise Interrupted(
            f"stopped by {forwarding.received.name} before stage {stage.name}; the same command goes on",
            exit_code=exit_code_for(forwarding.received),
        )
    record = pipeline.run(stage, forwarding)
    pipeline.say(f"stage {stage.name}: finished, in {duration(record.seconds)}")
    pipeline.write_page()
