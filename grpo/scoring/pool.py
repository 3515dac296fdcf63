"""A pool of threads, each with a worker process of its own that it starts, asks and replaces.

The threads only wait, so they cost nothing beside a learner; they make the pool independent of what the main thread
is doing, and a timeout is simply how long a thread waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from grpo.errors import RewardError
from grpo.scoring.process import Fault, RewardProcess
from rewards import Declaration, Score

if TYPE_CHECKING:
    from grpo.config import Reward

T = TypeVar("T")
R = TypeVar("R")
Call = Callable[[int, str, Mapping[str, Any]], Score | Fault]


class Pool:
    """`submit(work)` runs `work(call)` on some thread, where `call(index, completion, problem)` asks its worker.

    The first worker starts here, so that a reward that cannot be loaded is known at once; the others when needed.
    `declarations` are what it reports that the rewards declare.
    """

    def __init__(self, specs: Sequence[Reward], *, workers: int, chat: bool) -> None:
        self._specs, self._chat = tuple(specs), chat
        self._lock = threading.Lock()
        self._closed = False
        self._processes: set[RewardProcess] = set()
        self._mine = threading.local()
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="scoring")
        try:
            first = self._start()
        except BaseException:  # Ctrl-C too: leave no process behind
            self.close()
            raise
        self._spare: RewardProcess | None = first
        self.declarations = first.declarations

    def submit(self, work: Callable[[Call], T]) -> Future[T]:
        return self._threads.submit(work, self._call)

    def close(self) -> None:
        """Kill the workers.  What was submitted and not finished is cancelled."""
        with self._lock:
            self._closed = True
            processes = list(self._processes)
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
        self._threads.shutdown()

    def _call(self, index: int, completion: str, problem: Mapping[str, Any]) -> Score | Fault:
        answer = self._process().call(index, completion, problem)
        if self._closed:
            raise CancelledError("the pool was closed")  # we killed the worker: the score would be a lie
        return answer

    def _process(self) -> RewardProcess:
        process: RewardProcess | None = getattr(self._mine, "process", None)
        if process is None:
            with self._lock:
                process, self._spare = self._spare, None
        if process is None or not process.is_alive():
            if process is not None:
                self._end(process)
            try:
                process = self._start()
            except RewardError as error:
                raise RewardError(str(error)) from error  # exit 1: it could be loaded when the run began
        self._mine.process = process
        return process

    def _start(self) -> RewardProcess:
        with self._lock:
            if self._closed:
                raise CancelledError("the pool was closed")
            process = RewardProcess(self._specs, chat=self._chat)
            self._processes.add(process)
        try:
            process.wait_until_loaded()
        except RewardError:
            self._end(process)
            if self._closed:
                raise CancelledError("the pool was closed") from None
            raise
        return process

    def _end(self, process: RewardProcess) -> None:
        process.kill()
        with self._lock:
            self._processes.discard(process)


def declarations(specs: Sequence[Reward]) -> tuple[Declaration, ...]:
    """What the rewards declare, in their order.  A worker loads them and says so: their code does not run in here.

    Raises `RewardError` (exit 2) for one that cannot be loaded.
    """
    pool = Pool(specs, workers=1, chat=True)
    pool.close()
    return pool.declarations


def gather(parts: Sequence[Future[T]], make: Callable[[list[T]], R]) -> Future[R]:
    """The future of `make` of all results, or of the first failure; no thread waits for it."""
    assert parts, "nothing would ever complete it"
    whole: Future[R] = Future()
    whole.set_running_or_notify_cancel()
    lock = threading.Lock()
    missing = len(parts)

    def arrived(part: Future[T]) -> None:
        nonlocal missing
        with lock:
            missing -= 1
            if whole.done():
                return
            if part.cancelled():
                whole.set_exception(CancelledError("the pool was closed"))
            elif (error := part.exception()) is not None:
                whole.set_exception(error)
            elif missing == 0:
                whole.set_result(make([part.result() for part in parts]))

    for part in parts:
        part.add_done_callback(arrived)
    return whole
