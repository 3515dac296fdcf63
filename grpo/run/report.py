"""The whole run on one page: `report.html`, made from the files of the run folder and from nothing else.

It answers, in this order: is the model better than before, and by how much for certain; is there something to worry
about; how did it go step by step; what does the model write, and why was it marked as it was.

Completions are hostile text.  Everything is escaped, the page holds no script, and its content policy forbids the
browser to run or load any.  Whatever the run, the page stays below `MAX_BYTES`: curves are pooled, few samples are
shown, and texts are cut, with a word on how much is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from grpo.errors import CheckpointError
from grpo.run import tuning_page
from grpo.run.alarms_page import alarms_html
from grpo.run.charts import Dot, Line, interval_strip, line_chart, stacked_chart
from grpo.run.columns import Row
from grpo.run.columns import column as _column
from grpo.run.columns import mean as _mean
from grpo.run.control_page import control_html
from grpo.run.cost_page import cost_html
from grpo.run.distill_page import behind_charts, kept_html
from grpo.run.samples_page import REASON, as_html, samples_html
from grpo.run.summary import Summary, is_measure
from grpo.run.wording import count, cut, percent, plain, whole_percent
from grpo.whole import whole_file

MAX_BYTES = 2_000_000


def write_report(folder: Path) -> Path:
    """Write `report.html` into the run folder and return its path.  Half a run, or no step at all, is no obstacle."""
    run = Summary.of(folder)
    body = "".join(
        [
            _header(folder, run),
            *(_of_tuning(run) if run.is_tuning else _of_training(run, alarms_html(folder, run.steps))),
            kept_html(folder),
            control_html(folder),
            _evaluation_table(run.results),
            cost_html(folder),
            samples_html(folder / "samples.jsonl", [int(row["step"]) for row in run.steps]),
            _settings(folder / "config.toml"),
        ]
    )
    return write_html(
        folder / "report.html", folder.name, body, "metrics.jsonl, samples.jsonl and eval/ in this folder"
    )


def write_html(path: Path, title: str, body: str, source: str) -> Path:
    """A whole page in the house's style, without script and requests; its foot says what it was made from."""
    try:
        with whole_file(path) as fresh:
            fresh.write_bytes(_page(title, body, source).encode("utf-8", errors="replace"))
    except OSError as error:
        raise CheckpointError(f"{path}: could not be written ({error.strerror}); the run itself is complete") from error
    return path


def _of_training(run: Summary, alarms: str) -> tuple[str, ...]:
    headline = _headline(_result(run), run.tiles) if run.steps or run.evaluations else _NO_STEP
    return headline, _notes(run.notes), alarms, _curves(run.steps, run.evaluations)


def _of_tuning(run: Summary) -> tuple[str, ...]:
    result = _result(run) if len(run.evaluations) >= 2 else tuning_page.result(run.steps)
    return _headline(result, run.tiles), tuning_page.curves(run.steps, run.evaluations)


def _page(title: str, body: str, source: str) -> str:
    style = resources.files("grpo.run").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">"""
        f"<title>{as_html(title, REASON)} – grpo</title><style>{style}</style></head><body><main>{body}"
        f"<footer>Made by grpo from {source}.</footer></main></body></html>"
    )


def _header(folder: Path, run: Summary) -> str:
    settings = run.settings
    facts = [
        settings.get("model", {}).get("name"),
        *(f"teacher {name}" for name in [settings.get("distill", {}).get("teacher")] if name),
        settings.get("sft" if run.is_tuning else "data", {}).get("source"),
        *(f"reward {reward.get('use')}" for reward in settings.get("reward", [])[:6]),
        f"seed {settings.get('run', {}).get('seed', 0)}",
    ]
    line = " · ".join(as_html(str(fact), REASON) for fact in facts if fact)
    return f"<header><h1>{as_html(folder.name, REASON)}</h1><p>{line}</p></header>"


# --- The headline ----------------------------------------------------------------------------------------------------


_NO_STEP = '<section class="hero"><div class="card result">No step has been finished yet.</div></section>'


