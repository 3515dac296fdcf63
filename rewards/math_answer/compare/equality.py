"""What a step of the ladder says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Equality:
    """`equal` is None where the step could not decide.  Only what is equal is true."""

    equal: bool | None
    stage: str
    reason: str

    def __bool__(self) -> bool:
        return self.equal is True
