"""What every test may count on: no network, and the real data sets where they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before anything imports transformers or datasets: a test that reaches for the Hub fails at once, everywhere alike.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_sets() -> Path:
    """Folder with GSM8K, MATH, AIME … as files; GRPO_DATA names another than the one beside the repository."""
    folder = Path(os.environ.get("GRPO_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}; set GRPO_DATA")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Qwen2 with random weights and its tokenizer, in Hugging Face format.  Shared: do not write into it."""
    from grpo.learning.tiny_model import make_tiny_model

    folder = tmp_path_factory.mktemp("tiny_model")
    make_tiny_model(folder, seed=0)
    return folder
