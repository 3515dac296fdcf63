"""What every test may count on: the network is out of reach, so that each passes or fails alike everywhere."""

from __future__ import annotations

import os
from pathlib import Path

# Before anything imports transformers or datasets.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).resolve().parents[1]
