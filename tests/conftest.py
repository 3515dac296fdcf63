"""What tests share: a small model, and a network that is out of reach, so that a test ends alike everywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Before anything imports transformers or datasets.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# The models of tests are too small to share among threads: a second one makes nothing faster, and where another process
# wants its core it makes everything several times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says how busy the machine is.
settings.register_profile("anywhere", deadline=None)
settings.load_profile("anywhere")

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Tests without the marker `gpu` are about the CPU, on machines that have a GPU too."""
    if "not gpu" in config.option.markexpr:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Qwen2 with random weights and its tokenizer, in Hugging Face format.  Shared: do not write into it."""
    from grpo.learning.tiny_model import make_tiny_model

    folder = tmp_path_factory.mktemp("tiny_model")
    make_tiny_model(folder, seed=0)
    return folder
