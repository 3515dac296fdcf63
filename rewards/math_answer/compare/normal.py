"""A normal form in which equal answers are, as far as that is cheap, equal strings: what majority voting counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rewards.math_answer.compare import forms
from rewards.math_answer.compute.exact import rational
from rewards.math_answer.nodes import (
    BaseN,
    Cases,
    Matrix,
    Node,
    Num,
    Op,
    Quantity,
    Relation,
    Seq,
    Sym,
    Time,
    Words,
    is_op,
)
from rewards.math_answer.read.words import without_article

_MAX_DIGITS = 400


def normal_form(node: Node) -> str:
    """`node` as text: rationals in lowest terms, labels and units dropped, lists and sums in a fixed order."""
    if is_op(node, "given"):
        return normal_form(node.args[0])
    named = forms.labelled(node)
    if named is not None:
        return normal_form(named.value)
    value = rational(node)
    if value is not None and value.numerator.bit_length() + value.denominator.bit_length() < 3 * _MAX_DIGITS:
        return str(value)
    return _WRITTEN[type(node)](node)


def _large(node: Num) -> str:
    return f"{node.value.numerator:x}/{node.value.denominator:x} (hexadecimal)"  # decimal would take long


def _time(node: Time) -> str:
    second = "" if node.second is None else f":{node.second:02}"
    return f"{node.hour}:{node.minute:02}{second}{node.half}"


def _items(node: Seq) -> str:
    parts = [normal_form(item) for item in forms.flattened(node.items)]
    return f"{node.open}{', '.join(sorted(parts) if node.open in ('', '{') else parts)}{node.close}"


def _rows(node: Matrix | Cases) -> str:
    return "[" + "; ".join(", ".join(map(normal_form, row)) for row in node.rows) + "]"


def _chain(node: Relation) -> str:
    first, *others = map(normal_form, node.sides)
    return first + "".join(f" {sign} {side}" for sign, side in zip(node.signs, others, strict=True))


def _operation(node: Op) -> str:
    ordered = forms.sorted_terms(node)
    assert isinstance(ordered, Op)
    return f"{ordered.name}({', '.join(map(normal_form, ordered.args))})"


_WRITTEN: dict[type[Node], Callable[[Any], str]] = {
    Num: _large,
    Sym: lambda node: node.name,
    Words: lambda node: without_article(node.text),
    Quantity: lambda node: normal_form(node.value),
    BaseN: lambda node: f"{node.digits}_{node.base}",
    Time: _time,
    Seq: _items,
    Matrix: _rows,
    Cases: _rows,
    Relation: _chain,
    Op: _operation,
}
