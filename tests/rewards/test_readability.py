"""Readability: each rule costs its share, is named where it is broken, and leaves ordinary writing alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards import Score
from rewards.readability import LONGEST, readability
from tests.rewards.writing import DATA, anything, in_proportion, solutions, units

GOOD = "<think>\nFirst we add: $2 + 3 = 5$.\n\nSo we are done.\n</think>\nThe answer is \\boxed{5}."

READABLE = {
    "thoughts and an answer": GOOD,
    "tags": "<think>We add.</think><answer>5</answer>",
    "no tags": "We add and get 5.",
    "a number": "5",
    "only a formula": "$x^2$",
    "money": "He has $5, she has $7.50, and they pay $12 in all, which is 24 $ a day, or $<<3*4=12>>12.",
    "formulas of all kinds": r"$a$, $$b$$, \(c\) and \[\begin{array}{cc} 1 & 2 \\[2pt] 3 & 4 \end{array}\]",
    "a set in braces": r"$\{x : x > 0\}$ and $\left\{ a \right.$",
    "an interval": "The interval is $[0, 1)$ and ]0, 1] is another, (a) and b) are choices.",
    "a program as the answer": "<think>We sort.</think>\n```python\nprint('a\\n\\n\\n')\n```",
    "code without thoughts": "```python\nx = '$'\n```",
    "code in a line of the thoughts": "<think>We call `sort(x)` here.</think>It is sorted.",
    "quoted escapes": "Split at '\\n' and join with \"\\n\", then it is right.",
    "commands that begin with n": r"So $a \ne b$, and \neq, \nu and \nabla are what they are.",
    "a long table": "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 500,
    "a long program": "```\n" + "x" * 5000 + "\n```",
    "accents, emoji and other scripts": "Ça va 🙂 因此 слово می‌کنیم.",
    "quotes in LaTeX": "the ``first'' one isn't `here'",
    "a shell variable": "the path in `$HOME` is set",
}

FAULTS = {
    "a paragraph": ("x " * 1500, "a paragraph of 2999 characters (more than 2000)"),
    "an open dollar": ("So $x = 5 is what we get", "$ without its other half"),
    "a closing dollar": ("So x = y$ is what we get", "$ without its other half"),
    "an open bracket": (r"So \[ x = 5 is what we get", r"\[ without its other half"),
    "a closing bracket": (r"So x = 5 \) is what we get", r"\) without its other half"),
    "an environment": ("\\begin{align*}\nx &= 5", r"\begin{align*} without its other half"),
    "a list that never ends": ("\\begin{itemize}\\item one", r"\begin{itemize} without its other half"),
    "braces": (r"So $\frac{1}{2$ is it", "braces of a formula are not balanced"),
    "an open block": ("So:\n```python\nx = 1", "a block of code never ends"),
    "tags": ("<answer>5", "<answer> occurs 1 times and </answer> 0 times"),
    "a control character": ("We get \x0crac{1}{2}", "the character U+000C"),
    "a replacement character": ("We get \ufffd", "the character U+FFFD"),
    "half a character": ("We get \ud83d", "the character U+D83D"),
    "a token": ("The answer is 5<|im_end|>", "the token <|im_end|>"),
    "another token": ("The answer is 5<｜end▁of▁sentence｜>", "the token <｜end▁of▁sentence｜>"),
    "line breaks written out": (r"We add.\n\nThen we get 5.\n", "3 line breaks or characters written out as escapes"),
    "characters written out": (r"We get \u4f60\u597d here", "2 line breaks or characters written out as escapes"),
    "no answer": ("<think>We add.</think>\n", "no answer behind the thoughts"),
    "an empty answer": ("<think>We add.</think><answer> </answer>", "no answer behind the thoughts"),
    "code in the thoughts": ("<think>\n```\nx\n```\n</think>5", "a block of code within the thoughts"),
}


@pytest.mark.parametrize("text", READABLE.values(), ids=READABLE)
def test_ordinary_writing_is_readable(text: str) -> None:
    assert readability(text, {}) == Score(1.0, why="readable")


@pytest.mark.parametrize(("text", "why"), FAULTS.values(), ids=FAULTS)
def test_each_fault_costs_a_sixth_and_is_named(text: str, why: str) -> None:
    score = readability(text, {})
    assert score.why == why
    assert score.value == pytest.approx(5 / 6)


def test_faults_add_up_and_are_listed() -> None:
    """Tags, and with them the answer, as where a completion was cut off; and the block that is still open, twice."""
    score = readability("<think>So:\n```python\nx = 1", {})
    assert score.value == pytest.approx(2 / 6)
    assert score.why == (
        "a block of code never ends; <think> occurs 1 times and </think> 0 times; no answer behind the thoughts; "
        "a block of code within the thoughts"
    )


def test_code_in_thoughts_may_be_allowed() -> None:
    text = "<think>\n```\nx\n```\n</think>5"
    assert readability(text, {}, code_in_thoughts=True) == Score(1.0, why="readable")
    assert readability("$x", {}, code_in_thoughts=True).value == pytest.approx(4 / 5)


def test_how_long_a_paragraph_may_be_is_an_option() -> None:
    assert readability("x" * LONGEST, {}).value == 1
    assert readability("x" * 11, {}, longest=10).why == "a paragraph of 11 characters (more than 10)"


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_nothing_is_not_readable(text: str) -> None:
    assert readability(text, {}) == Score(0.0, why="there is no text")


@given(anything, st.booleans())
def test_any_text_has_a_share_and_less_than_1_says_why(text: str, code: bool) -> None:
    score = readability(text, {}, code_in_thoughts=code)
    assert score.value is not None and 0 <= score.value <= 1
    assert (score.value == 1) is (score.why == "readable")


@given(anything)
def test_a_control_character_is_always_seen(text: str) -> None:
    assert (readability(text + "\x07", {}).value or 0) < 1


@settings(max_examples=12)
@given(units)
def test_four_times_the_text_takes_four_times_the_time(unit: str) -> None:
    assert in_proportion(lambda text: readability(text, {}), unit)


@pytest.mark.parametrize("unit", ["$ ", "```\n"])
def test_a_million_characters_of_one_thing(unit: str) -> None:
    assert readability("a" + unit * (1_000_000 // len(unit)) + "a", {}).value is not None


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no solutions at {DATA}")
def test_solutions_are_readable() -> None:
    for name, texts in solutions().items():
        faults = [score.why for text in texts[:400] if (score := readability(text, {})).value != 1]
        assert len(faults) <= 0.012 * len(texts), (name, faults)
