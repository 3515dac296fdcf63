"""The reward of the benchmark as the workers load it: no PyTorch, and no import of this folder."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any


def judge(completion: str, problem: Mapping[str, Any]) -> float:
    """A number between 0 and 1 that any change of the text changes: groups practically never agree."""
    return (zlib.crc32(completion.encode()) % 1000) / 999
