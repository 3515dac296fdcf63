"""What a run will cost, and what it has cost: tokens, floating-point operations, hours, money.

After a run all of it is added up from the rows of metrics.jsonl, which a rewind cuts back and a resumed run goes on
writing: what is on record counts once, and a step that was lost and made again counts once, too.  `time/wall` of a row
is the time since the row before it, or since the command began; so the sum has evaluations, checkpoints and every
start in it.  Before a run it is made from one step's row.

Operations are those of the matrix products and of attention, as `scripts/bench_gpu.py` counts them: of a token with c
before it on average

    2 N + 4 · layers · width · c        to sample it: a forward pass, N parameters
    twice that, and 2 · learned         to learn from it besides: backward to the activations, then to what learns

(arXiv 2001.08361, section 2.1), with c half of a completion's mean length: prompts are left out of c, and so is what
is computed again under gradient checkpointing, by a reference, or for old log-probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from grpo.config import Config
from grpo.memory import Shape
from grpo.run.checkpoints import Progress
from grpo.run.columns import Row, known
from grpo.run.summary import Summary
from grpo.run.wording import count, duration, plain, plural, seconds

HOUR = 3600  # seconds
APART = ("step", "wall", "evaluate")  # of time/…: wholes, not phases of a step


def devices_of(config: Config) -> int:
    """GPUs that are held for the run, used or not; 1 where there is none: the machine.  `config` is resolved."""
    cluster = config.cluster
    if config.model.device != "cuda" or not cluster.learners:
        return 1
    sampling = int(cluster.samplers) * cluster.tensor_parallel
    return max(int(cluster.learners), sampling) if cluster.colocate else int(cluster.learners) + sampling


def hardware_of(config: Config) -> str:
    """In words: "2 × NVIDIA H100", or the machine's processors."""
    if config.model.device == "cuda":
        import torch

        return f"{devices_of(config)} × {torch.cuda.get_device_name()}"
    import psutil

    return plural(psutil.cpu_count() or 1, "processor core")


# --- After --------------------------------------------------------------------------------------------------------


def cost_of(rows: Sequence[Row], devices: int, price: float | None, *, rest: float = 0.0) -> dict[str, Any]:
    """For cost.json, from the rows of metrics.jsonl.  `rest` are the seconds since the last of them; `price` is that of
    one device's hour.  What is not known is None."""
    steps = [row for row in rows if "time/step" in row]
    hours = (sum(known(rows, "time/wall")) + rest) / HOUR
    money = None if price is None else hours * devices * price
    solved = sum((row.get("groups/solved") or 0.0) * (row.get("groups/sampled") or 0) for row in steps)
    gained = _points_gained(rows)
    return {
        "steps": len(steps),
        "hours": hours,
        "hours_in_steps": sum(known(steps, "time/step")) / HOUR,
        "hours_in_evaluations": sum(known(rows, "time/evaluate")) / HOUR,
        "devices": devices,
        "device_hours": hours * devices,
        "price": price,
        "money": money,
        "tokens_sampled": int(sum(known(steps, "tokens/sample"))),
        "tokens_learned": int(sum(known(steps, "tokens/update"))),
        "tokens_evaluated": int(sum(known(rows, "tokens/evaluate"))),
        "problems_solved": round(solved),
        "device_hours_per_solved_problem": _each(hours * devices, solved),
        "money_per_solved_problem": _each(money, solved),
        "points_gained": gained,
        "device_hours_per_point": _each(hours * devices, gained),
        "money_per_point": _each(money, gained),
        "hours_by_phase": {name: seconds / HOUR for name, seconds in _phases(steps).items()},
        "peak_gib": _peaks(steps),
    }


def _points_gained(rows: Sequence[Row]) -> float | None:
    """Of pass@1 on the held-out problems, from the first evaluation to the last; None where there are not two."""
    measured = known(rows, "eval/pass@1")
    return 100 * (measured[-1] - measured[0]) if len(measured) > 1 else None


def _each(whole: float | None, number: float | None) -> float | None:
    return whole / number if whole is not None and number and number > 0 else None


def _phases(steps: Sequence[Row]) -> dict[str, float]:
    """Seconds of each over all steps.  Where sampling runs ahead they overlap, and their sum is more than the whole."""
    names = dict.fromkeys(key.removeprefix("time/") for row in steps for key in row if key.startswith("time/"))
    return {name: sum(known(steps, f"time/{name}")) for name in names if name not in APART}


def _peaks(steps: Sequence[Row]) -> dict[str, float]:
    keys = dict.fromkeys(key for row in steps for key in row if key.startswith("memory/") and key.endswith("_gib"))
    found = {key.removeprefix("memory/").removesuffix("_gib"): known(steps, key) for key in keys}
    return {name: max(values) for name, values in found.items() if values}


