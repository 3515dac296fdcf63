"""Properties of the whole: symmetry, robustness, the same verdict from anywhere."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
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


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
def test_any_text_gets_a_verdict(gold: str, text: str) -> None:
    for policy in ("train", "eval"):
        assert verify(gold, text, policy).reason
        assert verify_answer(gold, text, policy).reason


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
    assert time.process_time() - start < 1.5  # seconds of computing; about a third where nobody else computes


def test_neither_importing_nor_judging_plain_answers_loads_what_computes() -> None:
    code = (
        "import sys, rewards.math_answer as m; assert 'mpmath' not in sys.modules;"
        "assert m.verify('1/2', r'\\boxed{0.5}').ok; assert m.verify('sqrt(8)', r'\\boxed{2\\sqrt2}').ok;"
        "assert not {'sympy', 'torch', 'vllm', 'grpo'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
