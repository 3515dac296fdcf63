"""Is the completion laid out so that a person can read it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewards.contract import Score, declare

LONGEST = 3000  # characters


@declare(rejected_golds="ignore")
def readability(completion: str, problem: Mapping[str, Any]) -> Score:
    """1 less a share for each fault."""
    found = faults(completion)
    return Score(1 - len(found) / 4, why="; ".join(found) or "readable")


def faults(text: str) -> list[str]:
    found = []
    if max(map(len, text.split("\n")), default=0) > LONGEST:
        found.append("a paragraph too long to read")
    return found
