"""Right programs in the styles that models write earn what they should, and the same ones spoilt nothing."""

from __future__ import annotations

import pytest

from rewards.code_tests import code
from tests.code.right_programs import BELOW, PLAIN, RIGHT, SQUARE, fenced

pytestmark = pytest.mark.usefixtures("sandbox")


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_program_is_scored_right_whatever_its_style(name):
    completion, row = RIGHT[name]
    score = code(completion, row)
    assert score.value == 1, score.why


def test_what_stands_below_a_function_makes_no_wrong_one_right():
    wrong = PLAIN.replace("n * n", "n * n if n < 0 else n")
    scores = [code(fenced(f"{wrong}\n{below}"), SQUARE) for below in BELOW.values()]
    assert [score.why for score in scores if score.value] == []
