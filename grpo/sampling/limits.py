"""Time limits for what has none of its own, such as NCCL, whose waits end only when its communicator is aborted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

import torch

from grpo.errors import SamplerError

LOOK = 0.02  # seconds between two looks at whether what is waited for has become pointless


def within(
    seconds: float, what: str, function: Callable[[], object], pointless: Callable[[], bool] = lambda: False
) -> None:
    """Call the function, on a thread that is left behind if it is not back in time, or as soon as it is `pointless` to
    wait for it any longer; then the caller knows more than what could be raised here."""
    ended: SimpleQueue[BaseException | None] = SimpleQueue()
    device = torch.cuda.current_device() if torch.cuda.is_initialized() else None

    def run() -> None:
        try:
            if device is not None:
                torch.cuda.set_device(device)  # is each thread's own
            function()
        except BaseException as error:  # noqa: BLE001 — raised below, where somebody listens
            ended.put(error)
        else:
            ended.put(None)

    threading.Thread(target=run, daemon=True).start()
    until = time.monotonic() + seconds
    while not pointless():
        try:
            error = ended.get(timeout=LOOK)
        except Empty:
            if time.monotonic() > until:
                raise _too_long(what, seconds) from None
            continue
        if error is not None:
            raise error
        return


@contextmanager
def aborted_after(seconds: float, what: str, abort: Callable[[], object]) -> Iterator[None]:
    """If what is inside is not done in time, call `abort`, which must end its waiting, and raise."""
    aborted = threading.Event()

    def give_up() -> None:
        aborted.set()
        abort()

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if aborted.is_set():  # whatever came of it: an aborted broadcast may look like a finished one
            raise _too_long(what, seconds)


def _too_long(what: str, seconds: float) -> SamplerError:
    return SamplerError(
        f"{what} was not done within {seconds:g} s: a member of the transfer group is gone, or the model is too large "
        "for the limit"
    )
