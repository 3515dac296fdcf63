"""Which problems come next, by how often they were solved before.

A group teaches most where some of its completions are right and some are wrong, so a step's problems are drawn from
three pools by their *solve rate*: easy (above 3/4), hard (at most 1/4) and medium, to which new problems belong as
well.  A pool that has too few is made up for by the others, medium first.  Within a pool those come first that were not
seen for longest, new ones before all.  Bounds as in prime-rl's buffer.

The rate is a running mean in which the last visit weighs half, because the policy that earned the older ones is gone.
A problem that all completions solved in so many visits in a row is retired: it is drawn only where no other is left.

All of it is a function of what was recorded, and the records are part of a checkpoint.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from grpo.config import Curriculum
from grpo.types import Prompt

EASY, HARD = 0.75, 0.25  # solve rates


@dataclass(frozen=True, slots=True)
class Visit:
    """What is remembered of a problem: its solve rate, the step of the last visit, and in how many visits in a row all
    completions had solved it."""

    rate: float
    step: int
    streak: int


class SolveRates:
    """What is known of every problem that was visited, by its id."""

    def __init__(self, state: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._visits = {name: Visit(**visit) for name, visit in (state or {}).items()}

    def record(self, problem_id: str, solved: float, step: int) -> None:
        """`solved`: the share of a group's completions that are right."""
        last = self._visits.get(problem_id)
        rate = solved if last is None else (last.rate + solved) / 2
        self._visits[problem_id] = Visit(rate, step, (last.streak if last else 0) + 1 if solved >= 1 else 0)

    def state(self) -> dict[str, dict[str, Any]]:
        """For `SolveRates(state)`; plain values."""
        return {name: asdict(visit) for name, visit in self._visits.items()}

    def pool(self, problem_id: str, settings: Curriculum) -> str:
        """The name of the pool that the problem belongs to.  Without shares all that is not retired is in one."""
        visit = self._visits.get(problem_id)
        if visit is not None and settings.retire_after and visit.streak >= settings.retire_after:
            return "retired"
        if visit is None or settings.easy is None:
            return "medium"
        return "easy" if visit.rate > EASY else "hard" if visit.rate <= HARD else "medium"

    def last_step(self, problem_id: str) -> int:
        """-1: never visited."""
        visit = self._visits.get(problem_id)
        return -1 if visit is None else visit.step


def draw_by_difficulty(
    prompts: Sequence[Prompt],
    rates: SolveRates,
    count: int,
    settings: Curriculum,
    *,
    seed: str,
    without: Collection[str] = (),
) -> list[Prompt]:
    """`count` prompts, or all where there are fewer; problems whose ids are in `without` only where no others are left.

    Ties, and the order of what was drawn, are fixed by `seed`.
    """
    dice = random.Random(seed)
    order = dice.sample(prompts, len(prompts))
    order.sort(key=lambda prompt: rates.last_step(prompt.problem.id))
    pools: dict[str, list[Prompt]] = {"medium": [], "easy": [], "hard": [], "retired": [], "taken": []}
    for prompt in order:
        name = prompt.problem.id
        pools["taken" if name in without else rates.pool(name, settings)].append(prompt)

    wanted = {"easy": round(count * (settings.easy or 0.0))}
    wanted["hard"] = min(round(count * (settings.hard or 0.0)), count - wanted["easy"])
    wanted["medium"] = count - wanted["easy"] - wanted["hard"]
    drawn = [prompt for pool, share in wanted.items() for prompt in pools[pool][:share]]
    spare = [prompt for pool, members in pools.items() for prompt in members[wanted.get(pool, 0) :]]
    drawn += spare[: count - len(drawn)]
    dice.shuffle(drawn)  # several updates in a step share it out, and each should see all pools
    return drawn
