"""What a reward returns, and what it may declare of itself: all that a reward and whoever runs it must agree on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

# How a call ended without an answer of the reward's own: no answer in time; its process died; it raised, or returned
# what is no score.
Failure = Literal["timeout", "crash", "fault"]
RejectedGolds = Literal["report", "drop", "ignore"]


@dataclass(frozen=True, slots=True)
class Score:
    """What a reward says of one completion.

    `value` is the reward, any finite number; `None` means that the completion could not be judged: it leaves its
    group's baseline and is counted, because "could not be judged" is not "wrong".  `answer` is what was extracted as
    the answer, in a normal form so that equal answers are equal strings (maj@k votes with it).  `why` is the reason,
    in words a person reads in `samples.jsonl`.  `parsed` says whether an answer was found that could be read at all;
    it is `None` for rewards that look for none.  `failure` is set by whoever runs the reward, where the reward gave no
    answer of its own; a reward leaves it alone.

    Example: `Score(1.0, answer="42", why="equal as rationals", parsed=True)`.
    """

    value: float | None
    answer: str | None = None
    why: str = ""
    parsed: bool | None = None
    failure: Failure | None = None

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"Score.value: must be a finite number or None (given {self.value})")

    @classmethod
    def none(cls, why: str) -> Score:
        """The completion could not be judged, and `why`."""
        return cls(None, why=why)


Reward = Callable[[str, Mapping[str, Any]], float | Score]
F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a reward says of itself to whoever runs it.

    `needs`: facts without which a problem cannot be judged, such as ("answer",).  Where problems are loaded, those that
    lack one are left out and counted, and a source in which every problem does is refused.

    `timeout`: seconds for one call, unless the settings say otherwise (`reward.timeout`).  Then the process is killed.

    `rejected_golds`: what it means that a problem's own gold answer does not get the best value.
    "report": the answer is written in a way that the reward does not read, or either is wrong: said before the first
    step, by the reward that comes first.  "drop": the problem is broken (a reference solution that fails its tests):
    left out and counted where problems are loaded.  "ignore": nothing, for a reward that looks at no gold answer.

    Example: `Declaration(needs=("answer",), timeout=20.0)`.
    """

    needs: tuple[str, ...] = ()
    timeout: float = 5.0  # seconds
    rejected_golds: RejectedGolds = "report"

    def __post_init__(self) -> None:
        # Python checks no types, and a reward is anyone's.
        needs: object = self.needs
        timeout: object = self.timeout
        if not isinstance(needs, tuple) or not all(isinstance(name, str) for name in needs):
            raise ValueError(f'Declaration.needs: must be a tuple of names, such as ("answer",) (given {needs!r})')
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
            raise ValueError(f"Declaration.timeout: must be seconds, a number above 0 (given {timeout!r})")
        if self.rejected_golds not in get_args(RejectedGolds):
            allowed = ", ".join(get_args(RejectedGolds))
            raise ValueError(f"Declaration.rejected_golds: must be one of {allowed} (given {self.rejected_golds!r})")


DECLARATION = "declaration"  # the attribute of a function that holds its `Declaration`; it may be set by hand


def declare(
    *, needs: tuple[str, ...] = (), timeout: float = 5.0, rejected_golds: RejectedGolds = "report"
) -> Callable[[F], F]:
    """A decorator that leaves the function as it is and hangs a `Declaration` on it, whatever its signature."""
    declaration = Declaration(needs, timeout, rejected_golds)

    def declared(function: F) -> F:
        setattr(function, DECLARATION, declaration)
        return function

    return declared


def declaration_of(function: Callable[..., object]) -> Declaration:
    """What `function` declares; the defaults where it declares nothing."""
    declaration = getattr(function, DECLARATION, Declaration())
    if not isinstance(declaration, Declaration):
        raise ValueError(f"its attribute `{DECLARATION}` must be a rewards.Declaration (given {declaration!r})")
    return declaration
