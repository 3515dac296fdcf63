"""Points, lists and sets: what is one answer in another form, and its neighbours that are none."""

from __future__ import annotations

import itertools
import random

import pytest

from rewards.math_answer import verify_answer

NAMES = "xyzw"


def told(gold: str, answer: str) -> set[bool]:
    return {
        verify_answer(*pair, policy).ok for pair in ((gold, answer), (answer, gold)) for policy in ("train", "eval")
    }


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("value", ["1", "-2", r"\frac12", r"\sqrt3"])
def test_a_point_with_equal_coordinates(count: int, value: str) -> None:
    point = f"({','.join([value] * count)})"
    chain = "=".join([*NAMES[:count], value])
    assert told(point, chain) == {True}
    assert told(f"({','.join(NAMES[:count])}) = {point}", chain) == {True}
    assert told(", ".join(f"{name}={value}" for name in NAMES[:count]), chain) == {True}
    assert told(chain, "=".join([*NAMES[:count][::-1], value])) == {True}
    assert told(point, "=".join([*NAMES[: count + 1], value])) == {count == 4}  # w is the last name
    assert told(point, "=".join([*NAMES[:count], f"{value}+1"])) == {False}
    assert told(chain, f"x={value}") == {False}
    assert told(f"({value}, 7)", f"{'='.join([*NAMES[:count], value])}, v=7") == {False}
    assert told(chain, "=".join([NAMES[0], NAMES[1] + NAMES[2], value])) == {False}


@pytest.mark.parametrize("seed", range(20))
def test_signs_in_a_point_are_two_points_and_go_together(seed: int) -> None:
    source = random.Random(seed)
    a, b = source.sample(["1", "2", r"\sqrt3", r"\frac12", "a"], 2)
    points = [[f"({a}, {b})", f"(-{a}, {b})"], [f"({b}, {a})", f"({b}, -{a})"], [f"({a}, {b})", f"(-{a}, -{b})"]]
    written = [rf"(\pm {a}, {b})", rf"({b}, \pm {a})", rf"(\pm {a}, \pm {b})"]
    for (at, one), (to, pair) in itertools.product(enumerate(written), enumerate(points)):
        for listed in (", ".join(pair), " and ".join(pair[::-1]), rf"\{{{', '.join(pair)}\}}"):
            assert told(one, listed) == {at == to}, (one, listed)
        assert told(one, pair[0]) == {False}


@pytest.mark.parametrize("seed", range(20))
def test_how_often_counts_in_lists_and_points_but_not_in_sets(seed: int) -> None:
    source = random.Random(seed)
    values = source.sample(range(1, 20), 3)
    again = [*values, source.choice(values)]
    lists = [", ".join(map(str, numbers)) for numbers in (values, again)]
    assert told(lists[0], lists[1]) == {False}
    assert told(f"({lists[0]})", f"({lists[1]})") == {False}
    assert told(lists[0], rf"\{{{lists[1]}\}}") == {True}  # the set of these
    assert told(rf"\{{{lists[0]}\}}", rf"\{{{lists[1]}\}}") == {True}
    assert told(lists[1], rf"\{{{lists[0]}\}}") == {False}
    assert told(f"{again[-1]}, {again[-1]}", str(again[-1])) == {False}
    assert told(", ".join(f"({n}, {n + 1})" for n in values), ", ".join(f"({n}, {n + 1})" for n in again)) == {True}


SIGNS = {"(": "<", "[": r"\le", ")": "<", "]": r"\le"}