def _headline(result: str, shown: Iterable[tuple[str, str]]) -> str:
    tiles = "".join(f'<div class="card tile"><b>{value}</b><span>{name}</span></div>' for value, name in shown)
    return f'<section class="hero">{result}<div class="tiles">{tiles}</div></section>'


def _result(run: Summary) -> str:
    change = run.change
    if change is None:
        evaluations = run.evaluations
        only = evaluations[0].value if evaluations else _mean(run.steps, "solved") or 0.0
        label = run.held_out if evaluations else "Solved in the only step"
        return f'<div class="card result"><p class="label">{label}</p><p class="big">{percent(only)}</p></div>'
    before, after = change.before, change.after
    known = [f"{percent(low)} – {percent(high)}" for low, high in map(_interval, (before, after)) if high > low]
    about = f"95% intervals {known[0]}, then {known[1]}" if len(known) == 2 else change.about
    kind = "good" if change.points > 0 else "bad" if change.points < 0 else ""
    strip = interval_strip([("before", before), ("after", after)], whole_percent)
    return (
        f'<div class="card result"><p class="label">{change.label}</p>'
        f'<p class="big">{percent(before.value)}<i>→</i>{percent(after.value)}</p>'
        f'<p class="label"><span class="change {kind}">{change.points:+.1f} points</span> {about}</p>{strip}</div>'
    )


def _interval(dot: Dot) -> tuple[float, float]:
    return (dot.value if dot.low is None else dot.low, dot.value if dot.high is None else dot.high)


def _notes(notes: Sequence[str]) -> str:
    return f'<ul class="notes">{"".join(f"<li>{note}</li>" for note in notes)}</ul>' if notes else ""


# --- Curves ----------------------------------------------------------------------------------------------------------


def _curves(steps: Sequence[Row], evaluations: Sequence[Dot]) -> str:
    if not steps:
        return ""
    at = [int(row["step"]) for row in steps]

    def line(name: str, key: str, color: int = 1, *, spread: str = "", peak: bool = False) -> Line:
        return Line(name, _column(steps, key), color, _column(steps, spread) if spread else None, peak)

    solved, useful = line("while training", "solved"), line("rewards differ", "groups/useful")
    reward = [line("mean ± std", "reward/mean", spread="reward/std"), *_parts(steps)]
    length = [line("mean", "completions/length_mean"), line("longest", "completions/length_max", 5, peak=True)]
    lost = [line("truncated", "completions/truncated", 2), line("unparseable", "completions/unparseable", 4)]
    unscored = line("unscored", "completions/unscored", 5)
    lost += [unscored] if any(unscored.values) else []
    canary = line("gap of sampler to policy", "sync/logprob_gap", 3, peak=True)
    gap = [line("mean", "policy/sampler_gap"), line("99 % are below", "policy/sampler_gap_p99", 2)]
    mismatch = [
        line("mean", "policy/sampler_ratio_mean"),
        line("largest", "policy/sampler_ratio_max", 5, peak=True),
    ]
    charts = [
        line_chart("Solved", at, [solved], whole_percent, top=1.0, dots=evaluations, dots_name="held-out pass@1"),
        line_chart("Reward", at, reward, plain),
        line_chart("Useful groups", at, [useful], whole_percent, top=1.0),
        line_chart("Length, tokens", at, length, count),
        line_chart("Lost completions", at, lost, percent, least_top=0.02),
        *behind_charts(at, lambda key: _column(steps, key)),
        line_chart("Entropy, nats per token", at, [line("mean", "policy/entropy")], plain),
        line_chart("Canary, nats per token", at, [canary], plain),
        line_chart("Gap of each token, nats", at, gap, plain),
        *_gap_by_position(steps, at),
        line_chart("Ratio, policy to sampler", at, mismatch, plain),
        *_importance(steps, at),
        stacked_chart("Seconds per step", at, _phases(steps), plain),
    ]
    title = "<h2>Step by step <small>point at a curve for its values</small></h2>"
    return f'{title}<div class="grid">{"".join(charts)}</div>'


