"""Judge one completion against a gold answer: extract, parse, compare; always with a reason.

    verify("1/2", r"… so the answer is \\boxed{0.5}")   →   Verdict(ok=True, reason="same number", stage="rational", …)

Nothing here sets a time limit: every step is bounded by the size of what it may touch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from rewards.math_answer.compare.equality import Equality
from rewards.math_answer.compare.ladder import compare
from rewards.math_answer.find.extract import extract
from rewards.math_answer.find.payload import Extracted
from rewards.math_answer.leniency import EVAL, Leniency, named
from rewards.math_answer.nodes import Node, Num, Seq, Words
from rewards.math_answer.read import answers
from rewards.math_answer.read import text as cleaning
from rewards.math_answer.read.tokens import ParseError


@dataclass(frozen=True, slots=True)
class Verdict:
    """`ok`: right or not.  `reason`: why, in words.  `stage`: the step that decided.  `extracted`: the answer that was
    judged, as text, None where there was none.  `ms`: milliseconds."""

    ok: bool
    reason: str
    stage: str
    extracted: str | None
    ms: float


def gold_answer(gold: str | int | float) -> Extracted:
    """The gold answer, read once: it comes again for every completion of its problem."""
    return _read_gold(str(int(gold)) if isinstance(gold, float) and gold.is_integer() else str(gold))


@lru_cache(maxsize=4096)
def _read_gold(text: str) -> Extracted:
    """The gold answer, which may stand in a box, after `####`, or at the end of a worked solution."""
    if "boxed" in text or "####" in text:
        return extract(text, EVAL)
    try:
        node = answers.parse(text)
    except ParseError as error:
        return Extracted(text or None, None, str(error))
    if isinstance(node, Words) and len(text) > 250:
        found = extract(text, EVAL)
        if found.node is not None and not isinstance(found.node, Words):
            return found
    return Extracted(text, node, "gold")


def verify(gold: str | int | float, completion: str, policy: str | Leniency = "train") -> Verdict:
    """Whether the completion's answer is the gold answer."""
    leniency = named(policy)
    return _timed(lambda: judge(gold, extract(completion, leniency), leniency))


def verify_answer(gold: str | int | float, answer: str, policy: str | Leniency = "train") -> Verdict:
    """Whether a bare answer, found by somebody else, is the gold answer."""
    leniency = named(policy)

    def run() -> tuple[Equality, str | None]:
        if "boxed" in answer:
            return judge(gold, extract(answer, leniency), leniency)
        try:
            return judge(gold, Extracted(answer, answers.parse(answer), "bare"), leniency)
        except ParseError as error:
            return judge(gold, Extracted(answer, None, f"cannot be read: {error}"), leniency)

    return _timed(run)


def _timed(run: Callable[[], tuple[Equality, str | None]]) -> Verdict:
    start = time.perf_counter()
    same, text = run()
    ms = (time.perf_counter() - start) * 1000
    return Verdict(bool(same), same.reason, same.stage, text, round(ms, 3))


def judge(gold: str | int | float, found: Extracted, leniency: Leniency) -> tuple[Equality, str | None]:
    """Whether an extracted answer is the gold answer, and its text."""
    right = gold_answer(gold)
    if found.text and _same_text(right.text, found.text):
        return Equality(True, "text", "same text"), found.text
    if right.node is None:
        return Equality(False, "gold", f"the gold answer cannot be read: {right.reason}"), found.text
    if found.node is None:
        return Equality(False, "extract" if found.text is None else "parse", found.reason), found.text
    same = compare(right.node, found.node, leniency)
    if not same and (better := _other_reading(right, found, leniency)) is not None:
        same = better
    return same, found.text


def _same_text(gold: str | None, found: str) -> bool:
    """The same characters, however long: what is too long to be parsed still equals itself."""
    return (
        gold is not None and abs(len(gold) - len(found)) < 64 and cleaning.unwrap(gold) == cleaning.unwrap(found) != ""
    )


def _other_reading(gold: Extracted, found: Extracted, leniency: Leniency) -> Equality | None:
    """Commas read the other way: `100,200,300` as a list where the other side is one, `3,14` as 3.14."""
    for one, other in ((gold, found), (found, gold)):
        text = one.text or ""
        if isinstance(one.node, Num) and isinstance(other.node, Seq) and text.count(",") > 1:
            try:
                node: Node = answers.without_thousands(text)
            except ParseError:
                continue
            left, right = (node, other.node) if one is gold else (other.node, node)
            return compare(left, right, leniency)
        if leniency.decimal_comma and isinstance(other.node, Num) and other.node.places and "," in text:
            try:
                return compare(other.node, answers.parse(answers.with_decimal_comma(text)), leniency)
            except ParseError:
                continue
    return None
