"""Bounded asynchrony: later steps are sampled while the policy learns from an earlier one.

With `cluster.max_staleness` = k the rollout of step N starts as soon as the weights of step N-1-k are published, in a
thread of its own.  So the rollouts of at most k+1 steps are under way, and when step N is learned from, by the policy
of step N-1, no token of it is more than k updates old.  k counts steps, each of which publishes once.

    k = 1      sample 1  sample 2  sample 3 …          rollouts 1 and 2 start with the weights of step 0,
                         learn 1   learn 2  …          3 with those of 1, while 2 is learned from

Every step learns from the groups of its own problems, however late the last is: whoever takes the groups that come
first has more short completions among them than the policy writes.  The order of problems is that of a synchronous
run, and what is under way when a run stops is asked again when it goes on.

The loss needs no other form for this.  It is the decoupled objective of AReaL (arXiv 2505.24298),

    L = -Σ_t w_t · c(π_old / π_sampler) · min(u A, clip(u, 1-ε_low, 1+ε_high) A)        u = π / π_old

    π_sampler   whoever drew the token, up to k updates ago: its log-probability was noted then
    π_old       the policy as it is before the step's first update: the learner computes it

The trust region lies around π_old, where the step's updates begin, and not around weights that are gone.  The
correction c, truncated and without a gradient, makes up for the age of tokens along with the sampler's own
arithmetic.  With one update per step the policy is its own π_old and u = 1.

No Ray here: an engine will do whose `sample` may be called from other threads while the main thread uses its other
verbs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from itertools import compress
from threading import Event, Thread
from typing import NamedTuple, Protocol

from grpo.algorithm import JudgedGroup, StepResult, Trainer
from grpo.metrics import Row, Stopwatch, staleness_row, tokens_by_age
from grpo.run.checkpoints import Progress
from grpo.source import StepSource
from grpo.types import Prompt, ScoredGroup

POLL = 0.2  # seconds between two looks at whether the run is to stop
PATIENCE = 5.0  # seconds that closing waits for threads; what is then still sampled ends with the engine

# Of a run's standing, a step, and problems to leave out while there are others.
MakeSource = Callable[[Progress, int, Collection[str]], StepSource]


class Taken(NamedTuple):
    """A step that was taken, how many problems the run has drawn by its end, and more metrics for its row."""

    result: StepResult
    drawn: int
    row: Row


class Pace(Protocol):
    """How sampling and learning follow each other."""

    def start(self, progress: Progress) -> None:
        """Sample whatever may be sampled by now, where that waits for nobody."""
        ...

    def step(self, progress: Progress, lr: float) -> Taken:
        """The step after `progress`, from its sampling to the new weights."""
        ...

    def abandon(self) -> None:
        """Forget all that is under way; the next `start` or `step` begins from the progress that it is given."""
        ...

    def close(self) -> None: ...


class ByTurns:
    """Strictly on-policy: each step is sampled with the weights of the one before.  `max_staleness` = 0."""

    def __init__(self, trainer: Trainer, make_source: MakeSource) -> None:
        self._trainer, self._make_source = trainer, make_source

    def start(self, progress: Progress) -> None:
        pass

    def step(self, progress: Progress, lr: float) -> Taken:
        source = self._make_source(progress, progress.step + 1, ())
        return Taken(self._trainer.step(progress.step + 1, source, lr=lr), source.drawn, {})

    def abandon(self) -> None:
        pass

    def close(self) -> None:
        pass


class Ahead:
    """Up to `max_staleness` steps ahead of the policy, and never beyond `steps`, the run's last.

    Used from the main thread alone.  An error in a rollout is raised by the step that it belongs to, so the steps
    before it are learned from first, as in a synchronous run.
    """

    def __init__(self, trainer: Trainer, make_source: MakeSource, *, max_staleness: int, steps: int) -> None:
        self._trainer, self._make_source = trainer, make_source
        self._max_staleness, self._steps = max_staleness, steps
        self._under_way: dict[int, _Rollout] = {}  # by step, in their order
        self._left: list[_Rollout] = []  # abandoned

    def start(self, progress: Progress) -> None:
        """Start the rollouts that the weights of `progress.step` allow.  Asking twice starts nothing twice."""
        first = max(self._under_way, default=progress.step) + 1
        for step in range(first, min(progress.step + 1 + self._max_staleness, self._steps) + 1):
            # What these have drawn, and what comes of it, `progress` does not know yet.
            before = [rollout.drawn for rollout in self._under_way.values()]
            self._under_way[step] = _Rollout(self._trainer, self._make_source, progress, step, before)

    def step(self, progress: Progress, lr: float) -> Taken:
        """Wait for the step's rollout and learn from it.  The phase "sample" is the wait: the learner is idle."""
        step = progress.step + 1
        self.start(progress)
        rollout = self._under_way[step]
        with self._trainer.clock("sample"):
            while not wait([rollout.done], timeout=POLL).done:
                self._trainer.arrived(*rollout.arrived)  # here and not there: it prints, and it may stop the run
            sampled = rollout.done.result()
        del self._under_way[step]
        fresh = [max(tokens_by_age(step, [scored.group])) <= self._max_staleness for scored in sampled.groups]
        result = self._trainer.learn_from(list(compress(sampled.groups, fresh)), sampled.rounds, step, lr)
        result = replace(result, groups=_with_dropped(sampled.groups, fresh, result.groups))
        row = staleness_row(step, result.groups, self._max_staleness) | sampled.row
        return Taken(result, sampled.drawn, row)

    def abandon(self) -> None:
        """Threads end by themselves when their next group arrives, or when their engine is closed."""
        for rollout in self._under_way.values():
            rollout.abandoned.set()
        self._left += self._under_way.values()
        self._under_way = {}

    def close(self) -> None:
        self.abandon()
        until = time.monotonic() + PATIENCE
        for rollout in self._left:
            rollout.thread.join(max(0.0, until - time.monotonic()))


