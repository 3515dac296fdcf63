"""The benchmark of fine-tuning gives both sides the same rows, and updates of about as many tokens."""

from __future__ import annotations

import pytest

from scripts.bench_sft import speed
from scripts.benchmark.tuning import TUNINGS, packed_length, packed_rows


@pytest.mark.parametrize("name", TUNINGS)
def test_an_update_of_both_sides_has_about_as_many_tokens(name: str) -> None:
    work = TUNINGS[name]
    length = packed_length(work)
    ours, theirs = work.whole / work.rows * work.batch, packed_rows(work, length) * length
    assert 0.6 < ours / theirs < 1.6
    assert max(len(prompt) + len(answer) for prompt, answer in work.tokens()) <= length  # no row is cut
    assert work.tokens() == work.tokens()


def test_the_first_step_which_warms_up_is_not_timed() -> None:
    lines = [{"step": step, "seconds": 9.0 if step == 0 else 2.0, "tokens": 10.0} for step in range(3)]
    assert speed(lines) == 5.0
