"""What the report shows of fine-tuning in place of the curves of reinforcement learning: the loss above all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from grpo.run.charts import Dot, Line, line_chart, stacked_chart
from grpo.run.columns import Row, column, known, mean
from grpo.run.wording import count, duration, percent, plain, whole_percent

_PART = 10  # steps whose mean is the loss at the start, and at the end


def is_one(steps: Sequence[Row]) -> bool:
    return any("sft/loss" in row for row in steps)


def result(steps: Sequence[Row]) -> str:
    """The loss from the first steps to the last, where no two evaluations say more."""
    part = min(_PART, max(1, len(steps) // 2))
    before, after = (plain(mean(rows, "sft/loss") or 0.0) for rows in (steps[:part], steps[-part:]))
    about = f"nats per token of the assistant's, from the first {part} to the last {part} of the steps"
    return (
        f'<div class="card result"><p class="label">Loss</p><p class="big">{before}<i>→</i>{after}</p>'
        f'<p class="label">{about}</p></div>'
    )


def tiles(steps: Sequence[Row]) -> Iterator[tuple[str, str]]:
    last = steps[-1]
    yield f"{int(last['step']):,}", "step" if last["step"] == 1 else "steps"
    if epochs := known(steps, "sft/epoch"):
        yield f"{epochs[-1]:.2f}", "times through the examples"
    if learned := known(steps, "tokens/learned"):
        yield count(sum(learned)), "tokens learned"
    times, shown = known(steps, "time/step"), known(steps, "tokens/shown")
    if times:
        yield duration(sum(times)), f"in steps, {sum(times) / len(times):.1f} s each"
    if times and shown:
        yield count(sum(shown) / sum(times)), "tokens per second"
    if memory := known(steps, "memory/peak_gib"):
        yield f"{max(memory):.1f} GiB", "memory at the peak"


def curves(steps: Sequence[Row], evaluations: Sequence[Dot]) -> str:
    at = [int(row["step"]) for row in steps]

    def line(name: str, key: str, color: int = 1, *, peak: bool = False) -> Line:
        return Line(name, column(steps, key), color, None, peak)

    phases = [line("update", "time/update", 2), line("batch", "time/batch", 1), line("books", "time/books", 5)]
    tokens = [line("shown", "tokens/shown"), line("learned", "tokens/learned", 2)]
    solved = line_chart("Solved", at, [], whole_percent, top=1.0, dots=evaluations, dots_name="held-out pass@1")
    charts = [
        line_chart("Loss, nats per token", at, [line("of the step", "sft/loss")], plain),
        *([solved] if evaluations else []),
        line_chart("Gradient norm", at, [line("before clipping", "policy/grad_norm", peak=True)], plain),
        line_chart("Learning rate", at, [line("of the step", "policy/lr")], plain),
        line_chart("Tokens per step", at, tokens, count),
        line_chart("Tokens per second", at, [line("shown", "speed/tokens_per_second")], count),
        line_chart("Padding", at, [line("of what was computed", "update/padded", 2)], percent, least_top=0.02),
        stacked_chart("Seconds per step", at, phases, plain),
    ]
    title = "<h2>Step by step <small>point at a curve for its values</small></h2>"
    return f'{title}<div class="grid">{"".join(charts)}</div>'
