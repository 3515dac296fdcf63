"""A discrete-event model of a run: what sampling, scoring, learning and handing over weights come to together.

Nothing is computed here but time.  A run is a heap of events (time, what happens then) over four kinds of actors:

    samplers       engines with continuous batching.  All running completions of one advance together, a token each per
                   decoding step, so a completion of n tokens that joins at step c leaves at step c + n
    reward workers a completion each at a time
    learner        all its ranks as one: an update on step N when all of step N's groups are scored, then `publish`
    driver         deals a step's groups to the samplers in turns, a share for each, and takes nothing back

Step N may be asked when the weights of step N - 1 - max_staleness are published; with 0 sampling and learning take
turns.  New weights reach a sampler in mid-completion: it pauses, computes its keys and values again, and goes on.
Learner and samplers that share their devices are the same model with max_staleness 0 and the time of a change of turns.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

Step = Sequence[Sequence[int]]  # tokens of every completion, by group


@dataclass(frozen=True, slots=True)
class Decode:
    """One sampler.  Seconds of a decoding step: fixed + per_sequence · running + per_context · tokens in the cache."""

    fixed: float
    per_sequence: float = 0.0
    per_context: float = 0.0
    prefill: float = 0.0  # seconds per token of a prompt, once per group; and per token of a cache that is made anew
    slots: int = 256  # completions that run together

    def seconds(self, steps: float, running: int, context: float) -> float:
        """Of `steps` decoding steps, through which the cache grows by a token for each of the running."""
        mean_context = context + running * steps / 2
        return steps * (self.fixed + self.per_sequence * running + self.per_context * mean_context)


@dataclass(frozen=True, slots=True)
class Costs:
    """In seconds."""

    decode: Decode
    update: Callable[[Step], float]  # of a step's groups: driver, arithmetic, communication
    reward: float = 0.0  # one completion
    reward_workers: int = 8
    publish: float = 0.0  # from the end of the update until every sampler has the weights and the canary has passed
    pause: float = 0.0  # how long of that a sampler stands still, apart from making its cache anew
    turns: float = 0.0  # colocated: all that sleeping and waking take in a step
    ask: float = 0.0  # from a step's being asked to its first prefill, on every sampler


@dataclass(frozen=True, slots=True)
class Plan:
    samplers: int
    max_staleness: int = 0
    recompute: bool = True  # make the cache anew for new weights


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of the steps after the pipeline has filled.  Shares are of the time, between 0 and 1."""

    step: float  # seconds
    learner_idle: float
    samplers_idle: float  # neither decoding nor reading prompts, mean over samplers
    staleness: dict[int, float]  # updates between the weights of a group's oldest token and those it meets: share
    tokens_per_second: float  # sampled and learned from
    learned: tuple[tuple[int, int], ...]  # (step, group) in the order of updates, all of the run


@dataclass(slots=True)
class _Group:
    step: int
    index: int
    lengths: Sequence[int]
    unfinished: int
    oldest: int | None = None  # step of the weights of its oldest token


@dataclass(slots=True)
class _Sampler:
    """A stretch is the time between two changes of what runs.  All counts of tokens are those at its start."""

    running: list[tuple[int, int, int, _Group]] = field(default_factory=list)  # heap: last step, order, tokens, group
    waiting: deque[tuple[int, _Group]] = field(default_factory=deque)  # for a slot, as they came
    clock: int = 0  # decoding steps done
    context: int = 0  # tokens in the cache
    stretch: int = 0  # number of the present one
    started: float = 0.0
    due: float = 0.0
    before: float = 0.0  # seconds at its start without a token: standing still, and reading
    stood: float = 0.0  # of them, standing still
    busy: float = 0.0  # seconds, of all before

    def busy_until(self, now: float) -> float:
        return self.busy + max(0.0, now - self.started - self.stood) if self.running else self.busy

    def steps_until(self, now: float) -> int:
        """Decoding steps of this stretch, as if they took the same time each."""
        whole = self.running[0][0] - self.clock
        begun = self.started + self.before
        return int(whole * min(1.0, max(0.0, now - begun) / max(1e-12, self.due - begun)))


