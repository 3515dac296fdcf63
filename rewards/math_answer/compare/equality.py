"""What a step of the ladder says, and the last step's signature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rewards.math_answer.nodes import Node


@dataclass(frozen=True, slots=True)
class Equality:
    """`equal` is None where the step could not decide.  Only what is equal is true."""

    equal: bool | None
    stage: str
    reason: str

    def __bool__(self) -> bool:
        return self.equal is True


# Computer algebra on (gold, prediction): equal, different or unknown.  It runs where it can be killed.
Prover = Callable[[Node, Node], bool | None]
