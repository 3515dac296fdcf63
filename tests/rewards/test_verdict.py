"""Properties of the whole: symmetry, robustness, the same verdict from anywhere."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rewards.math_answer import verify, verify_answer
from tests.conftest import ROOT
from tests.rewards.fuzzing import TOKENS
from tests.rewards.pairs import DIFFERENT, EQUAL

_ATOMS = r"""
1 2 3 -1 1/2 0.5 0.25 \frac12 \sqrt2 \sqrt{8} 2\sqrt2 \pi x y x+1 1+x 2x x^2 (1,2) (2,1) [1,2] \{1,2\} \{2,1\} 1,2 2,1
x=1 x=2 y=x+1 x>1 1<x (1,\infty) \emptyset \infty 50\% 90^\circ 5\text{cm} 5 \pm1 1,-1 A (A) \text{A} 3:4 12:30
\begin{pmatrix}1\\2\end{pmatrix} f(x)=x+1 101_2 101 i \sqrt{-1} e \ln2 n! \binom{n}{2}
"""
ATOMS = st.sampled_from(_ATOMS.split())
TEXTS = st.lists(st.sampled_from(TOKENS), max_size=25).map("".join)


@given(ATOMS, ATOMS)
def test_bare_answers_are_compared_symmetrically(one: str, other: str) -> None:
    if "\\%" not in one + other:  # a percent sign left out is forgiven beside the gold answer's
        assert verify_answer(one, other).ok == verify_answer(other, one).ok


@given(ATOMS)
def test_every_answer_equals_itself_in_a_box(answer: str) -> None:
    assert verify(answer, rf"Therefore it is \boxed{{{answer}}}.").ok


@settings(max_examples=300)
@given(TEXTS, TEXTS)
def test_any_text_gets_a_verdict(gold: str, text: str) -> None:
    for policy in ("train", "eval"):
        assert verify(gold, text, policy).reason
        assert verify_answer(gold, text, policy).reason


# Answers of which no two are equal, and ways to offer several of them as one.
LETTERS = tuple("ABCD")
VALUES = (
    *r"42 -3 7 1/2 \sqrt{2} 3\pi 100 0 yes no да нет 正确 错误 存在 不存在 はい いいえ 예 아니오".split(),
    *r"نعم لا even odd σωστό λάθος".split(),
    *r"(1,2) (2,1) (1,5) [1,5) x>1 x<1 x\ge1 x=3,y=4 x=4,y=3 \{3,5\} y=2x+1 y=2x-1 (-\infty,1)".split(),
    *r"\emptyset 1,2,3 2:7".split(),
    *(
        r"x^2+y^2=1",
        r"5\text{ cm}",
        r"6\text{ cm}",
        "12:30",
        "f(x)=2x",
        "f(x)=3x",
        r"A\cup B",
        r"\mathbb{R}",
        "增函数",
        "减函数",
    ),
)
JOINED = (
    *(
        " ",
        ", ",
        " or ",
        " and ",
        "=",
        r"\approx ",
        r"\ne ",
        " (",
        ") ",
        "; ",
        "\n",
        "/",
        r"\text{ or }",
        ": ",
        ". ",
        r"\to ",
    ),
    *(
        "|",
        "^",
        r"\quad ",
        r"\pm ",
        "或",
        "不",
        " not ",
        " i.e. ",
        r"\cup ",
        r"\}\{",
        " but ",
        r"\text{, not }",
        r"} \text{",
    ),
    *(
        r"}, \boxed{",
        r"} or \boxed{",
        r"} = \boxed{",
        r"} \approx \boxed{",
        r"}. No, \boxed{",
        r"} not \boxed{",
        "~~",
        " is ",
    ),
)
AROUND = (
    *(
        (r"\boxed{", "}"),
        ("The answer is ", "."),
        ("", ""),
        ("<answer>", "</answer>"),
        ("答案是", "。"),
        (r"\boxed{x=", "}"),
    ),
    *(
        (r"\boxed{\text{", "}}"),
        (r"\boxed{(", ")}"),
        (r"\boxed{\{", r"\}}"),
        ("So it is ", "."),
        ("The answer is $", "$."),
    ),
)
golds = st.sampled_from(LETTERS + VALUES)


@settings(max_examples=400)
@given(st.lists(golds, min_size=2, max_size=3, unique=True), st.sampled_from(JOINED), st.sampled_from(AROUND))
def test_no_completion_is_accepted_for_two_answers(offered: list[str], between: str, around: tuple[str, str]) -> None:
    completion = around[0] + between.join(offered) + around[1]
    for policy in ("train", "eval"):
        accepted = [gold for gold in offered if verify(gold, completion, policy).ok]
        letters = [gold for gold in accepted if gold in LETTERS]
        assert len(letters) <= 1, completion
        assert len(accepted) - len(letters) <= 1, completion  # a letter may stand with what it stands for


# Pieces of answers that may equal too much: nothing, everything, what is not defined.
PIECES = st.sampled_from(
    r"0 1 2 42 x a_n = : 0:0 0/0 ^0 \infty \cdot \pm \approx \equiv \pmod{1} mod \emptyset".split()
    + r"\mathbb{R} \in < > % | ! \text{ \{ } \} ( ) , ; ? \ldots _ + - \le \ne ^\circ any or all".split()
)


@settings(max_examples=60)
@example(["0:0"])
@example(["0", "x", ":", "0", "x"])
@example(["x", "=", "x"])
@given(st.lists(PIECES, min_size=1, max_size=6))
def test_no_answer_is_worth_everything(pieces: list[str]) -> None:
    completion = "<answer>" + " ".join(pieces) + "</answer>"
    accepted = [gold for gold in LETTERS + VALUES if verify(gold, completion, "eval").ok]
    assert len(accepted) <= 1, (completion, accepted)


def test_the_same_verdicts_from_a_thread() -> None:
    pairs = (EQUAL + DIFFERENT)[::5]
    here = [verify_answer(one, other).ok for one, other in pairs]
    there: list[bool] = []
    thread = threading.Thread(target=lambda: there.extend(verify_answer(one, other).ok for one, other in pairs))
    thread.start()
    thread.join()
    assert here == there


def test_an_unreadable_gold_is_never_rewarded() -> None:
    for gold in ("", r"\frac{", "(("):
        for answer in ("5", "", r"\frac{1"):
            assert not verify_answer(gold, answer).ok


def test_what_is_too_long_to_read_still_equals_itself_and_nothing_else() -> None:
    digits = "1" * 5000
    assert verify_answer(digits, digits).ok
    assert not verify_answer(digits, digits[:-1] + "2").ok


def test_commas_are_read_as_the_other_side_means_them() -> None:
    assert verify_answer("100,200,300", r"\{100, 200, 300\}").ok
    assert verify_answer("100200300", "100,200,300").ok
    assert not verify_answer("32349", "32, 349").ok


SEVENS = "7" * 280
WORST = {
    "gamma function to many digits": "+".join(f"(x+{k}.{SEVENS})!" for k in range(5)),
    "many gamma functions": "+".join(f"(x+{k})!" for k in range(60)),
    "a long sum": r"\sum_{k=1}^{2000} \sin(k)",
    "a long product": r"\prod_{k=1}^{2000} (1+\frac{1}{k!})",
    "nested sums": r"\sum_{k=1}^{n} (\sum_{j=1}^{n} (\sum_{m=1}^{n} \sin(jkm)))",
    "large powers": "+".join(f"{k}^{{9999}}" for k in range(2, 99)),
    "large roots": "+".join(rf"\sqrt[7]{{{k}^{{3000}}+1}}" for k in range(2, 50)),
    "factorials": "+".join(f"{k}!" for k in range(1900, 2000)),
    "many integrals": ", ".join(rf"\int_0^1 x^{{x^{k}}} dx" for k in range(1, 20)),
    "a matrix of functions": r"\begin{pmatrix}" + "&".join(rf"\sin({k}x)" for k in range(60)) + r"\end{pmatrix}",
}


@pytest.mark.parametrize("name", WORST)
def test_the_work_on_one_pair_is_bounded(name: str) -> None:
    answer = WORST[name]
    start = time.process_time()
    assert not verify_answer(answer, answer.replace("x", "(x+0)").replace("k", "(k+0)") + "+1", "eval").ok
    assert time.process_time() - start < 2  # seconds of computing; a quarter of it on an idle machine


def test_neither_importing_nor_judging_plain_answers_loads_what_computes() -> None:
    code = (
        "import sys, rewards.math_answer as m; assert 'mpmath' not in sys.modules;"
        "assert m.verify('1/2', r'\\boxed{0.5}').ok; assert m.verify('sqrt(8)', r'\\boxed{2\\sqrt2}').ok;"
        "assert not {'sympy', 'torch', 'vllm', 'grpo'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
