"""`grpo eval` and `grpo compare`: from their options to what they print and write."""

from __future__ import annotations

import re
import reprlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpo import DISTRIBUTION
from grpo.config import EvalConfig, JudgeConfig
from grpo.config_file import apply_changes, change, load_config, validate
from grpo.errors import ConfigError, DataError
from grpo.run.wording import plural

if TYPE_CHECKING:
    from grpo.evaluate import Evaluation
    from grpo.types import Problem

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """The options of `grpo eval`, as given."""

    n: int
    k: str
    limit: int | None
    temperature: float | None
    top_p: float
    max_tokens: int | None
    seed: int
    rewards: Sequence[str]
    by: Sequence[str] | None
    recipe: str | None
    changes: Sequence[str]
    completions: Path | None
    out: Path | None

    def ks(self, *, default: Sequence[int], most: int | None = None) -> list[int]:
        try:
            ks = [int(part) for part in self.k.split(",") if part.strip()] or list(default)
        except ValueError:
            raise ConfigError(f'--k {self.k}: must be numbers with commas between, such as "1,4,8"') from None
        if ks and min(ks) < 1:
            raise ConfigError(f"--k {self.k}: must be at least 1")
        if most is not None and max(ks) > most:
            raise ConfigError(f"--k {self.k}: must be between 1 and --n {most}; sample more with --n {max(ks)}")
        return ks


@dataclass(frozen=True, slots=True)
class _Result:
    """What an evaluation found; `texts` are the prompts by problem id, `how` is what only it knows of its recipe."""

    evaluation: Evaluation
    texts: Mapping[str, str]
    how: Mapping[str, Any]


def evaluate(places: Sequence[str], options: EvalOptions, say: Say) -> None:
    wanted = 1 if options.completions else 2
    if len(places) != wanted:
        usage = "grpo eval --completions FILE DATA" if options.completions else "grpo eval MODEL DATA"
        raise ConfigError(f"grpo eval: takes {wanted} argument{'s'[: wanted - 1]} here ({len(places)} given); {usage}")
    from grpo.evaluate import make_folder, write

    kind = JudgeConfig if options.completions else EvalConfig
    tree = _eval_tree(places, options, kind)
    settings = validate(tree, place="grpo eval", kind=kind, changes=options.changes)

    subject = str(options.completions) if options.completions else places[0]
    out = options.out or _free(Path("runs", "eval", f"{_slug(subject)}-{_slug(places[-1])}"))
    make_folder(out)  # before anything is sampled that it could not hold
    result = _sample(settings, options, say) if isinstance(settings, EvalConfig) else _score_given(settings, options)
    how = {"limit": settings.data.limit, **result.how, "by": options.by}
    recipe = {"grpo": version(DISTRIBUTION), **how, "config": settings.model_dump(mode="json")}
    write(result.evaluation, out, recipe, result.texts)
    if settings.data.limit:
        say(f"limited to the first {plural(len(result.evaluation.solved), 'problem')} of {settings.data.source}")
    say(report_lines(result.evaluation))
    say(f"results: {out / 'results.json'}")


def _eval_tree(places: Sequence[str], options: EvalOptions, kind: type[JudgeConfig]) -> dict[str, Any]:
    """The settings that an evaluation needs: a recipe's, its flags', then its changes."""
    tree: dict[str, Any] = {"data": {"split": "test"}, "sampling": {"max_tokens": 2048}}
    if options.recipe:
        tree = _asked_as(options.recipe, places[-1])
    if options.rewards:
        tree["reward"] = [{"use": use} for use in options.rewards]
    ignored = [text for text in options.changes if text.startswith(("eval.", "run.seed", "sampling.temperature"))]
    if ignored:
        raise ConfigError(f"--set {ignored[0]}: grpo eval has flags for this: --n, --temperature, --max-tokens, --seed")
    temperature = options.temperature if options.temperature is not None else (0.0 if options.n == 1 else 0.8)
    flags = {
        "data.source": places[-1],
        "model.name": places[0],
        "eval.temperature": temperature,
        "run.seed": options.seed,
        **({"sampling.max_tokens": options.max_tokens} if options.max_tokens else {}),
        **({"data.limit": options.limit} if options.limit else {}),
    }
    tree = apply_changes(tree, [change(key, value) for key, value in flags.items()])
    return apply_changes({group: tree[group] for group in kind.model_fields if group in tree}, options.changes)


