"""Samplers: engines in processes of their own, and all of them as one that samples.

A call's prompts are dealt in shares, the longest prompts first, and a share goes to whoever is free.  It has a seed of
its own, made of the call's and its number, so what it draws depends neither on who draws it nor on when.  If a sampler
is lost, its share is asked again as a whole, and where the weights are the same it is the same share: the loss does not
show in the run.

A lost sampler is replaced by a new process, by us and not by Ray, which would hand out the new one under the old name.
It serves the weights that its files have, so it gets no share before it was given the policy's and was checked.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayActorError, RayTaskError

from grpo import stacks
from grpo.cluster.actors import BEAT, Actor, Whereabouts, first_ready, is_gone, result, results, whereabouts
from grpo.cluster.runtime import Seats
from grpo.errors import SamplerError
from grpo.sampling import RemoteSampler, Way
from grpo.sampling.transfer import Verb
from grpo.types import Completion, Group, Problem, Prompt, SamplingParams

OPENING = 1800.0  # seconds that a sampler may take to open: it may have a model to download

MakeSampler = Callable[..., RemoteSampler]  # called in each process with `transfer`, how weights come to it


class Share(NamedTuple):
    """Some of a call's prompts, for one sampler to answer."""

    indices: tuple[int, ...]
    seed: int


def deal(prompts: Sequence[Prompt], seed: int, samplers: int) -> list[Share]:
    """A share for each sampler, or for each prompt if there are fewer.

    Sorted by length and dealt in turns, so that all take about as long.  Not more shares than samplers: the last
    completions of a share run almost alone, and an engine has nothing to put beside them but the same share's others.
    One share alone is the call as it stands.
    """
    count = min(len(prompts), samplers)
    if count == 1:
        return [Share(tuple(range(len(prompts))), seed)]
    longest_first = sorted(range(len(prompts)), key=lambda index: (-len(prompts[index].token_ids), index))
    seeds = [random.Random(f"{seed}/share/{number}").getrandbits(32) for number in range(count)]
    return [Share(tuple(longest_first[number::count]), seeds[number]) for number in range(count)]


class SamplerActor:
    """One sampler.  It samples in several threads, and takes weights, scores and sleeps in another."""

    def __init__(self) -> None:
        stacks.answer()
        self.dropped: set[str] = set()

    @ray.method(concurrency_group="pulse")
    def pulse(self) -> Whereabouts:
        return whereabouts()

    def open(self, make: MakeSampler, way: Way) -> str:
        self.sampler = make(transfer=way)
        return self.sampler.name

    @ray.method(concurrency_group="sampling", num_returns="streaming")
    def sample(
        self, call: str, prompts: Sequence[Prompt], n: int, params: SamplingParams
    ) -> Iterator[tuple[int, tuple[Completion, ...], int]]:
        """(index, completions, oldest step of the weights) of each prompt; ends early where `call` was dropped."""
        for index, group in self.sampler.sample(prompts, n, params):
            yield index, group.completions, group.policy_step
            if call in self.dropped:
                return

    @ray.method(concurrency_group="pulse")
    def drop(self, call: str) -> None:
        self.dropped.add(call)

    @ray.method(concurrency_group="control")
    def control(self, verb: str, arguments: Mapping[str, Any]) -> Any:
        return getattr(self.sampler, verb)(**arguments)


_ACTOR: Any = ray.remote(concurrency_groups={"pulse": 1, "sampling": 16, "control": 1})(SamplerActor)


class Channel:
    """Rank 0's way to the samplers while weights are sent; `samplers` are (name, handle)."""

    def __init__(self, samplers: Sequence[tuple[str, Any]], sizes: Sequence[int]) -> None:
        self.sizes, self._samplers = sizes, samplers

    def call(self, verb: Verb, arguments: Sequence[Mapping[str, Any]], timeout: float) -> None:
        asked = zip(self._samplers, arguments, strict=True)
        waiting = {handle.control.remote(verb, its): name for (name, handle), its in asked}
        until = time.monotonic() + timeout
        while waiting:
            ready, _ = ray.wait(list(waiting), timeout=max(0.0, until - time.monotonic()))
            if not ready:
                raise SamplerError(f"{next(iter(waiting.values()))}: {verb} took longer than {timeout:g} seconds")
            for ref in ready:
                name = waiting.pop(ref)
                try:
                    result(ref)
                except RayActorError:
                    raise SamplerError(f"{name}: died during {verb}") from None
                except RayTaskError as error:
                    raise SamplerError(f"{name}: {verb} failed ({error.cause!r})") from error


