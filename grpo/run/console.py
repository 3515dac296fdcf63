"""What a person sees while a run goes on.

One line per step, the same columns for everybody, headed by the numbers that tell whether the model is learning: how
much it solves, how many groups carry a signal, how many completions were cut off or could not be read.  The loss is
not among them: it says nothing about progress in reinforcement learning (it is near zero on-policy by construction).
On a terminal the lines have colour, and a live line below them shows the phase under way and the expected end.
Anywhere else they are plain ASCII, flushed one by one.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TextIO

from rich.console import Console as RichConsole
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from grpo.run.wording import count, duration, percent, seconds

PLAIN_WIDTH = 120  # characters
HEADER_EVERY = 20  # lines
_RECENT = 10  # steps, over which the time per step is averaged
_TREND = 24  # steps in a sparkline

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of the step lines.  Where the terminal is narrow, those with the largest `rank` go first."""

    title: str
    key: str
    show: Callable[[float], str]
    width: int  # characters, of the longest value that is to be expected
    rank: int
    style: Callable[[float], str] = lambda value: ""


def _alarm(value: float) -> str:
    """Of a share that ought to be small."""
    return "bold red" if value > 0.5 else "yellow" if value > 0.1 else ""


def _faint(value: float) -> str:
    return "dim"


GRPO = (
    _Column("solved", "solved", percent, 6, 0, lambda value: "bold green"),
    _Column("reward", "reward/mean", "{:.3f}".format, 6, 1),
    _Column("useful", "groups/useful", percent, 6, 2, lambda value: "yellow" if value < 0.1 else ""),
    _Column("truncated", "completions/truncated", percent, 6, 3, _alarm),
    _Column("unparseable", "completions/unparseable", percent, 6, 4, _alarm),
    _Column("length", "completions/length_mean", count, 6, 5),
    _Column("entropy", "policy/entropy", "{:.3f}".format, 6, 6),
    _Column("gap", "sync/logprob_gap", "{:.1e}".format, 7, 9),
    _Column("tok/s", "speed/tokens_per_second", count, 6, 7),
    _Column("sample", "time/sample", seconds, 6, 8, _faint),
    _Column("score", "time/score", seconds, 5, 11, _faint),
    _Column("update", "time/update", seconds, 6, 10, _faint),
    _Column("sync", "time/sync", seconds, 5, 12, _faint),
)

FINE_TUNING = (
    _Column("loss", "sft/loss", "{:.4f}".format, 7, 0, lambda value: "bold green"),
    _Column("epoch", "sft/epoch", "{:.2f}".format, 6, 1),
    _Column("learned", "tokens/learned", count, 6, 3),
    _Column("grad norm", "policy/grad_norm", "{:.3f}".format, 7, 4),
    _Column("lr", "policy/lr", "{:.1e}".format, 7, 5),
    _Column("padded", "update/padded", percent, 6, 7, _alarm),
    _Column("tok/s", "speed/tokens_per_second", count, 6, 2),
    _Column("update", "time/update", seconds, 6, 6, _faint),
)


