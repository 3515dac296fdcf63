"""What each command does, between the terminal (`grpo.cli`) and the work (`grpo.train` and its like)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grpo import commands_eval
from grpo.config import CollectConfig, JudgeConfig
from grpo.config_file import apply_changes, change, load_config, load_select, load_settings, validate
from grpo.deadline import since_the_command_began
from grpo.errors import CheckpointError, ConfigError, DataError

PIPE_WIDTH = 160  # characters of a table that goes to a file or another program


def show(places: Sequence[Path], port: int) -> None:
    try:
        from grpo.show.server import serve
    except ImportError as error:
        raise ConfigError(
            f"grpo show: needs DuckDB, Starlette and uvicorn ({error}); pip install 'grpo-train[show]'"
        ) from error
    serve(places, port, say)


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  the one place where a command's result goes to the terminal


def train(
    recipe: str,
    model: str | None,
    data: str | None,
    rewards: Sequence[str],
    changes: Sequence[str],
    out: Path | None,
    *,
    control: str | None = None,
    resume: bool,
    dry_run: bool,
) -> None:
    _start_or_resume(resume=resume, dry_run=dry_run)
    config = load_config(recipe, [*_named(model=model, control=control), *changes], data=data, rewards=rewards)
    from grpo.train import train

    folder = _run_folder(recipe, out)
    if config.run.control and out is None:
        folder = folder.with_name(f"{folder.name}-{config.run.control}")
    train(config, folder, resume=resume, dry_run=dry_run, elapsed=since_the_command_began)


def sft(
    recipe: str,
    model: str | None,
    data: str | None,
    changes: Sequence[str],
    out: Path | None,
    *,
    resume: bool,
    dry_run: bool,
) -> None:
    _start_or_resume(resume=resume, dry_run=dry_run)
    config = load_config(recipe, [*_named(model=model), *changes], examples=data)
    from grpo.tune import tune

    target = out or Path(f"{_run_folder(recipe, None)}-sft")
    tune(config, target, resume=resume, dry_run=dry_run, elapsed=since_the_command_began)


def collect(
    flags: Mapping[str, Any],
    data: str | None,
    rewards: Sequence[str],
    changes: Sequence[str],
    recipe: str | None,
    out: Path,
    *,
    resume: bool,
) -> None:
    """`flags` are settings by their names, None where not given."""
    given = [*(change(key, value) for key, value in flags.items() if value is not None), *changes]
    if recipe is None and resume:
        recipe = str(out / "config.toml")
        if not Path(recipe).is_file():
            raise CheckpointError(f"{out}: holds no collection to resume; leave out --resume to start one", exit_code=2)
    if recipe is not None:
        config = load_settings(recipe, given, kind=CollectConfig, data=data, rewards=rewards)
    elif flags["model.name"] is None or data is None:
        raise ConfigError("grpo collect: needs MODEL and DATA, or a --recipe that names them")
    else:
        tree: dict[str, Any] = {"data": {"source": data}, "reward": [{"use": use} for use in rewards or ["math"]]}
        config = validate(apply_changes(tree, given), place="grpo collect", kind=CollectConfig, changes=given)
    from grpo.collect import collect

    collect(config, out, resume=resume, elapsed=since_the_command_began)


def select(sources: Sequence[str], out: Path | None, recipe: str | None, changes: Sequence[str]) -> None:
    if out is None:
        raise ConfigError("grpo select: needs --out FILE, where the rows go; it ends in .jsonl or .parquet")
    config = load_select(recipe, sources, changes)
    from grpo.selection import select

    select(config, out, say)


def pipeline(
    recipe: str,
    changes: Sequence[str],
    out: Path | None,
    *,
    start: str | None,
    until: str | None,
    redo: str | None,
    dry_run: bool,
) -> None:
    from grpo.pipeline.estimate import dry_run as what_would_run
    from grpo.pipeline.plan import load_plan
    from grpo.pipeline.runner import Choice, run_pipeline

    if dry_run and redo:
        raise ConfigError("--redo and --dry-run: a dry run moves nothing; leave one of them out")
    stages, choice = load_plan(recipe, changes), Choice(start, until, redo)
    run = what_would_run if dry_run else run_pipeline
    run(stages, _run_folder(recipe, out), say, choice)


def distill(
    recipe: str,
    teacher: str | None,
    model: str | None,
    data: str | None,
    rewards: Sequence[str],
    changes: Sequence[str],
    out: Path | None,
    *,
    resume: bool,
    dry_run: bool,
) -> None:
    """The training run with a teacher in it, or for "traces" three stages, which go on by themselves where they were
    cut."""
    from grpo.pipeline.estimate import dry_run as what_would_run
    from grpo.pipeline.runner import run_pipeline
    from grpo.pipeline.traces import conclude, load_traces

    named = _named(model=model, teacher=teacher)
    target = out or Path(f"{_run_folder(recipe, None)}-distill")
    if stages := load_traces(recipe, [*named, *changes], data=data, rewards=rewards):
        if dry_run:
            what_would_run(stages, target, say)
        else:
            run_pipeline(stages, target, say)
            conclude(stages, target, say)
        return
    if load_config(recipe, [*named, *changes], data=data, rewards=rewards).distill.teacher is None:
        raise ConfigError(
            "grpo distill: there is no teacher; name one with --teacher, or in the recipe's distill.teacher"
        )
    train(recipe, None, data, rewards, [*named, *changes], target, resume=resume, dry_run=dry_run)


def evaluate(places: Sequence[str], options: commands_eval.EvalOptions) -> None:
    commands_eval.evaluate(places, options, say)


def export(place: Path, out: Path) -> None:
    from grpo.export import export

    export(place, out, say)


def push(place: Path, repository: str) -> None:
    from grpo.push import push

    push(place, repository, say)


def compare(a: str, b: str) -> None:
    commands_eval.compare(a, b, say)


def check_rewards(spec: str, source: str, changes: Sequence[str]) -> int:
    """Prints the golds that the reward rejects; returns the exit code."""
    from grpo.problems import load_problems
    from grpo.scoring import check_golds

    tree = {"data": {"source": source}, "reward": [{"use": spec}]}
    config = validate(apply_changes(tree, changes), place="grpo rewards check", kind=JudgeConfig, changes=changes)
    problems = load_problems(config.data, needs=())
    if not any(problem.facts.get("answer") for problem in problems):
        columns = ", ".join(problems[0].facts)
        raise DataError(
            f"{source}: no problem has a gold answer or a reference solution to try {spec} on (columns: {columns}); "
            "name its column with --set data.answer=…"
        )
    rejected = check_golds(config.reward[0], problems, chat=config.data.chat, workers=2)
    for gold in rejected:
        say(f"{gold.problem_id}: {gold.gold!r}: {gold.why}")
    say(f"{len(problems) - len(rejected)} of {len(problems)} gold answers are accepted, {len(rejected)} rejected")
    return 1 if rejected else 0


def probe(
    recipe: str,
    model: str | None,
    data: str | None,
    rewards: Sequence[str],
    changes: Sequence[str],
    problems: int,
    out: Path | None,
) -> int:
    """Prints what the rewards would teach; returns the exit code."""
    config = load_config(recipe, [*_named(model=model), *changes], data=data, rewards=rewards)
    from grpo.probe.page import page, write_numbers
    from grpo.probe.run import probe

    found = probe(config, problems)
    for line in page(found, config):
        say(line)
    if out is not None:
        write_numbers(found, out)
    return 1 if found.is_gamed else 0


def grade(spec: str, pairs: Path, policy: str, out: Path | None, against: str | None) -> None:
    """Prints the audit of the math checker on labelled pairs."""
    from rewards.math_answer import audit
    from rewards.math_answer.leniency import LENIENCIES

    if spec != "math":
        raise ConfigError(f"grpo rewards grade: {spec} is not a checker of pairs; there is math")
    if policy not in LENIENCIES:
        raise ConfigError(f"--policy {policy}: there are {', '.join(LENIENCIES)}")
    if against is not None and against not in audit.SECONDS:
        raise ConfigError(f"--against {against}: there is {', '.join(audit.SECONDS)}")
    try:
        second = audit.SECONDS[against]() if against else None
        report = audit.grade(audit.read_pairs(pairs), policy, second)
        if out:
            audit.write_verdicts(report, out)
    except ImportError:
        raise ConfigError(f"--against {against}: is not installed; pip install {against}") from None
    except audit.BadRow as error:
        raise DataError(str(error)) from None
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be opened ({error.strerror}); check the path") from None
    for line in report.lines:
        say(line)


def replay(run: Path, step: int, rewards: Sequence[str], *, rescore: bool) -> int:
    """Returns the exit code: 1 where something is not as recorded."""
    if rewards and not rescore:
        raise ConfigError("--reward: a replay uses the run's own rewards; add --rescore to score with another")
    from grpo import replay

    same = replay.rescore(run, step, rewards, say) if rescore else replay.replay(run, step, say)
    return 0 if same or rewards else 1


def explain(run: Path, step: int, problem: str | None) -> None:
    from rich.console import Console

    from grpo.explain import explain

    terminal = Console()
    wide = terminal if terminal.is_terminal else Console(width=PIPE_WIDTH)
    explain(run, step, problem, say, wide.print)


def import_(trainer: str, file: Path, out: Path | None, *, processes: int | None, problems: int | None) -> str:
    """Write the TOML; what is left to be said about it is for standard error, beside a TOML on standard output."""
    from grpo import importing
    from grpo.whole import whole_file

    if out is not None and out.exists():
        raise ConfigError(f"--out {out}: is there already; give a new name")
    made = importing.convert(trainer, file, processes=processes, problems=problems)
    if out is None:
        say(made.toml.rstrip("\n"))
    else:
        try:
            with whole_file(out) as fresh:
                fresh.write_text(made.toml, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--out {out}: cannot be written ({error.strerror})") from None
    return importing.report(made, out)


def doctor() -> None:
    from grpo.doctor import report

    for line in report():
        say(line)


def _start_or_resume(*, resume: bool, dry_run: bool) -> None:
    if resume and dry_run:
        raise ConfigError("--resume and --dry-run: a dry run looks at a start; leave one of them out")


def _named(**sources: str | None) -> list[str]:
    """Flags that stand for a setting, as changes."""
    keys = {"model": "model.name", "teacher": "distill.teacher", "control": "run.control"}
    return [change(keys[flag], value) for flag, value in sources.items() if value is not None]


def _run_folder(recipe: str, out: Path | None) -> Path:
    return out or Path("runs", Path(recipe).stem)
