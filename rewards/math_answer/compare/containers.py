"""Steps for answers made of parts: lists, tuples, sets, intervals, matrices, cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rewards.math_answer.compare import forms, relations, values
from rewards.math_answer.compare.equality import Outcome
from rewards.math_answer.compute import sets
from rewards.math_answer.nodes import EMPTY, REALS, Cases, Matrix, Node, Op, Relation, Seq, Sym

if TYPE_CHECKING:
    from rewards.math_answer.compare.ladder import Comparison

_CHOICES = frozenset("ABCDEFGHIJ")
_SETS = frozenset(("cup", "cap", "setminus"))


def collections(c: Comparison, gold: Node, pred: Node) -> Outcome:
    gold, pred = (forms.with_matrices_computed(node) for node in (gold, pred))
    if isinstance(gold, Matrix) or isinstance(pred, Matrix):
        return matrices(c, gold, pred)
    gold, pred = (
        sets.labelled_interval(node) if _describes_set(node, other) else node
        for node, other in ((gold, pred), (pred, gold))
    )
    if _is_set(gold) and _is_set(pred) and not (isinstance(gold, Seq) and isinstance(pred, Seq)):
        same = sets.same_set(gold, pred, c.budget)
        if same is not None:
            return Outcome(same, "set", "same set" if same else "different sets")
        if isinstance(gold, Op) and isinstance(pred, Op):
            return matched(c, _members(gold), _members(pred), "set")
    if isinstance(gold, Relation) or isinstance(pred, Relation):
        return relations.relations(c, gold, pred)
    for one, other in ((gold, pred), (pred, gold)):
        if _is_set(other) and isinstance(one, Seq) and (described := sets.described_by_all(one, c.budget)):
            return collections(c, *((described, other) if one is gold else (other, described)))
    if _letters(gold) and _letters(gold) == _letters(pred):
        return Outcome(True, "choice", "same letters")
    expanded = [_expanded(node) for node in (gold, pred)]
    if isinstance(expanded[0], Seq) or isinstance(expanded[1], Seq):
        return sequences(c, expanded[0], expanded[1])
    return values.expressions(c, gold, pred)


def matrices(c: Comparison, gold: Node, pred: Node) -> Outcome:
    if isinstance(gold, Matrix) and isinstance(pred, Matrix):
        shapes = [(len(node.rows), len(node.rows[0])) for node in (gold, pred)]
        if shapes[0] != shapes[1]:
            return Outcome(False, "container", "another shape")
        cells = [tuple(cell for row in node.rows for cell in row) for node in (gold, pred)]
        return in_order(c, cells[0], cells[1])
    matrix, other = (gold, pred) if isinstance(gold, Matrix) else (pred, gold)
    if rows := forms.nested_rows(other):
        return matrices(c, *((gold, rows) if matrix is gold else (rows, pred)))
    entries = forms.vector(matrix)
    if entries is None or not isinstance(other, Seq) or other.open == "{" or (other.open == "" and len(entries) > 0):
        return Outcome(False, "container", "a matrix against something else")
    return in_order(c, entries, other.items) if matrix is gold else in_order(c, other.items, entries)


def sequences(c: Comparison, gold: Node, pred: Node) -> Outcome:
    left, right = (node if isinstance(node, Seq) else Seq((node,)) for node in (gold, pred))
    if repeated := _one_answer(c, gold, pred, left, right):
        return repeated
    for one, other in ((left, right), (right, left)):  # the set of one pair is that pair
        if _kind(one) == "set" and len(one.items) == 1 and _kind(other) == "tuple":
            return c.compare(one.items[0], other) if one is left else c.compare(other, one.items[0])
    if all(isinstance(item, Relation) for item in left.items + right.items):
        return matched(c, left.items, right.items, "relation")
    if any(isinstance(item, Relation) for item in left.items + right.items):
        left, right = _unlabelled(left), _unlabelled(right)
    kinds = {_kind(left), _kind(right)}
    unordered = kinds <= {"list", "set"}
    if unordered and len(left.items) != len(right.items):  # `2, 2` is the set of 2
        left, right = (Seq(tuple(dict.fromkeys(side.items)), side.open, side.close) for side in (left, right))
    if len(left.items) != len(right.items):
        return Outcome(False, "container", f"{len(left.items)} items against {len(right.items)}")
    if unordered:
        return matched(c, left.items, right.items, "container")
    if _same_brackets(c, left, right):
        return in_order(c, left.items, right.items)
    return Outcome(False, "container", "other brackets")


def _one_answer(c: Comparison, gold: Node, pred: Node, left: Seq, right: Seq) -> Outcome | None:
    """`3/5 or 0.6` is one answer, written twice; `5 or 6` is none."""
    for one, other in ((left, pred), (right, gold)):
        if isinstance(other, Seq) or one.open != "" or any(isinstance(item, Relation) for item in one.items):
            continue
        written = [c.compare(gold, item) if other is gold else c.compare(item, pred) for item in one.items]
        if all(written):
            return written[0]
        return Outcome(False, "container", f"{len(left.items)} items against {len(right.items)}")
    return None


def _same_brackets(c: Comparison, left: Seq, right: Seq) -> bool:
    kinds = {_kind(left), _kind(right)}
    if (left.open, left.close) == (right.open, right.close) or kinds <= {"list", "tuple"}:
        return True
    if kinds == {"tuple", "row"}:
        return len(left.items) > 2  # with two items they are different intervals
    return c.policy.set_as_tuple and "set" in kinds and "row" not in kinds


def in_order(c: Comparison, left: tuple[Node, ...], right: tuple[Node, ...]) -> Outcome:
    if len(left) != len(right):
        return Outcome(False, "container", f"{len(left)} items against {len(right)}")
    for one, other in zip(left, right, strict=True):
        outcome = c.compare(one, other)
        if not outcome:
            return Outcome(outcome.equal, "container", f"an item: {outcome.reason}")
    return Outcome(True, "container", "equal item by item")


def matched(c: Comparison, left: tuple[Node, ...], right: tuple[Node, ...], stage: str) -> Outcome:
    """Items in any order.  Equality is an equivalence, so the first free match is as good as any."""
    if len(left) != len(right):
        return Outcome(False, stage, f"{len(left)} items against {len(right)}")
    by_size = [values.sorted_numbers(c, items) for items in (left, right)]
    if by_size[0] and by_size[1]:
        outcome = in_order(c, by_size[0], by_size[1])
        return Outcome(outcome.equal, stage, "equal in some order" if outcome else "an item without a match")
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
            return Outcome(False, stage, "an item without a match")
    return Outcome(True, stage, "equal in some order")


def cases(c: Comparison, gold: Node, pred: Node) -> Outcome:
    if isinstance(gold, Cases) and isinstance(pred, Cases):
        if len(gold.rows) != len(pred.rows):
            return Outcome(False, "cases", "another number of cases")
        rows = [[_row(row) for row in node.rows] for node in (gold, pred)]
        return matched(c, tuple(rows[0]), tuple(rows[1]), "cases")
    rows_only, other = (gold, pred) if isinstance(gold, Cases) else (pred, gold)
    assert isinstance(rows_only, Cases)
    if all(len(row) == 1 for row in rows_only.rows):  # a system of equations
        listed = Seq(tuple(row[0] for row in rows_only.rows))
        return c.compare(listed, other) if rows_only is gold else c.compare(other, listed)
    return Outcome(False, "cases", "cases against something else")


def _row(row: tuple[Node, ...]) -> Node:
    return row[0] if len(row) == 1 else Seq(row, "(", ")")


def _describes_set(node: Node, other: Node) -> bool:
    return (isinstance(node, Relation) and not isinstance(other, Relation)) or isinstance(node, Seq)


def _is_set(node: Node) -> bool:
    if isinstance(node, Seq):
        return sets.is_interval(node) or node.open == "{"
    return (isinstance(node, Op) and node.name in (*_SETS, "mirror")) or node in (EMPTY, REALS)


def _members(node: Op) -> tuple[Node, ...]:
    """The parts of a union, flat."""
    out: list[Node] = []
    for part in node.args:
        out.extend(_members(part) if isinstance(part, Op) and part.name == node.name else (part,))
    return tuple(out)


def _expanded(node: Node) -> Node:
    """`±` spelt out, in a list or a set or alone."""
    if isinstance(node, Seq):
        return Seq(forms.flattened(node.items), node.open, node.close) if node.open in ("", "{") else node
    both = forms.variants(node)
    return Seq(both) if len(both) > 1 else node


def _unlabelled(seq: Seq) -> Seq:
    """Items without their labels, `w = 16, d = 3` as `16, 3`; unchanged where one of them is an equation."""
    items: list[Node] = []
    for item in seq.items:
        form = forms.labelled(item)
        if form is None and isinstance(item, Relation):
            return seq
        items.append(item if form is None else form.value)
    return Seq(forms.flattened(tuple(items)) if seq.open in ("", "{") else tuple(items), seq.open, seq.close)


def _letters(node: Node) -> frozenset[str] | None:
    """The choices in `A, C` and in `AC`: several capitals, each once."""
    match node:
        case Seq(items=parts, open="") | Op(name="mul", args=parts):
            names = [part.name for part in parts if isinstance(part, Sym) and part.name in _CHOICES]
            return frozenset(names) if len(names) == len(parts) == len(set(names)) > 1 else None
    return None


def _kind(seq: Seq) -> str:
    if seq.open == "":
        return "list"
    return {"{}": "set", "()": "tuple", "[]": "row"}.get(seq.open + seq.close, "half-open")
