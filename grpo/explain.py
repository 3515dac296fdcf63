"""`grpo explain`: the arithmetic of one group, from its completions to its part in the gradient.

The step is run again up to the update in which the group is learned from (`grpo.replay`); then its numbers are laid
out.  The *contribution* of a completion is the part of the gradient norm that is its own,

    ⟨g_i, g⟩ / ‖g‖        with g = Σ_i g_i the gradient of the update and g_i that of completion i's tokens alone

so the contributions of an update add up to its gradient norm.  A negative one pulls against the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import torch
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from grpo.algorithm import JudgedGroup, Sample, Trainer
from grpo.engine import Engine
from grpo.errors import DataError
from grpo.learning.batch import Batch
from grpo.metrics import gold_of
from grpo.objectives import Objective, zero_variance
from grpo.replay import OpenStep, opened, recorded_config, recorded_samples

Say = Callable[[str], None]
LONGEST_QUESTION = 100  # characters


@dataclass(frozen=True, slots=True)
class Explained:
    """One completion of the group.  `contribution` is None where it is no part of the update."""

    text: str
    reward: float | None
    advantage: float
    tokens: int
    weight: float | None = None  # of each token
    ratio: float | None = None  # mean importance ratio π / π_old
    correction: float | None = None  # mean factor for the sampler's mismatch
    contribution: float | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A group, whole.  `number` counts the updates of the step's first pass from 1; 0: it is part of none."""

    group: JudgedGroup
    completions: tuple[Explained, ...]
    number: int
    updates: int
    grad_norm: float


def explain(run: Path, step: int, problem: str | None, say: Say, show: Callable[[Table], None]) -> None:
    """Print the arithmetic of `problem`'s group in step `step`; by default of the first group that carries a signal."""
    if recorded_config(run).distill.is_full:
        raise DataError(
            f'{run}: learned from the divergence of whole distributions (distill.mode = "full"), in which there are no '
            "advantages to explain; its numbers are the distill/kl ones of metrics.jsonl"
        )
    recorded = recorded_samples(run, step)
    names = list(dict.fromkeys(row["problem"] for row in recorded))
    if problem is not None and problem not in names:  # known before anything is opened
        raise DataError(f"--problem {problem}: is not in the step; there are {', '.join(names[:5])}, …")
    with opened(run, step, say) as again:
        while again.next < step:
            again.run()
        explanation = explained(again, problem)
        objective, taught = again.trainer.objective, again.config.distill
    name = explanation.group.scored.group.prompt.problem.id
    if [row.text for row in explanation.completions] != [r["completion"] for r in recorded if r["problem"] == name]:
        say(f"warning: {name} has other completions now than were recorded; grpo replay says where they part")
    for line in heading(explanation, objective):
        say(line)
    if again.config.run.control:
        say("             a control: A below comes from rewards that were shuffled among the step's completions")
    if taught.is_on:
        say(f"             plus {taught.coef:g} (log π_teacher - log π_old) of each token, which A below is without")
    show(table(explanation))
    for line in footing(explanation):
        say(line)


def explained(again: OpenStep, problem: str | None) -> Explanation:
    """The group of `problem` in the step that is next, whose updates are made up to the one it is part of."""
    trainer, engine = again.trainer, again.engine
    scored, _ = trainer.rollout(again.source())
    groups = trainer.compare(scored, again.next)
    group = _chosen(groups, problem)
    completions, shares = group.scored.group.completions, trainer.shares(groups)
    found = [
        number for number, share in enumerate(shares) if any(sample.group is group.scored.group for sample in share)
    ]
    batches = trainer.batches(groups)
    numbers: Mapping[int, Explained] = {}
    norm = 0.0
    if found:
        for batch in batches[: found[0]]:
            engine.update(batch, trainer.loss, again.lr)
        norm, numbers = contributions(trainer, engine, batches[found[0]], shares[found[0]], group)
    plain = [
        Explained(completion.text, reward, advantage, len(completion.token_ids))
        for completion, reward, advantage in zip(completions, group.scored.rewards, group.advantages, strict=True)
    ]
    rows = tuple(numbers.get(index, row) for index, row in enumerate(plain))
    return Explanation(group, rows, found[0] + 1 if found else 0, len(batches), norm)


def _chosen(groups: Sequence[JudgedGroup], problem: str | None) -> JudgedGroup:
    for group in groups:
        if group.scored.group.prompt.problem.id == problem or (problem is None and group.useful):
            return group
    names = [group.scored.group.prompt.problem.id for group in groups]
    if problem is None:
        raise DataError(f"no group of the step carries a signal; name one with --problem, such as {names[0]}")
    raise DataError(f"--problem {problem}: is not in the step; there are {', '.join(names[:5])}, …")


