"""How much may be computed for one pair of answers, and how a computation says that it has no value."""

from __future__ import annotations

WORK = 30_000  # steps for one pair of answers: a fraction of a second


class Undefined(Exception):
    """No value here: a pole, a logarithm of zero, infinity."""


class Unsupported(Exception):
    """This package cannot compute it."""


class Budget:
    """Work that is left for one pair of answers.  A count, not a clock: verdicts do not depend on the machine."""

    def __init__(self, work: int = WORK) -> None:
        self.left = work

    def spend(self, work: int) -> None:
        self.left -= work
        if self.left < 0:
            raise Unsupported("too much work")
