"""LiveCodeBench's hidden tests, decoded without running anything.

`private_test_cases` is a JSON list, or base64 of zlib of a *pickle* of its text.  Unpickling a file from the network
runs whatever it says; this pickle needs no class at all, so the unpickler here knows none and refuses the rest.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import pickle
import zlib
from decimal import Decimal
from functools import lru_cache
from typing import Any

from rewards.code_tests.tests import BadTask

LARGEST = 1 << 28  # bytes of one task's decoded tests; the largest of release v6 has some tens of millions
PYTHONS_LIMIT = 4300  # digits that int() reads by itself
MOST_DIGITS = 50_000  # of an integer in a test, as LiveCodeBench allows


@lru_cache(maxsize=4)  # the completions of a group come one after another, with the same tests
def decode_cases(text: str) -> list[dict[str, str]]:
    """The cases in a column of tests: objects with "input", "output" and "testtype"."""
    cases = parse_json(text if text.lstrip()[:1] in ("[", "") else _unpacked(text))
    if not isinstance(cases, list) or not all(_is_case(case) for case in cases):
        raise BadTask("its tests are no list of objects with input and output")
    return cases


def parse_json(text: str) -> Any:
    """`json.loads`, with integers of up to 50,000 digits."""
    try:
        return json.loads(text, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise BadTask(f"its tests are not JSON ({error})") from None


def _unpacked(text: str) -> str:
    try:
        packed = base64.b64decode(text, validate=True)
        stream = zlib.decompressobj()
        data = stream.decompress(packed, LARGEST)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise BadTask(f"its tests cannot be decoded ({error})") from None
    if not stream.eof:
        raise BadTask(f"its tests cannot be decoded (cut off, or more than {LARGEST >> 20} MiB)")
    try:
        content = _NoClasses(io.BytesIO(data)).load()
    except _NOT_A_PICKLE as error:
        raise BadTask(f"its tests cannot be decoded ({error})") from None
    if not isinstance(content, str):
        raise BadTask(f"its tests cannot be decoded (a pickle of {type(content).__name__}, not of text)")
    return content


# All that unpickling was seen to raise on random bytes; MemoryError where eight of them ask for an exabyte.
_NOT_A_PICKLE = (
    *(pickle.UnpicklingError, EOFError, LookupError, ValueError, TypeError, AttributeError, OverflowError),
    *(MemoryError, SystemError),
)


class _NoClasses(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("the pickle asks for an object from elsewhere")


def _integer(digits: str) -> int:
    if len(digits) <= PYTHONS_LIMIT:
        return int(digits)
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(Decimal(digits))


def _is_case(case: Any) -> bool:
    return isinstance(case, dict) and isinstance(case.get("input"), str) and isinstance(case.get("output"), str)
