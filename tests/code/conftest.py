"""A sandbox for all tests of this folder, and the data sets that lie beside the repository."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from rewards.code_tests import jail
from rewards.sandbox import SandboxUnavailable

DATA = Path(os.environ.get("GRPO_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")) / "code"


@pytest.fixture(scope="session")
def sandbox():
    """The one that the reward uses in this process."""
    try:
        found = jail._sandbox(())
    except SandboxUnavailable as error:
        pytest.skip(f"no sandbox here: {error}")
    yield found
    jail.close()


def _rows(name: str) -> list[dict]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not there; GRPO_DATA names the folder with the data sets")
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.splitlines()]


@pytest.fixture(scope="session")
def human_eval():
    return _rows("HumanEval.jsonl.gz")


@pytest.fixture(scope="session")
def mbpp():
    return _rows("mbpp.jsonl")


@pytest.fixture(scope="session")
def leetcode():
    return _rows("leetcode_contest_180.jsonl")
