"""Steps for multiple choice: a letter against a letter, what it stands for against what it stands for."""

from __future__ import annotations

from rewards.math_answer.compare.context import Context
from rewards.math_answer.compare.equality import Equality
from rewards.math_answer.nodes import Node, Op, Relation, Seq, Sym, is_op
from rewards.math_answer.read.choices import LETTERS


def choices(c: Context, gold: Node, pred: Node) -> Equality:
    """`(C) 12` against `C`, `12` or another such pair."""
    if is_op(gold, "choice") and is_op(pred, "choice"):
        if not same_letter(c, gold.args[0], pred.args[0]):
            return Equality(False, "choice", "another letter")
        same = c.compare(gold.args[1], pred.args[1])
        return Equality(same.equal, "choice", f"same letter, {same.reason}")
    labelled, other = (gold, pred) if is_op(gold, "choice") else (pred, gold)
    assert isinstance(labelled, Op)
    letter, value = labelled.args
    if isinstance(other, Seq) and other.open == "" and any(is_op(item, "choice") for item in other.items):
        return Equality(False, "choice", "one choice against several")
    if isinstance(other, Sym) and other.name in LETTERS:  # a letter is no value
        named = same_letter(c, letter, other)
        return Equality(named, "choice", "same letter" if named else "another letter")
    return c.compare(value, other) if labelled is gold else c.compare(other, value)


def letter_in_relation(gold: Node, pred: Node) -> bool:
    """A letter against `x ∈ C` or `A = C`: a formula about C, which names no choice; `x = C` may."""
    for letter, other in ((gold, pred), (pred, gold)):
        if isinstance(letter, Sym) and letter.name in LETTERS and isinstance(other, Relation):
            named = any(isinstance(side, Sym) and side.name in LETTERS for side in other.sides[:-1])
            return named or set(other.signs) != {"="}
    return False


def same_letter(c: Context, gold: Node, pred: Node) -> bool:
    """`C` and `C`; or `c`, where the leniency allows it."""
    if gold == pred:
        return True
    names = [node.name for node in (gold, pred) if isinstance(node, Sym)]
    return c.leniency.small_letters and len(names) == 2 and names[0].upper() == names[1].upper() in LETTERS


def several(c: Context, gold: Node, pred: Node) -> Equality | None:
    """`A, C` against `AC`."""
    letters = _letters(gold)
    return Equality(True, "choice", "same letters") if letters and letters == _letters(pred) else None


def _letters(node: Node) -> frozenset[str] | None:
    """The letters in `A, C` and in `AC`: several capitals, each once."""
    match node:
        case Seq(items=parts, open="") | Op(name="mul", args=parts):
            names = [part.name for part in parts if isinstance(part, Sym) and part.name in LETTERS]
            return frozenset(names) if len(names) == len(parts) == len(set(names)) > 1 else None
    return None
