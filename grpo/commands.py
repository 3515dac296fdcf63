"""What each command does, between the terminal (`grpo.cli`) and the work (`grpo.train` and its like)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpo.config import Config, load_config, validate
from grpo.errors import ConfigError, DataError

if TYPE_CHECKING:
    from grpo.evaluate import Evaluation
    from grpo.types import Problem


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
    resume: bool,
    dry_run: bool,
) -> None:
    config = load_config(recipe, [*_named(model=model, data=data), *changes], rewards=rewards)
    from grpo.train import train

    train(config, _run_folder(config, recipe, out), resume=resume, dry_run=dry_run)


def sft(recipe: str, model: str | None, data: str | None, changes: Sequence[str], out: Path | None) -> None:
    config = load_config(recipe, [*_named(model=model, sft=data), *changes])
    target = out or Path(f"{_run_folder(config, recipe, None)}-sft")
    from grpo.sft import sft

    sft(config, target, say=say)


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """The options of `grpo eval`, as given."""

    n: int
    k: str
    temperature: float | None
    top_p: float
    max_tokens: int
    seed: int
    rewards: Sequence[str]
    by: Sequence[str] | None
    recipe: str | None
    changes: Sequence[str]
    completions: Path | None
    out: Path | None

    @property
    def ks(self) -> list[int]:
        """Default: n."""
        try:
            ks = [int(part) for part in self.k.split(",") if part.strip()] or [self.n]
        except ValueError:
            raise ConfigError(f'--k {self.k}: must be numbers with commas between, such as "1,4,8"') from None
        if min(ks) < 1 or max(ks) > self.n:
            raise ConfigError(f"--k {self.k}: must be between 1 and --n {self.n}; sample more with --n {max(ks)}")
        return ks


def evaluate(places: Sequence[str], options: EvalOptions) -> None:
    wanted = 1 if options.completions else 2
    if len(places) != wanted:
        usage = "grpo eval --completions FILE DATA" if options.completions else "grpo eval MODEL DATA"
        raise ConfigError(f"grpo eval: takes {wanted} argument{'s'[: wanted - 1]} here ({len(places)} given); {usage}")
    config = _eval_config(places, options)
    from grpo.evaluate import write

    evaluation, texts, sampler = _score_given(config, options) if options.completions else _sample(config, options)
    recipe = {
        "config": config.model_dump(mode="json"),
        "sampler": sampler,
        "n": options.n,
        "top_p": options.top_p,
        "completions": str(options.completions) if options.completions else None,
    }
    out = options.out or Path("runs", "eval", f"{_short(places[0])}-{_short(places[-1])}")
    write(evaluation, out, recipe, texts)
    say(report_lines(evaluation))
    say(f"results: {out / 'results.json'}")


def _eval_config(places: Sequence[str], options: EvalOptions) -> Config:
    """The settings of a run, of which an evaluation needs those for model, data, sampling and rewards."""
    temperature = options.temperature if options.temperature is not None else (0.0 if options.n == 1 else 0.8)
    changes = [
        f"data.source={json.dumps(places[-1])}",
        f"model.name={json.dumps(places[0])}",
        f"sampling.max_tokens={options.max_tokens}",
        f"eval.temperature={temperature}",
        f"run.seed={options.seed}",
        *options.changes,
    ]
    if options.recipe:
        return load_config(options.recipe, changes, rewards=options.rewards)
    from grpo.config import apply_changes

    tree: dict[str, Any] = {"model": {"name": ""}, "data": {"source": "", "split": "test"}}
    if options.rewards:
        tree["reward"] = [{"use": use} for use in options.rewards]
    return validate(apply_changes(tree, changes), place="grpo eval")


def _sample(config: Config, options: EvalOptions) -> tuple[Evaluation, dict[str, str], str]:
    ks = options.ks
    from grpo import assemble
    from grpo.evaluate import evaluate
    from grpo.problems import load_problems
    from grpo.run.console import Console
    from grpo.types import SamplingParams

    problems = load_problems(config.data)
    files = assemble.find_model(config, Path("runs", "tiny-model"))
    tokens = config.sampling.max_tokens
    prompts = assemble.prompts_for(problems, files, config.data, max_tokens=tokens)
    place = assemble.choose_place(config)
    params = SamplingParams(
        tokens, config.eval.temperature, options.top_p, seed=config.run.seed, stop=config.sampling.stop
    )
    with (
        closing(Console(len(prompts))) as console,
        assemble.open_scorer(config, None) as scorer,
        closing(assemble.open_sampler(config, files, place, context=assemble.longest(prompts) + tokens)) as sampler,
    ):
        console.note(f"sampler: {sampler.name}")
        result = evaluate(
            sampler,
            scorer,
            prompts,
            options.n,
            params,
            ks=ks,
            by=options.by,
            arrived=lambda done, total: console.phase("sampling", done, total),
        )
    texts = {prompt.problem.id: str(files.tokenizer.decode(list(prompt.token_ids))) for prompt in prompts}
    return result, texts, sampler.name


def _score_given(config: Config, options: EvalOptions) -> tuple[Evaluation, dict[str, str], str]:
    from grpo import assemble
    from grpo.evaluate import score_completions
    from grpo.problems import load_problems
    from grpo.types import Prompt

    assert options.completions is not None
    problems = load_problems(config.data)
    texts = _read_completions(options.completions, problems)
    prompts = [Prompt(problem, (0,)) for problem in problems]
    with assemble.open_scorer(config, None) as scorer:
        result = score_completions(scorer, prompts, texts, by=options.by)
    questions = {problem.id: problem.messages[-1]["content"] for problem in problems}
    return result, questions, "none: completions were made elsewhere"


def _read_completions(path: Path, problems: Sequence[Problem]) -> dict[str, list[str]]:
    """Texts by problem id, from rows of {id, completion}; the id may be the data's own, or the row's number."""
    from grpo.problems.files import read_file

    by_own_id = {
        str(problem.facts[name]): problem.id for problem in problems for name in ID_COLUMNS if name in problem.facts
    }
    by_number = {str(number): problem.id for number, problem in enumerate(problems)}
    texts: dict[str, list[str]] = defaultdict(list)
    for number, row in enumerate(read_file(path), start=1):
        name = next((name for name in ID_COLUMNS if name in row), None)
        if name is None or not isinstance(row.get("completion"), str):
            raise DataError(f"{path}: row {number} must have `id` and `completion` (text); it has {', '.join(row)}")
        given = str(row[name])
        texts[by_own_id.get(given) or by_number.get(given) or given].append(row["completion"])
    return texts


ID_COLUMNS = ("id", "task_id", "unique_id", "problem_id", "ID")


def report_lines(evaluation: Evaluation) -> str:
    """The measures of an evaluation, as a person reads them."""
    lines = [f"{len(evaluation.solved)} problems; mean [95 % confidence interval]"]
    lines += [f"  {name:<12} {value}" for name, value in evaluation.measures.items()]
    if evaluation.unscored:
        lines.append(f"  {evaluation.unscored} completions could not be judged and are left out")
    for column, table in evaluation.breakdown.items():
        lines.append(f"pass@1 by {column}")
        lines += [f"  {value[:28]:<28} {share}  {count} problems" for value, (count, share) in table.items()]
    return "\n".join(lines)


def compare(a: str, b: str) -> None:
    from grpo.estimates import paired_difference
    from grpo.evaluate import read_results

    first, second = read_results(a), read_results(b)
    shared = first["solved"].keys() & second["solved"].keys()
    if not shared:
        raise DataError(f"grpo compare: {a} and {b} have no problem in common; evaluate both on the same data")
    left_out = len(first["solved"].keys() ^ second["solved"].keys())
    if left_out:
        say(f"{left_out} problems are in one of the two only, and left out of the test")
    say(_side_by_side(first, second, a, b))
    d = paired_difference(first["solved"], second["solved"])
    say(
        f"B - A on {d.problems} problems: {d.mean:+.1%} [{d.low:+.1%}, {d.high:+.1%}], "
        f"better on {d.better}, worse on {d.worse}, p = {d.p:.2g} (paired permutation test)"
    )


def _side_by_side(first: Mapping[str, Any], second: Mapping[str, Any], a: str, b: str) -> str:
    names = [name for name, value in first.items() if isinstance(value, dict) and "mean" in value and name in second]
    rows = [f"  {'':<12} {'A':>8} {'B':>8}   A = {a}, B = {b}"]
    rows += [f"  {name:<12} {first[name]['mean']:8.1%} {second[name]['mean']:8.1%}" for name in names]
    return "\n".join(rows)


def check_rewards(spec: str, source: str, changes: Sequence[str]) -> int:
    """Prints the golds that the reward rejects; returns the exit code."""
    from grpo.config import apply_changes
    from grpo.problems import load_problems
    from grpo.scoring import check_golds

    tree = {"model": {"name": "none"}, "data": {"source": source}, "reward": [{"use": spec}]}
    config = validate(apply_changes(tree, changes), place="grpo rewards check")
    problems = load_problems(config.data)
    rejected = check_golds(config.reward[0], problems, workers=2)
    for gold in rejected:
        say(f"{gold.problem_id}: {gold.gold!r}: {gold.why}")
    say(f"{len(problems) - len(rejected)} of {len(problems)} gold answers are accepted, {len(rejected)} rejected")
    return 1 if rejected else 0


def _named(**sources: str | None) -> list[str]:
    """Flags that stand for a setting, as changes."""
    keys = {"model": "model.name", "data": "data.source", "sft": "sft.source"}
    return [f"{keys[flag]}={json.dumps(value)}" for flag, value in sources.items() if value is not None]


def _run_folder(config: Config, recipe: str, out: Path | None) -> Path:
    return out or Path(config.run.out or Path("runs", Path(recipe).stem))


def _short(place: str) -> str:
    return Path(place).name.partition(".")[0]