class Pipeline:
    """One run over `steps`; `prompt` is the tokens of every prompt."""

    def __init__(self, plan: Plan, costs: Costs, prompt: int, steps: Sequence[Step]) -> None:
        self.plan, self.costs, self.prompt, self.steps = plan, costs, prompt, steps
        self.now = 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()  # ties are served in the order in which they came
        self.samplers = [_Sampler() for _ in range(plan.samplers)]
        self.workers = [0.0] * costs.reward_workers  # heap: when each is free
        self.scored: dict[int, list[_Group]] = {}
        self.learning = False
        self.published = 0  # the step whose weights the samplers have
        self.asked = 0
        self.learner_busy = 0.0
        self.lags: list[tuple[int, int]] = []  # of every group: its step, and updates that its oldest token is behind
        self.learned: list[tuple[int, int]] = []
        self.marks: list[tuple[float, float, float]] = []  # after each publish: time, learner's busy, samplers' busy

    def run(self) -> Outcome:
        self._mark()
        self._ask()
        while self.events:
            self.now, _, happen = heapq.heappop(self.events)
            happen()
        return self._outcome()

    # --- Sampling -------------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Deal every step that may begin, a share for each sampler while there are groups."""
        while self.asked < len(self.steps) and self.asked <= self.published + self.plan.max_staleness:
            self.asked += 1
            groups = [_Group(self.asked, i, its, len(its)) for i, its in enumerate(self.steps[self.asked - 1])]
            for number, sampler in enumerate(self.samplers):
                before, stood = self._interrupt(sampler)
                share = groups[number :: len(self.samplers)]
                sampler.waiting.extend((length, group) for group in share for length in group.lengths)
                self._stretch(sampler, before + self.costs.ask, stood)

    def _stretch(self, sampler: _Sampler, before: float = 0.0, stood: float = 0.0) -> None:
        """Begin one: whoever waits joins while there are slots, and it lasts to the next end of a completion."""
        while sampler.waiting and len(sampler.running) < self.costs.decode.slots:
            length, group = sampler.waiting.popleft()
            if group.oldest is None:  # the rest of its group finds the prompt in the cache
                group.oldest = self.published
                before += self.costs.decode.prefill * self.prompt
            heapq.heappush(sampler.running, (sampler.clock + length, next(self.order), length, group))
            sampler.context += self.prompt
        if not sampler.running:
            return
        steps = sampler.running[0][0] - sampler.clock
        took = before + self.costs.decode.seconds(steps, len(sampler.running), sampler.context)
        sampler.started, sampler.due, sampler.before, sampler.stood = self.now, self.now + took, before, stood
        sampler.stretch += 1
        self._at(sampler.due, partial(self._stretched, sampler, sampler.stretch))

    def _stretched(self, sampler: _Sampler, stretch: int) -> None:
        if stretch != sampler.stretch:  # it was interrupted
            return
        self._advance(sampler, sampler.running[0][0] - sampler.clock)
        while sampler.running and sampler.running[0][0] == sampler.clock:
            _, _, length, group = heapq.heappop(sampler.running)
            sampler.context -= self.prompt + length
            group.unfinished -= 1
            if group.unfinished == 0:
                self._score(group)
        self._stretch(sampler)

    def _interrupt(self, sampler: _Sampler) -> tuple[float, float]:
        """End a stretch now.  Seconds that are left without a token, and those of them standing still."""
        if not sampler.running:
            return 0.0, 0.0
        passed = self.now - sampler.started
        self._advance(sampler, sampler.steps_until(self.now))
        sampler.stretch += 1
        return max(0.0, sampler.before - passed), max(0.0, sampler.stood - passed)

    def _advance(self, sampler: _Sampler, steps: int) -> None:
        """To now, the end of a stretch."""
        sampler.busy = sampler.busy_until(self.now)
        sampler.clock += steps
        sampler.context += len(sampler.running) * steps

    def _pause(self, sampler: _Sampler) -> None:
        """For new weights, in the midst of a stretch."""
        if not sampler.running:
            return
        before, stood = self._interrupt(sampler)
        anew = self.costs.decode.prefill * sampler.context if self.plan.recompute else 0.0
        self._stretch(sampler, before + self.costs.pause + anew, stood + self.costs.pause)

    # --- Scoring and learning -------------------------------------------------------------------------------------

    def _score(self, group: _Group) -> None:
        done = self.now
        for _ in group.lengths:
            done = max(self.now, self.workers[0]) + self.costs.reward
            heapq.heapreplace(self.workers, done)
        self._at(done, partial(self._score_known, group))

    def _score_known(self, group: _Group) -> None:
        self.scored.setdefault(group.step, []).append(group)
        self._learn()

    def _learn(self) -> None:
        step = self.published + 1
        groups = self.scored.get(step, [])
        if self.learning or step > len(self.steps) or len(groups) < len(self.steps[step - 1]):
            return
        self.learning = True
        for group in self.scored.pop(step):
            assert group.oldest is not None
            self.lags.append((step, step - 1 - group.oldest))
            self.learned.append((step, group.index))
        took = self.costs.update(self.steps[step - 1])
        self.learner_busy += took
        self._at(self.now + self.costs.turns + took, self._publish)

    def _publish(self) -> None:
        for sampler in self.samplers:
            self._pause(sampler)
        self.learner_busy += self.costs.publish
        self._at(self.now + self.costs.publish, self._arrived)

    def _arrived(self) -> None:
        self.published += 1
        self.learning = False
        self._mark()
        self._ask()
        self._learn()

    # --- The books ------------------------------------------------------------------------------------------------

    def _at(self, when: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self.events, (when, next(self.order), happen))

    def _mark(self) -> None:
        self.marks.append((self.now, self.learner_busy, sum(s.busy_until(self.now) for s in self.samplers)))

    def _outcome(self) -> Outcome:
        """Of the steps between the publish with which the pipeline is full and the last whose successors were asked.

        The steps under way tend to end together, so what is looked at is a multiple of them.
        """
        together = self.plan.max_staleness + 1
        rounds = (len(self.steps) - self.plan.max_staleness) // together - 1
        first, last = (together, (rounds + 1) * together) if rounds > 0 and together > 1 else (0, len(self.steps))
        (begun, learner, samplers), (ended, learner_end, samplers_end) = self.marks[first], self.marks[last]
        elapsed = ended - begun
        lags = Counter(lag for step, lag in self.lags if first < step <= last)
        return Outcome(
            step=elapsed / (last - first),
            learner_idle=max(0.0, 1 - (learner_end - learner) / elapsed),
            samplers_idle=max(0.0, 1 - (samplers_end - samplers) / (elapsed * len(self.samplers))),
            staleness={lag: count / lags.total() for lag, count in sorted(lags.items())},
            tokens_per_second=sum(sum(group) for step in self.steps[first:last] for group in step) / elapsed,
            learned=tuple(self.learned),
        )


def simulate(plan: Plan, costs: Costs, prompt: int, steps: Sequence[Step]) -> Outcome:
    return Pipeline(plan, costs, prompt, steps).run()
