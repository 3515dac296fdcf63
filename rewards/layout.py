"""Does the completion keep the layout `<think>…</think><answer>…</answer>`?

Each of the four tags is worth a quarter when it occurs exactly once, after the tag before it, and, for the first and
the last, with nothing but white space outside.  A share instead of all-or-nothing gives a policy that has never seen
the layout something to climb; it cannot be gathered by repeating tags, because a repeated tag earns nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewards.contract import Score, declare

TAGS = ("<think>", "</think>", "<answer>", "</answer>")


@declare(rejected_golds="ignore")
def layout(completion: str, problem: Mapping[str, Any], *, opened: bool = False) -> Score:
    """Share of the layout that is kept: 0, 0.25, 0.5, 0.75 or 1.

    `opened` says that the prompt already ends in `<think>` (some chat templates do that), so the completion starts
    inside.  A run needs no word of it: its completions begin with the tag that their prompt opened.
    """
    inside = opened and not completion.lstrip().startswith(TAGS[0])
    text = TAGS[0] + completion if inside else completion
    faults: list[str] = []
    end = 0  # where the last kept tag ended
    for tag in TAGS:
        fault, at = _fault(text, tag, end)
        if fault:
            faults.append(fault)
        else:
            end = at + len(tag)
    return Score(1 - len(faults) / len(TAGS), why="; ".join(faults) or "layout kept")


def _fault(text: str, tag: str, start: int) -> tuple[str, int]:
    count = text.count(tag)
    if count != 1:
        return f"{tag} occurs {count} times" if count else f"{tag} is missing", -1
    at = text.index(tag)
    if at < start:
        return f"{tag} is out of order", at
    if tag == TAGS[0] and text[:at].strip():
        return f"text before {tag}", at
    if tag == TAGS[-1] and text[at + len(tag) :].strip():
        return f"text after {tag}", at
    return "", at
