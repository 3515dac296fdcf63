"""Boxes and announcing phrases: found in order, with what they announce."""

from __future__ import annotations

import pytest

from rewards.math_answer.find.anchors import boxes_in, phrases_in


def test_boxes_come_in_order_with_what_stands_in_them() -> None:
    assert [box.payload for box in boxes_in(r"\boxed{1} and \fbox{\frac{2}{3}} and \boxed 4") or []] == [
        "1",
        r"\frac{2}{3}",
        "4",
    ]
    assert boxes_in("none") == []


def test_a_last_box_that_is_not_closed_spoils_them_all() -> None:
    assert boxes_in(r"\boxed{1} \boxed{2") is None


@pytest.mark.parametrize(
    ("text", "payloads"),
    [
        ("The answer is 5.", [" 5"]),
        ("#### 5\nmore", [" 5"]),
        ("A: 5", [" 5"]),
        ("答案是5。", ["5"]),
        ("The correct option is C.", [" C"]),
        ("The final result is 5.", [" 5"]),
        ("The result is 5.", []),  # too often no answer
        ("The reference answer is 5.", []),
        ("Suppose the answer is 5.", []),
        ("The answer is $1. 5$ then.", [" $1. 5$ then"]),  # a full stop in a formula ends nothing
        ("The answer is 4. Answer: 5", [" 4", " 5"]),
    ],
)
def test_phrases_announce_the_rest_of_their_sentence(text: str, payloads: list[str]) -> None:
    assert [phrase.payload for phrase in phrases_in(text)] == payloads
