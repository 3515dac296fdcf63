"""A normal form in which equal answers are, as far as that is cheap, equal strings: what majority voting counts."""

from __future__ import annotations

from rewards.math_answer.compare import forms
from rewards.math_answer.compute.exact import rational
from rewards.math_answer.nodes import BaseN, Cases, Matrix, Node, Num, Op, Quantity, Relation, Seq, Sym, Time, Words

_MAX_DIGITS = 400


def normal_form(node: Node) -> str:
    """`node` as text: rationals in lowest terms, labels and units dropped, lists and sums in a fixed order."""
    named = forms.labelled(node)
    if named is not None:
        return normal_form(named.value)
    value = rational(node)
    if value is not None and value.numerator.bit_length() + value.denominator.bit_length() < 3 * _MAX_DIGITS:
        return str(value)
    match node:
        case Num(value=number):
            return f"{number.numerator:x}/{number.denominator:x} (hexadecimal)"  # decimal would take long
        case Sym(name=name) | Words(text=name):
            return name
        case Quantity(value=inner):
            return normal_form(inner)
        case BaseN(digits=digits, base=base):
            return f"{digits}_{base}"
        case Time():
            return f"{node.hour}:{node.minute:02}{'' if node.second is None else f':{node.second:02}'}{node.half}"
        case Seq(items=items):
            parts = [normal_form(item) for item in forms.flattened(items)]
            return f"{node.open}{', '.join(sorted(parts) if node.open in ('', '{') else parts)}{node.close}"
        case Matrix(rows=rows) | Cases(rows=rows):
            return "[" + "; ".join(", ".join(map(normal_form, row)) for row in rows) + "]"
        case Relation(signs=signs, sides=sides):
            written = [normal_form(side) for side in sides]
            return written[0] + "".join(f" {sign} {side}" for sign, side in zip(signs, written[1:], strict=True))
        case Op():
            ordered = forms.sorted_terms(node)
            assert isinstance(ordered, Op)
            return f"{ordered.name}({', '.join(map(normal_form, ordered.args))})"