@pytest.mark.parametrize("seed", range(30))
def test_a_set_of_reals_in_five_forms(seed: int) -> None:
    """An interval and a point or a half-line beside it: as a union, conditions, memberships, and what is left of ℝ."""
    source = random.Random(seed)
    low, high, point = sorted(source.sample(range(-9, 10), 3))
    left, right = source.choice("(["), source.choice(")]")
    interval, inside = f"{left}{low}, {high}{right}", f"{low} {SIGNS[left]} x {SIGNS[right]} {high}"
    forms = [
        rf"{interval} \cup \{{{point}\}}",
        rf"\{{{point}\}} \cup {interval}",
        rf"{inside} \text{{ or }} x = {point}",
        rf"x = {point} \text{{ or }} x \in {interval}",
        rf"\{{x \mid {inside} \text{{ or }} x = {point}\}}",
        rf"\{{x \in \mathbb{{R}} : {inside}\}} \cup \{{{point}\}}",
    ]
    for one, other in itertools.combinations(forms, 2):
        assert told(one, other) == {True}, (one, other)
    other_end = {"(": "[", "[": "("}[left]
    for wrong in (
        interval,
        rf"{inside} \text{{ or }} x = {point + 1}",
        rf"{inside} \text{{ and }} x = {point}",
        rf"{other_end}{low}, {high}{right} \cup \{{{point}\}}",
        rf"{interval} \cap \{{{point}\}}",
        rf"{interval} \setminus \{{{point}\}}",
        rf"{inside.replace('x', 'y')} \text{{ or }} y = {point}",
    ):
        same = wrong == interval and point == high and right == "]"
        assert told(forms[0], wrong) == ({True} if same or "y" in wrong else {False}), wrong


@pytest.mark.parametrize("seed", range(20))
def test_or_is_not_and(seed: int) -> None:
    source = random.Random(seed)
    low, high = sorted(source.sample(range(-9, 10), 2))
    middle, rims = f"({low}, {high})", rf"(-\infty, {low}) \cup ({high}, \infty)"
    assert told(middle, rf"x > {low} \text{{ and }} x < {high}") == {True}
    assert told(rims, rf"x < {low} \text{{ or }} x > {high}") == {True}
    assert told(r"\mathbb{R}", rf"x > {low} \text{{ or }} x < {high}") == {True}
    assert told(middle, rf"x > {low} \text{{ or }} x < {high}") == {False}
    assert told(rims, rf"x < {low} \text{{ and }} x > {high}") == {False}
    assert told(rims, rf"x < {low} \land x > {high}") == {False}
    assert told(rf"x = {low}, y = {high}", rf"x = {low} \text{{ or }} y = {high}") == {False}
    assert told(rf"a > {low} \text{{ or }} b < {high}", rf"a > {low}, b < {high}") == {False}
    assert told(rf"\mathbb{{R}} \setminus \{{{low}, {high}\}}", rf"x \ne {low}, {high}") == {True}
    assert told(rf"\mathbb{{R}} \setminus \{{{low}, {high}\}}", rf"x \ne {low}") == {False}
    assert told(rf"\mathbb{{R}} \setminus \{{\pm {high}\}}", rf"x \ne {high}, x \ne -{high}") == {True}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"A \setminus B", r"B \setminus A"),
        (r"A \cup B", r"A \cap B"),
        (r"A \cup (B \cap C)", r"(A \cup B) \cap C"),
        (r"\emptyset", r"\{\emptyset\}"),
        (r"\{1\}", r"\{\{1\}\}"),
        (r"\{\{1\}, \{2\}\}", r"\{1, 2\}"),
    ],
)
def test_operations_and_nesting_are_kept(one: str, other: str) -> None:
    assert told(one, other) == {False}
    assert told(one, one) == told(other, other) == {True}
    assert told(r"A \cup B", r"B \cup A") == {True}


@pytest.mark.parametrize("opens", "([")
@pytest.mark.parametrize("closes", ")]")
def test_a_column_is_no_interval_without_one_of_its_ends(opens: str, closes: str) -> None:
    column = r"\begin{pmatrix}1\\2\end{pmatrix}"
    assert told(f"{opens}1,2{closes}", column) == {opens + closes in ("()", "[]")}


@pytest.mark.parametrize("sign", ["<", r"\le", ">", r"\ge", r"\in"])
def test_values_of_a_variable_are_no_values_of_a_function(sign: str) -> None:
    end = "[1,5]" if "in" in sign else "5"
    for one, other in itertools.permutations(("x", "f(x)"), 2):
        assert told(f"{one} {sign} {end}", f"{other} {sign} {end}") == {False}
