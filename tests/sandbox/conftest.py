"""One sandbox at this machine's best level, shared by the tests that need no other."""

from __future__ import annotations

from collections.abc import Iterator

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
