"""A row goes where it holds an evaluation item, however that is spaced; and stays where it only sounds like one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.config import Data, Place
from grpo.errors import DataError
from grpo.problems import load_problems
from grpo.selection.decontaminate import SHARED, Decontaminator, Text, read_sets
from grpo.selection.words import squeezed, words_of
from tests.selections import candidate, write_jsonl

EIGHT = "Compute the sum of all primes below $100$."
SEVEN = "What is the capital city of France?"
LONG = (
    "Let $x$ and $y$ be positive integers with $x + y = 12$. A farmer plants $x$ rows of $y$ trees, and every third "
    "tree bears fruit. Find the largest number of trees that can bear fruit."
)


def detector(*problems: str, n: int = 8, solutions: tuple[str, ...] = ()) -> Decontaminator:
    texts = [Text("test", str(item), "problem", text) for item, text in enumerate(problems)]
    texts += [Text("test", str(item), "solution", text) for item, text in enumerate(solutions)]
    return Decontaminator({"test": texts}, n)


def covered(item: str, asked: str, said: str = "I do not know.") -> float:
    """The share of the item that a row with these two messages has; 0 where it may stay."""
    return max((found.covered for found in detector(item).overlaps(candidate(said, asked=asked))), default=0.0)


# --- Found ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "item", [EIGHT, SEVEN, LONG, "2 + 2?", "求下列方程的正整数解的个数"], ids=["8", "7", "long", "short", "Chinese"]
)
@pytest.mark.parametrize(
    "rewritten",
    [
        lambda text: text,
        str.upper,
        lambda text: text.replace(" ", "  \n"),
        lambda text: text.replace(" ", "\\, ").replace("$", ""),
        lambda text: text.replace(" ", " \\quad "),
        lambda text: text.rstrip(".?") + " !",
        lambda text: text.replace("$", r"\(").replace(",", ""),
        lambda text: text.replace(" + ", "+").replace(" = ", "="),
        lambda text: text.replace("i", "\uff49"),  # full width
    ],
    ids=["as it is", "case", "lines", "thin spaces", "quads", "other marks", "other dollars", "no spaces", "NFKC"],
)
def test_an_item_is_found_in_whatever_spacing_case_and_punctuation(item, rewritten):
    assert covered(item, rewritten(item)) == 1.0


def test_the_two_short_items_stand_on_both_sides_of_the_n_gram():
    assert (len(words_of(EIGHT)), len(words_of(SEVEN))) == (8, 7)


def test_a_long_item_is_found_inside_a_longer_text_and_in_what_the_assistant_says():
    assert covered(LONG, f"Here is a riddle. {LONG} Think well.") == 1.0
    assert covered(LONG, "Make up a problem.", f"Sure: {LONG}") == 1.0


def test_the_share_is_that_of_the_words_which_lie_in_a_shared_n_gram():
    item = " ".join(f"w{letter}" for letter in "abcdefghijklmnopqrst")  # 20 words
    half = " ".join(item.split()[:10])
    assert covered(item, half) == 0.0  # 10 of 20 is not more than half
    more = " ".join(item.split()[:11])
    assert covered(item, more) == 11 / 20
    gap = " ".join([*item.split()[:9], "other", *item.split()[9:17]])  # 9 + 8 words, in two pieces
    assert covered(item, gap) == 17 / 20
    assert covered(item, " ".join(item.split()[:7] * 3)) == 0.0  # no 8 in a row


def test_a_worked_solution_is_found_too_but_a_short_one_says_nothing():
    long = "First we add the rows and then the columns, which gives twelve trees in all."
    found = detector("Q?", solutions=(long,)).overlaps(candidate(long))
    assert [(one.text.part, one.covered) for one in found] == [("solution", 1.0)]
    assert detector("Q?", solutions=("x = 4",)).overlaps(candidate("x = 4", asked="x = 4")) == []


def test_a_short_problem_is_found_in_the_template_that_was_put_around_it():
    around = candidate("no", asked=f"Answer in a box. {SEVEN} Think first.")
    assert detector(SEVEN).overlaps(around) == []
    [found] = detector(SEVEN).overlaps(replace(around, asked=(SEVEN, "an id")))
    assert (found.covered, found.trained) == (1.0, SEVEN)


# --- Kept -----------------------------------------------------------------------------------------------------------


def test_boiler_plate_alone_is_no_copy():
    item = "Find the value of x such that the following determinant of a three by three matrix with entries vanishes"
    assert covered(item, "Find the value of x such that the following sum of two squares is least.") == 0.0


def test_short_texts_are_equal_only_with_the_same_signs_and_only_when_asked():
    assert covered("3 + 4 = ?", "3 - 4 = ?") == 0.0
    assert covered("3 + 4 = ?", "3+4=?") == 1.0
    assert covered("3 + 4 = ?", "What is 3 + 4 = ? Tell me.") == 0.0
    assert covered(SEVEN, "Ask me something.", SEVEN) == 0.0  # the assistant may say a short sentence


def test_a_template_around_every_item_is_not_what_makes_a_row_an_item():
    around = "Answer the question below. The last line must be of the form Answer, then a letter, and nothing else: {}"
    asked = ["sing", "dance", "paint", "swim", "read", "cook", "climb", "write", "sail", "fly", "ski", "play"]
    items = [around.format(f"who was the first person to {what} at sea in the old days") for what in asked]
    assert len(items) > SHARED
    found = detector(*items)
    assert found.overlaps(candidate("", asked=around.format("how deep is the lake"))) == []
    assert [one.covered for one in found.overlaps(candidate("", asked=items[3]))] == [1.0]


def test_an_item_written_many_times_is_still_one_item_and_is_found():
    found = detector(*[LONG] * 32)
    assert len(found.overlaps(candidate("", asked=LONG))) == 32
    assert found.report["test"].share == 1.0


def test_where_every_n_gram_is_shared_the_whole_text_decides():
    base = "what is the value of x if it"
    items = [base, *(f"{base} {verb} here" for verb in "is was has had does did goes went comes came sees saw".split())]
    found = detector(*items)
    assert [one.text.text for one in found.overlaps(candidate("", asked=base))] == [base]
    assert found.overlaps(candidate("", asked=f"{base} sleeps at night")) == []


def test_without_evaluation_sets_nothing_is_found():
    assert Decontaminator({}, 8).overlaps(candidate("anything at all", asked=LONG)) == []


# --- Properties -----------------------------------------------------------------------------------------------------

texts = st.lists(st.sampled_from("a b c d e f".split()), min_size=0, max_size=30).map(" ".join)


def by_definition(item: str, text: str, n: int) -> float:
    """The formula, word by word."""
    e, t = item.split(), text.split()
    grams = {tuple(t[i : i + n]) for i in range(len(t) - n + 1)}
    starts = [i for i in range(len(e) - n + 1) if tuple(e[i : i + n]) in grams]
    return len({i + k for i in starts for k in range(n)}) / len(e) if e else 0.0


@given(texts, texts, st.integers(2, 5))
def test_what_is_covered_is_what_the_definition_says(item, text, n):
    found = detector(item, n=n)._copied(text)
    expected = by_definition(item, text, n)
    assert [share for _, share in found] == ([expected] if expected > 0.5 else [])


@given(st.text(max_size=60))
def test_any_text_can_be_read(text):
    assert words_of(text) == words_of(f"  {text}\n")
    assert squeezed(text) == squeezed(text.replace(" ", "   "))
    detector(text, n=2).overlaps(candidate(text, asked=text))


# --- Sets -----------------------------------------------------------------------------------------------------------


def test_what_is_found_is_counted_by_set_row_and_item(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"problem": EIGHT, "answer": "1060"}, {"problem": LONG, "solution": LONG}])
    write_jsonl(tmp_path / "b.jsonl", [{"question": EIGHT, "answer": "1060"}])
    a, b = str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")
    found = Decontaminator(read_sets([Place(use=a), Place(use=b)]), 8)
    rows = [found.overlaps(candidate("no", n, asked=text)) for n, text in enumerate([EIGHT, EIGHT, "Who?"])]
    assert [len(row) for row in rows] == [2, 2, 0]
    assert {name: (one.items, one.rows, one.share) for name, one in found.report.items()} == {
        a: (2, 2, 0.5),
        b: (1, 2, 1.0),
    }
    assert rows[0][0].row(candidate("no", 7)) == {
        "row": "p#7",
        "source": "s",
        "evaluation": a,
        "item": "a/0",
        "part": "problem",
        "covered": 1.0,
        "evaluation_text": EIGHT,
        "training_text": EIGHT,
    }


def test_a_set_that_cannot_be_read_is_refused_by_the_name_of_the_setting(tmp_path):
    with pytest.raises(DataError, match=r"^select\.decontaminate: .*nope\.jsonl: no such file"):
        read_sets([Place(use=str(tmp_path / "nope.jsonl"))])


REAL = Path("/work/shared/data")


@pytest.mark.skipif(not (REAL / "math").is_dir(), reason="the real sets (MATH, gsm8k) are not on this machine")
def test_on_real_sets_few_rows_go_and_what_is_trained_on_is_found_in_itself():
    found = Decontaminator(read_sets([Place(use=str(REAL / "gsm8k/test.jsonl"))]), 8)
    train = load_problems(Data(source=str(REAL / "gsm8k/train.jsonl"), limit=1000), needs=())
    test = load_problems(Data(source=str(REAL / "gsm8k/test.jsonl"), limit=100), needs=())
    assert sum(bool(found.overlaps(candidate("", asked=one.messages[-1]["content"]))) for one in train) <= 5
    assert all(found.overlaps(candidate("", asked=one.messages[-1]["content"])) for one in test)
