"""What a run of letters is: a function, a constant, a unit, a product of variables, or a word.

Only the surroundings can tell: `min` is minutes after a number and a function before a bracket, `ab` is a · b.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from rewards.math_answer.read.measures import UNITS
from rewards.math_answer.read.tokens import Token
from rewards.math_answer.read.vocabulary import CANONICAL, FUNCTIONS, GREEK
from rewards.math_answer.read.words import singular

_SHORT_WORDS = frozenset("no of to is in up be by at if it we on an as my us me so do go he am pm".split())
_HEADS = sorted((name for name in FUNCTIONS if len(name) >= 3), key=len, reverse=True)


def split_letters(run: str, before: list[Token], space: bool, after: str, textual: bool) -> Iterator[tuple[str, str]]:
    """The tokens that a run of letters stands for, given the tokens before it and the next two characters."""
    lower = run.lower()
    after_value = bool(before) and before[-1].kind in ("num", "close")
    if len(run) == 1:
        unit = run in "msghL" and space and not after and before and before[-1].kind == "num"
        yield ("word" if unit and not _has_variable(before) else "name"), run  # `5 m`; but `5m` is a product
    elif lower in _FIXED:
        yield _FIXED[lower]
    elif lower in _MEASURES and after_value and (textual or after[:1] != "("):
        yield _MEASURES[lower]
    elif run in GREEK and not (run in FUNCTIONS and after[:1] == "("):  # `gamma` is a letter, `gamma(5)` a function
        yield "name", run
    elif run in FUNCTIONS or (lower in FUNCTIONS and after[:1] == "("):
        yield "cmd", CANONICAL.get(lower, lower)
    elif lower == "inf" and not textual:
        yield "name", "oo"
    elif lower in ("degree", "degrees") and before:
        yield "op", "deg"
    else:
        yield from _word_or_product(run, before, space, after, textual)


def _word_or_product(
    run: str, before: list[Token], space: bool, after: str, textual: bool
) -> Iterator[tuple[str, str]]:
    last = before[-1] if before else None
    after_number = last is not None and last.kind in ("num", "close") and (space or textual)
    if (
        textual
        or (run.lower() in _SHORT_WORDS and not run.isupper())
        or (last is not None and singular(run.lower()) in UNITS and _may_measure(run, last))
    ):
        yield "word", run
        return
    head = next((name for name in _HEADS if run.startswith(name)), "")
    if head and len(run) - len(head) <= 2 and len(run) > len(head):  # `sinx`, `cotx`
        yield "cmd", CANONICAL.get(head, head)
        for letter in run[len(head) :]:
            yield "name", letter
        return
    in_expression = (last is not None and last.kind in ("num", "op", "rel", "open", "close")) or after[:1] in set(
        "+-*/^=(<>"
    )
    alphabetic = all(ord(b) - ord(a) == 1 for a, b in zip(sorted(run), sorted(run)[1:], strict=False))
    mixed = len(run) <= 4 and not run.islower() and run[1:] != run[1:].lower()  # `nRT`, `GMm`
    if (
        len(run) == 2
        or mixed
        or (len(run) == 3 and (alphabetic or (in_expression and not after_number)))
        or run.isupper()
        and len(run) <= 4
    ):
        for letter in run:
            yield "name", letter
    else:
        yield "word", run


def _has_variable(before: list[Token]) -> bool:
    r"""Whether the value that ends here has one: `\pi r^2 h` is a volume, `\pi 5^2 h` hours."""
    value = takewhile(lambda token: token.kind not in ("rel", "sep"), reversed(before))
    return any(token.kind == "name" and token.text not in ("pi", "e", "i") for token in value)


def _may_measure(run: str, last: Token) -> bool:
    """Whether a unit may stand here: not at the beginning of a group, `G{Mm}`, nor after a variable, `μmg`."""
    variable = last.kind == "name" and last.text not in ("pi", "e")
    return last.kind not in ("open", "rel", "sep") and not (variable and run.lower() in _UNCLEAR)


_UNCLEAR = frozenset("mg ms mi pa nm ev kj kw rs db".split())
# Words that are one token wherever they stand, in capitals too.
_FIXED: dict[str, tuple[str, str]] = {
    "and": ("sep", "and"),
    "or": ("sep", "or"),
    "union": ("op", "cup"),
    "cup": ("op", "cup"),
    "pi": ("name", "pi"),
    "infinity": ("name", "oo"),
    "infty": ("name", "oo"),
    "oo": ("name", "oo"),
    "percent": ("op", "%"),
    "pct": ("op", "%"),
    "percentage": ("op", "%"),
    "frac": ("cmd", "frac"),
    "overline": ("cmd", "overline"),
}
# Words that measure what stands before them, and are functions elsewhere.
_MEASURES = {"min": ("word", "min"), "sec": ("word", "sec"), "deg": ("op", "deg")}
