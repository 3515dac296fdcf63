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
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ray.exceptions import RayActorError, RayTaskError
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from grpo.cluster.actors import BEAT, Actor, is_gone
from grpo.cluster.learners import Learners
from grpo.cluster.samplers import OPENING, Samplers, Seat
from grpo.engine import Update, Whose
from grpo.engine.local import OPTIMIZER
from grpo.errors import LearnerLost, SamplerError
from grpo.learning.batch import Batch, Loss, Sequences
from grpo.learning.rehearsal import Seen, Worst
from grpo.sampling import Continuations, Way
from grpo.sampling.canary import Canary
from grpo.types import Group, Prompt, SamplingParams

ATTEMPTS = 3  # to open the learners at the start
TRANSFER = 600.0  # seconds that samplers may take to be given weights


Seated = list[tuple[Seat, Actor]]  # seats, and the process that sat there


class _Scoring:
    """A sampler's process as the canary asks it."""

    def __init__(self, samplers: Samplers, actor: Actor, name: str) -> None:
        self.name = f"{actor.name} ({name})"
        self._samplers, self._actor = samplers, actor

    def score(self, sequences: Continuations) -> list[list[float]]:
        scores: list[list[float]] = self._samplers.control([self._actor], "score", sequences=sequences)[0]
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
        worst: Worst | None = None,
    ) -> None:
        self.learners, self.samplers, self.tokenizer = learners, samplers, tokenizer
        self._way, self._by_turns, self._tolerance = way, by_turns, tolerance
        self._resources = ExitStack()
        self._tensor_parallel = tensor_parallel
        self._lock = threading.RLock()
        self._step = 0  # of the weights that are served
        self._ahead = False  # the policy has moved since
        self._asleep: set[Actor] = set()
        self._connected: list[Actor] = []  # those in the group over which weights go
        self._canaries: dict[Actor, Canary] = {}
        self._sampled: Mapping[int, Group] = {}  # of the last call; the canaries score some of their tokens
        self._scoring = threading.Lock()
        self._policy_scores: dict[Continuations, list[list[float]]] = {}
        self._restarts = 0
        self._since, self._before = time.monotonic(), (0.0, 0.0, 0, 0)
        self.seen: Seen | None = None
        self._worst = worst
        samplers.admit = self._admit

    def open(self, step: int, checkpoint: Path | None) -> None:
        """Start everybody, at the same time unless they share devices: vLLM measures what memory is free."""
        self.samplers.start()
        if self._by_turns:
            self.samplers.wait()
        self._open_learners(checkpoint)
        self._sampler_name = self.samplers.wait()
        self.name = f"{len(self.samplers.seats)} × {self._sampler_name}"
        reason = self.learners.call("fallback")
        self.remarks: tuple[str, ...] = (
            (f"computes each prompt once per completion, because {reason}",) if reason else ()
        )
        self._rehearse()
        self._hand_over(self.samplers.opened(), step)
        self._step = step

    def _rehearse(self) -> None:
        """All learners at once, while the samplers that share their devices sleep."""
        if self._worst is not None:
            with self._learning():
                self.seen = self.learners.ask("rehearse", self._worst)

    def _open_learners(self, checkpoint: Path | None) -> None:
        """A rank that dies on the way does not end a run that has not begun."""
        for attempt in range(ATTEMPTS):
            try:
                return self.learners.open(checkpoint)
            except LearnerLost:
                if attempt == ATTEMPTS - 1:
                    raise
        return None

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
            self._connected, self._restarts = [], self._restarts + 1
            self.learners.open(checkpoint and checkpoint.resolve())
            self._rehearse()
            self._hand_over(self._some_opened(), step)
            self._step, self._ahead = step, False

    def row(self) -> Mapping[str, float]:
        """Where time was lost since the last row: shares of it in which learners and samplers had nothing to do."""
        now = time.monotonic()
        counts = self.learners.busy, self.samplers.busy(), self._restarts, self.samplers.lost
        elapsed = max(now - self._since, 1e-9)
        of_learners, of_samplers, restarts, lost = (b - a for a, b in zip(self._before, counts, strict=True))
        self._since, self._before = now, counts
        return {
            "learners/idle": min(1.0, max(0.0, 1 - of_learners / elapsed)),
            "samplers/idle": min(1.0, max(0.0, 1 - of_samplers / elapsed / len(self.samplers.seats))),
            "learners/lost": restarts,
            "samplers/lost": lost,
        }

    def close(self) -> None:
        self._resources.close()

    # --- Weights --------------------------------------------------------------------------------------------------

    def _hand_over(self, seats: Sequence[Seat], step: int) -> float:
        """Give `seats` the policy's weights and check each; those that are lost meanwhile are left out.

        Returns the largest gap that a canary saw; 0 where nothing has been sampled yet, so there is nothing to ask.
        """
        sampled = dict(self._sampled)
        groups = [sampled[index] for index in sorted(sampled)]
        seated = [(seat, self.samplers.sitting(seat)[0]) for seat in seats]
        self._policy_scores.clear()
        while True:
            actors = [actor for _, actor in seated]
            try:
                self._wake(actors)
                self._send(actors, step)
                gap = self._check_all(actors, groups, step) if groups else 0.0
                break
            except (SamplerError, RayActorError, RayTaskError) as error:
                seated = self._without_the_lost(seated, error)
        self.samplers.serve(seated)
        return gap

    def _send(self, actors: list[Actor], step: int) -> None:
        if actors != self._connected:
            self._connected = []
            named = [(actor.name, actor.handle) for actor in actors]
            self.learners.call(
                "connect", self._way, named, [self._tensor_parallel] * len(named), TRANSFER, beside=actors
            )
            self._connected = actors
        self.learners.call("send", step, beside=actors)

    def _without_the_lost(self, seated: Seated, error: Exception) -> Seated:
        """Those whose process lives.  Raises `error` where that are all: then it is not about a lost one."""
        self._connected = []
        left: Seated = []
        for seat, actor in seated:
            if self.samplers.sitting(seat)[0] is actor and not is_gone(actor):
                left.append((seat, actor))
            else:
                self.samplers.lose(seat, actor, error)
        if len(left) == len(seated):
            raise error
        return left or [(seat, self.samplers.sitting(seat)[0]) for seat in self._some_opened()]

    def _check_all(self, actors: Sequence[Actor], groups: Sequence[Group], step: int) -> float:
        """The largest gap of any."""
        with ThreadPoolExecutor(len(actors)) as side_by_side:
            return max(side_by_side.map(lambda actor: self._check(actor, groups, step), actors))

    def _check(self, actor: Actor, groups: Sequence[Group], step: int) -> float:
        if actor not in self._canaries:
            scoring = _Scoring(self.samplers, actor, self._sampler_name)
            self._canaries[actor] = Canary(scoring, self._policy_score, self._tolerance)
        return self._canaries[actor].check(groups, step)

    def _policy_score(self, sequences: Continuations) -> list[list[float]]:
        """All canaries ask the policy the same."""
        key = tuple((tuple(prompt), tuple(completion)) for prompt, completion in sequences)
        with self._scoring:
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
        until = time.monotonic() + OPENING
        while not (seats := self.samplers.opened()):
            if time.monotonic() > until:
                raise SamplerError(f"samplers: none has opened within {OPENING:g} seconds; see Ray's logs")
            time.sleep(BEAT)
        return seats

    # --- Turns ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _learning(self) -> Iterator[None]:
        """Where the learners compute: on devices that they share, the samplers sleep."""
        with self._lock:
            opened = self.samplers.opened() if self._by_turns else []
            seated = [(seat, self.samplers.sitting(seat)[0]) for seat in opened]
            awake = [(seat, actor) for seat, actor in seated if actor not in self._asleep]
            if awake:
                try:
                    self.samplers.control([actor for _, actor in awake], "sleep")
                except (RayActorError, RayTaskError) as error:
                    self._without_the_lost(awake, error)
                self._asleep |= {actor for _, actor in awake}
            yield

    def _wake(self, actors: Sequence[Actor]) -> None:
        asleep = [actor for actor in actors if actor in self._asleep]
        if asleep:
            self._asleep -= set(asleep)
            self.learners.ask("release_memory")
            self.samplers.control(asleep, "wake")