def _asked_as(recipe: str, source: str) -> dict[str, Any]:
    """The settings of `recipe`, with `source` asked as it asks its held-out problems."""
    config = load_config(recipe)
    from grpo.assemble import held_out

    # A split, and what the Hub calls a subset, belong to the source; a window of dates is a question.
    window = config.eval.subset if config.eval.subset and ".." in config.eval.subset else None
    own = {"subset": window, "split": None} if config.eval.source != source else {}
    data = held_out(config.data, config.eval.model_copy(update={"source": source, "limit": None, **own}))
    assert data is not None
    tree = config.model_dump(mode="json", exclude_none=True)
    tree["data"] = data.model_dump(mode="json", exclude_none=True)
    tree["sampling"]["max_tokens"] = config.eval.max_tokens or config.sampling.max_tokens
    return tree


def _sample(config: EvalConfig, options: EvalOptions, say: Say) -> _Result:
    ks = options.ks(default=[options.n], most=options.n)
    if options.n > 1 and config.eval.temperature == 0:
        raise ConfigError(f"--n {options.n} with --temperature 0: is {options.n} times the same; leave one of them out")
    from grpo import assemble, engines
    from grpo.evaluate import check_columns, evaluate
    from grpo.run.console import Console
    from grpo.scoring import declarations
    from grpo.sizes import sampling_alone
    from grpo.types import SamplingParams

    problems = assemble.load_judgeable(config.data, config.reward, declarations(config.reward), say)
    check_columns(problems, options.by or ())
    made = Path("runs", f"{_slug(config.model.name)}-{config.run.seed}")
    files = assemble.find_model(config.model, made, seed=config.run.seed)
    if files.revision:
        say(f"model: {files.name} at {files.revision}")
    prompts = assemble.prompts_for(problems, files, config.data, max_tokens=options.max_tokens or 1)
    # A limit that nobody asked for gives way to the model's context.
    tokens = min(config.sampling.max_tokens, files.context - assemble.longest(prompts))
    if tokens < config.sampling.max_tokens:
        say(f"max_tokens: {tokens}, because the longest prompt leaves no more of the model's {files.context} tokens")
    place, context, seed = assemble.choose_place(config.model), assemble.longest(prompts) + tokens, config.run.seed
    sampling = sampling_alone(config.sampling, place.device)
    params = SamplingParams(tokens, config.eval.temperature, options.top_p, seed=seed, stop=config.sampling.stop)
    with (
        closing(Console(len(prompts))) as console,
        assemble.open_scorer(config) as scorer,
        closing(engines.open_sampler(sampling, files, place, context=context, seed=seed)) as sampler,
    ):
        console.note(f"sampler: {sampler.name}")

        def arrived(done: int, total: int) -> None:
            console.phase("sampling", done, total)

        result = evaluate(sampler, scorer, prompts, options.n, params, ks=ks, by=options.by, arrived=arrived)
    texts = {prompt.problem.id: str(files.tokenizer.decode(list(prompt.token_ids))) for prompt in prompts}
    how = {
        "sampler": sampler.name,
        "n": options.n,
        "k": ks,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "max_tokens": params.max_tokens,
        "seed": params.seed,
        "revision": files.revision,
    }
    return _Result(result, texts, how)


def _score_given(config: JudgeConfig, options: EvalOptions) -> _Result:
    from grpo import assemble
    from grpo.evaluate import score_completions
    from grpo.problems import load_problems
    from grpo.scoring import declarations

    assert options.completions is not None
    ks = options.ks(default=[])
    # Strict, because a row's number names a problem: with some left out, the numbers would shift.
    everything = config.data.model_copy(update={"limit": None})  # completions of what a limit leaves out have ids too
    problems = load_problems(everything, needs=assemble.needed_facts(declarations(config.reward)))
    texts = _read_completions(options.completions, problems)
    left_out = {problem.id for problem in problems[config.data.limit or len(problems) :]}
    problems = problems[: config.data.limit]
    texts = {name: given for name, given in texts.items() if name not in left_out}
    with assemble.open_scorer(config) as scorer:
        result = score_completions(scorer, problems, texts, ks=ks, by=options.by)
    questions = {problem.id: problem.messages[-1]["content"] for problem in problems}
    return _Result(result, questions, {"completions": str(options.completions), "k": ks})


ID_COLUMNS = ("id", "task_id", "unique_id", "problem_id", "question_id", "ID")


def _read_completions(path: Path, problems: Sequence[Problem]) -> dict[str, list[str]]:
    """Texts by problem id, from rows of {id, completion}; several rows for one id are its samples."""
    from grpo.problems.files import place_of, read_file

    given: dict[str, list[str]] = defaultdict(list)
    for index, row in enumerate(read_file(path)):
        # "problem" is what our own samples.jsonl calls it.
        name = next((name for name in (*ID_COLUMNS, "problem") if name in row), None)
        if name is None or not isinstance(row.get("completion"), str):
            place = place_of(str(path), index)
            raise DataError(f"{path} {place}: must have `id` and `completion` (text); it has {reprlib.repr(row)}")
        given[str(row[name])].append(row["completion"])
    # One meaning for all rows: were each looked up by itself, "1" could be a problem's own id and "0" a row's number.
    known = max(_ways_to_name(problems), key=lambda way: sum(name in way for name in given))
    return {known.get(name, name): texts for name, texts in given.items()}


