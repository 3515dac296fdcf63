"""Repetition: what says the same again pays for it, and what repeats itself by nature does not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.repetition import looped, repetition, share
from tests.rewards.writing import DATA, anything, in_proportion, solutions, units

words = st.lists(st.sampled_from("so we add two and three to get it".split()), max_size=30).map(" ".join)
END = "\n\nHence the answer is twelve, as was to be shown."

CASES = "\n".join(f"For n = {n} we get {n * n + 1}. This is not a perfect square." for n in range(1, 41))
UNPUNISHED = {
    "a sum step by step": "7-2=5+9=14-5=9+3=12-7=5+9=14-5=9+3=12-7=5+9=14-5=9",
    "a long calculation": "\n".join(f"We multiply {n} by 7 and get {7 * n}, then we go on." for n in range(80)),
    "a search through cases": CASES,
    "a matrix of zeros": r"\[\begin{pmatrix}" + " \\\\\n".join([" & ".join("0" * 20)] * 20) + r"\end{pmatrix}\]" + END,
    "bare zeros": "\n".join([" ".join("0" * 30)] * 30) + END,
    "a table": "| name | of | the | item |\n|---|---|---|---|\n" + "| two | red | round | apples |\n" * 10 + END,
    "a list": "".join(f"{n}. We take the next one of them.\n" for n in range(1, 60)),
    "a list of equal items": "- we take one of the red balls\n" * 11 + END,
    "code with equal lines": "```python\n" + "    print(the next item of the list)\n" * 60 + "```" + END,
    "bare code": "x += 1\n" * 60 + END,
    "a long number": "The number is 1" + "0" * 250 + ".",
    "a recurring decimal": "1/7 = 0." + "142857" * 40 + "…",
    "short answers": "Yes. " * 60 + END,
    "a line of dashes": "So it is.\n" + "-" * 200,
    "a refrain": ("The wheels on the bus go round and round\n\n" * 3 + "All day long it goes up and down\n\n") * 3,
    "reflection": "\n\n".join(f"Wait, let me check it once more. With {n} it is {n + 1}." for n in range(30)),
}

LOOPS = {
    "a sentence in a row": ("We go on with this. " * 4 + END, 'a sentence 4 times in a row: "we go on with this"'),
    "in mathematics": ("We use $x$ now too. " * 8 + END, 'a sentence 8 times in a row: "we use $x$ now too"'),
    "sentences by turns": (
        "".join(f"We go on as we did before. Now comes {n} too. " for n in range(40)) + END,
        'a sentence 40 times: "we go on as we did before"',
    ),
    "paragraphs": (
        "".join(f"We go on as before, step by step\n\nword{n}\n\n" for n in range(10)) + END,
        'a paragraph 10 times: "we go on as before, step by step"',
    ),
    "Chinese sentences": ("我们再检查一遍。" * 4 + "答案是十二。", 'a sentence 4 times in a row: "我们再检查一遍"'),
    "a block to the end": ("Now 1/3 = 0." + "3" * 400, "1 characters 400 times to the end: '3'"),
    "cut off": ("So the sum is " + "1 + 2 + " * 60 + "1 +", "8 characters 60 times to the end: ' 2 + 1 +'"),
    "blank lines to the end": ("The answer is 5." + "\n" * 900, "1 characters 900 times to the end: '\\n'"),
    "a formula to the end": (
        r"\begin{align*} " + r"&= x + \arccos (x + 2x) \\ " * 40,
        r"27 characters 40 times to the end: '&= x + \\arccos (x + 2x) \\\\ '",
    ),
}


@pytest.mark.parametrize("text", UNPUNISHED.values(), ids=UNPUNISHED)
def test_what_repeats_itself_by_nature_does_not_loop(text: str) -> None:
    assert looped(text) == ""


@pytest.mark.parametrize(("text", "why"), LOOPS.values(), ids=LOOPS)
def test_a_loop_is_named_and_has_the_whole_penalty(text: str, why: str) -> None:
    assert looped(text) == why
    score = repetition(text, {}, max_penalty=0.5)
    assert (score.value, score.why) == (-0.5, why)


@pytest.mark.parametrize(
    "text",
    [
        "We go on with this. " * 3 + END,
        "We use $x$ now too. " * 7 + END,
        "".join(f"We go on as we did before. Now comes {n} too. " for n in range(39)) + END,
        "So the sum is " + "1 + 2 + " * 30,
    ],
)
def test_once_less_is_no_loop(text: str) -> None:
    assert looped(text) == ""


@pytest.mark.parametrize("name", ["a matrix of zeros", "bare zeros", "code with equal lines", "bare code"])
def test_formulas_numbers_and_code_cost_nothing(name: str) -> None:
    assert repetition(UNPUNISHED[name], {}).value == 0


def test_the_share_is_one_less_distinct_by_all() -> None:
    """a b c, b c a, c a b, a b c, b c d: 4 of 5 are distinct."""
    assert share("a b c a b c d", n=3) == pytest.approx(1 - 4 / 5)
    assert share("A b, a B,", n=1) == pytest.approx(1 - 2 / 4)
    assert share("a b", n=3) == share("", n=3) == 0
    assert share("哈哈哈哈", n=2) == pytest.approx(1 - 1 / 3)  # each character is a word


@given(words, st.integers(1, 5))
def test_for_words_between_blanks_it_is_the_published_formula(text: str, n: int) -> None:
    said = text.lower().split()
    grams = [tuple(said[at : at + n]) for at in range(len(said) - n + 1)]
    assert share(text, n) == pytest.approx(1 - len(set(grams)) / len(grams) if grams else 0)


@given(words)
def test_prose_pays_the_published_penalty_unless_it_loops(text: str) -> None:
    expected = -1 if looped(text) else -share(text)
    assert repetition(text, {}).value == pytest.approx(expected)


@given(anything, st.integers(1, 4))
def test_any_text_pays_from_nothing_to_the_whole(text: str, n: int) -> None:
    value = repetition(text, {}, n=n).value
    assert value is not None and -1 <= value <= 0


@settings(max_examples=40)
@given(st.text(min_size=1, max_size=40), st.text(max_size=40))
def test_whatever_is_written_to_the_end_loops(unit: str, start: str) -> None:
    assert looped(start + unit * (6 + 300 // len(unit)))


@given(anything)
def test_a_text_that_is_said_twice_repeats_itself_more(text: str) -> None:
    assert share(f"{text} {text}") >= share(text)


def test_n_is_a_number_of_words() -> None:
    with pytest.raises(ValueError, match=r"repetition: n must be at least 1 \(given 0\)"):
        share("a", n=0)


@settings(max_examples=12)
@given(units)
def test_four_times_the_text_takes_four_times_the_time(unit: str) -> None:
    assert in_proportion(lambda text: repetition(text, {}), unit)


@pytest.mark.parametrize("unit", ["a", "- a b c d\n"])
def test_a_million_characters_of_one_thing(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    assert looped(text)
    assert repetition(text[1:] + " and this is how it ends", {}).value is not None


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no solutions at {DATA}")
def test_solutions_do_not_loop_and_pay_little() -> None:
    for name, texts in solutions().items():
        values = [repetition(text, {}).value or 0 for text in texts[:150]]
        assert min(values) > -0.6, name  # a loop has -1
        assert sum(values) > -0.06 * len(values), name
