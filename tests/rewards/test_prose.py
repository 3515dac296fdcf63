"""What is prose and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given

from rewards.prose import Span, prose, spans, thoughts, without
from tests.rewards.writing import anything


def found(text: str) -> list[str]:
    return [text[span.start : span.end] for span in spans(text)]


@pytest.mark.parametrize(
    ("text", "formulas"),
    [
        ("So $x=1$ and $y$.", ["$x=1$", "$y$"]),
        ("So $ x=1 $ and\n$$y$$", ["$ x=1 $", "$$y$$"]),
        (r"Then \(a\) and \[b\] hold", [r"\(a\)", r"\[b\]"]),
        ("$a\nb$", ["$a\nb$"]),
        ("$a\n\nb$ c", []),  # a blank line ends a paragraph, and with it what was open
        (
            r"\begin{align}\begin{array}{c}1\end{array}\end{align} x",
            [r"\begin{align}\begin{array}{c}1\end{array}\end{align}"],
        ),
        (r"\begin{itemize}\item so\end{itemize}", []),
        ("He has $5 and she has $7.", []),
        ("From $5-$10 a week", []),
        ("I had 5 $ and you had 7 $.", []),
        ("He pays 3*2=$<<3*2=6>>6 and then $<<1=1>>1", []),
        (r"It costs \$5 or \$6", []),
        (r"$\$5$ for $x$", [r"$\$5$", "$x$"]),
        ("For $5 we get $x$ pieces", ["$x$"]),
        ("[asy]draw((0,0));[/asy] is a point", ["[asy]draw((0,0));[/asy]"]),
        ("call `f(x)` twice", ["`f(x)`"]),
        ("it's a ` alone, and $x$", ["$x$"]),
        ("the ``first'' is $x$ and the ``second'' is $y$", ["$x$", "$y$"]),
        ("``x`y`` and `z`", ["``x`y``", "`z`"]),
    ],
)
def test_formulas_and_code_are_found_and_money_is_not(text: str, formulas: list[str]) -> None:
    assert found(text) == formulas


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("So:\n```python\nx = '$'\n```\nand $x$", "```python\nx = '$'\n```"),
        ("<answer>```python\nx\n```</answer>", "```python\nx\n```"),
        ("- a\n  ```\n  x\n  ```\n", "  ```\n  x\n  ```"),
        ("````\n```\nx\n```\n````", "````\n```\nx\n```\n````"),
        ("~~~\nx\n~~~", "~~~\nx\n~~~"),
    ],
)
def test_a_block_of_code_ends_where_its_fence_does(text: str, block: str) -> None:
    span = next(spans(text))
    assert (span.kind, span.closed, text[span.start : span.end].strip()) == ("block", True, block.strip())


def test_a_block_that_was_cut_off_goes_to_the_end() -> None:
    text = "So:\n```python\nx = 1\n\ny = 2"
    assert list(spans(text)) == [Span("block", 4, len(text), closed=False)]


@pytest.mark.parametrize(
    "text",
    [
        "x=3a+2b, np.dot(a,b) f(x) isPrime my_name a/b/c 12 3.5e4 10% 5 kg 5kg x^2 a_1 C++ #7",
        "https://a.org/b?c=d www.a.org me@a.org </think> <answer> <<48/2=24>> \\frac \\alpha",
        "```\nfor each word in text\n```",
    ],
)
def test_what_is_no_prose_is_left_out(text: str) -> None:
    assert not any(map(str.isalnum, prose(text)))


def test_words_with_their_marks_stay() -> None:
    text = 'So, "we" don\'t (really) **know** _this_ and/or that: well-known. 因此'
    assert prose(text) == text


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("<think>a</think>b", "a"),
        ("a</think>b", "a"),
        ("<think>a", "a"),
        ("a", "a"),
        ("x<think>a</think>b</think>", "a"),
        ("</think>a<think>b", "b"),
    ],
)
def test_thoughts_are_what_stands_between_the_tags(text: str, inside: str) -> None:
    assert thoughts(text) == inside


@given(anything)
def test_spans_are_in_order_and_what_is_left_has_as_many_lines(text: str) -> None:
    ends = [0]
    for span in spans(text):
        assert ends[-1] <= span.start < span.end <= len(text)
        ends.append(span.end)
    assert without(text, spans(text)).count("\n") == text.count("\n")
