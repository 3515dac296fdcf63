"""Evaluation: sample n completions for each problem, score them as training does, and say how sure the result is.

`grpo train` and `grpo eval` both come through `evaluate`, with the same sampler, prompts and rewards, so a number seen
during a run is the number that `grpo eval` prints for its checkpoint.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from grpo.engine import Rollouts
from grpo.errors import DataError, GrpoError
from grpo.estimates import Estimate, estimate, maj_at_k, pass_at_k
from grpo.metrics import Row, gold_of, score_row, score_shares
from grpo.scoring import Scorer
from grpo.types import Finish, Problem, Prompt, SamplingParams, Scores
from rewards import Score

USUAL_COLUMNS = ("subject", "level", "difficulty", "type")  # broken down by, where a data set has them


@dataclass(frozen=True, slots=True)
class Answers:
    """What was answered to one problem, and how it was judged.

    `finishes` and `tokens` say how each text ended and how long it is; both are empty for texts that were made
    elsewhere, of which nobody knows.
    """

    problem: Problem
    texts: tuple[str, ...]
    judged: Scores
    finishes: tuple[Finish, ...] = ()
    tokens: tuple[int, ...] = ()

    def rows(self, prompt: str) -> Iterator[Row]:
        """For samples.jsonl, one per text."""
        for index, text in enumerate(self.texts):
            known = {"finish": self.finishes[index], "tokens": self.tokens[index]} if self.finishes else {}
            scores = {name: score_row(score) for name, score in self.judged.scores[index].items()}
            reward = self.judged.rewards[index]
            yield {
                "problem": self.problem.id,
                "prompt": prompt,
                "gold": gold_of(self.problem),
                "completion": text,
                "reward": reward,
                **known,
                "scores": scores,
            }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Measures by name ("pass@1", "maj@8", "truncated", …), and the same by the values of some columns."""

    measures: Mapping[str, Estimate]
    breakdown: Mapping[str, Mapping[str, tuple[int, Estimate]]]  # column → value → (problems, pass@1)
    answers: tuple[Answers, ...]
    solved: Mapping[str, float]  # problem id → share of its samples that are right
    unscored: int  # completions that could not be judged; they are left out
    missing: int = 0  # problems for which no completion was given; they count as wrong

    @property
    def tokens(self) -> int:
        """Of all completions; 0 where nobody knows."""
        return sum(sum(one.tokens) for one in self.answers)

    def row(self, step: int) -> Row:
        """For metrics.jsonl."""
        return {"step": step, **{f"eval/{name}": measure.mean for name, measure in self.measures.items()}}


