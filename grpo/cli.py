"""The terminal: commands, and the only place that prints errors and picks exit codes.

Nothing heavy is imported until a command needs it, so `grpo --help` answers at once.
"""

from __future__ import annotations

import io
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from grpo import DISTRIBUTION, commands
from grpo.commands_eval import EvalOptions
from grpo.config_file import pipelines, recipes
from grpo.errors import GrpoError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Teach a language model to reason, by GRPO: sample with vLLM, score with rules, learn with PyTorch.",
)
rewards_app = typer.Typer(no_args_is_help=True, help="Look at rewards before a run depends on them.")
app.add_typer(rewards_app, name="rewards")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"grpo {version(DISTRIBUTION)}")
        raise typer.Exit


@app.callback()
def top(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, such as optim.lr=2e-6.")
]
RewardSpecs = Annotated[
    list[str] | None,
    typer.Option(
        "--reward", metavar="SPEC", help="math, code, layout, length, file.py:function or package.module:function."
    ),
]
Model = Annotated[str | None, typer.Option("--model", metavar="ID_OR_DIR", help="Instead of the recipe's model.name.")]
Recipe = Annotated[
    str,
    typer.Argument(metavar="RECIPE_OR_TOML", help=f"A .toml file of settings, or a recipe: {', '.join(recipes())}."),
]

Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the run folder.")]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Take two steps, say what they show and what the run will cost, leave nothing."),
]
Price = Annotated[
    float | None, typer.Option("--price", min=0, help="Money for an hour of one GPU, for what a run costs.")
]


def _priced(changes: list[str] | None, price: float | None) -> list[str]:
    return [*(changes or []), *([] if price is None else [f"run.price={price}"])]


@app.command()
def train(
    recipe: Recipe,
    model: Model = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="ID_OR_FILE", help="Instead of the recipe's data.source.")
    ] = None,
    reward: RewardSpecs = None,
    changes: Set = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder.  Default: runs/<recipe>.")] = None,
    control: Annotated[
        str | None,
        typer.Option(
            "--control",
            metavar="random-reward",
            help="The same run with rewards shuffled within each step, to hold its gain against.  "
            "Run folder: runs/<recipe>-random-reward.",
        ),
    ] = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    price: Price = None,
) -> None:
    """Train a model with GRPO."""
    given = (recipe, model, data, reward or [], _priced(changes, price), out)
    commands.train(*given, control=control, resume=resume, dry_run=dry_run)


@app.command()
def sft(
    recipe: Recipe,
    model: Model = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="ID_OR_FILE", help="Instead of the recipe's sft.source.")
    ] = None,
    changes: Set = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder.  Default: runs/<recipe>-sft.")] = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    price: Price = None,
) -> None:
    """Fine-tune a model on conversations or worked examples, as the recipe's sft table says."""
    commands.sft(recipe, model, data, _priced(changes, price), out, resume=resume, dry_run=dry_run)


@app.command()
def collect(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Hub id or directory.  Default: the recipe's model.name.")
    ] = None,
    data: Annotated[
        str | None, typer.Argument(metavar="[DATA]", help="Hub id or file.  Default: the recipe's data.source.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the collection.  Default: runs/collect.")] = None,
    n: Annotated[
        int | None, typer.Option("--n", min=1, help="Completions per problem.  Default: the recipe's, else 8.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="RECIPE_OR_TOML", help="Ask, sample and score as this recipe does."),
    ] = None,
    reward: RewardSpecs = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", min=0.01, help="Default: the recipe's, else 1.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Longest completion.  Default: the recipe's, else 1024.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Default: the recipe's, else 0.")] = None,
    changes: Set = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what is in the folder; its settings are the recipe.")
    ] = False,
) -> None:
    """Sample completions for each problem, score them and keep every one in a table: safe to stop and to resume."""
    flags = {
        "model.name": model,
        "sampling.group_size": n,
        "sampling.temperature": temperature,
        "sampling.max_tokens": max_tokens,
        "run.seed": seed,
    }
    commands.collect(flags, data, reward or [], changes or [], recipe, out or Path("runs/collect"), resume=resume)


