"""What the steps share while one pair of answers is compared.

A step that meets parts (items, the value in a unit, both sides of an equation) hands them to `Context.compare`, which
is the whole ladder again.  The ladder is a field, set where the comparison begins, so that no step imports it.
"""

from __future__ import annotations

from collections.abc import Callable

from rewards.math_answer.compare.equality import Equality
from rewards.math_answer.compute.budget import Budget
from rewards.math_answer.leniency import Leniency
from rewards.math_answer.nodes import Node

MAX_PAIRS = 4_096  # comparisons of parts in one pair of answers


class Context:
    """One pair of answers under one leniency, and what may still be spent on it."""

    def __init__(self, leniency: Leniency, ladder: Step, budget: Budget | None = None) -> None:
        self.leniency = leniency
        self.ladder = ladder
        self.budget = budget or Budget()
        self.pairs = 0

    def compare(self, gold: Node, pred: Node) -> Equality:
        """Whether two answers, or parts of answers, are equal: the whole ladder."""
        self.pairs += 1
        if self.pairs > MAX_PAIRS:
            return Equality(None, "limit", "too many items")
        return self.ladder(self, gold, pred)


# A step of the ladder, or all of it, on (gold, prediction).
Step = Callable[[Context, Node, Node], Equality]
