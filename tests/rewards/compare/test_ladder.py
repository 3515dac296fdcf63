"""The ladder: which step decides for which kind of answer, and what the steps share."""

from __future__ import annotations

import pytest

from rewards.math_answer.compare.context import MAX_PAIRS, Context
from rewards.math_answer.compare.equality import Equality
from rewards.math_answer.compare.ladder import compare
from rewards.math_answer.leniency import TRAIN
from rewards.math_answer.nodes import Node, num
from rewards.math_answer.read.answers import parse


@pytest.mark.parametrize(
    ("gold", "answer", "equal", "stage"),
    [
        ("5", "5", True, "normal form"),
        ("5", "x = 5", True, "normal form"),
        ("0.5", "1/2", True, "rational"),
        ("5", "2 + 3 = 6", False, "relation"),
        (r"\text{yes}", "5", False, "text"),
        ("10:30", "10:30 am", True, "time"),
        ("101_2", "101", True, "base"),
        ("(C) 12", "(C) 13", False, "choice"),
        (r"2 \pmod 7", r"9 \pmod 7", True, "residue"),
        (r"25\%", "25", True, "percent"),
        (r"90^\circ", "90", True, "angle"),
        (r"5\text{ cm}", r"5\text{ kg}", False, "quantity"),
        (r"\begin{cases}1\\2\end{cases}", r"\begin{cases}1\\2\\3\end{cases}", False, "cases"),
        ("1, 2", "2, 1", True, "container"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\3\end{pmatrix}", False, "container"),
        ("x + y = 1", "2x + 2y = 2", True, "relation"),
        (r"[0,1] \cup [1,2]", "[0,2]", True, "set"),
        ("A, C", "AC", True, "choice"),
        ("3:4", "6:8", True, "ratio"),
        (r"\sqrt 8", r"2\sqrt 2", True, "numeric"),
    ],
)
def test_the_first_step_that_fits_the_kind_of_answer_decides(gold: str, answer: str, equal: bool, stage: str) -> None:
    said = compare(parse(gold), parse(answer), TRAIN)
    assert (said.equal, said.stage) == (equal, stage), said


def test_the_parts_of_an_answer_come_back_to_the_ladder_and_are_counted() -> None:
    seen: list[tuple[Node, Node]] = []

    def ladder(c: Context, gold: Node, pred: Node) -> Equality:
        seen.append((gold, pred))
        return Equality(True, "normal form", "same normal form")

    c = Context(TRAIN, ladder)
    assert c.compare(num(1), num(2))
    assert seen == [(num(1), num(2))]
    c.pairs = MAX_PAIRS
    assert c.compare(num(1), num(2)) == Equality(None, "limit", "too many items")
    assert len(seen) == 1


def test_only_what_is_equal_is_true() -> None:
    assert Equality(True, "", "")
    assert not Equality(False, "", "") and not Equality(None, "", "")