def _ways_to_name(problems: Sequence[Problem]) -> list[dict[str, str]]:
    """Problem ids by what a row may call them: the data's own id columns, our id, the row's number from 0."""
    columns = [{str(problem.facts.get(name)): problem.id for problem in problems} for name in ID_COLUMNS]
    own = [column for column in columns if len(column) == len(problems)]  # where values repeat they name nothing
    ids = {problem.id: problem.id for problem in problems}
    return [*own, ids, {str(number): problem.id for number, problem in enumerate(problems)}]


def report_lines(evaluation: Evaluation) -> str:
    """The measures of an evaluation, as a person reads them."""
    lines = [f"{plural(len(evaluation.solved), 'problem')}; mean [95 % confidence interval]"]
    lines += [f"  {name:<12} {value}" for name, value in evaluation.measures.items()]
    if evaluation.missing:
        lines.append(f"  {plural(evaluation.missing, 'problem')} without a completion, counted as wrong")
    if evaluation.unscored:
        lines.append(f"  {plural(evaluation.unscored, 'completion')} could not be judged, left out")
    for column, table in evaluation.breakdown.items():
        lines.append(f"pass@1 by {column}")
        lines += [
            f"  {_cell(value):<28} {share}  {plural(number, 'problem')}" for value, (number, share) in table.items()
        ]
    return "\n".join(lines)


def _cell(value: str) -> str:
    return " ".join(value.split())[:28]


def compare(a: str, b: str, say: Say) -> None:
    from grpo.estimates import paired_difference
    from grpo.evaluate import read_results

    first, second = read_results(a), read_results(b)
    shared = first["solved"].keys() & second["solved"].keys()
    if not shared:
        raise DataError(f"grpo compare: {a} and {b} have no problem in common; evaluate both on the same data")
    left_out = len(first["solved"].keys() ^ second["solved"].keys())
    if left_out:
        say(f"{plural(left_out, 'problem')} in one of the two only, left out of the test")
    for difference in _differences(first["recipe"], second["recipe"]):
        say(f"warning: made differently, {difference}; the difference below may come from that")
    say(_side_by_side(first, second, a, b))
    d = paired_difference(first["solved"], second["solved"])
    say(
        f"B - A on {plural(d.problems, 'problem')}: {d.mean:+.1%} [{d.low:+.1%}, {d.high:+.1%}], "
        f"better on {d.better}, worse on {d.worse}, p = {d.p:.2g} (paired permutation test)"
    )


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """How two evaluations were asked, sampled or scored differently; models are meant to differ."""
    compared = ("data", "reward")
    pairs = [(f"{name}", a["config"].get(name), b["config"].get(name)) for name in compared]
    pairs += [(name, a.get(name), b.get(name)) for name in ("n", "temperature", "top_p", "max_tokens")]
    found = []
    for name, one, other in pairs:
        if isinstance(one, dict) and isinstance(other, dict):
            keys = [key for key in one.keys() | other.keys() if one.get(key) != other.get(key)]
            found += [f"{name}.{key}: {one.get(key)!r} and {other.get(key)!r}" for key in sorted(keys)]
        elif one != other:
            found.append(f"{name}: {one!r} and {other!r}")
    return [text if len(text) < 300 else f"{text[:300]} …" for text in found]


def _side_by_side(first: Mapping[str, Any], second: Mapping[str, Any], a: str, b: str) -> str:
    names = [name for name, value in first.items() if isinstance(value, dict) and "mean" in value and name in second]
    rows = [f"  {'':<12} {'A':>8} {'B':>8}   A = {a}, B = {b}"]
    rows += [f"  {name:<12} {first[name]['mean']:8.1%} {second[name]['mean']:8.1%}" for name in names]
    return "\n".join(rows)


def _slug(place: str) -> str:
    """A model, data set or file as part of a folder's name: "Qwen/Qwen3-0.6B" → "Qwen-Qwen3-0.6B"."""
    return re.sub(r"[^\w.]+", "-", place).strip("-.")[-80:]


def _free(folder: Path) -> Path:
    """`folder`, or the same with a number, where no earlier results would be lost."""
    others = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
    return next(place for place in chain([folder], others) if not (place / "results.json").exists())