def came_to(folder: Path, progress: Progress, cost: Mapping[str, Any]) -> dict[str, Any]:
    """The run in `folder` in flat values: headline, best, cost."""
    values: dict[str, Any] = {}
    if change := Summary.of(folder).change:
        values |= {"before": change.before.value, "after": change.after.value, "points": change.points}
    if progress.best_step:
        values |= {"best_step": progress.best_step, "best": progress.best_score}
    flat = {name: value for name, value in cost.items() if value is not None and not isinstance(value, dict)}
    return values | {f"cost/{name}": value for name, value in flat.items()}


def in_words(cost: Mapping[str, Any], hardware: str) -> list[str]:
    """Three lines for the console."""
    spent = f"{duration(HOUR * cost['hours'])} on {hardware}"
    steps, evaluations = (duration(HOUR * cost[key]) for key in ("hours_in_steps", "hours_in_evaluations"))
    shares = ", ".join(f"{name} {duration(HOUR * hours)}" for name, hours in cost["hours_by_phase"].items())
    whole = f"{plain(cost['device_hours'])} device hours"
    if cost["money"] is not None:
        whole += f", {cost['money']:,.2f} at {cost['price']:g} an hour"
    each = [
        f"{_amount(cost, 'solved_problem')} for a solved problem ({cost['problems_solved']:,})",
        f"{_amount(cost, 'point')} for a point gained ({plain(cost['points_gained'] or 0.0)})",
    ]
    known_ones = [text for text in each if not text.startswith("None")]
    return [
        f"cost: {spent}: steps {steps}, evaluations {evaluations}, the rest to start and to save",
        f"cost: {shares or 'no step'}; {count(cost['tokens_sampled'])} tokens sampled, "
        f"{count(cost['tokens_learned'])} learned",
        f"cost: {'; '.join([whole, *known_ones])}",
    ]


def _amount(cost: Mapping[str, Any], what: str) -> str | None:
    """Money where there is a price, else a device's time."""
    if (money := cost[f"money_per_{what}"]) is not None:
        return plain(money)
    hours = cost[f"device_hours_per_{what}"]
    return None if hours is None else f"{seconds(HOUR * hours)} of a device"


# --- Before -------------------------------------------------------------------------------------------------------


def evaluations_of(steps: int, every: int | None) -> int:
    """Before the first step, after the last, and every so many between."""
    return 2 + ((steps - 1) // every if every else 0)


def operations(row: Row, shape: Shape) -> float:
    """Of one step, to sample and to learn."""
    attention = 4 * shape.layers * shape.heads * shape.head * (row.get("completions/length_mean") or 0.0) / 2
    forward = 2 * shape.numbers + attention
    learn = 2 * forward + 2 * shape.learned
    return float((row.get("tokens/sample") or 0) * forward + row["tokens/update"] * learn)


def expected(
    row: Row, shape: Shape, *, steps: int, devices: int, price: float | None, answers: int, evaluations: int
) -> Iterator[str]:
    """The table of a dry run, from the row of one step: `evaluations` times `answers` are sampled as fast as the
    step's, and are as long."""
    sampled = row.get("tokens/sample") or 0
    whole = row["time/step"] * steps
    lines = [("tokens sampled", sampled, sampled * steps, count)] if sampled else []
    lines.append(("tokens learned", row["tokens/update"], row["tokens/update"] * steps, count))
    flop = operations(row, shape)
    lines.append(("operations", flop, flop * steps, lambda value: f"{value:.2g} FLOP"))
    lines += [(f"time, {name}", value, value * steps, duration) for name, value in _phases([row]).items()]
    lines.append(("time, all", row["time/step"], whole, duration))
    yield _line("dry run", "a step", plural(steps, "step"))
    for name, each, all_of_them, show in lines:
        yield _line(name, seconds(each) if show is duration else show(each), show(all_of_them))
    if sampled and answers:
        evaluating = evaluations * answers * row["completions/length_mean"] * (row["time/sample"] / sampled)
        yield _line(plural(evaluations, "evaluation"), seconds(evaluating / evaluations), duration(evaluating))
        whole += evaluating
    hours = whole * devices / HOUR
    yield _line("device hours", "", f"{plain(hours)} ({plural(devices, 'device')}, {duration(whole)})")
    if price is not None:
        yield _line("money", "", f"{hours * price:,.2f} ({price:g} an hour of one device)")


def foretold(config: Config, row: Row, shape: Shape, *, steps: int, prompts: int) -> Iterator[str]:
    """The table for a run with these settings that evaluates so many prompts, and what it was made from."""
    every, answers = config.eval.every, prompts * config.eval.n
    devices, price, times = devices_of(config), config.run.price, evaluations_of(steps, every)
    yield from expected(row, shape, steps=steps, devices=devices, price=price, answers=answers, evaluations=times)
    apart = "evaluations, " if answers and not row.get("tokens/sample") else ""
    by = "the second step, because the first is slower" if row["step"] > 1 else "its only step"
    yield f"dry run: by {by}; {apart}start and checkpoints come on top; nothing was kept"


def _line(name: str, each: str, whole: str) -> str:
    return f"{name:<16}  {each:>12}  {whole}"
