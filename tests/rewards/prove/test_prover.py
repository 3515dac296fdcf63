"""The algebra process: it decides, it is killed in time, it works from anywhere, and it leaves nothing behind."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from rewards.math_answer.prove import prover
from rewards.math_answer.prove.helper import DEADLINE, GRACE
from rewards.math_answer.read.answers import parse
from tests.conftest import ROOT


@pytest.fixture(autouse=True, scope="module")
def _warm() -> Iterator[None]:
    prover.warm()
    yield
    prover.close()


def prove(a: str, b: str) -> bool | None:
    return prover.prove(parse(a), parse(b))


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (r"\int_0^{\infty} e^{-x^2} dx", r"\frac{\sqrt{\pi}}{2}", True),
        (r"\int_0^1 x^2 dx", "1/3", True),
        (r"\int_0^1 x^2 dx", "1/2", False),
        (r"\lim_{x \to 0} \frac{\sin x}{x}", "1", True),
        (r"\sum_{k=1}^{\infty}\frac{1}{k^2}", r"\frac{\pi^2}{6}", True),
        (r"\text{words}", "1", None),  # not translated
    ],
)
def test_it_decides(a: str, b: str, equal: bool | None) -> None:
    assert prove(a, b) is equal


@pytest.mark.parametrize(
    "hard", [r"\int_0^1 \sin(x^{x^x}) \exp(\cos(x^7)) dx", r"\sum_{k=1}^{\infty}\frac{1}{k^7+k^2+1}"]
)
def test_a_question_is_killed_on_its_deadline_and_the_next_one_is_answered(hard: str) -> None:
    start = time.monotonic()
    assert prove(hard, "1") is None
    assert time.monotonic() - start < 2 * (DEADLINE + GRACE)  # seconds
    assert prove(r"\int_0^1 x dx", "1/2") is True


def test_a_helper_that_was_killed_is_replaced() -> None:
    helper = prover._helper
    assert helper is not None
    helper.process.kill()
    helper.process.wait()
    assert prove(r"\int_0^1 x dx", "1/2") is True


def test_it_works_from_threads() -> None:
    answers: list[bool | None] = []
    threads = [threading.Thread(target=lambda: answers.append(prove(r"\int_0^1 x dx", "1/2"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 4
    assert prove(r"\int_0^1 x dx", "1/2") is True  # also after the thread that started the helper has ended


def test_it_works_from_asyncio() -> None:
    async def run() -> list[bool | None]:
        return await asyncio.gather(*(asyncio.to_thread(prove, r"\int_0^1 x dx", "1/2") for _ in range(2)))

    assert asyncio.run(run()) == [True, True]


def _in_a_worker(results: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    results.put((prove(r"\int_0^1 x dx", "1/2"), prover._helper.process.pid if prover._helper else None))
    time.sleep(60)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_it_works_in_a_daemonic_worker_and_dies_when_the_worker_is_killed(method: str) -> None:
    context = multiprocessing.get_context(method)
    results = context.Queue()
    worker = context.Process(target=_in_a_worker, args=(results,), daemon=True)
    worker.start()
    answer, helper = results.get(timeout=60)
    assert answer is True
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert _ends(helper)


def _ends(pid: int) -> bool:
    for _ in range(100):
        try:
            with open(f"/proc/{pid}/stat") as handle:
                if handle.read().rpartition(")")[2].split()[0] == "Z":
                    return True  # ended; nobody has waited for it yet
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def test_neither_importing_nor_judging_plain_answers_loads_sympy() -> None:
    code = (
        "import sys, rewards.math_answer as m; assert 'mpmath' not in sys.modules;"
        "assert m.verify('1/2', r'\\boxed{0.5}').ok; assert m.verify('sqrt(8)', r'\\boxed{2\\sqrt2}').ok;"
        "assert not {'sympy', 'torch', 'vllm', 'grpo'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
