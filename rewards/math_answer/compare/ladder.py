"""Equal as mathematics?  The ladder, cheapest step first; every step says what it decided and why.

    normal form → text → rational → quantity → container → relation → set → numeric → symbolic

A step answers equal, different or undecided.  Undecided falls through to the next; at the end it is not equal.
The relation is symmetric, except where a policy is about the gold answer (percent signs, roundings, forms that are
not worked out).

Here is the way in, with labels and chains (`x = 5`, `2 + 3 = 5`) and the choice of the step by the kind of answer; the
steps are in `measures`, `containers`, `relations` and `values`, and come back to `Comparison.compare` for their parts.
"""

from __future__ import annotations

from dataclasses import replace

from rewards.math_answer.compare import containers, forms, measures, relations, values
from rewards.math_answer.compare.equality import Outcome, Prover
from rewards.math_answer.compute.numeric import Budget
from rewards.math_answer.leniency import Policy
from rewards.math_answer.nodes import Cases, Node, Num, Op, Quantity, Relation, Seq, Sym, Time, Words, is_op, substitute

MAX_PAIRS = 4_096  # comparisons of items in one pair of answers


class Comparison:
    """One pair of answers under one policy."""

    def __init__(self, policy: Policy, prove: Prover | None = None) -> None:
        self.policy = policy
        self.prove = prove
        self.budget = Budget()
        self.pairs = 0

    def compare(self, gold: Node, pred: Node) -> Outcome:
        self.pairs += 1
        if self.pairs > MAX_PAIRS:
            return Outcome(None, "limit", "too many items")
        if gold == pred:
            return Outcome(True, "normal form", "same normal form")
        if isinstance(gold, Num) and isinstance(pred, Num):
            return values.rationals(self, gold, pred, gold.value, pred.value)
        chained = self.unchained(gold), self.unchained(pred)
        for node in chained:
            if isinstance(node, Outcome):
                return node
        return self.labelled(*chained)  # type: ignore[arg-type]

    def unchained(self, node: Node) -> Node | Outcome:
        """A chain of constants as its last member, if all are equal; `v ≈ d` as v, if d is a rounding of v."""
        members = forms.constant_chain(node)
        if members is None or not isinstance(node, Relation):
            return node
        value: Node = members[0]
        for sign, member in zip(node.signs, members[1:], strict=True):
            if sign == "~":
                if not values.rounds(self, value, member):
                    return Outcome(False, "relation", "not a rounding of it")
            elif not self.inside(value, member):
                return Outcome(False, "relation", "an equation chain whose members differ")
            else:
                value = member
        return value

    def inside(self, one: Node, other: Node) -> Outcome:
        """Members of one chain: what is forgiven or refused in an answer does not matter between them."""
        strict = replace(self.policy, unevaluated=True, decimal_digits=0, gold_digits=0)
        comparison = Comparison(strict, self.prove)
        comparison.budget = self.budget
        return comparison.compare(one, other)

    def labelled(self, gold: Node, pred: Node) -> Outcome:
        """`x = 5` against `5`, `f(x) = 2x` against `f(t) = 2t`; equations go on as equations."""
        left, right = forms.labelled(gold), forms.labelled(pred)
        for form in (left, right):
            if form is not None and (fault := self.inconsistent(form)):
                return fault
        if left is None and right is None:
            return self.kinds(self.worth(gold, pred), self.worth(pred, gold))
        if left is not None and right is not None:
            return self.both_labelled(gold, pred, left, right)
        form, other = (left or right, pred if left else gold)
        assert form is not None
        if isinstance(other, Relation):
            return relations.relations(self, gold, pred)
        value = form.value
        return self.compare(value, other) if left else self.compare(other, value)

    def worth(self, node: Node, other: Node) -> Node:
        """`(x+1)^2 = x^2+2x+1` beside an expression: an identity is worth its last member."""
        if not isinstance(node, Relation) or set(node.signs) != {"="} or not isinstance(other, Num | Sym | Op):
            return node
        identity = all(self.inside(node.sides[0], side) for side in node.sides[1:])
        return node.sides[-1] if identity else node

    def inconsistent(self, form: forms.Labelled) -> Outcome | None:
        for member in form.chain:
            if not self.inside(member, form.value):
                return Outcome(False, "relation", "an equation chain whose members differ")
        for member in form.about:
            if not values.rounds(self, form.value, member):
                return Outcome(False, "relation", "not a rounding of it")
        return None

    def both_labelled(self, gold: Node, pred: Node, left: forms.Labelled, right: forms.Labelled) -> Outcome:
        if left.label == right.label:
            return self.compare(left.value, right.value)
        renamed = _renamed(left.label, right)
        if renamed is not None:
            return self.compare(left.value, renamed)
        if isinstance(gold, Relation) and isinstance(pred, Relation):
            return relations.relations(self, gold, pred)
        return Outcome(False, "relation", "different variables")

    def kinds(self, gold: Node, pred: Node) -> Outcome:
        pair = (gold, pred)
        if any(isinstance(node, Words) for node in pair):
            return measures.words(self, gold, pred)
        if any(isinstance(node, Time) for node in pair):
            return measures.times(self, gold, pred)
        if any(measures.base_digits(node) is not None for node in pair):
            return measures.bases(self, gold, pred)
        for name, step in measures.MARKED.items():
            if any(is_op(node, name) for node in pair):
                return step(self, gold, pred)
        if any(isinstance(node, Quantity) for node in pair) or measures.has_letter_units(gold, pred):
            return measures.quantities(self, gold, pred)
        if any(isinstance(node, Cases) for node in pair):
            return containers.cases(self, gold, pred)
        return containers.collections(self, gold, pred)


def _renamed(label: Node, other: forms.Labelled) -> Node | None:
    """The other's value in the variable of `label`, for f(x) = … against f(t) = … and against y = …"""
    right = other.label
    if isinstance(label, Op) and isinstance(right, Op) and label.name == right.name == "call":
        (name, *ours), (other_name, *theirs) = label.args, right.args
        if (
            name == other_name
            and len(ours) == len(theirs) == 1
            and isinstance(ours[0], Sym)
            and isinstance(theirs[0], Sym)
        ):
            return substitute(other.value, theirs[0].name, ours[0])
        return None
    for one, two in ((label, right), (right, label)):
        if isinstance(one, Op) and one.name == "call" and two == Sym("y"):
            return other.value
    if isinstance(label, Seq) or isinstance(right, Seq):
        return other.value
    return None
