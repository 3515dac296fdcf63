"""Whatever comes out of either jail becomes a verdict with a reason: no bytes are an exception, and none are a pass."""

from __future__ import annotations

import builtins
import time
from contextlib import suppress
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.code_tests import code
from rewards.code_tests.compare import same_value
from rewards.sandbox import REASONS, Checked, pool
from rewards.sandbox.codec import Malformed, decode, encode
from rewards.sandbox.kinds import KINDS
from rewards.sandbox.remote import Asking, Kept, Remote

ROWS = {
    "calls": {"entry": "f", "tests": [{"args": [3], "returns": 9}]},
    "split": {"tests": ["assert f(3) == 9"]},
    "asserts": {"tests": ["assert f(3) > 8"]},
    "iterated": {"tests": ["assert list(f(3)) == [9]"]},
    "objects": {"tests": ["assert F(3).x == 9"]},
}
# What a program writes to the channel instead of an answer; `n` is the number of the call.
WRITES = {
    "nothing": "b''",
    "a head alone": "head(5, n, b'V')",
    "a body that is no value": "frame(n, b'V', b'?')",
    "a value too many": "frame(n, b'V', b'NN')",
    "a list that is no answer": "frame(n, b'V', b'l0:')",
    "a number that is no answer": "frame(n, b'V', b'i8;')",
    "changes that are none": "frame(n, b'V', b'l2:Ni1;')",
    "a handle of another kind": "frame(n, b'V', b'l2:hl0:N')",
    "an exception without words": "frame(n, b'X', b'N')",
    "an exception of numbers": "frame(n, b'X', b'l3:i1;i2;i3;')",
    "an exception that is a function": "frame(n, b'X', encode(['exit', '', '']))",
    "an exception that is no name": "frame(n, b'X', encode(['a b', '', '']))",
    "the end of an iterator": "frame(n, b'X', encode(['StopIteration', '', '']))",
    "the verdict": "frame(0, b'P', b'')",
    "the verdict, with the number": "frame(n, b'P', b'')",
    "a failing verdict": "frame(n, b'W', b'?')",
    "that it has loaded": "frame(n, b'L', b'')",
    "four gigabytes": "head(0xFFFFFFFF, n, b'V')",
    "a fraction over zero": "frame(n, b'V', b'x8:Fractiont2:i1;i0;')",
    "a decimal that raises": "frame(n, b'V', b'x7:Decimalt1:s4:sNaN')",
    "a terabyte of zeros": "frame(n, b'V', b'x9:bytearrayt1:ie8d4a51000;')",
    "a type that is none": "frame(n, b'V', b'x6:systemt1:s2:ls')",
    "a date that is none": "frame(n, b'V', b'x4:datet3:i0;i0;i0;')",
    **{f"random bytes {seed}": f"__import__('random').Random({seed}).randbytes(60)" for seed in range(4)},
    **{
        f"random body {seed}": f"frame(n, b'V', __import__('random').Random({seed}).randbytes(30))" for seed in range(4)
    },
}
PROGRAM = """
import os, struct, sys
from rewards.sandbox.codec import encode, frame
def head(*parts): return struct.pack('!IQc', *parts)
def f(x):
    at = sys._getframe()
    while 'call' not in at.f_locals: at = at.f_back
    n = at.f_locals['call']
    os.write(4, {written})
    os._exit(0)
F = f
"""


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("written", WRITES)
def test_what_a_program_writes_to_its_channel_is_a_failure_with_a_reason(written):
    for row in ROWS.values():
        score = code(PROGRAM.format(written=WRITES[written]), row)
        assert score.value == 0, (row, score.why)
        assert score.why.partition(":")[0] in REASONS, score.why
        assert len(score.why) < 1000


PEEKS = """
import os, socket, struct
channel = socket.socket(fileno=4)
def say(n, kind, body): channel.send(struct.pack('!IQc', len(body), n, kind) + body)
say(0, b'L', b'')
while len(head := channel.recv(13, socket.MSG_PEEK)) < 13: pass
say(struct.unpack('!IQc', head)[1], b'V', b'i9;')
os._exit(0)
"""


@pytest.mark.usefixtures("sandbox")
def test_a_program_that_answers_without_taking_the_question_has_died(sandbox):
    calls = sandbox.call_functions(PEEKS, "f", [[3], [4]])
    assert next(calls).value == 9
    time.sleep(0.5)  # it has ended, and what we sent is lost
    assert next(calls).reason == "died"


