"""The three rules of comparison, against what LiveCodeBench was seen to accept, and what nothing may accept."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.code_tests.compare import same_output, same_value

MODES = ("lcb", "tolerant", "exact")
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


class Stranger:
    """Not plain data: stands for what the sandbox gives in place of an object."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("mode", MODES)
@given(text=st.text())
def test_a_text_agrees_with_itself(mode, text):
    assert same_output(text, text, mode)


@pytest.mark.parametrize("mode", MODES)
@given(value=plain)
def test_a_value_agrees_with_itself_and_with_no_stranger(mode, value):
    assert same_value(value, value, mode, json=True)
    assert not same_value(Stranger(), value, mode, json=True)
    assert not same_value([value, Stranger()], [value, value], mode, json=True)


@pytest.mark.parametrize("mode", MODES)
@given(printed=st.text(st.sampled_from("0123456789.eE+-_ naif\n٣"), max_size=12), expected=st.text(max_size=12))
def test_any_two_texts_can_be_compared(mode, printed, expected):
    same_output(printed, expected, mode)
    same_output(expected, printed, mode)


@given(
    printed=st.text(st.sampled_from("01. \nab"), max_size=8), expected=st.text(st.sampled_from("01. \nab"), max_size=8)
)
def test_exact_is_stricter_than_lcb_and_lcb_than_tolerant(printed, expected):
    exact, lcb, tolerant = (same_output(printed, expected, mode) for mode in ("exact", "lcb", "tolerant"))
    assert exact <= lcb <= tolerant


# printed, expected, and the modes that accept it
OUTPUTS = [
    ("1 2\n", "1 2", "lcb tolerant exact"),
    ("  1 2  ", "1 2", "lcb tolerant"),
    ("1.0", "1", "lcb tolerant"),
    ("1e3", "1000", "lcb tolerant"),
    ("1  2", "1 2", "lcb tolerant"),
    ("a  b", "a b", "tolerant"),
    ("YES", "yes", ""),
    ("1\n\n2", "1\n2", ""),
    ("1\r\n2\r\n", "1\n2\n", "lcb tolerant exact"),
    ("1", "1 2", ""),
    ("", "0", ""),
    ("0.3333333", "0.333333333", "tolerant"),
    ("0.30000000000000004", "0.3", "tolerant"),
    ("0.3001", "0.3", ""),
    ("1000000.5", "1000000.0", "tolerant"),  # 5e-7 relative
    ("5", "6", ""),
    ("1000000001", "1000000000", ""),  # an integer is right or wrong
    ("x 0.50000001", "x 0.5", "tolerant"),
    ("nan", "nan.", ""),
    ("inf", "Infinity", "lcb tolerant"),
    ("sNaN", "1", ""),
    ("1_000", "1000", "lcb"),
    ("٣", "3", "lcb"),
    ("1" * 5000, "1" * 5000, "lcb tolerant exact"),
    ("9" * 900 + ".0", "9" * 900, "lcb tolerant"),
    ("1e999999999", "1.0", ""),
]


@pytest.mark.parametrize(("printed", "expected", "accepting"), OUTPUTS)
def test_what_each_rule_accepts_of_outputs(printed, expected, accepting):
    assert [mode for mode in MODES if same_output(printed, expected, mode)] == accepting.split()


# returned, expected (from JSON), and the modes that accept it
VALUES = [
    ((1, 2), [1, 2], "lcb tolerant"),
    ([(1, 2)], [[1, 2]], "tolerant"),
    (True, 1, "lcb tolerant"),
    (1.0, 1, "lcb tolerant"),
    (0.1 + 0.2, 0.3, "tolerant"),
    ([0.1 + 0.2], [0.3], "tolerant"),
    ({"a": 0.1 + 0.2}, {"a": 0.3}, "tolerant"),
    ("3", 3, ""),
    ({1, 2}, [1, 2], ""),
    ({1: 2}, {"1": 2}, ""),
    ([1], [1, 1], ""),
    (10**400, 1.5, ""),
    (float("nan"), 1.5, ""),
    (None, [], ""),
    (Decimal(1), "1", ""),
]


@pytest.mark.parametrize(("returned", "expected", "accepting"), VALUES)
def test_what_each_rule_accepts_of_values(returned, expected, accepting):
    assert [mode for mode in MODES if same_value(returned, expected, mode, json=True)] == accepting.split()


def test_without_json_a_tuple_is_no_list():
    assert not any(same_value((1, 2), [1, 2], mode) for mode in MODES)
    assert all(same_value((1, {2}), (1, {2}), mode) for mode in MODES)


@pytest.mark.parametrize("mode", MODES)
def test_a_value_nested_without_end_is_unequal(mode):
    deep: list[object] = []
    deep.append(deep)
    assert not same_value(deep, [[[1]]], mode, json=True)
