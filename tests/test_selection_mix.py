"""Parts of a mix: what was asked for within one row, never more than there is, never repeated unasked."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.config import Source
from grpo.errors import ConfigError
from grpo.selection.mix import check_weights, mixed, parts


def sources(*weights, repeat=1):
    return [Source(use=f"{index}.jsonl", weight=weight, repeat=repeat) for index, weight in enumerate(weights)]


def written(kept, wanted, seed=0):
    streams = [partial(iter, [(index, number) for number in range(count)]) for index, count in enumerate(kept)]
    return list(mixed(streams, kept, wanted, seed))


def test_without_weights_everything_is_written():
    assert parts(sources(None, None), [30, 5], None) == [30, 5]
    assert parts(sources(None, None), [30, 10], 8) == [6, 2]


def test_the_source_that_runs_out_first_ends_the_mix():
    assert parts(sources(3.0, 1.0), [300, 50], None) == [150, 50]
    assert parts(sources(3.0, 1.0), [300, 500], None) == [300, 100]
    assert parts(sources(3.0, 1.0, repeat=2), [300, 50], None) == [300, 100]


def test_more_rows_than_there_are_is_refused_with_what_is_scarce():
    with pytest.raises(ConfigError, match=r"^select\.rows = 201: there are 200 to write; 1\.jsonl has too few for its"):
        parts(sources(3.0, 1.0), [300, 50], 201)
    with pytest.raises(ConfigError, match=r"^select\.rows = 9: there are 8 to write; lower it, or collect more$"):
        parts(sources(None), [8], 9)


@pytest.mark.parametrize(
    ("given_sources", "sentence"),
    [
        ([Source(use="a", weight=1.0), Source(use="b")], r"^select\.source: b has no weight and others have"),
        ([Source(use="a", repeat=2)], r"^select\.source: a has repeat = 2 and no weight"),
    ],
)
def test_weights_that_leave_a_question_are_refused(given_sources, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check_weights(given_sources)


counts = st.lists(st.tuples(st.integers(1, 400), st.floats(0.05, 20), st.integers(1, 3)), min_size=1, max_size=5)


@given(counts, st.data())
def test_parts_are_within_one_row_of_their_weights_and_within_what_there_is(given_parts, data):
    kept, weights, repeats = zip(*given_parts, strict=True)
    mix = [Source(use=str(n), weight=w, repeat=r) for n, (w, r) in enumerate(zip(weights, repeats, strict=True))]
    whole = parts(mix, kept, None)
    rows = data.draw(st.none() | st.integers(1, sum(whole)))
    got = parts(mix, kept, rows)
    assert sum(got) == rows if rows else got == whole and sum(got) >= 1
    for part, weight, count, repeat in zip(got, weights, kept, repeats, strict=True):
        assert abs(part - weight / sum(weights) * sum(got)) <= 1 + 1e-6
        assert part <= count * repeat
    largest = min(
        count * repeat * sum(weights) / weight for count, weight, repeat in zip(kept, weights, repeats, strict=True)
    )
    assert abs(sum(whole) - largest) <= 1


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 70)), min_size=1, max_size=4), st.integers(0, 5))
def test_each_source_gives_what_is_wanted_and_no_row_comes_again_before_all_have_come(given_parts, seed):
    kept, wanted = (list(part) for part in zip(*given_parts, strict=True))
    rows = written(kept, wanted, seed)
    assert rows == written(kept, wanted, seed)
    assert [sum(row[0] == index for row in rows) for index in range(len(kept))] == wanted
    for index, (count, want) in enumerate(zip(kept, wanted, strict=True)):
        times = Counter(row for row in rows if row[0] == index)
        assert set(times.values()) <= {want // count, want // count + 1}


def test_sources_lie_evenly_among_each_other():
    rows = [index for index, _ in written([300, 100], [300, 100])]
    assert all(rows[start : start + 40].count(1) == 10 for start in range(0, 400, 40))


def test_which_part_of_a_source_is_taken_depends_on_the_seed_and_is_of_all_of_it():
    assert written([100], [20], 0) != written([100], [20], 1)
    taken = Counter(number for seed in range(200) for _, number in written([10], [5], seed))
    assert all(70 <= taken[number] <= 130 for number in range(10))  # 100 on average, 7 its standard deviation
