"""Plain data arrives as it was sent, and what a liar sends arrives as `Malformed`."""

from __future__ import annotations

import math
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.sandbox import codec
from rewards.sandbox.codec import DEEPEST, HEAD, Malformed, decode, encode, frame, read_frame
from rewards.sandbox.types import Opaque

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=[]))
    | st.binary()
    | st.complex_numbers(allow_nan=False)
)
keys = scalars | st.tuples(scalars, scalars) | st.frozensets(scalars, max_size=3)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(keys, inner, max_size=4)
        | st.sets(keys, max_size=4)
        | st.frozensets(keys, max_size=4)
    ),
    max_leaves=20,
)


def same(a: Any, b: Any) -> bool:
    """Equal, and of the same types."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return all(map(same, a, b)) and all(map(same, a.values(), b.values()))
    return bool(a == b)


@given(values)
def test_plain_data_comes_back_as_it_was(value: Any) -> None:
    assert same(decode(encode(value)), value)


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_a_value_or_malformed(data: bytes) -> None:
    with suppress(Malformed):
        decode(data)


@given(values, st.data())
def test_altered_bytes_are_a_value_or_malformed(value: Any, data: st.DataObject) -> None:
    sent = bytearray(encode(value))
    sent[data.draw(st.integers(0, len(sent) - 1))] = data.draw(st.integers(0, 255))
    with suppress(Malformed):
        decode(bytes(sent))


def test_not_a_number_comes_back() -> None:
    assert math.isnan(decode(encode(float("nan"))))
    assert str(decode(encode(-0.0))) == "-0.0"


def test_subclass_is_reduced_to_the_builtin_below_it_by_that_types_own_methods() -> None:
    class Liar(list):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            return iter([9])

        def __len__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            return True

        __class__ = dict  # type: ignore[assignment]

    assert same(decode(encode(Liar([1, 2]))), [1, 2])


def test_anything_else_is_opaque_by_the_name_of_its_type() -> None:
    received = decode(encode([object(), range(3), len]))
    assert [one.kind for one in received] == ["object", "range", "builtin_function_or_method"]
    assert all(isinstance(one, Opaque) and one != one for one in received)


def test_builtin_types_are_values() -> None:
    assert decode(encode([int, str, list])) == [int, str, list]
    assert isinstance(decode(encode(type("int", (), {}))), Opaque)


def test_deep_nesting_is_malformed_on_both_sides() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Malformed, match="deeper"):
        encode(deep)
    with pytest.raises(Malformed, match="deep"):
        decode(b"l1:" * (DEEPEST + 2) + b"N")


def one_hash(count: int) -> list[int]:
    """Keys whose hash is 0."""
    return [i * (2**61 - 1) for i in range(count)]


def one_path(bits: int) -> list[int]:
    """Keys with as many hashes as there are of them, which meet each other in a dict of 2**bits places.

    Where `hash >> 5 * k` has come to 0, a dict tries place 5 i + 1 after place i.  Two thirds of the keys fill a
    stretch of that path; each of the others gets to its beginning over places that are taken, and must walk it.
    """
    size = 1 << bits
    path = [0]
    while len(path) < size * 4 // 10:
        path.append((5 * path[-1] + 1) % size)
    position = {place: i for i, place in enumerate(path)}
    walkers: list[int] = []
    for key in range(size, size << 5):
        place, rest = key % size, key
        while rest and place in position:
            rest >>= 5
            place = (5 * place + rest + 1) % size
        if not rest and position.get(place, len(path)) < len(path) // 4:
            walkers.append(key)
        if len(walkers) == size * 2 // 10:
            break
    return path + walkers


def keys_cpu(keys: list[int]) -> float:
    """Seconds that they take to be put in a dict."""
    reader = codec._Reader(b"d%d:" % len(keys) + b"".join(b"i%x;N" % key for key in keys), codec.MOST_ITEMS)
    reader.keys_cpu = 1e9
    reader.value(0)
    return 1e9 - reader.keys_cpu


@pytest.mark.parametrize(
    ("tag", "keys"),
    [(b"d", one_path(14)), (b"d", one_hash(9_000)), (b"S", one_hash(9_000)), (b"Z", one_hash(9_000))],
)
def test_keys_that_get_in_each_others_way_are_malformed(tag: bytes, keys: list[int], monkeypatch: Any) -> None:
    honest = min(keys_cpu(list(range(len(keys)))) for _ in range(3))
    assert keys_cpu(keys) > 10 * honest
    monkeypatch.setattr(codec, "KEYS_CPU", 4 * honest)
    body = b"".join(b"i%x;" % key + (b"N" if tag == b"d" else b"") for key in keys)
    with pytest.raises(Malformed, match="way"):
        decode(tag + b"%d:" % len(keys) + body)


def test_frozenset_is_small_because_it_is_filled_at_once() -> None:
    with pytest.raises(Malformed, match="frozenset of more than"):
        decode(encode(frozenset(range(codec.LARGEST_FROZENSET + 1))))


def test_many_items_are_malformed() -> None:
    with pytest.raises(Malformed, match="too many"):
        decode(b"l999999:" + b"N" * 999_999)


@pytest.mark.parametrize(
    "data",
    [b"", b"i5", b"i1_0;", b"i 5;", b"s5:abc", b"s-1:", b"l2:N", b"NN", b"q", b"fx;", b"S1:l0:", b"d1:l0:N", b"c1;"],
)
def test_malformed_bytes_are_said_to_be(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode(data)


def test_frame_is_read_as_it_was_written_and_a_long_one_is_refused_by_its_head() -> None:
    sent = frame(7, b"V", b"body")
    position = 0

    def read(count: int) -> bytes:
        nonlocal position
        position += min(count, 3)
        return sent[position - min(count, 3) : position]

    assert read_frame(read, 4) == (7, b"V", b"body")
    with pytest.raises(EOFError):
        read_frame(lambda _: b"", 4)
    head = struct.pack("!IQc", 5, 7, b"V")
    assert len(head) == HEAD.size
    with pytest.raises(Malformed, match="5 bytes where 4"):
        read_frame(lambda count: head[:count], 4)
