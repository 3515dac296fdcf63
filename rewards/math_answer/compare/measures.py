"""Steps for answers with a mark or a name on them: words, times, bases, percent, degrees, units."""

from __future__ import annotations

from rewards.math_answer.compare import containers, forms
from rewards.math_answer.compare.context import Context
from rewards.math_answer.compare.equality import Equality
from rewards.math_answer.compute.exact import rational
from rewards.math_answer.compute.sampling import same_value
from rewards.math_answer.nodes import BaseN, Node, Num, Op, Quantity, Sym, Time, Words, is_op, num
from rewards.math_answer.read.measures import COUNTED
from rewards.math_answer.read.words import without_article

_RADIAN = (("radian", 1),)
_ANGULAR = (_RADIAN, (("celsius", 1),), (("fahrenheit", 1),))  # what is measured in degrees, and radians


_UNLIKE = Equality(False, "quantity", "units differ")


def _is_marked(node: Node) -> bool:
    """A mark may be left out, but stands for no other mark: 72 % is neither 72° nor 72 cm."""
    return isinstance(node, Quantity) or is_op(node, "percent") or is_op(node, "deg")


def words(c: Context, gold: Node, pred: Node) -> Equality:
    left, right = _text(gold), _text(pred)
    if left and right:
        same = without_article(left) == without_article(right)
        return Equality(same, "text", "same words" if same else "different words")
    return Equality(False, "text", "words against mathematics")


def _text(node: Node) -> str:
    """The words of an answer, which may have been read as a product of letters: `ja`."""
    if isinstance(node, Words):
        return node.text
    if is_op(node, "mul") and all(isinstance(part, Sym) and len(part.name) == 1 for part in node.args):
        return "".join(part.name for part in node.args if isinstance(part, Sym)).lower()
    return ""


def residues(c: Context, gold: Node, pred: Node) -> Equality:
    """`2 (mod 7)` is `9 (mod 7)`; beside a plain number only the number counts."""
    left, right = (node.args if isinstance(node, Op) and node.name == "residue" else (node,) for node in (gold, pred))
    if len(left) < 2 or len(right) < 2:
        other = right[0] if len(left) > 1 else left[0]
        return _UNLIKE if _is_marked(other) else c.compare(left[0], right[0])
    if not c.compare(left[1], right[1]):
        return Equality(False, "residue", "another modulus")
    turns = rational(Op("div", (Op("add", (left[0], Op("neg", (right[0],)))), left[1])))
    if turns is None:
        return c.compare(left[0], right[0])
    same = turns.denominator == 1
    return Equality(same, "residue", "congruent" if same else "not congruent")


def times(c: Context, gold: Node, pred: Node) -> Equality:
    if not (isinstance(gold, Time) and isinstance(pred, Time)):
        clock, other = (gold, pred) if isinstance(gold, Time) else (pred, gold)
        assert isinstance(clock, Time)
        if clock.half or clock.second is not None:
            return Equality(False, "time", "a time against something else")
        ratio = Op("ratio", (num(clock.hour), num(clock.minute)))
        return containers.collections(c, ratio, other)
    same = (gold.hour, gold.minute, gold.second or 0) == (pred.hour, pred.minute, pred.second or 0)
    same = same and (gold.half == pred.half or not gold.half or not pred.half)
    clocks = _on_24_hours(gold), _on_24_hours(pred)
    same = same or (clocks[0] is not None and clocks[0] == clocks[1])
    return Equality(same, "time", "same time" if same else "another time")


def bases(c: Context, gold: Node, pred: Node) -> Equality:
    left, right = _base_digits(gold), _base_digits(pred)
    if left is not None and right is not None:
        same = left == right
        return Equality(same, "base", "same digits and base" if same else "other digits or another base")
    digits, sign, _ = left or right or ("", 1, 0)
    plain = rational(pred if left else gold)
    same = (
        plain is not None
        and plain.denominator == 1
        and plain.numerator.bit_length() < 4000
        and str(abs(plain)) == digits
        and (plain < 0) == (sign < 0)
    )
    return Equality(same, "base", "same digits, base not written" if same else "other digits")


def percents(c: Context, gold: Node, pred: Node) -> Equality:
    if is_op(gold, "percent") and is_op(pred, "percent"):
        return c.compare(gold.args[0], pred.args[0])
    percent, other = (gold, pred) if is_op(gold, "percent") else (pred, gold)
    assert isinstance(percent, Op)
    if isinstance(other, Quantity) and is_op(other.value, "percent"):  # `25 % of students`
        return quantities(c, gold, pred)
    if _is_marked(other):
        return _UNLIKE
    share = c.compare(Op("div", (percent.args[0], num(100))), other)
    if share:
        return share
    size = rational(percent.args[0])
    if percent is gold or (size is not None and abs(size) >= 1):
        bare = c.compare(percent.args[0], other)
        if bare:
            return Equality(True, "percent", "percent sign left out")
    return Equality(False, "percent", "another share")


def degrees(c: Context, gold: Node, pred: Node) -> Equality:
    if is_op(gold, "deg") and is_op(pred, "deg"):
        return c.compare(gold.args[0], pred.args[0])
    angle, other = (gold, pred) if is_op(gold, "deg") else (pred, gold)
    assert isinstance(angle, Op)
    unit = other.units if isinstance(other, Quantity) and not other.nouns else ()
    if isinstance(other, Quantity):
        if unit not in _ANGULAR:
            return Equality(False, "quantity", "an angle against another quantity")
        other = other.value
    if unit != _RADIAN and c.compare(angle.args[0], other):
        return Equality(True, "angle", "degree sign or scale left out")
    if isinstance(other, Num | Sym | Op) and same_value(angle, other, c.budget):
        return Equality(True, "angle", "degrees and radians")
    return Equality(False, "angle", "another angle")


def has_letter_units(gold: Node, pred: Node) -> bool:
    return forms.letter_units(gold, pred) is not None or forms.letter_units(pred, gold) is not None


def quantities(c: Context, gold: Node, pred: Node) -> Equality:
    """Values with units and counted things.  What the gold answer counts may be left out; a word that only the
    prediction has must be known to count something, or it may change the number."""
    left, right = (_quantity(node, other) for node, other in ((gold, pred), (pred, gold)))
    said = [bool(side.units or side.nouns) for side in (left, right)]
    if all(said):
        nested = left.nouns <= right.nouns or right.nouns <= left.nouns
        if left.units != right.units or not nested:
            return Equality(False, "quantity", "units differ")
    if not right.nouns - left.nouns <= COUNTED:
        return Equality(False, "quantity", "words after the number that are no unit")
    return c.compare(left.value, right.value)


def has_base(node: Node) -> bool:
    return _base_digits(node) is not None


def _base_digits(node: Node) -> tuple[str, int, int] | None:
    if isinstance(node, BaseN):
        return node.digits, 1, node.base
    if isinstance(node, Op) and node.name == "neg" and isinstance(node.args[0], BaseN):
        return node.args[0].digits, -1, node.args[0].base
    return None


def _quantity(node: Node, other: Node) -> Quantity:
    if isinstance(node, Quantity):
        return node
    return forms.letter_units(node, other) or Quantity(node, (), frozenset())


def _on_24_hours(time: Time) -> tuple[int, int, int] | None:
    if not time.half:
        return (time.hour, time.minute, time.second or 0) if time.hour > 12 else None
    return time.hour % 12 + (12 if time.half == "pm" else 0), time.minute, time.second or 0