@app.command()
def select(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]...", help="Folders of `grpo collect`, and data that is trusted as it is: files, Hub ids."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where the rows go: a .jsonl or .parquet file.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", metavar="TOML", help="A file of settings, which may name more sources.")
    ] = None,
    changes: Set = None,
) -> None:
    """Choose rows for fine-tuning: right completions, without what must not be learned, in a mix of sources."""
    commands.select(sources or [], out, recipe, changes or [])


@app.command()
def distill(
    recipe: Recipe,
    teacher: Annotated[
        str | None,
        typer.Option("--teacher", metavar="ID_OR_DIR", help="Who teaches, instead of the recipe's distill.teacher."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="ID_OR_DIR", help="The student, instead of the recipe's model.name."),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="ID_OR_FILE", help="Instead of the recipe's data.source.")
    ] = None,
    reward: RewardSpecs = None,
    changes: Set = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder.  Default: runs/<recipe>-distill.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the run folder.")] = False,
    dry_run: DryRun = False,
    price: Price = None,
) -> None:
    """Train a model to become like another, on what it writes itself: GRPO with a teacher."""
    commands.distill(
        recipe, teacher, model, data, reward or [], _priced(changes, price), out, resume=resume, dry_run=dry_run
    )


@app.command()
def pipeline(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE_OR_TOML", help=f"A .toml file with [[stage]] tables, or one of {', '.join(pipelines())}."
        ),
    ],
    changes: Set = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the stages' folders go.  Default: runs/<recipe>.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="STAGE", help="Those before it must be finished.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="STAGE", help="Stop after this stage.")] = None,
    redo: Annotated[
        str | None, typer.Option("--redo", metavar="STAGE", help="Move this stage and all after it aside first.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run, what it needs, and how many tokens; run nothing.")
    ] = False,
) -> None:
    """Run a list of stages, each one of the other commands: skip what is finished, go on with what was cut."""
    commands.pipeline(recipe, changes or [], out, start=start, until=until, redo=redo, dry_run=dry_run)


@app.command(name="eval")
def evaluate(
    places: Annotated[
        list[str],
        typer.Argument(metavar="[MODEL] DATA", help="A model and a data set; with --completions the data only."),
    ],
    n: Annotated[int, typer.Option("--n", min=1, help="Samples per problem.")] = 1,
    k: Annotated[str, typer.Option("--k", metavar="K,K,…", help="pass@k and maj@k for these k.  Default: n.")] = "",
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Only the first N problems of the data.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", min=0, help="Default: 0 (greedy) for n = 1, else 0.8.")
    ] = None,
    top_p: Annotated[float, typer.Option("--top-p", min=0.01, max=1)] = 1.0,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Longest completion.  Default: the recipe's, else 2048.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    reward: RewardSpecs = None,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", metavar="COLUMN", help="Break pass@1 down by a column.  Default: subject, level."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", metavar="RECIPE_OR_TOML", help="Ask and score as this recipe does.")
    ] = None,
    changes: Set = None,
    completions: Annotated[
        Path | None,
        typer.Option("--completions", metavar="FILE", help="Score these instead: rows of {id, completion}."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for results.json and samples.jsonl.")] = None,
) -> None:
    """Evaluate a model, or completions that were made elsewhere, with pass@k and confidence intervals."""
    options = EvalOptions(
        n, k, limit, temperature, top_p, max_tokens, seed, reward or [], by, recipe, changes or [], completions, out
    )
    commands.evaluate(places, options)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="Folder or results.json of `grpo eval`.")],
    b: Annotated[str, typer.Argument(help="Another, on the same problems.")],
) -> None:
    """Put two evaluations side by side, with a paired test."""
    commands.compare(a, b)


Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Step = Annotated[int, typer.Option("--step", min=1, help="The step, counted from 1.")]


@app.command()
def show(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, folders of runs, or pipelines.")],
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Default: any that is free.")] = 0,
) -> None:
    """Look at runs in a browser, live: curves, completions, evaluations, alarms.  On this machine alone, read only."""
    commands.show(runs, port)


@app.command()
def replay(
    run: Run,
    step: Step,
    rescore: Annotated[
        bool, typer.Option("--rescore", help="Only score the recorded completions again; needs no model.")
    ] = False,
    reward: RewardSpecs = None,
) -> None:
    """Run one recorded step again and compare everything with the record.  Exit code 1 where something differs."""
    raise typer.Exit(commands.replay(run, step, reward or [], rescore=rescore))