def _with_dropped(
    sampled: Sequence[ScoredGroup], fresh: Sequence[bool], judged: Iterable[JudgedGroup]
) -> tuple[JudgedGroup, ...]:
    """All that were sampled, in their order; those that are not `fresh` have no part in the step."""
    learned = iter(judged)
    return tuple(
        next(learned) if is_fresh else JudgedGroup(scored, (0.0,) * len(scored.rewards), useful=False, dropped=True)
        for scored, is_fresh in zip(sampled, fresh, strict=True)
    )


# --- One rollout, in its thread -----------------------------------------------------------------------------------


class _Abandoned(Exception):
    """Nobody waits for this rollout any more."""


class _Sampled(NamedTuple):
    groups: list[ScoredGroup]
    rounds: int
    drawn: int  # problems that the run has drawn by the end of it
    row: Row


class _Rollout:
    """The rollout of `step`, begun when it is made.

    `before` are the sources of the steps between `progress` and this one, each as soon as it has drawn its last: only
    then is it known which problems come next.  With one round of sampling that is at once, and rollouts overlap; with
    dynamic sampling it is when the step before is nearly done.
    """

    def __init__(
        self,
        trainer: Trainer,
        make_source: MakeSource,
        progress: Progress,
        step: int,
        before: Sequence[Future[StepSource]],
    ) -> None:
        self._trainer, self._make_source = trainer, make_source
        self._progress, self._step, self._before = progress, step, before
        self.arrived = 0, trainer.sampling.problems_per_step  # groups, of so many in this round
        self.abandoned = Event()
        self.drawn: Future[StepSource] = Future()
        self.done: Future[_Sampled] = Future()
        # A daemon: an engine that never answers must not keep the process from ending.
        self.thread = Thread(target=self._work, name=f"rollout {step}", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        try:
            source, watch = self._source(), Stopwatch()
            trainer = replace(self._trainer, clock=watch, arrived=self._arrived)
            most = trainer.sampling.max_num_gen_batches
            groups, rounds = trainer.rollout(_Drawing(source, most, self.drawn))
            if not self.drawn.done():  # fewer rounds than there might have been
                self.drawn.set_result(source)
            row = {f"rollout/{phase}": seconds for phase, seconds in watch.seconds.items()}
            self.done.set_result(_Sampled(groups, rounds, source.drawn, row))
        except _Abandoned:
            self._fail(_Abandoned())  # a new one: the old one's traceback would keep the engine's generator open
        except BaseException as error:  # noqa: BLE001  the main thread raises it, as it is
            self._fail(error)

    def _source(self) -> StepSource:
        sources = [drawn.result() for drawn in self._before]
        drawn = sources[-1].drawn if sources else self._progress.drawn
        taken = {problem for source in sources for problem in source.taken}
        return self._make_source(replace(self._progress, drawn=drawn), self._step, taken)

    def _arrived(self, done: int, total: int) -> None:
        if self.abandoned.is_set():
            raise _Abandoned
        self.arrived = done, total

    def _fail(self, error: BaseException) -> None:
        for future in (self.drawn, self.done):
            if not future.done():
                future.set_exception(error)


class _Drawing:
    """A step's source, which `drawn` gets once it has drawn for its last round."""

    def __init__(self, source: StepSource, rounds: int, drawn: Future[StepSource]) -> None:
        self._source, self._rounds, self._drawn = source, rounds, drawn

    def prompts(self, count: int) -> Sequence[Prompt]:
        prompts = self._source.prompts(count)
        self._rounds -= 1
        if self._rounds == 0:
            self._drawn.set_result(self._source)
        return prompts

    def seed(self, round: int) -> int:
        return self._source.seed(round)
