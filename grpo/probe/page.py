"""A probe as text that is read in a minute, at most `WIDTH` characters wide."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomli_w

from grpo.config import Config, Reward
from grpo.errors import GrpoError
from grpo.metrics import gold_of
from grpo.probe.gaming import OWN_RIGHT, OWN_WRONG, Earned
from grpo.probe.run import Probe
from grpo.probe.study import Distribution, Part, Study
from grpo.run.wording import plain, plural, whole_percent
from grpo.types import ScoredGroup

WIDTH = 100  # characters
SHOWN = 3  # problems with their best and worst completion
LOUD = 0.2  # of the advantages, from which a part that has less than half of that of the variance is pointed at


def page(probe: Probe, config: Config) -> Iterator[str]:
    """Lines."""
    study = probe.study
    count = sum(len(group.rewards) for group in probe.scored)
    source, model = (_tail(name, 28) for name in (config.data.source, config.model.name))
    asked = f"{plural(len(probe.scored), 'problem')} of {source}, {plural(count, 'completion')} of {model}"
    yield f"{asked}{' after its cold start' if config.sft.is_on else ''}"
    yield ""
    yield from _parts(study)
    yield ""
    yield from _signal(study, config)
    yield ""
    yield from _reasons(study.parts)
    yield from _examples(probe.scored)
    yield from _gaming(probe)
    yield ""
    yield from _weights(probe, config)
    yield ""
    yield from _end(probe)


# --- The rewards --------------------------------------------------------------------------------------------------


def _parts(study: Study) -> Iterator[str]:
    yield f"{'':<71}{'variance':>9}{'advan-':>10}{'r with':>10}"
    heads = ("reward", "weight", "mean", "what it gives", "in groups", "tages", "length")
    yield "{:<16}{:>7}  {:>8}     {:<33}{:>9}{:>10}{:>10}".format(*heads)
    for part in study.parts:
        yield _row(part.name, f"{part.weight:g}", part.values, part.variance, part.advantages, part.with_length)
    yield _row("total", "", study.total, None, None, study.with_length)
    yield "variance: of the total within groups, cov(part, total) / var(total); the shares add up to 100 %"
    if any("…" in _gives(part.values) for part in study.parts if part.values):
        yield "what it gives: the lowest … [quartiles] … the highest"
    if study.unscored:
        yield f"{plural(study.unscored, 'completion')} could not be judged"
    if constant := [part.name for part in study.parts if part.values is not None and not part.values.range]:
        yield f"the same for every completion: {', '.join(constant)}; it teaches nothing yet"
    if pairs := [f"{pair} {r:+.2f}" for pair, r in study.correlations.items() if r is not None]:
        yield from _wrapped("correlation within groups: ", ", ".join(pairs))
    for part in study.parts[1:]:
        if part.advantages and part.advantages > max(LOUD, 2 * (part.variance or 0.0)):
            yield from _wrapped(
                "! ",
                f"{part.name} has {whole_percent(part.variance or 0.0)} of the variance and "
                f"{whole_percent(part.advantages)} of the advantages: in groups that are alike in all else its "
                'differences are divided by their own deviation; objective.advantages = "group_mean" does not',
            )


def _row(
    name: str,
    weight: str,
    values: Distribution | None,
    variance: float | None,
    advantages: float | None,
    length: float | None,
) -> str:
    mean, gives = ("–", "nothing was judged") if values is None else (f"{values.mean:.3f}", _gives(values))
    cells = ("" if share is None else whole_percent(share) for share in (variance, advantages))
    r = "" if length is None else f"{length:+.2f}"
    return "{:<16}{:>7}  {:>8}     {:<33}{:>9}{:>10}{:>10}".format(
        name[:16], weight, mean, gives[:32], *cells, r
    ).rstrip()


def _gives(values: Distribution) -> str:
    """How often each value, where there are three at most; else quartiles."""
    if values.counts is not None and len(values.counts) <= 3:
        return ", ".join(f"{plain(value)}: {whole_percent(n / values.n)}" for value, n in sorted(values.counts.items()))
    low, first, median, third, high = map(plain, values.quartiles)
    return f"{low} … [{first}, {median}, {third}] … {high}"


def _signal(study: Study, config: Config) -> Iterator[str]:
    useful, steps = study.signal.useful, study.signal.per_step
    interval = f"{whole_percent(useful.low)} – {whole_percent(useful.high)}"
    yield f"groups with a signal: {whole_percent(useful.mean)} (95 % interval {interval})"
    wanted = config.sampling.problems_per_step
    yield f"  so {steps.mean:.0f} of the {wanted} of a step teach ({steps.low:.0f} – {steps.high:.0f})"
    first, share = study.parts[0].name[:24], whole_percent(study.signal.by_first)
    yield f"  {first} alone tells completions apart in {share} of the groups"


def _reasons(parts: Sequence[Part]) -> Iterator[str]:
    told = [part for part in parts if part.reasons]
    if not told:
        return
    yield "reasons"
    for part in told:
        yield from _wrapped(f"  {part.name[:16]:<16}", ",  ".join(f"{n} × {why[:60]}" for why, n in part.reasons))
    yield ""


# --- Completions --------------------------------------------------------------------------------------------------


def _examples(scored: Sequence[ScoredGroup]) -> Iterator[str]:
    """Of the problems whose completions differ most."""
    for group in sorted(scored, key=_spread, reverse=True)[:SHOWN]:
        problem = group.group.prompt.problem
        gold, judged = gold_of(problem), [i for i, reward in enumerate(group.rewards) if reward is not None]
        question = _short(problem.messages[-1]["content"], 44)
        yield f"{problem.id[-30:]}: {question}" + (f", gold {_short(gold, 12)}" if gold else "")
        if not judged:
            yield "  no completion could be judged"
            continue
        ordered = sorted(judged, key=lambda i: group.rewards[i] or 0.0)
        for label, index in (("best", ordered[-1]), ("worst", ordered[0])):
            yield f"  {label:<6}{group.rewards[index] or 0.0:>7.3f}  {_short(group.group.completions[index].text, 80)}"
    yield ""


def _spread(group: ScoredGroup) -> float:
    judged = [reward for reward in group.rewards if reward is not None]
    return max(judged) - min(judged) if judged else -1.0


def _tail(text: str, length: int) -> str:
    return text if len(text) <= length else f"…{text[1 - length :]}"


def _short(text: str, length: int) -> str:
    """Its beginning and its end, with line breaks and controls written out."""
    half = (length - 5) // 2
    return repr(text if len(text) <= length - 2 else f"{text[:half]} … {text[-half:]}")[: length + 20]


# --- Gaming and weights -------------------------------------------------------------------------------------------


def _gaming(probe: Probe) -> Iterator[str]:
    names = [part.name for part in probe.study.parts]
    yield f"{'what gaming earns':<30}{'total':>8}   parts"
    said = {verdict.name: verdict for verdict in probe.verdicts}
    none, no_gold = "none among these", "not applicable: no gold answer for it, or it could not be judged"
    rows = [(OWN_RIGHT, probe.right, none), (OWN_WRONG, probe.wrong, none)]
    rows += [(one.trick.name, one.earned, no_gold) for one in probe.tried]
    for name, earned, otherwise in rows:
        yield _earned(name, earned, names, otherwise)
        if name in said:
            verdict = said[name]
            yield from _wrapped("  ! " if verdict.matters else "    ", verdict.text)
    shown = probe.form.replace("{gold}", "…").replace("\n", "\\n")
    yield f"(means over the problems; an answer is written as: {shown})"


def _earned(label: str, earned: Earned | None, names: Sequence[str], otherwise: str) -> str:
    if earned is None:
        return f"{label:<30}{'–':>8}   {otherwise}"
    parts = ", ".join(f"{name[:14]} {earned.parts[name]:.3g}" for name in names if name in earned.parts)
    return f"{label:<30}{earned.total:>8.3f}   {parts}"[:WIDTH]


def _weights(probe: Probe, config: Config) -> Iterator[str]:
    ranking, first = probe.ranking, probe.study.parts[0].name
    if not ranking.first:
        yield f"weights: {first} has weight 0, so nothing says that a right answer is better"
    elif len(probe.study.parts) == 1:
        yield "weights: there is one reward, which nothing outranks"
    elif ranking.holds:
        others = f"all others together {plain(ranking.others)} at most"
        yield f"weights: fine; {first} is worth {plain(ranking.first)}, {others}"
    else:
        yield from _wrapped(
            "weights: ",
            f"{first} is worth {plain(ranking.first)}, and all others together {plain(ranking.others)}, so a wrong "
            "completion can be above a right one; with these none can, and by a half:",
        )
        yield ""
        yield from _toml(config.reward, list(ranking.suggested.values())).splitlines()


def _toml(rewards: Sequence[Reward], weights: Sequence[float]) -> str:
    """The `[[reward]]` tables with other weights; what is as by default is left out."""
    tables = []
    for reward, weight in zip(rewards, weights, strict=True):
        plain_ones = reward.model_dump(mode="json", exclude_defaults=True, exclude_none=True) | {"weight": weight}
        options = plain_ones.pop("options", {})
        tables.append("[[reward]]\n" + tomli_w.dumps(plain_ones))
        tables += ["[reward.options]\n" + tomli_w.dumps(options)] if options else []
    return "\n".join(tables).rstrip()


def _end(probe: Probe) -> Iterator[str]:
    matter = [verdict.name for verdict in probe.verdicts if verdict.matters]
    if matter:
        yield from _wrapped("probe: ", f"mend before training what is marked ! above: {', '.join(matter)}")
    else:
        yield "probe: no text that was tried is better off than an honest attempt"


def write_numbers(probe: Probe, path: Path) -> None:
    """As JSON."""
    tree = {
        "study": asdict(probe.study),
        "own": {"right": _tree(probe.right), "wrong": _tree(probe.wrong)},
        "gaming": {one.trick.name: _tree(one.earned) for one in probe.tried},
        "verdicts": [asdict(verdict) for verdict in probe.verdicts],
        "weights": asdict(probe.ranking),
    }
    try:
        path.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise GrpoError(f"{path}: cannot be written ({error.strerror}); choose another place with --json") from None


def _tree(earned: Earned | None) -> dict[str, Any] | None:
    return None if earned is None else asdict(earned)


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head))
