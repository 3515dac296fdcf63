"""Steps for equations and inequalities."""

from __future__ import annotations

from rewards.math_answer.compare.context import Context
from rewards.math_answer.compare.equality import Equality
from rewards.math_answer.compare.items import in_order
from rewards.math_answer.compute import sets
from rewards.math_answer.compute.sampling import proportional
from rewards.math_answer.nodes import Node, Op, Relation


def relations(c: Context, gold: Node, pred: Node) -> Equality:
    if not (isinstance(gold, Relation) and isinstance(pred, Relation)):
        return Equality(False, "relation", "a relation against something else")
    described = [sets.solution_set(node) for node in (gold, pred)]
    if described[0] and described[1] and described[0][0] == described[1][0]:
        same = sets.same_set(described[0][1], described[1][1], c.budget)
        if same is not None:
            return Equality(same, "set", "same solutions" if same else "other solutions")
    if len(gold.signs) == len(pred.signs) == 1:
        return single_relations(c, gold, pred)
    for sides, signs in ((pred.sides, pred.signs), (pred.sides[::-1], tuple(map(sets.flipped, pred.signs[::-1])))):
        if gold.signs == signs and in_order(c, gold.sides, sides):
            return Equality(True, "relation", "equal side by side")
    return Equality(False, "relation", "different relations")


def single_relations(c: Context, gold: Relation, pred: Relation) -> Equality:
    """f = 0 and g = 0 are one relation where f is a constant multiple of g; an inequality turns with its sign."""
    left, right = (Op("add", (node.sides[0], Op("neg", (node.sides[1],)))) for node in (gold, pred))
    signs = gold.signs[0], pred.signs[0]
    if any(sign not in ("=", "~", "!=", "<", ">", "<=", ">=") for sign in signs):
        return in_order(c, gold.sides, pred.sides) if signs[0] == signs[1] else Equality(False, "relation", "signs")
    way = proportional(left, right, c.budget)
    if way is None:
        return Equality(False, "relation", "different relations")
    same = signs[0].replace("~", "=") == (signs[1] if way > 0 else sets.flipped(signs[1])).replace("~", "=")
    return Equality(same, "relation", "equal up to a factor" if same else "another sign")
