"""Folders that hold an adapter in PEFT's format: what they say of themselves.  Nothing is opened with PEFT here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from grpo.errors import ModelError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # PEFT's names
FROZEN = "frozen"  # in the header of the weights: what they were learned beside, "plain" weights or "nf4"

# Kinds of adapters that PEFT knows and that are more than a product beside a weight.
MORE = ("use_dora", "modules_to_save", "trainable_token_indices", "target_parameters")


@dataclass(frozen=True, slots=True)
class Saved:
    """An adapter in a folder."""

    folder: Path
    base: str  # directory or Hub id of the model that it belongs to
    revision: str | None
    dtype: str  # that it was learned in, "float32" or "bfloat16"
    packed: bool  # beside weights in 4 bits


def is_adapter(folder: Path) -> bool:
    return (folder / CONFIG).is_file()


def saved_adapter(folder: Path) -> Saved:
    """Raises `ModelError` where it is damaged, or of a kind that `grpo.learning.lora` would merge wrongly."""
    try:
        tree = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        base, revision, more = tree["base_model_name_or_path"], tree.get("revision"), [k for k in MORE if tree.get(k)]
        kind = f"{tree['peft_type']}, bias {tree.get('bias', 'none')}"
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            packed = (file.metadata() or {}).get(FROZEN) == "nf4"
            dtype = str(file.get_tensor(next(iter(file.keys()))).dtype).removeprefix("torch.")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration, SafetensorError) as error:
        reason = str(error) or type(error).__name__
        raise ModelError(f"{folder}: holds no adapter that can be read ({reason}); copy it again") from None
    if kind != "LORA, bias none" or more:
        raise ModelError(f"{folder}: is another kind of adapter ({kind} {' '.join(more)}); merge it with PEFT itself")
    return Saved(folder, base, revision, dtype, packed)