def contributions(
    trainer: Trainer, engine: Engine, batch: Batch, share: Sequence[Sample], group: JudgedGroup
) -> tuple[float, dict[int, Explained]]:
    """The gradient norm of `batch`, and the numbers of the group's completions in it, by their place in the group."""
    loss = trainer.loss
    whole = {name: gradient.cpu() for name, gradient in engine.gradients(batch, loss).items()}
    norm = _dot(whole, whole) ** 0.5
    numbers = {}
    for row, sample in enumerate(share):
        if sample.group is not group.scored.group:
            continue
        place = next(i for i, completion in enumerate(sample.group.completions) if completion is sample.completion)
        alone = batch.rows([row])
        mask_BT = alone.targets.mask_BT
        now_BT = engine.logprobs(alone.sequences)
        old_BT = alone.targets.per_token.get("old", now_BT)
        correction_BT = trainer.objective.correct(old_BT - alone.targets["sampler"], mask_BT)
        numbers[place] = Explained(
            sample.completion.text,
            group.scored.rewards[place],
            sample.advantage,
            len(sample.completion.token_ids),
            float(alone.targets.weights_BT[mask_BT][0]),
            float(trainer.objective.ratio(now_BT, old_BT, mask_BT)[mask_BT].mean()),
            float(correction_BT[mask_BT].mean()),
            _dot(engine.gradients(alone, loss), whole) / norm if norm else 0.0,
        )
    return norm, numbers


def _dot(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The product of two gradients."""
    products = [torch.dot(one[name].flatten().cpu().double(), other[name].flatten().cpu().double()) for name in one]
    return float(torch.stack(products).sum()) if products else 0.0


# --- In words -----------------------------------------------------------------------------------------------------


def heading(explanation: Explanation, objective: Objective) -> list[str]:
    group, settings = explanation.group.scored, objective.settings
    rewards = [reward for reward in group.rewards if reward is not None]
    spread = f"mean {fmean(rewards):.4g}, standard deviation {stdev(rewards):.4g}" if len(rewards) > 1 else "too few"
    problem = group.group.prompt.problem
    return [
        f"problem {problem.id}, {len(group.rewards)} completions, objective {settings.name}",
        f"asked        {problem.messages[-1]['content'][:LONGEST_QUESTION]!r}",
        *([f"gold answer  {gold[:LONGEST_QUESTION]!r}"] if (gold := gold_of(problem)) else []),
        f"rewards      {spread}",
        f"advantage A  {_formula(objective.advantages)}",
        f"weight w     {_formula(objective.weights)}",
        f"surrogate    {_formula(objective.surrogate)}",
        f"             u: importance ratio of each {settings.ratio}, to the policy before the step's first update",
        f"             times c: correction for the sampler, {settings.correction}",
    ]


def _formula(function: object) -> str:
    """The first sentence of its docstring, which has the formula and its source."""
    return " ".join((function.__doc__ or "").split("\n\n")[0].split())


def table(explanation: Explanation) -> Table:
    columns = ("reward", "A", "tokens", "w", "mean u", "mean c", "contribution", "of the norm")
    made = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    made.add_column("#", justify="right", min_width=2)
    rows = [_cells(row, explanation.grad_norm) for row in explanation.completions]
    for index, column in enumerate(columns):
        width = max(len(column), *(len(cells[index]) for cells in rows))
        made.add_column(column, justify="right", no_wrap=True, min_width=width)
    made.add_column("completion", no_wrap=True, overflow="ellipsis", ratio=1)  # what there is room for
    for number, (cells, row) in enumerate(zip(rows, explanation.completions, strict=True), start=1):
        made.add_row(str(number), *cells, escape(repr(row.text)))
    return made


def _cells(row: Explained, grad_norm: float) -> list[str]:
    share = None if row.contribution is None or not grad_norm else row.contribution / grad_norm
    return [
        _number(row.reward, ".4g"),
        f"{row.advantage:+.4f}",
        str(row.tokens),
        _number(row.weight, ".3e"),
        _number(row.ratio, ".4f"),
        _number(row.correction, ".4f"),
        _number(row.contribution, "+.3e"),
        _number(share, "+.1%"),
    ]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def footing(explanation: Explanation) -> list[str]:
    if not explanation.number:
        why = "none of its completions could be learned from"
        if zero_variance(explanation.group.scored.rewards):
            why = "its rewards are all equal (a zero-variance group), so it says nothing about which is better"
        elif not explanation.group.useful:
            why = "all its advantages are 0, so it says nothing about which is better"
        return [f"the group is part of no update: {why}"]
    own = sum(row.contribution or 0.0 for row in explanation.completions)
    share = own / explanation.grad_norm if explanation.grad_norm else 0.0
    limit = "" if explanation.grad_norm else "; the gradient is 0"
    return [
        f"update {explanation.number} of {explanation.updates}: the contributions of all its completions add up to the "
        f"gradient norm {explanation.grad_norm:.4e}{limit}",
        f"this group's: {own:+.4e}, {share:+.1%} of it",
    ]