def _gap_by_position(steps: Sequence[Row], at: Sequence[int]) -> list[str]:
    """Of the last few ranges of positions that any step's completions reach; not shown where they reach but one."""
    key = "policy/sampler_gap_from_"
    starts = sorted({int(name.removeprefix(key)) for row in steps for name in row if name.startswith(key)})
    lines = [
        Line(f"from token {start:,}", _column(steps, f"{key}{start}"), color)
        for color, start in enumerate(starts[-5:], start=1)
    ]
    return [line_chart("Gap by position, nats", at, lines, plain)] if len(starts) > 1 else []


def _importance(steps: Sequence[Row], at: Sequence[int]) -> list[str]:
    """The importance ratio to the policy that sampled: 1 throughout where a step has one update, and then not shown."""
    largest = _column(steps, "policy/ratio_max")
    if all(value is None or value == 1 for value in largest):
        return []
    lines = [Line("mean", _column(steps, "policy/ratio_mean"), 1), Line("largest", largest, 5, peak=True)]
    clipped = [Line("of tokens", _column(steps, "policy/clipped"), 2)]
    return [
        line_chart("Importance ratio, new to old policy", at, lines, plain),
        line_chart("Clipped", at, clipped, percent, least_top=0.02),
    ]


def _parts(steps: Sequence[Row]) -> list[Line]:
    """The mean of each reward, where there are several."""
    names = [key for key in steps[-1] if key.startswith("reward/") and key not in ("reward/mean", "reward/std")]
    chosen = names[:3] if len(names) > 1 else []
    return [
        Line(cut(key.removeprefix("reward/"), 24), _column(steps, key), color) for color, key in enumerate(chosen, 2)
    ]


def _phases(steps: Sequence[Row]) -> list[Line]:
    """The phases that work, and the rest of a step: the books above all."""
    columns = {name: _column(steps, f"time/{name}") for name in ("sample", "score", "update", "sync")}
    named = [sum(value or 0.0 for value in parts) for parts in zip(*columns.values(), strict=True)]
    whole = _column(steps, "time/step")
    rest = [max(0.0, (total or 0.0) - part) for total, part in zip(whole, named, strict=True)]
    colors = zip((1, 3, 2, 4), columns.items(), strict=True)
    return [*(Line(name, values, color) for color, (name, values) in colors), Line("other", rest, 5)]


# --- Evaluations -----------------------------------------------------------------------------------------------------


def _evaluation_table(results: Mapping[str, Row]) -> str:
    if not results:
        return ""
    shown = list(results.items()) if len(results) <= 12 else [*results.items()][:6] + [*results.items()][-6:]
    names = list(dict.fromkeys(name for _, result in shown for name in result if is_measure(result[name])))[:10]
    head = "".join(f"<th>{as_html(name, 40)}</th>" for name in names)
    body = "".join(
        f"<tr><th>{as_html(label, 40)}</th>{''.join(_measure_cell(result.get(name)) for name in names)}</tr>"
        for label, result in shown
    )
    title = "<h2>Evaluations <small>with 95% intervals</small></h2>"
    return f'{title}<div class="card scroll"><table><tr><th>held-out</th>{head}</tr>{body}</table></div>'


def _measure_cell(measure: Any) -> str:
    if not is_measure(measure):
        return "<td>–</td>"
    show = percent if 0 <= measure["mean"] <= 1 else plain
    low, high = measure.get("low"), measure.get("high")
    interval = f"<small>{show(low)} – {show(high)}</small>" if low is not None and high is not None else ""
    return f"<td>{show(measure['mean'])}{interval}</td>"


def _settings(path: Path) -> str:
    if not path.is_file():
        return ""
    text = as_html(path.read_text(encoding="utf-8", errors="replace"), 20_000)
    return (
        '<h2>Settings</h2><details class="card"><summary><b>config.toml</b><span>every setting of this run</span>'
        f'</summary><div class="inside"><pre class="prompt">{text}</pre></div></details>'
    )
