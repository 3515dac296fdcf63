"""Small rewards, good and evil, that the tests of grpo.scoring run in real worker processes."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewards import Declaration, Score, declare

Problem = Mapping[str, Any]


# Good ones, in the three signatures.
def exact(completion: str, problem: Problem) -> float:
    found = re.search(r"<answer>(.*?)</answer>", completion)
    return float(found is not None and found[1] == str(problem["answer"]))


def brief(completion: str, problem: Problem, *, most: int = 3, bonus: float = 0.0) -> Score:
    words = len(completion.split())
    return Score(float(words <= most) + bonus, answer=completion, why=f"{words} words", parsed=True)


def tokens(completion: str, problem: Problem) -> int:
    return problem["completion_tokens"]


def unsure_of_maybe(completion: str, problem: Problem) -> Score:
    return Score.none("maybe") if completion == "maybe" else Score(1.0)


def judges_nothing(completion: str, problem: Problem) -> Score:
    return Score.none("no idea")


def trl_style(prompts: list[Any], completions: list[Any], answer: list[str], **kwargs: Any) -> list[float | None]:
    texts = [c if isinstance(c, str) else c[0]["content"] for c in completions]
    return [None if text == "maybe" else float(text == gold) for text, gold in zip(texts, answer, strict=True)]


def trl_shows_what_it_got(completions: list[Any], prompts: list[Any], **columns: Any) -> list[float]:
    Path(columns["file"][0]).write_text(repr((prompts, completions, sorted(columns))))
    return [1.0]


def trl_wants_ids(completions: list[Any], completion_ids: list[Any]) -> list[float]:
    return [0.0]


def compute_score(data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None) -> float:
    return float(solution_str == ground_truth)


def verl_dict(data_source: str, solution_str: str, ground_truth: str, extra_info: Any) -> dict[str, Any]:
    return {"score": float(solution_str == ground_truth), "pred": solution_str, "index": extra_info["index"]}


def claims(completion: str, problem: Problem, *, failure: Any = None) -> Score:
    """Says why in words that may sound like those of a runner."""
    return Score(0.0, why=completion, failure=failure)


def columns(completion: str, problem: Problem) -> Score:
    return Score(1.0, why=str(sorted(problem)))


# Those that declare something, in the three signatures.
@declare(needs=("answer", "unit"), timeout=0.5, rejected_golds="ignore")
def slow(completion: str, problem: Problem) -> float:
    time.sleep(float(completion))
    return 1.0


@declare(timeout=30)
def trl_patient(completions: list[Any], **columns: Any) -> list[float]:
    return [1.0]


@declare(rejected_golds="drop")
def verl_strict(data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None) -> float:
    return 1.0


def by_hand(completion: str, problem: Problem) -> float:
    return 1.0


by_hand.declaration = Declaration(needs=("unit",))  # type: ignore[attr-defined]


def declares_nonsense(completion: str, problem: Problem) -> float:
    return 1.0


declares_nonsense.declaration = {"timeout": 3}  # type: ignore[attr-defined]


# Those that a load must refuse.
async def asynchronous(completion: str, problem: Problem) -> float:
    return 1.0


def other_names(text: str, row: Problem) -> float:
    return 1.0


def needs_budget(completion: str, problem: Problem, budget: int) -> float:
    return float(len(completion) <= budget)


class NotAFunction:
    def __init__(self, completion: str, problem: Problem) -> None: ...


a_number = 3


# Those that break the contract, by what the completion says.
def returns(completion: str, problem: Problem) -> Any:
    values: dict[str, Any] = {
        "nan": float("nan"),
        "inf": float("-inf"),
        "text": "1.0",
        "none": None,
        "list": [1.0],
        "huge": 10**400,
        "lambda": lambda: 1,
        "complex": 1j,
        "score of text": _score_with(why=3),
        "unnamed": _score_with(answer=4),
    }
    return values.get(completion, 0.5)


def _score_with(**fields: Any) -> Score:
    return Score(1.0, **fields)


def trl_wrong_length(completions: list[Any], **columns: Any) -> list[float]:
    return [1.0, 0.0]


def trl_number(completions: list[Any], **columns: Any) -> Any:
    return 1.0


# Those that misbehave, by what the completion says; anything else scores 1.
def evil(completion: str, problem: Problem) -> float:
    if act := _EVIL.get(completion):
        act()
    return 1.0


def _raise() -> None:
    raise KeyError("answer")


def _raise_unprintable() -> None:
    class Unprintable(Exception):
        def __repr__(self) -> str:
            raise ValueError("no words")

    raise Unprintable


def _sleep() -> None:
    time.sleep(60)


def _backtrack() -> None:  # the interpreter is locked for years: no thread and no signal handler runs
    re.match("(a+)+$", "a" * 60 + "b")


def _ignore_every_signal() -> None:
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(1)


def _leave_a_child() -> None:
    subprocess.Popen([sys.executable, "-c", f"import time; time.sleep(300)  # {os.environ['CHILD_MARK']}"])
    time.sleep(60)


def _fork_and_come_back() -> None:
    os.fork()


def _print() -> None:
    print("noise " * 500)  # noqa: T201
    os.write(1, b'{"score": [9.0, null, "", null]}\n')
    sys.stdout.flush()


_EVIL = {
    "raise": _raise,
    "raise unprintable": _raise_unprintable,
    "sys.exit": lambda: sys.exit(1),
    "interrupt": lambda: exec("raise KeyboardInterrupt"),
    "recurse": lambda: eval("f(f)", {"f": lambda f: f(f)}),
    "sleep": _sleep,
    "backtrack": _backtrack,
    "ignore every signal": _ignore_every_signal,
    "leave a child": _leave_a_child,
    "os._exit": lambda: os._exit(7),
    "segfault": lambda: ctypes.string_at(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "close all": lambda: os.closerange(3, 256),
    "fork": _fork_and_come_back,
    "print": _print,
    "read": lambda: sys.stdin.readline(),
    "input": lambda: input(),
}


def long_reason(completion: str, problem: Problem) -> Score:
    return Score(1.0, answer="x" * 1_000_000, why="y" * 50_000_000)


def meddles(completion: str, problem: Any) -> float:
    value = problem["numbers"][0]
    problem["numbers"][0] = 99
    problem.clear()
    return float(value)


def process_id(completion: str, problem: Problem) -> int:
    return os.getpid()


def brings_its_own_timer(completion: str, problem: Problem) -> float:
    """What many checkers do, and what works in a main thread only."""

    def rings(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, rings)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        time.sleep(30)
    except TimeoutError:
        return 0.25
    return 1.0


def heavy_modules(completion: str, problem: Problem) -> Score:
    heavy = {"torch", "vllm", "transformers", "pydantic", "grpo.config"} & sys.modules.keys()
    return Score(
        float(len(heavy)), why=f"{sorted(heavy)}, main is {getattr(sys.modules['__main__'], '__file__', None)}"
    )
