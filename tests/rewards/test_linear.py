"""Time in proportion to the text, whatever is repeated in it: degenerate models write one thing again and again."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rewards.math_answer import verify, verify_answer
from rewards.math_answer.read import answers

# Pieces that some rule of the checker looks for, and characters that none does.
PIECES = (
    *"1 a A ( ) [ ] { } $ \\ \n . , ; : | = ^ _ - + * / ! % & ' < > ~ # ? é 。 ， 选 答 ½ ² ① √ \u0301".split(" "),
    *r"\boxed{ boxed{ A) A. (A) #### ** <answer> </answer> <think> \frac \sqrt \text{ \left \pm 1, x= \in".split(),
    *r"\\ ~~ Q: $$".split(),
    *(" ", "\t", "answer is ", "the answer to ", "Answer: ", "I hope ", "or ", "not ", "no, ", "wait ", "if ", "mod "),
    *(
        "答案",
        "Antwort ",
        "Ответ",
        "final ",
        "option A ",
        "and ",
        "选项",
        "正确",
        "\\quad ",
        "\\cup ",
        "\\begin{cases}",
        "is ",
    ),
)
AROUND = (
    *(
        ("", ""),
        (r"\boxed{42}", ""),
        (r"\boxed{", "}"),
        ("The answer is ", ""),
        ("The answer is 42", "0=x."),
        ("$", "$"),
    ),
    *(("答案", ""), ("A) ", ""), ("<answer>", "</answer>"), (r"\boxed{42}", "The answer is 42")),
)
LENGTH = 1 << 16  # characters; more are not read
units = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join)


def cpu_seconds(run: Callable[[], object]) -> float:
    """Seconds of computing, the better of two: other processes make it longer, never shorter."""
    times = []
    for _ in range(2):
        answers.parse.cache_clear()
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def judged(text: str) -> None:
    for policy in ("train", "eval"):
        verify("42", text, policy)


@settings(max_examples=40)
@given(units, st.sampled_from(AROUND))
@example("\n", (r"\boxed{42}", ""))
@example(" ", (r"\boxed{42}", ""))
@example("\\", (r"\boxed{", "}"))
@example("$\n", ("", ""))
@example("。$", ("", ""))
@example(" ", ("The answer is ", "0=x."))
@example("The answer is 5. wait ", ("", ""))
def test_twice_the_text_takes_twice_the_time(unit: str, around: tuple[str, str]) -> None:
    start, end = around
    once, twice = (
        cpu_seconds(lambda n=n: judged(start + unit * (n // len(unit)) + end))
        for n in (LENGTH // 2, LENGTH - len(start + end))  # with its start: without the box it would be another text
    )
    assert twice < 2.5 * once + 0.1, (once, twice)  # 0.1 s: what is as short as this is no evidence
    assert twice < 2 * 0.5, twice  # seconds, for two policies; a tenth of it on an idle machine


@settings(max_examples=40)
@given(units)
@example("A) ")
@example("选项")
@example(r"\pm1")
@example(" mod 3")
def test_an_answer_that_repeats_itself_is_judged_in_no_time(unit: str) -> None:
    text = unit * (2048 // len(unit))

    def both_ways() -> None:
        for gold, answer in (("42", text), (text, "42"), (text, text + unit), ("42", f"A{text[:-2]}x")):
            verify_answer(gold, answer, "eval")

    assert cpu_seconds(both_ways) < 4 * 0.5, unit  # seconds, for four verdicts


@pytest.mark.parametrize("count", [200, 50_000])
@pytest.mark.parametrize("unit", ["A) ", "(A) ", "A. ", r"\pm1", "1 mod ", "((", r"\frac{", r"\text{", "$B) ", "|x"])
def test_no_depth_of_repetition_raises(unit: str, count: int) -> None:
    for text in (unit * count, rf"\boxed{{{unit * count}}}", "The answer is " + unit * count):
        assert not verify("42", text, "eval").ok
