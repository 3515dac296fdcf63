"""The engine on a cluster: FSDP2 ranks that learn, any number of samplers, and weights that go from one to the other.

The verbs are those of `LocalEngine`, and so is the arithmetic: a rank runs the policy's own code on its share of the
groups, a sampler actor the sampler's own.  What is here is who is asked, in what order, and what happens when somebody
does not answer.

Threads may sample while another learns.  Whatever concerns the learners goes through one lock, so between `update` and
the end of `publish`, when the policy is ahead of what is served, nobody else is given its weights.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ray.exceptions import RayActorError, RayTaskError
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from grpo.cluster.actors import BEAT, is_gone
from grpo.cluster.learners import Learners
from grpo.cluster.samplers import Samplers, Seat
from grpo.engine import Update, Whose
from grpo.engine.local import OPTIMIZER
from grpo.errors import SamplerError
from grpo.learning.batch import Batch, Loss, Sequences
from grpo.sampling import Continuations, Way
from grpo.sampling.canary import Canary
from grpo.types import Group, Prompt, SamplingParams

TRANSFER = 600.0  # seconds that samplers may take to be given weights


class _Scoring:
    """A seat as the canary asks it."""

    def __init__(self, samplers: Samplers, seat: Seat, name: str) -> None:
        self.name = f"{seat.name} ({name})"
        self._samplers, self._seat = samplers, seat

    def score(self, sequences: Continuations) -> list[list[float]]:
        scores: list[list[float]] = self._samplers.control([self._seat], "score", sequences=sequences)[0]
        return scores


class RayEngine:
    """Of parts that are made and not yet open.

    `by_turns`: learners and samplers share devices, so the samplers sleep while there is something to compute.
    """

    def __init__(
        self,
        learners: Learners,
        samplers: Samplers,
        tokenizer: PreTrainedTokenizerBase,
        *,
        way: Way,
        by_turns: bool,
        tensor_parallel: int,
        tolerance: float,
    ) -> None:
        self.learners, self.samplers, self.tokenizer = learners, samplers, tokenizer
        self._way, self._by_turns, self._tolerance = way, by_turns, tolerance
        self._resources = ExitStack()
        self._tensor_parallel = tensor_parallel
        self._lock = threading.RLock()
        self._step = 0  # of the weights that are served
        self._ahead = False  # the policy has moved since
        self._asleep = False
        self._connected: list[object] = []  # the actors in the group over which weights go
        self._canaries: dict[object, Canary] = {}  # by actor
        self._sampled: Mapping[int, Group] = {}  # of the last call; the canaries score some of their tokens
        self._policy_scores: dict[Continuations, list[list[float]]] = {}
        self._since, self._before = time.monotonic(), (0.0, 0.0)
        samplers.admit = self._admit

    def open(self, step: int, checkpoint: Path | None) -> None:
        """Start everybody, at the same time unless they share devices: vLLM measures what memory is free."""
        self.samplers.start()
        if self._by_turns:
            self.samplers.wait()
        self.learners.open(checkpoint)
        self._sampler_name = self.samplers.wait()
        self.name = f"{len(self.samplers.seats)} × {self._sampler_name}"
        reason = self.learners.call("fallback")
        self.remarks: tuple[str, ...] = (
            (f"computes each prompt once per completion, because {reason}",) if reason else ()
        )
        self._hand_over(self.samplers.opened(), step)
        self._step = step

    def keep(self, resources: ExitStack) -> None:
        """To be closed with it."""
        self._resources = resources

    # --- The verbs ------------------------------------------------------------------------------------------------

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> Iterator[tuple[int, Group]]:
        sampled: dict[int, Group] = {}
        for index, group in self.samplers.sample(prompts, n, params):
            sampled[index] = group
            self._sampled = sampled
            yield index, group

    def logprobs(self, sequences: Sequences, of: Whose = "policy") -> Tensor:
        with self._learning():
            if of == "policy":
                values_BT: Tensor = self.learners.ask("logprobs", sequences)
            else:
                values_BT = self.learners.call("frozen", of, sequences)
        return values_BT

    def entropies(self, sequences: Sequences) -> Tensor:
        with self._learning():
            values_BT: Tensor = self.learners.ask("entropies", sequences)
        return values_BT

    def update(self, batch: Batch, loss: Loss, lr: float) -> Update:
        with self._learning():
            self._ahead = True
            totals, norm = self.learners.call("update", batch, loss, lr)
        return Update(batch, lr, norm, totals)

    def gradients(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """The gradient of `loss` by weight, moving nothing."""
        with self._learning():
            gradients: dict[str, Tensor] = self.learners.ask("gradients", batch, loss)
        return gradients

    def publish(self, step: int) -> float:
        with self._lock:
            gap = self._hand_over(self._some_opened(), step)
            self._step, self._ahead = step, False
        return gap

    def save(self, folder: Path, *, resumable: bool) -> None:
        with self._lock:
            self.learners.ask("save", folder.resolve())
            self.tokenizer.save_pretrained(folder)
            if resumable:
                (folder / OPTIMIZER).mkdir(parents=True)
                self.learners.ask("save_state", (folder / OPTIMIZER).resolve())

    def restart(self, step: int, checkpoint: Path | None) -> None:
        """After `LearnerLost`: new ranks, as the checkpoint of `step` has them, and samplers that serve the same."""
        with self._lock:
            self._connected = []
            self.learners.open(checkpoint and checkpoint.resolve())
            self._hand_over(self._some_opened(), step)
            self._step, self._ahead = step, False

    def row(self) -> Mapping[str, float]:
        """Where time was lost since the last row: shares of it in which learners and samplers had nothing to do."""
        now, busy = time.monotonic(), (self.learners.busy, self.samplers.busy())
        elapsed = max(now - self._since, 1e-9)
        of_learners, of_samplers = (after - before for after, before in zip(busy, self._before, strict=True))
        self._since, self._before = now, busy
        return {
            "learners/idle": min(1.0, max(0.0, 1 - of_learners / elapsed)),
            "samplers/idle": min(1.0, max(0.0, 1 - of_samplers / elapsed / len(self.samplers.seats))),
        }

    def close(self) -> None:
        self._resources.close()

    # --- Weights --------------------------------------------------------------------------------------------------

    def _hand_over(self, seats: list[Seat], step: int) -> float:
        """Give `seats` the policy's weights and check each; those that are lost meanwhile are left out.

        Returns the largest gap that a canary saw; 0 where nothing has been sampled yet, so there is nothing to ask.
        """
        self._policy_scores.clear()
        while True:
            self._wake(seats)
            try:
                self._send(seats, step)
                gap = max((self._check(seat, step) for seat in seats), default=0.0) if self._sampled else 0.0
                break
            except (SamplerError, RayActorError, RayTaskError) as error:
                seats = self._without_the_lost(seats, error)
        for seat in seats:
            seat.serving = True
        return gap

    def _send(self, seats: Sequence[Seat], step: int) -> None:
        actors = [seat.actor for seat in seats]
        if actors != self._connected:
            self._connected = []
            named = [(actor.name, actor.handle) for actor in actors]
            self.learners.call(
                "connect", self._way, named, [self._tensor_parallel] * len(named), TRANSFER, beside=actors
            )
            self._connected = list(actors)
        self.learners.call("send", step, beside=actors)

    def _without_the_lost(self, seats: Sequence[Seat], error: Exception) -> list[Seat]:
        """Those whose process lives.  Raises `error` where that are all: then it is not about a lost one."""
        self._connected = []
        before = [(seat, seat.actor) for seat in seats]
        for seat, actor in before:
            if is_gone(actor):
                self.samplers.lose(seat, actor, error)
        left = [seat for seat, actor in before if seat.actor is actor]
        if len(left) == len(seats):
            raise error
        return left or self._some_opened()

    def _check(self, seat: Seat, step: int) -> float:
        if seat.actor not in self._canaries:
            scoring = _Scoring(self.samplers, seat, self._sampler_name)
            self._canaries[seat.actor] = Canary(scoring, self._policy_score, self._tolerance)
        return self._canaries[seat.actor].check([self._sampled[i] for i in sorted(self._sampled)], step)

    def _policy_score(self, sequences: Continuations) -> list[list[float]]:
        """All canaries ask the policy the same."""
        key = tuple((tuple(prompt), tuple(completion)) for prompt, completion in sequences)
        if key not in self._policy_scores:
            self._policy_scores[key] = self.learners.ask("score", sequences)
        return self._policy_scores[key]

    def _admit(self, seat: Seat) -> None:
        """Take a new process into service, if the policy is just now what the others serve."""
        if seat.serving or not self._lock.acquire(blocking=False):
            return
        try:
            if not self._ahead and not seat.serving:
                self._hand_over([seat], self._step)
        finally:
            self._lock.release()

    def _some_opened(self) -> list[Seat]:
        """Samplers that can be given weights; waits until there is one."""
        while not (seats := self.samplers.opened()):
            time.sleep(BEAT)
        return seats

    # --- Turns ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _learning(self) -> Iterator[None]:
        with self._lock:
            if self._by_turns and not self._asleep:
                self.samplers.control(self.samplers.opened(), "sleep")
                self._asleep = True
            yield

    def _wake(self, seats: Sequence[Seat]) -> None:
        if self._asleep:
            self.samplers.control(seats, "wake")
            self._asleep = False
