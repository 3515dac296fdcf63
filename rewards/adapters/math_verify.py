r"""Math-Verify's `parse` and `verify`, with our verdicts.

    - from math_verify import parse, verify
    + from rewards.adapters.math_verify import parse, verify

    >>> verify(parse(r"$\frac{1}{2}$"), parse(r"… so the answer is \boxed{0.5}."))
    True

The names and the order of the arguments are those of Math-Verify 0.9: `parse` returns a list, which is empty where no
answer was found, and `verify` a bool.  What differs, because of how answers are judged here (docs/verifier.md):

- `extraction_config`, `fallback_mode` and `extraction_mode` choose between patterns.  There is one way here to find an
  answer, so they are taken and change nothing.
- `parsing_timeout`, `timeout_seconds` and `raise_on_error` are taken and change nothing: the work is bounded by the
  size of the text, not by a clock, so it is the same in a thread, and no text raises.
- An item of the list is text, the answer as it stands in the completion, not a sympy object.
- `float_rounding`, `numeric_precision` and `strict=False` would make more answers equal than are.  Other values than
  Math-Verify's defaults are a ValueError.
- `policy` is ours: "eval" (the default, the nearest to Math-Verify) or "train", which pays for announced answers only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewards.math_answer.find.extract import extract
from rewards.math_answer.leniency import named
from rewards.math_answer.verdict import verify as verify_completion
from rewards.math_answer.verdict import verify_answer

__all__ = ["Answer", "parse", "verify"]


class Answer(str):
    """An answer that was found in a text: `completion` is the whole text, `policy` what is forgiven."""

    completion: str
    policy: str


def parse(
    pred: str,
    extraction_config: Sequence[Any] | None = None,
    fallback_mode: str = "first_match",
    extraction_mode: str = "any_match",
    parsing_timeout: int | None = None,
    raise_on_error: bool = False,
    *,
    policy: str = "eval",
) -> list[Answer]:
    """The answer in a text, gold or completion, as a list of one; an empty list where there is none or it cannot be
    read."""
    found = extract(pred, named(policy))
    if found.text is None or found.node is None:
        return []
    answer = Answer(found.text)
    answer.completion, answer.policy = pred, policy
    return [answer]


def verify(
    gold: str | Sequence[str],
    target: str | Sequence[str],
    float_rounding: int = 6,
    numeric_precision: int = 15,
    strict: bool = True,
    allow_set_relation_comp: bool = False,
    timeout_seconds: int | None = None,
    raise_on_error: bool = False,
) -> bool:
    """Whether any of the targets is any of the golds.  Text that `parse` has not seen is taken for a bare answer.

    Sets and relations are always compared with each other (`allow_set_relation_comp`).
    """
    if (float_rounding, numeric_precision, strict) != (6, 15, True):
        raise ValueError(
            f"verify: float_rounding = {float_rounding}, numeric_precision = {numeric_precision}, strict = {strict}; "
            "numbers are compared exactly and variables by name, so leave these out"
        )
    return any(_same(one, other) for one in _listed(gold) for other in _listed(target))


def _listed(answers: str | Sequence[str]) -> Sequence[str]:
    given = [answers] if isinstance(answers, str) else answers
    for answer in given:
        if not isinstance(answer, str):
            raise TypeError(f"verify: {type(answer).__name__} given; answers are text here, as `parse` returns them")
    return given


def _same(gold: str, target: str) -> bool:
    if isinstance(target, Answer):
        return verify_completion(str(gold), target.completion, target.policy).ok
    return verify_answer(str(gold), target, "eval").ok
