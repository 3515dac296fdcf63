"""Steps for the items of an answer: one by one in their order, or each with a match somewhere."""

from __future__ import annotations

from rewards.math_answer.compare import values
from rewards.math_answer.compare.context import Context
from rewards.math_answer.compare.equality import Equality
from rewards.math_answer.nodes import Node


def in_order(c: Context, left: tuple[Node, ...], right: tuple[Node, ...]) -> Equality:
    if len(left) != len(right):
        return Equality(False, "container", f"{len(left)} items against {len(right)}")
    for one, other in zip(left, right, strict=True):
        same = c.compare(one, other)
        if not same:
            return Equality(same.equal, "container", f"an item: {same.reason}")
    return Equality(True, "container", "equal item by item")


def in_any_order(c: Context, left: tuple[Node, ...], right: tuple[Node, ...], stage: str) -> Equality:
    """Items in any order.  Equality is an equivalence, so the first free match is as good as any."""
    if len(left) != len(right):
        return Equality(False, stage, f"{len(left)} items against {len(right)}")
    by_size = [values.sorted_numbers(c, items) for items in (left, right)]
    if by_size[0] and by_size[1]:
        same = in_order(c, by_size[0], by_size[1])
        return Equality(same.equal, stage, "equal in some order" if same else "an item without a match")
    free = list(right)
    for item in sorted(left, key=lambda node: node not in right):  # cheap matches first
        if item in free:
            free.remove(item)
            continue
        for at, other in enumerate(free):
            if c.compare(item, other):
                del free[at]
                break
        else:
            return Equality(False, stage, "an item without a match")
    return Equality(True, stage, "equal in some order")
