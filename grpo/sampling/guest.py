"""How the engine is a guest of this process: what starting it and drawing in it must not change here."""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import numpy
import torch

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine runs in this process
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",  # `Vocabulary` has checked the context; `score` needs one token more
    "VLLM_NO_USAGE_STATS": "1",
}


@contextmanager
def generators_unchanged(cuda_devices: Iterable[int]) -> Iterator[None]:
    """What is drawn inside does not move the process's own generators."""
    python, arrays = random.getstate(), numpy.random.get_state()
    try:
        with torch.random.fork_rng(cuda_devices):
            yield
    finally:
        random.setstate(python)
        numpy.random.set_state(arrays)


@contextmanager
def host_unchanged() -> Iterator[None]:
    """Leave the process as it was found, apart from the engine in it."""
    environment, threads = dict(os.environ), torch.get_num_threads()
    set_num_threads, excepthook = torch.set_num_threads, sys.excepthook
    with ExitStack() as stack:
        stack.enter_context(generators_unchanged(range(torch.cuda.device_count())))
        try:
            os.environ.update(ENVIRONMENT)
            # What vLLM logs as an error it also raises, after dumping its whole state: 100 KB.
            os.environ.setdefault("VLLM_LOGGING_LEVEL", "CRITICAL")
            yield
        finally:
            for name in os.environ.keys() - environment.keys():
                del os.environ[name]
            os.environ.update(environment)
            torch.set_num_threads = set_num_threads
            torch.set_num_threads(threads)
            sys.excepthook = excepthook


@contextmanager
def num_threads(number: int | None) -> Iterator[None]:
    """So many threads of torch's inside, and afterwards as many as before; None leaves them."""
    before = torch.get_num_threads()
    if number is None or number == before:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def quiet_unless_it_fails() -> Iterator[None]:
    """Hold back what is written to standard error, C++ included, and show it only if an exception comes."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
