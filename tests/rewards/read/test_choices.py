"""Multiple choice: however a letter is written it names one choice, and several letters are never one of them."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.math_answer import verify, verify_answer

LETTERS = "ABCDE"
# Ways to write the choice L, alone and with its content X.
ALONE = (
    *r"L (L) L. L) [L] L: \text{L} \text{(L)} \text{L.} \textbf{(L)} \mathrm{L} **L** $L$ （L） 选L 选项L L项".split(),
    *("option L", "Option (L)", r"\text{Option L}", "Choice (L)", "the correct option is L", "The answer is (L)"),
    *(r"\text{The correct answer is L}", "Answer: L", "L is correct", "option L is correct", "故选：L", "L选项正确"),
)
LABELLED = (
    *("(L) X", "L) X", "L. X", "L: X", r"\textbf{(L)}\ X", r"\text{(L) }X", r"\text{(L)} X", r"\textbf{(L) }X"),
    *(r"\textbf{L. } X", "(L)~X", r"(L)\quad X", r"\text{Option L: }X", "Option L: X", "the answer is (L) X"),
)
CONTENTS = (
    *(r"\frac12 x>3 (1,2) [1,2) \{1,2\} 1,2 3:4 12:30 y=2x+1 f(x)=x^2 25\% \$5 -3 yes 错误").split(),
    *("x=6 and x=-3", "5 or 6", "II and III only", "None of the above", "It increases by 3 units", r"5 \text{ cm}"),
    *("both A and C", "a line, a point", "if x>3 then 5", "no solution"),
)
LISTS = (
    *("(P) (Q)", "P) Q", "P) Q)", "P. Q", "P: Q:", "P Q", "P, Q", "P or Q", "P and Q", "PQ", "P/Q", "P; Q", "(P)(Q)"),
    *(r"\text{P) Q)}", r"\textbf{(P)} \textbf{(Q)}", "P) or Q)", "Option P, Option Q", "(P) 1 (Q) 42"),
    *("P) Q) 42", "P.) Q.)", "选P或Q", "the answer is P) Q)"),
)
letters, contents = st.sampled_from(LETTERS), st.sampled_from(CONTENTS)
alone, labelled, lists = st.sampled_from(ALONE), st.sampled_from(LABELLED), st.sampled_from(LISTS)


def accepted(golds: tuple[str, ...], answer: str) -> list[str]:
    return [gold for gold in golds if verify_answer(gold, answer, "eval").ok]


@given(letters, alone, alone)
def test_a_letter_is_itself_however_it_is_written(letter: str, one: str, other: str) -> None:
    answer = other.replace("L", letter)
    for gold in LETTERS:
        assert verify_answer(one.replace("L", gold), answer).ok == (gold == letter)
        assert verify(one.replace("L", gold), rf"So it is \boxed{{{answer}}}.").ok == (gold == letter)


@given(letters, alone, labelled, contents)
def test_a_letter_needs_no_content_and_its_content_no_letter(letter: str, form: str, with_: str, content: str) -> None:
    whole = with_.replace("L", letter).replace("X", content)
    for bare in (form.replace("L", letter), content):
        assert verify_answer(whole, bare).ok
        assert verify_answer(bare, whole).ok
    other = LETTERS[LETTERS.index(letter) - 1]
    assert accepted(tuple(LETTERS), whole) == [letter]
    assert not verify_answer(whole, form.replace("L", other)).ok
    assert not verify_answer(whole, with_.replace("L", other).replace("X", content)).ok
    assert not verify_answer(whole, with_.replace("L", letter).replace("X", "77")).ok


@given(st.permutations(LETTERS), st.integers(2, 5), lists)
def test_several_letters_are_none_of_them(order: list[str], count: int, form: str) -> None:
    first, between, last = form.partition("P")[0], form.partition("P")[2].partition("Q")[0], form.partition("Q")[2]
    answer = first + between.join(order[:count]) + last
    golds = (*LETTERS, "42", "1")
    assert accepted(golds, answer) == []
    for policy in ("train", "eval"):
        assert not [gold for gold in golds if verify(gold, rf"So it is \boxed{{{answer}}}.", policy).ok]


@pytest.mark.parametrize("order", list(permutations("ACD")))
@pytest.mark.parametrize("gold", ["A, C, D", "ACD", "A;C;D", "(A), (C), (D)", "A、C、D", r"\text{A, C and D}"])
def test_several_letters_are_the_gold_answer_that_has_them_all(gold: str, order: tuple[str, ...]) -> None:
    for answer in (", ".join(order), "".join(order), ") ".join(order) + ")", " and ".join(order)):
        assert verify_answer(gold, answer).ok
    assert not verify_answer(gold, ", ".join(order[:2])).ok
    assert not verify_answer(gold, ", ".join((*order, "B"))).ok


def test_several_letters_may_each_have_their_content() -> None:
    assert verify_answer("A, C", "A) 3, C) 5").ok
    assert verify_answer("(A) 3, (C) 5", "A, C").ok
    assert not verify_answer("(A) 3, (C) 5", "A) 3, C) 6").ok


@pytest.mark.parametrize("text", ["a trick question", "A number", r"\text{A number.}", "I think so", "a good question"])
def test_an_article_is_no_choice(text: str) -> None:
    assert accepted((*LETTERS, "I"), text) == []
    assert verify_answer(text, text).ok


@pytest.mark.parametrize(
    "text", ["(A) + (B)", "(B)^2", r"A \cup B", "A:B", "f(A) = 3", "(a)(b)", "(x) y", r"x\in C", "D=A", r"B\subset A"]
)
def test_letters_in_mathematics_are_no_choices(text: str) -> None:
    assert verify_answer(text, text).stage != "choice"
    assert accepted(tuple(LETTERS), text) == []


@pytest.mark.parametrize("word", ["or", "and", "OR", r"\text{or}", r"\text{ and }", "或"])
@pytest.mark.parametrize("label", ["(B)", "B)", r"\text{(B)}", "B."])
def test_a_letter_joined_to_something_else_is_two_answers(label: str, word: str) -> None:
    for content in ("12", "no solution", "x>3", r"\frac12"):
        assert accepted(("B", content), f"{label} {word} {content}") == []
