"""The two leniencies, and the names by which options choose one."""

from __future__ import annotations

import pytest

from rewards.math_answer import verify
from rewards.math_answer.leniency import EVAL, LENIENCIES, TRAIN, named


def test_leniencies_are_known_by_name_or_by_themselves() -> None:
    assert named("train") is TRAIN and named("eval") is EVAL
    assert all(named(leniency) is leniency for leniency in LENIENCIES.values())


def test_an_unknown_name_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(ValueError, match="policy 'lenient' is not known; there are train, eval"):
        verify("5", "5", "lenient")