class Says:
    """A job that says what it was told to, then is gone."""

    def __init__(self, *frames: tuple[int, bytes, bytes]) -> None:
        self.frames = list(frames)

    def receive(self, most: int) -> tuple[int, bytes, bytes]:
        if not self.frames:
            raise EOFError
        return self.frames.pop(0)

    def ask(self, request: bytes) -> tuple[bytes, bytes]:
        return self.receive(0)[1:]

    def send(self, *parts: object) -> None: ...
    def stop(self) -> None: ...

    def reason(self) -> str:
        return "ok"

    def stderr(self) -> str:
        return ""


frames = st.tuples(
    st.integers(0, 3), st.sampled_from([b"C", b"P", b"W", b"R", b"M", b"S", b"\0"]), st.binary(max_size=9)
)


@given(st.lists(frames, max_size=4), st.lists(frames, max_size=4))
def test_any_frames_from_both_jails_are_a_verdict(program, tests):
    checked = pool._relay(Says(*program), Says(*tests))  # type: ignore[arg-type]
    assert isinstance(checked, Checked)
    assert checked.reason in REASONS
    assert checked.reason != "pass" or any(kind == b"P" for _, kind, _ in tests)


class Broken(BaseException):
    pass


def broken(words: str) -> NoReturn:
    raise Broken(words)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.floats() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)
exceptions = st.sampled_from(
    [name for name in dir(builtins) if isinstance(getattr(builtins, name), type)] + ["", "x y"]
)
bodies = st.binary(max_size=20) | values.map(encode) | st.tuples(exceptions, st.text(), st.text()).map(list).map(encode)


@given(st.sampled_from([b"V", b"X", b"P"]), bodies, st.sampled_from(["call", "iter", "getattr"]))
def test_a_reply_is_a_value_an_ordinary_exception_or_the_end_of_the_tests(kind, body, operation):
    asking = Asking(lambda request: (kind, body), broken, objects=True)
    with suppress(Broken):
        try:
            asking.ask(operation, "f", ([1, [2]],))
        except Exception:  # noqa: BLE001  # no BaseException: that would leave this test
            assert not isinstance(asking.raised, StopIteration | StopAsyncIteration | Malformed | None)


@given(
    st.sampled_from(sorted(KINDS)), st.tuples(values) | st.tuples(values, values) | st.tuples(values, values, values)
)
def test_any_parts_build_a_value_that_can_be_compared_or_are_malformed(kind, parts):
    data = b"x%d:%b" % (len(kind), kind.encode()) + encode(parts)
    try:
        value = decode(data)
    except Malformed:
        return
    for mode in ("lcb", "tolerant", "exact"):
        for expected in (1, 0.5, "x", [1], {"a": 1}):
            assert same_value([value, value], [expected, expected], mode) in (True, False)
    assert isinstance(hash(str(value)[:10]), int)


@given(values)
def test_what_a_function_did_to_its_arguments_is_done_to_those_of_the_tests(value):
    """Through both ends, joined by a wire."""

    def put(box: list[Any], key: dict[str, Any]) -> None:
        box.append(value)
        box[0][:] = [value]
        key["new"] = value

    kept = Kept({"put": put}.__getitem__)
    asking = Asking(lambda request: (b"V", kept.answer(request)), broken, objects=False)
    inner: list[Any] = [0]
    box, key = [inner], {"old": [0]}
    assert asking.remote("put")(box, key=key) is None
    assert encode([box, key]) == encode([[[value], value], {"old": [0], "new": value}])
    assert box[0] is inner


def test_what_gives_something_back_may_not_alter_its_arguments():
    kept = Kept({"empty": lambda box: box.clear() or []}.__getitem__)
    asking = Asking(lambda request: (b"V", kept.answer(request)), broken, objects=False)
    box = [3, 1]
    assert asking.remote("empty")(box) == []
    assert box == [3, 1]


def test_an_object_that_is_sent_back_is_the_same_on_either_side():
    thing = object()
    kept = Kept({"make": lambda: thing, "same": lambda one: one is thing}.__getitem__)
    asking = Asking(lambda request: (b"V", kept.answer(request)), broken, objects=False)
    made = asking.remote("make")()
    assert isinstance(made, Remote)
    assert made is asking.remote("make")()
    assert made != 3 and made == made
    assert asking.remote("same")(made) is True
