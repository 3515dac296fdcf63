"""A bounded share of `scripts/fuzz`: no text raises, none takes long."""

from __future__ import annotations

from tests.rewards.fuzzing import judge_all_ways, texts


def test_random_texts_raise_nothing_and_take_no_time() -> None:
    assert max(judge_all_ways(one, other) for one, other in texts(1500, seed=7)) < 2.0  # seconds, on a busy machine