class Console:
    """The terminal, or the pipe, that one run writes to.  Closing it takes the live line away.

    Example:
        console = Console(total_steps=200)
        console.note("sampler: vllm 0.32.0 on cpu")
        console.phase("sampling", 12, 256)
        console.step({"step": 1, "solved": 0.4, "time/step": 5.8})
        console.close()
    """

    def __init__(
        self,
        total_steps: int,
        *,
        columns: Sequence[_Column] = GRPO,
        most_lines: int | None = None,
        file: TextIO | None = None,
    ) -> None:
        """`most_lines`: about so many of the steps get a line, evenly; default: all."""
        self._file = file or sys.stdout
        if isinstance(self._file, io.TextIOWrapper):
            self._file.reconfigure(errors="replace")  # an answer in Greek must not end a run whose pipe is ASCII
        live = self._file.isatty() and os.environ.get("TERM") != "dumb"
        self._rich = RichConsole(file=self._file, highlight=False) if live else None
        self.total = total_steps  # may be set when it is known, before the first step
        self._columns = columns
        self._most_lines = most_lines
        self._lines = 0
        self._phase = ("", 0, 0)
        self._spinner = Spinner("dots", style="cyan")
        self._steps: deque[Row] = deque(maxlen=_TREND)
        self._since = self._phase_began = time.monotonic()
        self._live: Live | None = None

    def note(self, text: str) -> None:
        """A fact about the run, as "sampler: vllm 0.32.0 on cpu"."""
        name, colon, rest = text.partition(": ")
        shown = Text.assemble((f"  {name:<12}", "dim"), rest) if colon and len(name) <= 12 else Text("  " + text)
        self._print(text, shown)

    def warn(self, text: str) -> None:
        """Something that may ruin the run, or the reader's trust in its numbers."""
        self._print(f"warning: {text}", Text.assemble(("  warning     ", "bold yellow"), (text, "yellow")))

    def evaluation(self, label: str, row: Row) -> None:
        """Held-out results: `row` has "eval/pass@1" and the like."""
        values = [(name.removeprefix("eval/"), value) for name, value in row.items() if name.startswith("eval/")]
        cells = [(name, _measure(name, value)) for name, value in values]
        shown = Text.assemble(("  evaluation  ", "bold cyan"), (f"{label:<10}", "cyan"))
        for name, cell in cells:
            shown.append_text(Text.assemble((f"  {name} ", "dim"), (cell, "bold" if "@" in name else "")))
        self._print(f"evaluation {label}: " + ", ".join(f"{name} {cell}" for name, cell in cells), shown)
        self._lines = 0  # the next step gets a header again

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        """What is going on now, for the live line: sampling within a step, or work before the first."""
        if total != self._phase[2] or done < self._phase[1]:
            self._phase_began = time.monotonic()  # another piece of work, or the same from its start
        self._phase = (name, done, total)
        if self._rich and self._live is None:
            self._live = Live(get_renderable=self._panel, console=self._rich, refresh_per_second=4, transient=True)
            self._live.start()

    def step(self, row: Row) -> None:
        """One finished step, with the row of metrics.jsonl."""
        self._steps.append(row)
        self._since = time.monotonic()
        self._phase = ("", 0, 0)
        every = max(1, self.total // self._most_lines) if self._most_lines else 1
        if row["step"] % every and row["step"] not in (1, self.total):
            return
        columns = _fitting(self._columns, self._rich.width if self._rich else PLAIN_WIDTH, self._step_width)
        if self._lines % HEADER_EVERY == 0:
            header = "  ".join(["step".rjust(self._step_width), *(c.title.rjust(_width(c)) for c in columns)])
            self._print(header, Text(f"\n{header}", style="dim"))
        self._lines += 1
        number = f"{row['step']}/{self.total}".rjust(self._step_width)
        cells = [_cell(column, row) for column in columns]
        styled = [part for text, style in cells for part in ("  ", (text, style))]
        self._print("  ".join([number, *(text for text, _ in cells)]), Text.assemble(number, *styled))

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    @property
    def _step_width(self) -> int:
        return max(len("step"), 2 * len(str(self.total)) + 1)

    def _print(self, plain: str, styled: Text) -> None:
        """To whoever still reads.  A reader that has gone (`| head`) must not end a run: the files have everything."""
        try:
            if self._rich is None:
                print(plain, file=self._file, flush=True)
            else:
                self._rich.print(styled, soft_wrap=True)
        except (BrokenPipeError, OSError) as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            self.close()
            self._rich, self._file = None, open(os.devnull, "w")  # noqa: SIM115  until the process ends
            if sys.stdout.fileno() == 1:  # or Python complains once more when it flushes at its end
                os.dup2(self._file.fileno(), 1)

    def _panel(self) -> RenderableType:
        """The live lines: how far the work is, when it will end, and how the last steps have gone."""
        name, part, whole = self._phase
        phase = Text(f"{name} {part}/{whole}" if whole else name, style="cyan")
        progress = Table.grid(padding=(0, 2))
        if self._steps:
            done = int(self._steps[-1]["step"])
            step = Text(f"step {min(done + 1, self.total)}/{self.total}", style="bold")
            end = Text(self._expected_end(done), style="dim")
            progress.add_row(self._spinner, step, _bar(done, self.total), phase, end)
        else:
            left = (time.monotonic() - self._phase_began) / part * (whole - part) if part else 0.0
            progress.add_row(self._spinner, phase, _bar(part, whole), Text(duration(left) + " left", style="dim"))
        trends = Text("   ", no_wrap=True, overflow="ellipsis")
        for title, key, top in _TRENDS:
            values = [float(row[key]) for row in self._steps if row.get(key) is not None]
            if len(values) > 1:
                trends.append_text(Text.assemble((f"{title} ", "dim"), (sparkline(values, top), "cyan"), "   "))
        return Group(Text(""), progress, trends)

    def _expected_end(self, done: int) -> str:
        recent = [float(row["time/step"]) for row in self._steps if row.get("time/step") is not None][-_RECENT:]
        if not recent:
            return ""
        left = max(0.0, (self.total - done) * sum(recent) / len(recent) - (time.monotonic() - self._since))
        end = datetime.now() + timedelta(seconds=left)
        clock = f"{end:%H:%M}" if left < 12 * 3600 else f"{end:%a %H:%M}"
        return f"{duration(left)} left, ends {clock}"


_TRENDS = (
    ("solved", "solved", 1.0),
    ("useful", "groups/useful", 1.0),
    ("length", "completions/length_mean", None),
    ("loss", "sft/loss", None),
)


def _bar(done: int, whole: int) -> ProgressBar:
    return ProgressBar(total=max(1, whole), completed=done, width=28, complete_style="cyan", finished_style="cyan")


def sparkline(values: Sequence[float], top: float | None = None) -> str:
    """One character per value, between 0 and `top`, or between the least and the greatest where there is no top."""
    low = 0.0 if top is not None else min(values)
    span = (top if top is not None else max(values)) - low
    marks = "▁▂▃▄▅▆▇█"
    return "".join(marks[min(7, max(0, int(8 * (value - low) / span)))] if span > 0 else marks[0] for value in values)


def _width(column: _Column) -> int:
    return max(column.width, len(column.title))


def _fitting(columns: Sequence[_Column], width: int, used: int) -> list[_Column]:
    """The most important columns that fit, in their usual order."""
    chosen = []
    for column in sorted(columns, key=lambda column: column.rank):
        used += 2 + _width(column)
        if used > width:
            break
        chosen.append(column)
    return [column for column in columns if column in chosen]


def _cell(column: _Column, row: Row) -> tuple[str, str]:
    value = row.get(column.key)
    if value is None or value != value:  # not measured in this step, or NaN
        return "-".rjust(_width(column)), "dim"
    return column.show(value).rjust(_width(column)), column.style(value)


def _measure(name: str, value: Any) -> str:
    """One held-out result: shares as per cent, anything else as it is."""
    if value is None or value != value:
        return "-"
    is_share = "@" in name or name.split("/")[-1] in ("solved", "truncated", "unparseable", "unscored")
    return percent(value) if is_share else f"{value:.4g}"
