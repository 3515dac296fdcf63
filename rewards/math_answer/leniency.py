"""What counts as right beyond equality: the two named leniencies.  Options that choose one are called `policy`.

Equality of mathematical objects is the same under both.  They differ in where an answer may be found and in how much
sloppiness is forgiven, because a model that is trained finds every leniency and keeps to it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Leniency:
    name: str
    anchored: bool
    """Only an answer that is announced counts: a box, an answer tag, "the answer is", `####`, or a completion that is
    nothing but the answer.  Otherwise the last formula or number of the last sentence will do."""
    unevaluated: bool
    """A sum, integral, product or limit is accepted where the gold answer is a plain number; it may be the question."""
    decimal_digits: int
    """A decimal with at least so many significant digits equals the exact number that rounds to it.  0: never."""
    gold_digits: int
    """A gold answer that is a decimal of at least so many significant digits is a rounding: an exact prediction that
    rounds to it is right.  0: never."""
    small_letters: bool
    """`c` is the choice C."""
    decimal_comma: bool
    """`3,14` may be read as 3.14 where the gold answer is a decimal."""
    set_as_tuple: bool
    """Brackets of another kind around the same items in the same order are forgiven, except those of an interval."""


TRAIN = Leniency(
    name="train",
    anchored=True,
    unevaluated=False,
    decimal_digits=0,
    gold_digits=0,
    small_letters=False,
    decimal_comma=False,
    set_as_tuple=False,
)
EVAL = Leniency(
    name="eval",
    anchored=False,
    unevaluated=True,
    decimal_digits=12,
    gold_digits=3,
    small_letters=True,
    decimal_comma=True,
    set_as_tuple=True,
)
LENIENCIES = {leniency.name: leniency for leniency in (TRAIN, EVAL)}


def named(policy: str | Leniency) -> Leniency:
    if isinstance(policy, Leniency):
        return policy
    if policy not in LENIENCIES:
        raise ValueError(f"verify: policy {policy!r} is not known; there are {', '.join(LENIENCIES)}")
    return LENIENCIES[policy]