@dataclass
class Seat:
    """A sampler's place, in which one process may follow another.

    `serving`: this process has been given the policy's weights and was found to serve them.
    """

    number: int
    name: str
    actor: Actor
    opening: Any  # until it is open: what says so
    serving: bool = False
    lost: int = 0  # processes in a row, since one last finished a share
    shares: int = 0  # that it works on
    since: float = 0.0  # when it began to work
    busy: float = 0.0  # seconds

    def begin(self) -> None:
        if not self.shares:
            self.since = time.monotonic()
        self.shares += 1

    def end(self, actor: Actor, *, finished: bool) -> None:
        """Of a share, by `actor`: another process may sit here by now."""
        if actor is self.actor:
            self.shares -= 1
            if finished:
                self.lost = 0
            if not self.shares:
                self.busy += time.monotonic() - self.since


class Samplers:
    """All seats.  `admit(seat)` is called for a process that has opened and does not serve yet, by whoever waits for a
    sampler; it may leave it as it is, for another time.

    Each process has `threads`, and with `bind` cores of its own; `lives` is how many in a row a seat may lose.
    """

    def __init__(
        self, where: Seats, make: MakeSampler, way: Way, *, threads: int, bind: bool, timeout: float, lives: int
    ) -> None:
        self._where, self._make, self._way, self._threads, self._bind = where, make, way, threads, bind
        self._timeout, self._lives = timeout, lives
        self._lock = threading.RLock()
        self.admit: Callable[[Seat], None] = lambda seat: None
        self.seats: list[Seat] = []
        self.lost = 0  # processes, of all seats
        self.closed = False

    def start(self) -> None:
        count = self._where.division.samplers
        for number in range(count):
            name = f"sampler {number + 1} of {count}"
            self.seats.append(Seat(number, name, *self._start(number, name)))

    def wait(self) -> str:
        """Until all have opened; the name of what samples.  One that dies is started again; one that says why it cannot
        open ends it with that."""
        name, waiting, until = "", list(self.seats), time.monotonic() + OPENING
        while waiting:
            seat = waiting[0]
            actor, opening = seat.actor, seat.opening
            try:
                if first_ready([opening], [actor], wait=BEAT):
                    name = result(opening)
                    waiting.remove(seat)
            except (RayActorError, RayTaskError) as error:
                self.lose(seat, actor, error)
            if waiting and time.monotonic() > until:
                raise SamplerError(f"{seat.name}: has not opened within {OPENING:g} seconds; see Ray's logs")
        return name

    def _start(self, number: int, name: str) -> tuple[Actor, Any]:
        environment = {"OMP_NUM_THREADS": str(self._threads)}
        if self._bind:  # else vLLM binds every engine of a machine to the same cores
            cores = [(number * self._threads + i) % (os.cpu_count() or 1) for i in range(self._threads)]
            environment["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, cores))
        options = {**self._where.sampler(number), "max_restarts": 0, "runtime_env": {"env_vars": environment}}
        handle = _ACTOR.options(**options).remote()
        return Actor(name, handle, self._timeout), handle.open.remote(self._make, self._way)

    def actors(self) -> list[Actor]:
        return [seat.actor for seat in self.seats]

    def opened(self) -> list[Seat]:
        """Those whose process can be given weights; the others are on their way."""
        return [seat for seat in self.seats if seat.serving or self.has_opened(seat)]

    def has_opened(self, seat: Seat) -> bool:
        """Whether its process can be given weights; one that died on the way is replaced."""
        with self._lock:
            actor, opening = seat.actor, seat.opening
        actor.beat()
        if not ray.wait([opening], timeout=0)[0]:
            return False
        try:
            result(opening)
        except (RayActorError, RayTaskError, SamplerError) as error:
            actor.kill()  # one that cannot open is lost, too: the memory of the one before may not be free yet
            self.lose(seat, actor, error)
            return False
        return True

    def serve(self, seated: Sequence[tuple[Seat, Actor]]) -> None:
        """These processes have been found to serve the policy's weights; others may sit there by now."""
        with self._lock:
            for seat, actor in seated:
                seat.serving = seat.serving or seat.actor is actor

    def sitting(self, seat: Seat) -> tuple[Actor, bool]:
        """The process of a seat, and whether it serves."""
        with self._lock:
            return seat.actor, seat.serving

    def lose(self, seat: Seat, actor: Actor, error: Exception) -> None:
        """Start another process in the place of `actor`, which `error` was about, unless that has been done.

        Raises `error` where the process is not gone, `SamplerError` where too many were lost.
        """
        with self._lock:
            if self.closed or seat.actor is not actor:
                return
            if not is_gone(actor):
                raise error
            seat.lost += 1
            self.lost += 1
            if seat.lost > self._lives and isinstance(error, SamplerError):
                raise error
            if seat.lost > self._lives:
                raise SamplerError(
                    f"{seat.name}: {actor.fate()}, the process number {seat.lost} in a row that finished no work; see "
                    "Ray's logs of its worker for the reason, often memory"
                ) from error
            actor.kill()
            if seat.shares:
                seat.busy += time.monotonic() - seat.since
            seat.serving, seat.shares = False, 0
            seat.actor, seat.opening = self._start(seat.number, seat.name)

    def control(self, actors: Sequence[Actor], verb: str, **arguments: Any) -> list[Any]:
        """What a verb gives on each of `actors`, asked side by side."""
        return results([actor.handle.control.remote(verb, arguments) for actor in actors], actors)

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> Iterator[tuple[int, Group]]:
        """Each group once, whatever becomes of samplers."""
        call = _Call(self, prompts, n, params)
        try:
            yield from call.groups()
        finally:
            call.drop()

    def busy(self) -> float:
        """Seconds of work, of all of them."""
        now = time.monotonic()
        return sum(seat.busy + (now - seat.since if seat.shares else 0.0) for seat in self.seats)

    def close(self) -> None:
        with self._lock:
            self.closed = True
        for seat in self.seats:
            seat.actor.kill()


class _Call:
    """One call of `Samplers.sample`: what waits for a sampler, and who works on what."""

    def __init__(self, samplers: Samplers, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> None:
        self.samplers, self.prompts, self.n, self.params = samplers, prompts, n, params
        self.name = random.SystemRandom().randbytes(8).hex()
        self.waiting = deque(deal(prompts, params.seed, len(samplers.seats)))
        self.running: dict[Any, tuple[Seat, Actor, Share]] = {}  # by the stream of what comes of it
        self.given: set[int] = set()

    def groups(self) -> Iterator[tuple[int, Group]]:
        while self.waiting or self.running:
            if self.samplers.closed:
                raise SamplerError("samplers: were closed while somebody sampled")
            self._hand_out()
            if not self.running:
                time.sleep(BEAT)  # until a process has opened, or a transfer is over
                continue
            actors = [actor for _, actor, _ in self.running.values()]
            for stream in first_ready(list(self.running), actors, wait=BEAT):
                found = self._next(stream)
                if found is not None and found[0] not in self.given:  # a share that was asked again has it twice
                    self.given.add(found[0])
                    yield found

    def _hand_out(self) -> None:
        """A share for each sampler that has none of this call."""
        at_work = {seat.number for seat, _, _ in self.running.values()}
        for seat in self.samplers.seats:
            if self.waiting and not seat.serving and self.samplers.has_opened(seat):
                self.samplers.admit(seat)
            actor, serving = self.samplers.sitting(seat)
            if self.waiting and serving and seat.number not in at_work:
                share = self.waiting.popleft()
                asked = [_bare(self.prompts[index]) for index in share.indices]
                params = replace(self.params, seed=share.seed)
                stream = actor.handle.sample.remote(self.name, asked, self.n, params)
                self.running[stream] = (seat, actor, share)
                seat.begin()

    def _next(self, stream: Any) -> tuple[int, Group] | None:
        """The next group of a share; None where that was all, or where its sampler is lost."""
        seat, actor, share = self.running[stream]
        try:
            place, completions, step = result(next(stream))
        except StopIteration:
            del self.running[stream]
            seat.end(actor, finished=True)
            return None
        except (RayActorError, RayTaskError) as error:
            del self.running[stream]
            self.waiting.appendleft(share)
            self.samplers.lose(seat, actor, error)
            return None
        index = share.indices[place]
        return index, Group(self.prompts[index], completions, step)

    def drop(self) -> None:
        """What still runs is of no more use."""
        for seat, actor, _ in self.running.values():
            if not self.samplers.closed:  # with Ray gone, a call would start another
                actor.handle.drop.remote(self.name)
            seat.end(actor, finished=False)


def _bare(prompt: Prompt) -> Prompt:
    """What a sampler reads of it.  The facts of a problem, all its tests say, stay here."""
    return replace(prompt, problem=Problem(prompt.problem.id, ({},), {}))
