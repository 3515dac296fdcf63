"""Sets of real numbers, however they are written."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.math_answer.compute.budget import Budget
from rewards.math_answer.compute.sets import same_set, solution_set
from rewards.math_answer.nodes import Relation
from rewards.math_answer.read.answers import parse


def same(a: str, b: str) -> bool | None:
    return same_set(parse(a), parse(b), Budget())


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (r"[0,1]\cup[1,2]", "[0,2]", True),
        (r"[0,1)\cup(1,2]", "[0,2]", False),
        (r"[0,1)\cup(1,2]\cup\{1\}", "[0,2]", True),
        (r"(0,36)\setminus\{9\}", r"(0,9)\cup(9,36)", True),
        (r"(0,5)\cap(3,9)", "(3,5)", True),
        (r"\mathbb{R}", r"(-\infty,\infty)", True),
        (r"\mathbb{R}\setminus\{0\}", r"(-\infty,0)\cup(0,\infty)", True),
        (r"(\sqrt4,3)", "(2,3)", True),
        ("(2,3)", "(2,3]", False),
        (r"(0,1)\cap(2,3)", r"\emptyset", True),
        (r"(a,b)\cup(c,d)", "(1,2)", None),
        ("(3,2)", "(5,4)", None),  # no intervals, but pairs
    ],
)
def test_same_set(a: str, b: str, expected: bool | None) -> None:
    assert same(a, b) is expected
    assert same(b, a) is expected


@pytest.mark.parametrize(
    ("text", "described"),
    [
        ("x>3", r"(3,\infty)"),
        ("3<x", r"(3,\infty)"),
        (r"-2\le x<5", "[-2,5)"),
        (r"5>x\ge-2", "[-2,5)"),
        (r"x\ne 1", r"(-\infty,1)\cup(1,\infty)"),
        ("|x|<2", "(-2,2)"),
        (r"1\le|x|\le 2", r"[-2,-1]\cup[1,2]"),
        (r"x\in[0,1]", "[0,1]"),
    ],
)
def test_an_inequality_in_one_variable_describes_a_set(text: str, described: str) -> None:
    relation = parse(text)
    assert isinstance(relation, Relation)
    found = solution_set(relation)
    assert found is not None and found[0] == "x"
    assert same_set(found[1], parse(described), Budget()) is True


@given(st.lists(st.integers(-20, 20), min_size=4, max_size=8, unique=True).map(sorted), st.integers(0, 3))
def test_a_union_may_be_cut_anywhere(ends: list[int], at: int) -> None:
    low, *cuts, high = ends
    pieces = [low, *cuts, high]
    union = r"\cup".join(f"[{a},{b}]" for a, b in pairwise(pieces))
    assert same(union, f"[{low},{high}]") is True
    hole = cuts[at % len(cuts)]
    assert same(rf"[{low},{high}]\setminus\{{{hole}\}}", f"[{low},{high}]") is False