@app.command()
def export(
    place: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT_OR_RUN", help="Of a run folder its best checkpoint, else the newest.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")],
) -> None:
    """Write a checkpoint as a model in Hugging Face format, its adapter merged into the weights."""
    commands.export(place, out)


@app.command()
def push(
    place: Annotated[
        Path, typer.Argument(metavar="RUN_OR_CHECKPOINT", help="Of a run folder its best checkpoint, else the newest.")
    ],
    repository: Annotated[str, typer.Argument(metavar="REPO", help='On the Hugging Face Hub, such as "me/model".')],
) -> None:
    """Push a checkpoint to the Hugging Face Hub: the whole model, its adapter merged, with a model card."""
    commands.push(place, repository)


@app.command()
def explain(
    run: Run,
    step: Step,
    problem: Annotated[
        str | None, typer.Option("--problem", metavar="ID", help="Default: the first that carries a signal.")
    ] = None,
) -> None:
    """The arithmetic of one group of a recorded step: rewards, advantages, weights, part in the gradient norm."""
    commands.explain(run, step, problem)


@app.command(name="import")
def import_(
    trainer: Annotated[str, typer.Argument(metavar="TRAINER", help="trl, verl or openrlhf.")],
    file: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="Its .yaml or .json, or a shell script with its command.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="A new .toml file.  Default: standard output.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, metavar="N", help="TRL: on so many devices.  Default: 1.")
    ] = None,
    problems: Annotated[
        int | None,
        typer.Option("--problems", min=1, metavar="N", help="Rows of the data: from passes over it to steps."),
    ] = None,
) -> None:
    """Write our settings from another trainer's, and name what could not be carried over."""
    report = commands.import_(trainer, file, out, processes=processes, problems=problems)
    typer.echo(report, err=True)


@app.command()
def doctor() -> None:
    """What this machine can do: versions, devices, samplers, and how programs are confined."""
    commands.doctor()


@rewards_app.command(name="check")
def check(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="The reward, as for `grpo train --reward`.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="Hub id, file or recipe's data.source.")],
    changes: Set = None,
) -> None:
    """Which gold answers does the reward reject, and why?  Exit code 1 if there are any."""
    raise typer.Exit(commands.check_rewards(spec, data, changes or []))


@rewards_app.command(name="probe")
def probe(
    recipe: Recipe,
    model: Model = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="ID_OR_FILE", help="Instead of the recipe's data.source.")
    ] = None,
    reward: RewardSpecs = None,
    changes: Set = None,
    problems: Annotated[int, typer.Option("--problems", min=1, help="The first that a run would draw.")] = 32,
    out: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="The numbers go here, too.")] = None,
) -> None:
    """What would the rewards teach the start model, and what would gaming earn?  Exit code 1 if it pays."""
    raise typer.Exit(commands.probe(recipe, model, data, reward or [], changes or [], problems, out))


@rewards_app.command(name="grade")
def grade(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="The checker to audit: math.")],
    pairs: Annotated[Path, typer.Argument(metavar="PAIRS.jsonl", help="Rows of {id, gold, prediction, form, label?}.")],
    policy: Annotated[
        str, typer.Option("--policy", help="train (anchored answers only) or eval (more lenient).")
    ] = "eval",
    out: Annotated[Path | None, typer.Option("--out", metavar="OUT.jsonl", help="One verdict a row goes here.")] = None,
    against: Annotated[
        str | None, typer.Option("--against", metavar="CHECKER", help="List disagreements with it: math-verify.")
    ] = None,
) -> None:
    """How right and how fast is a checker on pairs of gold and prediction?"""
    commands.grade(spec, pairs, policy, out, against)


def main() -> None:
    """The entry point.  A `GrpoError` becomes one sentence; anything else is a bug and keeps its traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a model's text may be more than the terminal can show
    try:
        app()
    except GrpoError as error:
        typer.echo(f"grpo: {_in_one_line(str(error))}", err=True)
        sys.exit(error.exit_code)


def _in_one_line(text: str) -> str:
    """`text` with its line breaks and control characters, which may come from any file's name, written out."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found[0])[1:-1], text)