def evaluate(
    engine: Rollouts,
    scorer: Scorer,
    prompts: Sequence[Prompt],
    n: int,
    params: SamplingParams,
    *,
    ks: Sequence[int] = (1,),
    by: Sequence[str] | None = None,
    arrived: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Sample `n` completions per prompt and measure.  `by` names columns for the breakdown; default: the usual ones."""
    check_columns([prompt.problem for prompt in prompts], by or ())
    futures = {}
    for index, group in engine.sample(prompts, n, params):
        futures[index] = scorer.submit(group)
        arrived(len(futures), len(prompts))
    answers = []
    for index in range(len(prompts)):
        scored = futures[index].result()
        completions = scored.group.completions
        answers.append(
            Answers(
                scored.group.prompt.problem,
                tuple(completion.text for completion in completions),
                Scores(scored.scores, scored.rewards),
                tuple(completion.finish for completion in completions),
                tuple(len(completion.token_ids) for completion in completions),
            )
        )
    return measure(answers, scorer.names[0], ks=ks, by=by)


def score_completions(
    scorer: Scorer,
    problems: Sequence[Problem],
    texts: Mapping[str, Sequence[str]],
    *,
    ks: Sequence[int] = (),
    by: Sequence[str] | None = None,
) -> Evaluation:
    """Measure completions that were made elsewhere: texts by problem id.

    A problem without any counts as wrong: left out, it would flatter the result.  `ks`: powers of two by default.
    """
    check_columns(problems, by or ())
    unknown = sorted(set(texts) - {problem.id for problem in problems})
    if unknown:
        raise DataError(
            f"{len(unknown)} of {len(texts)} ids of completions name no problem of the data, {unknown[0]!r} first; the "
            f"data's ids are {', '.join(repr(problem.id) for problem in problems[:3])}, … or the row's number from 0"
        )
    n = min((len(given) for given in texts.values() if given), default=0)
    if not n:
        raise DataError("no completion names a problem of the data; check their ids")
    if ks and max(ks) > n:
        raise DataError(f"k = {max(ks)}: there are {n} completions for some problems; k must be at most that")
    answered = [problem for problem in problems if texts.get(problem.id)]
    futures = {p.id: scorer.score(p, texts[p.id], [None] * len(texts[p.id])) for p in answered}
    answers = [
        Answers(problem, tuple(texts[problem.id]), futures[problem.id].result())
        if problem.id in futures
        else _unanswered(problem, n, scorer.names)
        for problem in problems
    ]
    evaluation = measure(answers, scorer.names[0], ks=ks or [k for k in (1, 2, 4, 8, 16, 32, 64) if k <= n], by=by)
    return replace(evaluation, missing=len(problems) - len(futures))


def _unanswered(problem: Problem, n: int, names: Sequence[str]) -> Answers:
    wrong = {name: Score(0.0, why="no completion was given") for name in names}
    return Answers(problem, ("",) * n, Scores((wrong,) * n, (0.0,) * n))


def measure(
    answers: Sequence[Answers], headline: str, *, ks: Sequence[int], by: Sequence[str] | None = None
) -> Evaluation:
    """`headline` names the reward that says whether a completion is right: a value of at least 1."""
    judged = [sample for one in answers if (sample := _judged(one, headline)).correct]
    if not judged:
        raise GrpoError(
            f'evaluation: reward "{headline}" could judge no completion at all; see the reasons in its scores'
        )
    n = max(len(sample.correct) for sample in judged)
    return Evaluation(
        measures={**_passes(judged, n, ks), **_shares(answers, headline, n)},
        breakdown=_breakdown(judged, n, by),
        answers=tuple(answers),
        solved={sample.problem.id: fmean(sample.correct) for sample in judged},
        unscored=sum(reward is None for one in answers for reward in one.judged.rewards),
    )


def _passes(judged: Sequence[_Judged], n: int, ks: Sequence[int]) -> dict[str, Estimate]:
    """pass@1, and pass@k and maj@k of the problems that have k samples."""
    measures = {"pass@1": estimate([fmean(sample.correct) for sample in judged], n)}
    for k in sorted({k for k in ks if k > 1}):
        enough = [sample for sample in judged if len(sample.correct) >= k]
        if enough:
            passes = [pass_at_k(len(s.correct), sum(s.correct), k) for s in enough]
            measures[f"pass@{k}"] = estimate(passes, n)
            measures[f"maj@{k}"] = estimate([maj_at_k(s.answers, s.correct, k) for s in enough], 1)
    return measures


def _shares(answers: Sequence[Answers], headline: str, n: int) -> dict[str, Estimate]:
    """Of completions that ran out of room, where it is known how they ended; and of those that cannot be read."""
    cut = [fmean(finish == "length" for finish in one.finishes) for one in answers if one.finishes]
    unreadable = [score_shares([one.judged], headline)["completions/unparseable"] for one in answers]
    measures = {"truncated": estimate(cut, n)} if cut else {}
    return {**measures, "unparseable": estimate(unreadable, n)}


@dataclass(frozen=True, slots=True)
class _Judged:
    """The samples of one problem that could be judged."""

    problem: Problem
    correct: tuple[bool, ...]
    answers: tuple[str | None, ...]


def _judged(one: Answers, headline: str) -> _Judged:
    scores = [by_name[headline] for by_name in one.judged.scores if by_name[headline].value is not None]
    correct = tuple((score.value or 0.0) >= 1 for score in scores)
    return _Judged(one.problem, correct, tuple(score.answer for score in scores))


def _breakdown(
    judged: Sequence[_Judged], n: int, by: Sequence[str] | None
) -> dict[str, dict[str, tuple[int, Estimate]]]:
    facts = [sample.problem.facts for sample in judged]
    columns = usual_columns(facts) if by is None else list(by)
    tables: dict[str, dict[str, tuple[int, Estimate]]] = {}
    for column in columns:
        values = defaultdict(list)
        for sample, row in zip(judged, facts, strict=True):
            values[str(row.get(column, "(none)"))].append(fmean(sample.correct))
        tables[column] = {value: (len(shares), estimate(shares, n)) for value, shares in sorted(values.items())}
    return tables


def usual_columns(facts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Those of `USUAL_COLUMNS` that any of the rows has."""
    there = {column for row in facts for column in row}
    return [column for column in USUAL_COLUMNS if column in there]


def check_columns(problems: Sequence[Problem], by: Sequence[str]) -> None:
    """Before anything is sampled, because afterwards the samples would be lost."""
    there = dict.fromkeys(name for problem in problems for name in problem.facts)
    for column in by:
        if column not in there:
            raise DataError(f"--by {column}: there is no such column; there are {', '.join(there)}")


def write(evaluation: Evaluation, folder: Path, recipe: Mapping[str, Any], texts: Mapping[str, str]) -> None:
    """results.json and samples.jsonl into `folder`.

    `recipe` is all that is needed to repeat the evaluation; `texts` are the prompts by problem id.
    """
    results = {
        **{name: asdict(value) for name, value in evaluation.measures.items()},
        "unscored": evaluation.unscored,
        "missing": evaluation.missing,
        "problems": len(evaluation.solved),
        "breakdown": {
            column: {value: {"problems": count, **asdict(share)} for value, (count, share) in table.items()}
            for column, table in evaluation.breakdown.items()
        },
        "recipe": recipe,
        "solved": dict(evaluation.solved),
    }
    make_folder(folder)
    try:
        with (folder / "samples.jsonl").open("w", encoding="utf-8", errors="backslashreplace") as file:
            for one in evaluation.answers:
                file.writelines(json.dumps(row) + "\n" for row in one.rows(texts[one.problem.id]))
        (folder / "results.json").write_text(json.dumps(results, indent=1, default=str) + "\n")
    except OSError as error:
        raise _unwritable(folder, error) from None


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None


def _unwritable(folder: Path, error: OSError) -> GrpoError:
    return GrpoError(f"{folder}: results cannot be written ({error.strerror}); choose another place with --out")


def read_results(place: str) -> dict[str, Any]:
    """What `write` wrote, from its folder or its results.json."""
    path = Path(place) / "results.json" if Path(place).is_dir() else Path(place)
    try:
        results: dict[str, Any] = json.loads(path.read_text())
        results["solved"].items()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); give the folder or results.json of `grpo eval`"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path}: is not a results.json of `grpo eval`; give the folder that --out named") from None
    return results
