"""Equal as mathematics?  The ladder, cheapest step first; every step says what it decided and why.

    normal form → text → rational → quantity → container → relation → set → numeric

A step answers equal, different or undecided.  Undecided falls through to the next; at the end it is not equal.
The relation is symmetric, except where a leniency is about the gold answer (percent signs, roundings, forms that are
not worked out).

Here is the way in, with labels and chains (`x = 5`, `2 + 3 = 5`) and the choice of the step by the kind of answer; the
steps are in `measures`, `containers`, `relations` and `values`, and come back by `Context.compare` for their parts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rewards.math_answer.compare import choices, containers, families, forms, measures, relations, values
from rewards.math_answer.compare.context import Context, Step
from rewards.math_answer.compare.equality import Equality
from rewards.math_answer.leniency import Leniency
from rewards.math_answer.nodes import (
    Cases,
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
    substitute,
    symbols,
)


def compare(gold: Node, pred: Node, leniency: Leniency) -> Equality:
    """Whether the prediction equals the gold answer, under one leniency."""
    return Context(leniency, _ladder).compare(gold, pred)


def _ladder(c: Context, gold: Node, pred: Node) -> Equality:
    if gold == pred:
        return Equality(True, "normal form", "same normal form")
    if isinstance(gold, Num) and isinstance(pred, Num):
        return values.rationals(c, gold, pred, gold.value, pred.value)
    if choices.letter_in_relation(gold, pred):
        return Equality(False, "choice", "a formula about a letter")
    family = families.families(c, gold, pred)
    if family is not None:
        return family
    left, right = _unchained(c, gold), _unchained(c, pred)
    if isinstance(left, Equality):
        return left
    if isinstance(right, Equality):
        return right
    return _labelled(c, left, right)


# -- chains


def _unchained(c: Context, node: Node) -> Node | Equality:
    """A chain of constants as its last member, if all are equal; `v ≈ d` as v, if d is a rounding of v."""
    members = forms.constant_chain(node)
    if members is None or not isinstance(node, Relation):
        return node
    value: Node = members[0]
    for sign, member in zip(node.signs, members[1:], strict=True):
        if sign == "~":
            if not values.rounds(c, value, member):
                return Equality(False, "relation", "not a rounding of it")
        elif not _equal_members(c, value, member):
            return Equality(False, "relation", "an equation chain whose members differ")
        else:
            value = member
    return value


def _equal_members(c: Context, one: Node, other: Node) -> Equality:
    """Members of one chain: what is forgiven or refused in an answer does not matter between them."""
    strict = replace(c.leniency, unevaluated=True, decimal_digits=0, gold_digits=0)
    return Context(strict, c.ladder, c.budget).compare(one, other)


# -- labels


def _labelled(c: Context, gold: Node, pred: Node) -> Equality:
    """`x = 5` against `5`, `f(x) = 2x` against `f(t) = 2t`; equations go on as equations."""
    gold, pred = (forms.spread(node, _count(other)) for node, other in ((gold, pred), (pred, gold)))
    left, right = forms.labelled(gold), forms.labelled(pred)
    for form in (left, right):
        if form is not None and (fault := _inconsistent(c, form)) is not None:  # a fault is a falsy verdict
            return fault
    if left is None and right is None:
        return _by_kind(c, _worth(c, gold, pred), _worth(c, pred, gold))
    if left is not None and right is not None:
        return _both_labelled(c, gold, pred, left, right)
    form, other = (left or right, pred if left else gold)
    assert form is not None
    if isinstance(other, Relation):
        return relations.relations(c, gold, pred)
    value = form.value
    return c.compare(value, other) if left else c.compare(other, value)


def _count(node: Node) -> int:
    """How many values an answer has, where it is a point or a list."""
    form = forms.labelled(node)
    value = node if form is None else form.value
    return len(value.items) if isinstance(value, Seq) else 0


def _worth(c: Context, node: Node, other: Node) -> Node:
    """`(x+1)^2 = x^2+2x+1` beside an expression: an identity is worth its last member."""
    if not isinstance(node, Relation) or set(node.signs) != {"="} or not isinstance(other, Num | Sym | Op):
        return node
    identity = all(_equal_members(c, node.sides[0], side) for side in node.sides[1:])
    return node.sides[-1] if identity else node


def _inconsistent(c: Context, form: forms.Labelled) -> Equality | None:
    known = symbols(form.value)
    for member in form.chain:
        if not symbols(member) <= known:
            continue  # `A = πr² = 25π`: r is what the question says it is
        if not _equal_members(c, member, form.value):
            return Equality(False, "relation", "an equation chain whose members differ")
    for member in form.about:
        if not values.rounds(c, form.value, member):
            return Equality(False, "relation", "not a rounding of it")
    return None


def _both_labelled(c: Context, gold: Node, pred: Node, left: forms.Labelled, right: forms.Labelled) -> Equality:
    common = forms.common_value(gold)
    if common != forms.common_value(pred):
        return Equality(False, "relation", "other variables")
    if common or left.label == right.label:
        return c.compare(left.value, right.value)
    renamed = _renamed(left.label, right)
    if renamed is not None:
        return c.compare(left.value, renamed)
    if isinstance(gold, Relation) and isinstance(pred, Relation):
        return relations.relations(c, gold, pred)
    return Equality(False, "relation", "different variables")


def _renamed(label: Node, other: forms.Labelled) -> Node | None:
    """The other's value in the variable of `label`, for f(x) = … against f(t) = … and against y = …"""
    right = other.label
    if is_op(label, "call") and is_op(right, "call"):
        (name, *ours), (other_name, *theirs) = label.args, right.args
        if name == other_name and len(ours) == len(theirs) == 1:
            ours_only, theirs_only = ours[0], theirs[0]
            free = isinstance(ours_only, Sym) and ours_only.name not in symbols(other.value) - symbols(theirs_only)
            if free and isinstance(ours_only, Sym) and isinstance(theirs_only, Sym):
                return substitute(other.value, theirs_only.name, ours_only)
        return None
    for one, two in ((label, right), (right, label)):
        if is_op(one, "call") and two == Sym("y"):
            return other.value
    if isinstance(label, Seq) or isinstance(right, Seq):
        return other.value
    return None


# -- kinds


def _by_kind(c: Context, gold: Node, pred: Node) -> Equality:
    """The step for the first kind that either answer is of; what is of none is a collection or a value."""
    for applies, step in _KINDS:
        if applies(gold, pred):
            return step(c, gold, pred)
    return containers.collections(c, gold, pred)


Applies = Callable[[Node, Node], bool]


def _either(test: Callable[[Node], bool]) -> Applies:
    return lambda gold, pred: test(gold) or test(pred)


def _a(kind: type[Node]) -> Applies:
    return _either(lambda node: isinstance(node, kind))


def _marked(name: str) -> Applies:
    return _either(lambda node: is_op(node, name))


_KINDS: tuple[tuple[Applies, Step], ...] = (
    (_marked("choice"), choices.choices),
    (_a(Words), measures.words),
    (_a(Time), measures.times),
    (_either(measures.has_base), measures.bases),
    (_marked("residue"), measures.residues),
    (_marked("percent"), measures.percents),
    (_marked("deg"), measures.degrees),
    (_a(Quantity), measures.quantities),
    (measures.has_letter_units, measures.quantities),
    (_a(Cases), containers.cases),
)
