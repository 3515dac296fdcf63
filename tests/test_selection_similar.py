"""Which completions are alike, and which few are the least so."""

from __future__ import annotations

import itertools
import random
from statistics import fmean

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grpo.selection.similar import CHOICES, at_random, different, shortest, similarity, without_near_duplicates
from grpo.selection.words import parts_of
from tests.selections import candidate

texts = st.lists(st.sampled_from("a b c d".split()), min_size=1, max_size=8).map(" ".join)


def least_distance(rows):
    pairs = itertools.combinations([parts_of(row.text) for row in rows], 2)
    return min(1 - similarity(one, other) for one, other in pairs)


def test_similarity_is_the_share_of_words_in_the_longest_common_subsequence():
    # "a b c d" and "a c d e f" share a c d: 2 · 3 / (4 + 5)
    assert similarity("a b c d".split(), "a c d e f".split()) == pytest.approx(6 / 9)
    assert similarity("a b c d".split(), "a c d e f".split(), at_least=0.7) == 0.0
    assert similarity("a b".split(), "a b".split()) == 1.0


def test_of_near_duplicates_the_first_stays():
    base = " ".join(str(n) for n in range(40))
    rows = [candidate(base, 0), candidate(base + " more", 1), candidate("quite another way", 2), candidate(base, 3)]
    assert [row.id for row in without_near_duplicates(rows, 0.95)] == ["p#0", "p#2"]
    assert [row.id for row in without_near_duplicates(rows, 0.99)] == ["p#0", "p#1", "p#2"]  # 80 / 81 shared


@given(st.lists(texts, max_size=7), st.floats(0.1, 0.99))
@example(["a a a a a a a a", "a a", "a a b b"], 1 / 3)  # shares exactly as much as is allowed
def test_what_is_kept_is_not_alike_and_what_goes_is_like_something_kept(said, most):
    rows = [candidate(text, number) for number, text in enumerate(said)]
    kept = without_near_duplicates(rows, most)
    words = [parts_of(row.text) for row in kept]
    assert all(similarity(one, other) <= most for one, other in itertools.combinations(words, 2))
    assert all(row in kept or any(similarity(parts_of(row.text), one) > most for one in words) for row in rows)


@given(st.lists(texts, min_size=2, max_size=9), st.data(), st.sampled_from(sorted(CHOICES)))
def test_every_choice_takes_k_of_the_rows_in_their_order_and_the_same_each_time(said, data, name):
    rows = [candidate(text, number) for number, text in enumerate(said)]
    k = data.draw(st.integers(1, len(rows)))
    chosen = CHOICES[name](rows, k, 3)
    assert len(chosen) == k and chosen == [row for row in rows if row in chosen] == CHOICES[name](rows, k, 3)


def test_the_shortest_are_those_of_the_fewest_tokens():
    rows = [candidate("x", number, tokens=tokens) for number, tokens in enumerate((9, 2, 7, 2, 5))]
    assert [row.id for row in shortest(rows, 3, 0)] == ["p#1", "p#3", "p#4"]


def test_chance_depends_on_the_seed_and_the_problem():
    rows = [candidate("x", number) for number in range(30)]
    others = [candidate("x", number, problem="q") for number in range(30)]
    picks = [[row.id for row in at_random(of, 5, seed)] for of, seed in ((rows, 0), (rows, 1), (others, 0))]
    assert len(set(map(tuple, picks))) == 3


def test_the_different_start_with_the_shortest_and_take_what_is_farthest_from_all_taken():
    said = ["a b", "a b c", "a b x y", "p q r s t"]
    rows = [candidate(text, number) for number, text in enumerate(said)]
    assert [row.text for row in different(rows, 2, 0)] == ["a b", "p q r s t"]
    # Of "a b c" (4/5 like "a b") and "a b x y" (4/6) the second is farther from what is taken.
    assert [row.text for row in different(rows, 3, 0)] == ["a b", "a b x y", "p q r s t"]


def test_k_different_ones_are_more_different_than_k_at_random():
    draw, gains = random.Random(0), []
    for problem in range(40):
        ways = [[f"w{problem}_{way}_{step}" for step in range(8)] for way in range(4)]
        said = [" ".join(word for word in draw.choice(ways) if draw.random() < 0.9) for _ in range(12)]
        rows = [candidate(text, number, problem=str(problem)) for number, text in enumerate(said)]
        gains.append(least_distance(different(rows, 3, 0)) - least_distance(at_random(rows, 3, 0)))
    assert min(gains) >= 0 and fmean(gains) > 0.3
