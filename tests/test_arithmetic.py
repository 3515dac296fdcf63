"""The generated arithmetic task: what is in its rows, and that held-out problems stay out of training."""

from __future__ import annotations

import re
from typing import Any

import pytest

from grpo.errors import DataError
from grpo.problems import arithmetic

TRAIN, TEST, WORKED = (arithmetic.rows(split) for split in ("train", "test", "worked"))
LAYOUT = re.compile(r"<think>(.*)</think><answer>(\d+)</answer>")


def read(row: dict[str, Any]) -> tuple[list[int], str, int]:
    """The problem's numbers, and the thoughts and answer of its solution."""
    match = LAYOUT.fullmatch(row["solution"])
    assert match, row
    return numbers(row["problem"]), match[1], int(match[2])


def numbers(problem: str) -> list[int]:
    return [int(number) for number in re.findall(r"[+-]?\d", problem)]


def steps(thoughts: str) -> list[tuple[int, int, int]]:
    """`7-2=5+9=14` has the steps (7, -2, 5) and (5, +9, 14)."""
    total, *rest = re.findall(r"([+-]?\d+)", thoughts)
    out = []
    for term, new in zip(rest[::2], rest[1::2], strict=True):
        out.append((int(total), int(term), int(new)))
        total = new
    return out


def test_no_held_out_problem_occurs_in_training() -> None:
    held_out = {row["problem"] for row in TEST}
    assert held_out.isdisjoint(row["problem"] for row in TRAIN)
    assert held_out.isdisjoint(row["problem"] for row in WORKED)


def test_problems_and_ids_do_not_repeat_within_a_split() -> None:
    for split in (TRAIN, TEST, WORKED):
        assert len({row["problem"] for row in split}) == len({row["id"] for row in split}) == len(split)
    assert [len(split) for split in (TRAIN, TEST, WORKED)] == [10_000, 500, 20_000]


def test_a_split_is_the_same_every_time() -> None:
    assert arithmetic.rows("test") == TEST
    # Written down once: a change here changes every published figure of the quickstart.
    assert TEST[0] == {"id": "arithmetic/test/0", "problem": "4+7-7+5", "answer": "9", "level": 3}


def test_gold_answers_are_what_python_computes() -> None:
    for row in TRAIN + TEST + WORKED:
        assert row["answer"] == str(eval(row["problem"]))


def test_levels_count_the_operations_and_come_in_equal_parts() -> None:
    assert all(row["level"] == len(numbers(row["problem"])) - 1 for row in TEST)
    assert [sum(row["level"] == level for row in TEST) for level in (3, 4, 5, 6)] == [125] * 4


def test_the_numbers_of_a_problem_differ_and_its_running_totals_stay_small() -> None:
    for row in TRAIN + TEST:
        terms = numbers(row["problem"])
        assert len(set(terms)) == len(terms)
        assert all(0 <= sum(terms[:n]) <= 20 for n in range(1, len(terms) + 1))


def test_worked_examples_are_hasty_slipping_or_right_in_the_shares_they_promise() -> None:
    hasty = slipping = right = 0
    for row in WORKED:
        terms, thoughts, answer = read(row)
        if not thoughts:
            hasty += 1
            assert abs(answer - sum(terms)) <= 9
            continue
        wrong = [total + term != new for total, term, new in steps(thoughts)]
        slipping += sum(wrong) == 1
        right += not any(wrong)
        # A slip is in one step, what follows goes on from it, and the answer is the last total.
        assert (answer == sum(terms)) == (not any(wrong))
        assert answer == steps(thoughts)[-1][2]
        assert [term for _, term, _ in steps(thoughts)] == terms[1:] and steps(thoughts)[0][0] == terms[0]
    assert hasty + slipping + right == len(WORKED)
    assert hasty / len(WORKED) == pytest.approx(0.6, abs=0.02)
    assert slipping / len(WORKED) == pytest.approx(0.06, abs=0.01)


def test_hasty_answers_are_rarely_right() -> None:
    answers = [(sum(terms), answer) for terms, thoughts, answer in map(read, WORKED) if not thoughts]
    assert 0.02 < sum(gold == answer for gold, answer in answers) / len(answers) < 0.10


def test_an_unknown_split_is_refused_with_those_there_are() -> None:
    with pytest.raises(DataError, match="no split 'dev'; it has train, test, worked"):
        arithmetic.rows("dev")
