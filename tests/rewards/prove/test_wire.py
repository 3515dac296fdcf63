"""What crosses the pipe to the algebra process comes back the same, and nothing else gets in."""

from __future__ import annotations

import json

import pytest

from rewards.math_answer.prove.wire import from_wire, to_wire
from rewards.math_answer.read.answers import parse


@pytest.mark.parametrize(
    "text", ["5", "-1/3", r"\sqrt{x+1}", r"\int_0^1 x dx", r"\sum_{k=1}^n k", "1" * 2000, "e^{i\\pi}"]
)
def test_expressions_survive(text: str) -> None:
    node = parse(text)
    assert from_wire(json.loads(json.dumps(to_wire(node)))) == node


@pytest.mark.parametrize("wire", [None, [], ["num"], ["num", 1, 2], ["unknown", "Words"], ["eval", "1"], "1+1"])
def test_anything_else_is_refused(wire: object) -> None:
    with pytest.raises(ValueError):
        from_wire(wire)


def test_answers_that_are_no_expressions_become_unknowns() -> None:
    with pytest.raises(ValueError, match="no expression"):
        from_wire(to_wire(parse("(1,2)")))
