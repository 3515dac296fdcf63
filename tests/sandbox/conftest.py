"""One sandbox at this machine's best level, shared by the tests that need no other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rewards.sandbox import Sandbox, SandboxUnavailable


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    try:
        box = Sandbox(2)
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    with box:
        yield box


@pytest.fixture(scope="session")
def data_sets() -> Path:
    """Where the real data sets lie."""
    place = Path(os.environ.get("GRPO_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    if not place.is_dir():
        pytest.skip(f"no data sets at {place}; GRPO_DATA names another place")
    return place
