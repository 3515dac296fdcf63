"""`grpo collect`: sample n completions for each problem, score them, and keep every one in a table.

    problems ─▶ shards of sampling.problems_per_step ─▶ sample ─▶ score ─▶ FOLDER/parts/000000.parquet, …
                                                                           all parts ─▶ FOLDER/completions.parquet

The draws of a shard are a function of run.seed and the shard's number.  So a collection that was cut goes on with the
shards that have no part yet, and ends with the same bytes as one that never was (on a CPU; a GPU rounds as its batches
fall).  While a shard is scored and written the next is sampled: two are in memory, whatever the number of problems.
On a GPU it is three: there the next begins before the longest completions of the last have ended.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from grpo import assemble, engines, hub, opening
from grpo.care import looked_after
from grpo.completions import collected
from grpo.config import CollectConfig
from grpo.deadline import Elapsed
from grpo.engine import Rollouts
from grpo.errors import GrpoError, Interrupted
from grpo.interrupt import StopRequest
from grpo.parts import Parts, Record, Tally
from grpo.run.console import Console
from grpo.run.folder import RunFolder
from grpo.run.wording import count, duration, percent, plural
from grpo.sampling import choose_backend
from grpo.scoring import Scorer, declarations
from grpo.sizes import sampling_alone
from grpo.types import Group, Problem, Prompt, SamplingParams, ScoredGroup

# vLLM on CPUs draws by all that runs in a pass, so what is to be the same again must run alone.
SHARDS_AT_ONCE = {"cpu": 1, "cuda": 2}
RENDERED = 10_000  # prompts that are in memory while the longest is looked for
LINE_EVERY = 60.0  # seconds


def collect(
    config: CollectConfig,
    path: Path,
    *,
    resume: bool = False,
    open_sampler: Any = engines.open_sampler,
    elapsed: Elapsed | None = None,
) -> None:
    """Collect as `config` says into the folder `path`, or go on with what is there."""
    config = _settled(config, path if resume else None)
    with ExitStack() as stack:
        open_folder = RunFolder.resume if resume else RunFolder.create
        stack.enter_context(open_folder(path, config.to_toml()))
        console = stack.enter_context(closing(Console(0)))
        problems = _judgeable(config, console)
        record = Record.begin(path / "collect.json", config.data.source, problems, resume=resume)
        parts = Parts(path, problems=len(problems), size=config.sampling.problems_per_step)
        care = stack.enter_context(looked_after(config.run, path, console, elapsed=elapsed))
        try:
            progress = Progress(parts, record, console, care.stop)
            if progress.total:
                _sample_missing(config, problems, progress, path, open_sampler)
            parts.join(progress.joined)
        except GrpoError as error:
            _end_early(error, path, parts, console)
        tally = parts.tally()
        record.finish(tally)
        _say(tally, parts.table, console)


def _settled(config: CollectConfig, resumed: Path | None) -> CollectConfig:
    """The settings with every "auto" that completions depend on, and the model's branch on the Hub, replaced by what
    it comes to; the commit is that with which a resumed collection was begun."""
    place, name, revision = assemble.choose_place(config.model), config.model.name, config.model.revision
    if revision is None and resumed is not None:
        revision = RunFolder.recorded_revision(resumed, "model", name)
    if not name.startswith(assemble.BUILT_IN) and hub.is_on_hub(name):
        revision = hub.commit_of(name, revision)
    model = {"device": place.device, "dtype": place.dtype, "revision": revision}
    sampling = {"backend": choose_backend(config.sampling.backend)}
    groups = {"model": config.model.model_copy(update=model), "sampling": config.sampling.model_copy(update=sampling)}
    return config.model_copy(update=groups)


def _judgeable(config: CollectConfig, console: Console) -> list[Problem]:
    declared = declarations(config.reward)
    problems = assemble.load_judgeable(config.data, config.reward, declared, console.warn)
    console.note(f"problems: {len(problems):,} from {config.data.source}, {config.sampling.group_size} times each")
    opening.look_at_rewards(config, declared, problems, console)
    return problems


def _end_early(error: GrpoError, path: Path, parts: Parts, console: Console) -> NoReturn:
    kept = parts.kept()
    where = f"{kept:,} of {plural(parts.problems, 'problem')} are kept in {path}; go on with --resume"
    if isinstance(error, Interrupted):
        where = where if kept else "nothing was finished, so nothing is kept"
        raise Interrupted(f"{error}; {where}", exit_code=error.exit_code) from None
    if kept:
        console.note(where)
    raise error


def _say(tally: Tally, table: Path, console: Console) -> None:
    sometimes = tally.problems - tally.always - tally.never
    console.note(
        f"collected: {plural(tally.completions, 'completion')} of {plural(tally.problems, 'problem')}, "
        f"{count(tally.tokens)} tokens, {percent(tally.truncated / tally.completions)} truncated"
    )
    solved = f"problems solved always {tally.always:,}, sometimes {sometimes:,}, never {tally.never:,}"
    console.note(f"{next(iter(tally.values))}: {_right(tally)}; {solved}")
    if tally.unscored:
        console.warn(f"{plural(tally.unscored, 'completion')} could not be judged and have no reward")
    console.note(f"table: {table} ({table.stat().st_size / 1e6:.2f} MB)")


def _right(tally: Tally) -> str:
    return f"{percent(tally.right / tally.judged)} right" if tally.judged else "nothing judged"


class Progress:
    """How far the work is: a live line, and a line a minute for whoever reads a log."""

    def __init__(self, parts: Parts, record: Record, console: Console, stop: StopRequest) -> None:
        self.parts, self.record, self.console, self.stop = parts, record, console, stop
        self.tally = parts.tally()
        self.total = parts.problems - parts.kept()
        self.done = self.tokens = 0  # since this start
        if self.tally.problems:
            console.note(f"resumed: {self.tally.problems:,} of {plural(parts.problems, 'problem')} are there")

    def begin(self) -> None:
        """Sampling begins."""
        self.began = self.told = time.monotonic()

    def group(self, group: Group) -> None:
        self.stop.check()
        self.done += 1
        self.tokens += sum(len(completion.token_ids) for completion in group.completions)
        self.console.phase(f"{self._speed}, {_right(self.tally)}, problem", self.done, self.total)

    def part(self, tally: Tally) -> None:
        self.tally += tally
        if time.monotonic() - self.told >= LINE_EVERY:
            self.end()
            left = (self.told - self.began) / self.done * (self.total - self.done)
            there = f"{self.tally.problems:,} of {plural(self.parts.problems, 'problem')}"
            self.console.note(f"{there}, {_right(self.tally)}, {self._speed}, {duration(left)} left")

    def joined(self, shards: int) -> None:
        self.stop.check()
        self.console.phase("joining, part", shards, len(self.parts.shards))

    def end(self) -> None:
        """Sampling ends, or goes on: the time that it took so far is written down."""
        now = time.monotonic()
        self.record.add(now - self.told)
        self.told = now

    @property
    def _speed(self) -> str:
        return f"{count(self.tokens / (time.monotonic() - self.began))} tok/s"


def _sample_missing(
    config: CollectConfig, problems: Sequence[Problem], progress: Progress, path: Path, open_sampler: Any
) -> None:
    files = assemble.find_model(config.model, path / "model", seed=config.run.seed)
    place = assemble.choose_place(config.model)
    if files.revision:
        progress.console.note(f"model: {files.name} at {files.revision}")
    sampling = sampling_alone(config.sampling, place.device)

    def render(some: Sequence[Problem]) -> list[Prompt]:
        return assemble.prompts_for(some, files, config.data, max_tokens=sampling.max_tokens)

    # Every prompt is looked at before anything is sampled; one that does not fit is refused.
    longest = max(assemble.longest(render(problems[at : at + RENDERED])) for at in range(0, len(problems), RENDERED))
    context = longest + sampling.max_tokens
    with (
        assemble.open_scorer(config, path / "failed.json") as scorer,
        closing(open_sampler(sampling, files, place, context=context, seed=config.run.seed)) as sampler,
    ):
        progress.console.note(f"sampler: {sampler.name}")
        progress.begin()
        try:
            Collector(config, problems, render, sampler, scorer, progress).run(SHARDS_AT_ONCE[place.device])
        finally:
            progress.end()


@dataclass
class Underway:
    """A shard that is sampled, and scored as its groups come in."""

    shard: int
    groups: Iterator[tuple[int, Group]]
    scored: dict[int, Future[ScoredGroup]] = field(default_factory=dict)


class Collector:
    """The missing shards through sampler and scorer into parts, in their order."""

    def __init__(
        self,
        config: CollectConfig,
        problems: Sequence[Problem],
        render: Callable[[Sequence[Problem]], list[Prompt]],
        sampler: Rollouts,
        scorer: Scorer,
        progress: Progress,
    ) -> None:
        self.config, self.problems, self.render = config, problems, render
        self.sampler, self.scorer = sampler, scorer
        self.progress, self.parts = progress, progress.parts
        self.fault: BaseException | None = None  # of a reward or a disk, before a whole shard more is sampled in vain

    def run(self, at_once: int) -> None:
        """A shard's completions are in memory until its part is written, which happens beside the sampling.  A stop
        waits for that."""
        todo, underway = deque(self.parts.missing()), deque[Underway]()
        writing: Future[Tally] | None = None
        with ThreadPoolExecutor(1, "parts") as writer:
            while todo or underway:
                while todo and len(underway) < at_once:
                    underway.append(self._begin(todo.popleft()))
                sampled = underway.popleft()
                for index, group in sampled.groups:
                    self._arrived(sampled, index, group)
                if writing is not None:
                    self.progress.part(writing.result())
                writing = writer.submit(self._write, sampled)
                writing.add_done_callback(self._note_fault)
            if writing is not None:
                self.progress.part(writing.result())

    def _begin(self, shard: int) -> Underway:
        """A sampler takes what it is asked when its first answer is asked for."""
        sampling = self.config.sampling
        params = SamplingParams(
            sampling.max_tokens, sampling.temperature, seed=shard_seed(self.config.run.seed, shard), stop=sampling.stop
        )
        indices = self.parts.shards[shard]
        prompts = self.render(self.problems[indices.start : indices.stop])
        begun = Underway(shard, iter(self.sampler.sample(prompts, sampling.group_size, params)))
        index, group = next(begun.groups)
        self._arrived(begun, index, group)
        return begun

    def _arrived(self, underway: Underway, index: int, group: Group) -> None:
        scored = self.scorer.submit(group)
        scored.add_done_callback(self._note_fault)
        underway.scored[index] = scored
        self.progress.group(group)
        if self.fault is not None:
            raise self.fault

    def _note_fault(self, done: Future[Any]) -> None:
        if not done.cancelled():
            self.fault = self.fault or done.exception()

    def _write(self, sampled: Underway) -> Tally:
        scored = sampled.scored
        return self.parts.write(sampled.shard, (collected(scored.pop(index).result()) for index in range(len(scored))))


def shard_seed(seed: int, shard: int) -> int:
    """Of the draws of a shard."""
    return random.Random(f"{seed}/collect/{shard}").getrandbits(32)
