"""Steps for answers made of parts: lists, tuples, sets, intervals, matrices, cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

from rewards.math_answer.compare import choices, forms, relations, values
from rewards.math_answer.compare.context import Context
from rewards.math_answer.compare.equality import Equality
from rewards.math_answer.compare.items import in_any_order, in_order
from rewards.math_answer.compute import sets
from rewards.math_answer.nodes import EMPTY, REALS, Cases, Matrix, Node, Op, Relation, Seq, is_op

MAX_WAYS = 8  # in which one answer may be written beside itself
_JOINED = {"∨": "cup", "∧": "cap"}
_SETS = frozenset(("cup", "cap", "setminus"))


def collections(c: Context, gold: Node, pred: Node) -> Equality:
    """The first way to read both answers as collections; what is none is compared by value."""
    gold, pred = (_spelt_out(c, forms.with_matrices_computed(node)) for node in (gold, pred))
    if isinstance(gold, Matrix) or isinstance(pred, Matrix):
        return matrices(c, gold, pred)
    gold, pred = (_expanded(_as_set(c, node, other)) for node, other in ((gold, pred), (pred, gold)))
    for step in _READINGS:
        same = step(c, gold, pred)
        if same is not None:
            return same
    return values.expressions(c, gold, pred)


def _sets(c: Context, gold: Node, pred: Node) -> Equality | None:
    """Sets of reals, where at least one is more than items in brackets."""
    if not (_is_set(gold) and _is_set(pred)) or (isinstance(gold, Seq) and isinstance(pred, Seq)):
        return None
    same = sets.same_set(gold, pred, c.budget)
    if same is not None:
        return Equality(same, "set", "same set" if same else "different sets")
    if isinstance(gold, Op) and isinstance(pred, Op) and gold.name == pred.name:
        parts = _members(gold), _members(pred)
        return in_order(c, *parts) if gold.name == "setminus" else in_any_order(c, *parts, "set")
    return None


def _alternatives(c: Context, gold: Node, pred: Node) -> Equality | None:
    """`x = 1 or y = 2`, `p ∧ q`: joined in the same way, in any order."""
    joined = [node.name in _JOINED if isinstance(node, Op) else False for node in (gold, pred)]
    if not all(joined):
        return Equality(False, "relation", "joined in another way") if any(joined) else None
    assert isinstance(gold, Op) and isinstance(pred, Op)
    if gold.name != pred.name:
        return Equality(False, "relation", "joined in another way")
    return in_any_order(c, gold.args, pred.args, "relation")


def _relations(c: Context, gold: Node, pred: Node) -> Equality | None:
    if isinstance(gold, Relation) or isinstance(pred, Relation):
        return relations.relations(c, gold, pred)
    return None


def _conditions(c: Context, gold: Node, pred: Node) -> Equality | None:
    """`x > 1, x < 2` against `(1, 2)`."""
    for one, other in ((gold, pred), (pred, gold)):
        if _is_set(other) and isinstance(one, Seq) and (described := sets.described_by_all(one, c.budget)):
            return collections(c, *((described, other) if one is gold else (other, described)))
    return None


def _lists(c: Context, gold: Node, pred: Node) -> Equality | None:
    return sequences(c, gold, pred) if isinstance(gold, Seq) or isinstance(pred, Seq) else None


def matrices(c: Context, gold: Node, pred: Node) -> Equality:
    if isinstance(gold, Matrix) and isinstance(pred, Matrix):
        shapes = [(len(node.rows), len(node.rows[0])) for node in (gold, pred)]
        if shapes[0] != shapes[1]:
            return Equality(False, "container", "another shape")
        cells = [tuple(cell for row in node.rows for cell in row) for node in (gold, pred)]
        return in_order(c, cells[0], cells[1])
    matrix, other = (gold, pred) if isinstance(gold, Matrix) else (pred, gold)
    if rows := forms.nested_rows(other):
        return matrices(c, *((gold, rows) if matrix is gold else (rows, pred)))
    entries = forms.vector(matrix)
    if entries is None or not isinstance(other, Seq) or _kind(other) not in ("tuple", "row"):
        return Equality(False, "container", "a matrix against something else")
    return in_order(c, entries, other.items) if matrix is gold else in_order(c, other.items, entries)


def sequences(c: Context, gold: Node, pred: Node) -> Equality:
    if EMPTY in (gold, pred):
        return Equality(False, "container", "nothing against something")
    if repeated := _one_answer(c, gold, pred):
        return repeated
    left, right = (node if isinstance(node, Seq) else Seq((node,)) for node in (gold, pred))
    left, right = _spread(left), _spread(right)
    for one, other in ((left, right), (right, left)):  # the set of one pair is that pair
        if _kind(one) == "set" and len(one.items) == 1 and _kind(other) == "tuple":
            return c.compare(one.items[0], other) if one is left else c.compare(other, one.items[0])
    if all(isinstance(item, Relation) for item in left.items + right.items):
        return in_any_order(c, left.items, right.items, "relation")
    if any(isinstance(item, Relation) for item in left.items + right.items):
        if any(_goes_on(one) and len(_labels(other)) > 1 for one, other in ((left, right), (right, left))):
            return Equality(False, "relation", "other variables")
        left, right = _unlabelled(left), _unlabelled(right)
    return _items(c, left, right)


def _spread(seq: Seq) -> Seq:
    """`x = y = 1, z = 2` with each name beside its value."""
    flat: list[Node] = []
    for item in seq.items:
        parts = forms.spread(item, len(item.sides) - 1) if isinstance(item, Relation) else item
        flat.extend(parts.items if isinstance(item, Relation) and isinstance(parts, Seq) else (item,))
    return Seq(tuple(flat), seq.open, seq.close)


def _labels(seq: Seq) -> set[Node]:
    return {form.label for item in seq.items if (form := forms.labelled(item)) is not None}


def _goes_on(seq: Seq) -> bool:
    """`m = 5 or 6`: two values of m, which are not m = 5 and n = 6."""
    return len(_labels(seq)) == 1 and not isinstance(seq.items[-1], Relation)


def _items(c: Context, left: Seq, right: Seq) -> Equality:
    """Items and their brackets, once labels are off."""
    if sum(map(_is_listed, left.items)) != sum(map(_is_listed, right.items)):
        return Equality(False, "container", "sets in a set against other things")
    unordered = {_kind(left), _kind(right)} <= {"list", "set"}
    if unordered and len(left.items) != len(right.items):
        left, right = (_as_distinct(side) for side in (left, right))
    if len(left.items) != len(right.items):
        return Equality(False, "container", f"{len(left.items)} items against {len(right.items)}")
    if unordered:
        return in_any_order(c, left.items, right.items, "container")
    if _same_brackets(c, left, right):
        return in_order(c, left.items, right.items)
    return Equality(False, "container", "other brackets")


def _as_distinct(seq: Seq) -> Seq:
    """{2, 2} as the set of 2, and points each once; but the list `2, 2` is not `2`."""
    points = all(isinstance(item, Seq) for item in seq.items)
    return replace(seq, items=tuple(dict.fromkeys(seq.items))) if points or _kind(seq) == "set" else seq


def _is_listed(node: Node) -> bool:
    return node == EMPTY or (isinstance(node, Seq) and node.open == "{")


def _one_answer(c: Context, gold: Node, pred: Node) -> Equality | None:
    """`3/5 or 0.6` is one answer, written twice; `5 or 6` is none, nor is `5 cm or 5 m`, though both may be 5."""
    listed, single = (gold, pred) if isinstance(gold, Seq) else (pred, gold)
    if isinstance(single, Seq) or not isinstance(listed, Seq) or listed.open != "":
        return None
    if any(isinstance(item, Relation) for item in listed.items) or len(set(listed.items)) < len(listed.items):
        return None  # `2, 2` is a double root
    if len(listed.items) > MAX_WAYS:
        return None
    written = [c.compare(gold, item) if single is gold else c.compare(item, pred) for item in listed.items]
    one = all(written) and all(c.compare(*pair) for pair in combinations(listed.items, 2))
    return written[0] if one else None


def _same_brackets(c: Context, left: Seq, right: Seq) -> bool:
    kinds = {_kind(left), _kind(right)}
    if (left.open, left.close) == (right.open, right.close) or kinds <= {"list", "tuple"}:
        return True
    if kinds == {"tuple", "row"}:
        return len(left.items) > 2  # with two items they are different intervals
    return c.leniency.set_as_tuple and "set" in kinds and "row" not in kinds


def cases(c: Context, gold: Node, pred: Node) -> Equality:
    if isinstance(gold, Cases) and isinstance(pred, Cases):
        if len(gold.rows) != len(pred.rows):
            return Equality(False, "cases", "another number of cases")
        rows = [[_row(row) for row in node.rows] for node in (gold, pred)]
        return in_any_order(c, tuple(rows[0]), tuple(rows[1]), "cases")
    rows_only, other = (gold, pred) if isinstance(gold, Cases) else (pred, gold)
    assert isinstance(rows_only, Cases)
    if all(len(row) == 1 for row in rows_only.rows):  # a system of equations
        listed = Seq(tuple(row[0] for row in rows_only.rows))
        return c.compare(listed, other) if rows_only is gold else c.compare(other, listed)
    return Equality(False, "cases", "cases against something else")


def _row(row: tuple[Node, ...]) -> Node:
    return row[0] if len(row) == 1 else Seq(row, "(", ")")


def _as_set(c: Context, node: Node, other: Node) -> Node:
    """The set that an inequality beside something else, or a set-builder, describes; any other node unchanged."""
    describes = (isinstance(node, Relation) and not isinstance(other, Relation)) or isinstance(node, Seq | Op)
    return sets.labelled_interval(node, c.budget) if describes else node


def _is_set(node: Node) -> bool:
    if isinstance(node, Seq):
        return sets.is_interval(node) or node.open == "{"
    return (isinstance(node, Op) and node.name in (*_SETS, "mirror")) or node in (EMPTY, REALS)


def _members(node: Op) -> tuple[Node, ...]:
    """The parts of a union, flat; both sides of a difference."""
    out: list[Node] = []
    for part in node.args:
        out.extend(_members(part) if node.name != "setminus" and is_op(part, node.name) else (part,))
    return tuple(out)


def _spelt_out(c: Context, node: Node) -> Node:
    """`ℝ ∖ {±1}` with both signs in the set, `{x | x < 0} ∪ {4}` with an interval in it, `x < 1 or x > 5` as a union;
    other joined statements as a list."""
    if isinstance(node, Op) and node.name in _JOINED:
        listed = Seq(node.args) if node.name == "∧" and all(isinstance(part, Relation) for part in node.args) else node
        return sets.described(node.args, _JOINED[node.name]) or listed
    if isinstance(node, Op) and node.name in _SETS:
        return Op(node.name, tuple(_spelt_out(c, part) for part in node.args))
    if isinstance(node, Seq) and node.open == "{":
        return sets.labelled_interval(Seq(forms.flattened(node.items), "{", "}"), c.budget)
    return node


def _expanded(node: Node) -> Node:
    """`±` spelt out, in a list or a set or alone; in a point as two points."""
    if isinstance(node, Seq) and node.open in ("", "{"):
        return Seq(forms.flattened(node.items), node.open, node.close)
    if isinstance(node, Op) and node.name in _SETS:
        return Op(node.name, tuple(map(_expanded, node.args)))
    if isinstance(node, Relation):
        return node
    both = forms.variants(node)
    return Seq(both) if len(both) > 1 else node


def _unlabelled(seq: Seq) -> Seq:
    """Items without their labels, `w = 16, d = 3` as `16, 3`; unchanged where one of them is an equation."""
    items: list[Node] = []
    for item in seq.items:
        form = forms.labelled(item)
        if form is None and isinstance(item, Relation):
            return seq
        chained = form is not None and (form.chain or form.about)  # compared with its members checked
        items.append(item if form is None or chained else form.value)
    return Seq(forms.flattened(tuple(items)) if seq.open in ("", "{") else tuple(items), seq.open, seq.close)


def _kind(seq: Seq) -> str:
    if seq.open == "":
        return "list"
    return {"{}": "set", "()": "tuple", "[]": "row"}.get(seq.open + seq.close, "half-open")


# Ways to read both answers as collections, in the order in which they are tried.
_READINGS: tuple[Callable[[Context, Node, Node], Equality | None], ...] = (
    _sets,
    _alternatives,
    _conditions,
    _relations,
    choices.several,
    _lists,
)
