from __future__ import annotations

from grpo.run.wording import count, cut, duration, percent, plain, plural, seconds, whole_percent


def test_numbers_are_shown_as_a_person_writes_them() -> None:
    assert [percent(value) for value in (0.0, 0.0004, 0.4127, 0.9996)] == ["0.0%", "0.0%", "41.3%", "100.0%"]
    assert [whole_percent(value) for value in (0.0, 0.125, 1.0)] == ["0%", "12%", "100%"]
    assert [count(value) for value in (0.0, 84.4, 9999.4, 9999.6, 999_960)] == ["0", "84", "9999", "10.0k", "1.0M"]
    assert [seconds(value) for value in (0.004, 0.994, 1.04, 99.96, 2000)] == ["0.00s", "0.99s", "1.0s", "100s", "33m"]
    assert [duration(value) for value in (4.2, 2300, 3599, 7500)] == ["4 s", "38 min", "1 h 00 min", "2 h 05 min"]
    assert [plain(value) for value in (0.0, 0.12345, -3.14e-6, 1e-7, 12.5, 4321.4, float("nan"))] == [
        "0", "0.123", "-3.1e-6", "1e-7", "12.5", "4321", "–",
    ]  # fmt: skip


def test_counted_things_agree_with_their_number() -> None:
    assert [plural(number, "step") for number in (0, 1, 2, 1234)] == ["0 steps", "1 step", "2 steps", "1,234 steps"]


def test_a_cut_text_says_how_much_is_missing() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "abc … 1 more character"
    assert cut("a" * 5000, 2000) == "a" * 2000 + " … 3,000 more characters"
