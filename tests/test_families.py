"""docs/families.md says of each family what is so: the quick part of it is found out anew, the slow part for some."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from grpo.learning.logprobs import choose_computation
from grpo.sampling import canary
from tests.families import FAMILIES, Family, write_family
from tests.family_trials import COLUMNS, DOCUMENT, END, opened, read_table, try_family

WITH_VLLM = ("Gemma 2", "Phi-3", "OLMo 2", "Qwen3-MoE")  # caps, fused weights, no code of vLLM's own, experts
TABLE = read_table(DOCUMENT.read_text())


def test_the_table_has_every_family_and_says_what_is_refused_or_falls_back_below_it() -> None:
    assert list(TABLE) == [family.name for family in FAMILIES]
    notes = DOCUMENT.read_text().partition(END)[2]
    for name, row in TABLE.items():
        assert list(row) == list(COLUMNS)
        if row["prompts"] != "shared" or any(cell.startswith("refused") for cell in row.values()):
            assert f"**{name}**" in notes


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_the_table_says_of_prompts_is_found_out_when_the_model_is_opened(family: Family, tmp_path: Path) -> None:
    fallback = choose_computation(opened(write_family(family, tmp_path))).fallback
    assert TABLE[family.name]["prompts"] == (f"computed for each completion: {fallback}" if fallback else "shared")


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_does_all_that_the_table_says(family: Family, tmp_path: Path) -> None:
    """vLLM is asked of a few: it takes seconds to start."""
    said, backends = TABLE[family.name], ["transformers"]
    if family.name in WITH_VLLM and importlib.util.find_spec("vllm"):
        backends.append("vllm")
    row = try_family(family, tmp_path, backends)
    for column, found in {**row.gaps, **row.trained}.items():
        cell = said[column.replace("vllm", "vLLM")]
        if isinstance(found, str):
            assert cell == f"refused: {found}"
        else:
            assert not cell.startswith("refused") and found < canary.tolerance("float32")
