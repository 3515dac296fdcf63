from __future__ import annotations

import io
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.run.console import FINE_TUNING, HEADER_EVERY, PLAIN_WIDTH, Console, sparkline

ROW: dict[str, Any] = {
    "step": 12,
    "solved": 0.4127,
    "reward/mean": -0.125,
    "groups/useful": 0.625,
    "completions/truncated": 0.02,
    "completions/unparseable": 0.0,
    "completions/length_mean": 84.4,
    "policy/entropy": 0.6181,
    "policy/loss": 0.123456,
    "sync/logprob_gap": 3.14e-6,
    "speed/tokens_per_second": 12345.0,
    "time/sample": 3.14,
    "time/score": 0.05,
    "time/update": 120.4,
    "time/sync": 0.25,
    "time/step": 123.9,
}
CELLS = "12/200 41.3% -0.125 62.5% 2.0% 0.0% 84 0.618 3.1e-06 12.3k 3.1s 0.05s 120s 0.25s".split()


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("LINES", "40")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def without_escapes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def plain(*rows: dict[str, Any], total: int = 200) -> list[str]:
    file = io.StringIO()
    console = Console(total, file=file)
    for row in rows:
        console.step(row)
    console.close()
    return file.getvalue().splitlines()


def test_a_pipe_gets_a_header_and_one_plain_line_per_step() -> None:
    header, line = plain(ROW)
    assert line.split() == CELLS
    assert len(header.split()) == len(CELLS)
    assert all(line[match.end() - 1] != " " for match in re.finditer(r"\S+", header)), "columns end under their titles"


def test_the_loss_is_not_in_the_line_of_a_step() -> None:
    header, line = plain(ROW)
    assert "loss" not in header and "0.123" not in line


def test_the_header_of_a_console_comes_back_now_and_then() -> None:
    lines = plain(*(ROW | {"step": step} for step in range(1, 2 * HEADER_EVERY + 1)))
    assert [number for number, line in enumerate(lines) if "solved" in line] == [0, HEADER_EVERY + 1]


def test_a_number_that_was_not_measured_is_a_dash() -> None:
    _, line = plain({"step": 1, "policy/entropy": None, "reward/mean": float("nan")})
    assert line.split() == ["1/200"] + ["-"] * (len(CELLS) - 1)


@given(st.integers(1, 100_000), st.sampled_from([0.0, 1e-9, 0.5, 1.0, 99.96, 9999.6]))
def test_plain_lines_fit_their_width_in_ascii_whatever_the_numbers(total: int, value: float) -> None:
    row: dict[str, Any] = {key: min(value, 1.0) for key in ROW} | {"step": total}
    row |= {key: value for key in ROW if key.startswith(("time/", "speed/", "completions/length"))}
    header, line = plain(row, total=total)
    assert len(header) == len(line) <= PLAIN_WIDTH
    assert (header + line).isascii()


def test_notes_warnings_and_evaluations_are_lines_of_their_own() -> None:
    file = io.StringIO()
    console = Console(200, file=file)
    console.note("sampler: vllm 0.32.0 on cpu")
    console.warn("12% of completions were truncated")
    console.evaluation("before", {"step": 0, "eval/pass@1": 0.412, "eval/truncated": 0.004, "eval/length_mean": 33.25})
    console.phase("sampling", 3, 256)
    assert file.getvalue().splitlines() == [
        "sampler: vllm 0.32.0 on cpu",
        "warning: 12% of completions were truncated",
        "evaluation before: pass@1 41.2%, truncated 0.4%, length_mean 33.25",
    ]


def test_a_pipe_that_knows_only_ascii_does_not_end_the_run() -> None:
    raw = io.BytesIO()
    console = Console(200, file=io.TextIOWrapper(raw, encoding="ascii"))
    console.note("gold answer: ½ λ")
    assert raw.getvalue() == b"gold answer: ? ?\n"


def test_a_terminal_gets_the_same_numbers_in_colour(terminal: Terminal) -> None:
    console = Console(200, file=terminal)
    console.step(ROW)
    console.close()
    assert "\x1b[" in terminal.getvalue()
    assert without_escapes(terminal.getvalue()).splitlines()[-1].split() == CELLS


def test_square_brackets_in_a_message_are_not_markup(terminal: Terminal) -> None:
    console = Console(200, file=terminal)
    console.note("answer: [bold]7[/bold] :smile:")
    console.warn("[[reward]] has [/red] nothing")
    text = without_escapes(terminal.getvalue())
    assert "[bold]7[/bold] :smile:" in text and "[[reward]] has [/red] nothing" in text


def test_a_terminal_shows_the_phase_and_the_expected_end_while_a_step_goes_on(terminal: Terminal) -> None:
    console = Console(200, file=terminal)
    for step in (1, 2, 3):
        console.step(ROW | {"step": step, "time/step": 60.0})
    console.phase("sampling", 112, 256)
    console.close()
    text = without_escapes(terminal.getvalue())
    assert "step 4/200" in text and "sampling 112/256" in text
    assert "3 h 17 min left, ends " in text  # 197 steps of 60 s
    assert "solved ▄▄▄" in text


def test_before_the_first_step_the_bar_is_that_of_the_phase(terminal: Terminal) -> None:
    console = Console(200, file=terminal)
    console.phase("cold start, loss 0.345", 300, 300)
    console.close()
    text = without_escapes(terminal.getvalue())
    assert "cold start, loss 0.345 300/300" in text and "0 s left" in text
    assert 28 * "━" in text and "step" not in text


def test_a_closed_console_leaves_the_cursor_visible_and_may_be_closed_again(terminal: Terminal) -> None:
    console = Console(200, file=terminal)
    console.phase("sampling", 1, 256)
    console.close()
    console.close()
    assert terminal.getvalue().rfind("\x1b[?25h") > terminal.getvalue().rfind("\x1b[?25l") >= 0


@pytest.mark.parametrize("width", [20, 60, 80, 100])
def test_a_narrow_terminal_keeps_the_most_important_columns(
    width: int, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    console = Console(200, file=terminal)
    console.step(ROW)
    _, header, line = without_escapes(terminal.getvalue()).splitlines()
    assert len(line) <= width
    assert header.split()[:2] == ["step", "solved"] and "sync" not in header


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.sampled_from([None, 1.0]))
def test_a_sparkline_has_one_mark_per_value_and_rises_with_it(values: list[float], top: float | None) -> None:
    line = sparkline(values, top)
    assert len(line) == len(values)
    ordered = [mark for _, mark in sorted(zip(values, line, strict=True))]
    assert ordered == sorted(ordered)


def test_of_very_many_steps_some_get_a_line_the_first_and_the_last_among_them():
    file = io.StringIO()
    console = Console(403, columns=FINE_TUNING, most_lines=50, file=file)
    for step in range(1, 404):
        console.step({"step": step, "sft/loss": 1.0})
    numbers = [int(line.split("/")[0]) for line in file.getvalue().splitlines() if "/403" in line]
    assert numbers == [1, *range(8, 401, 8), 403]
