"""`grpo export`: a checkpoint as a model that anything opens: whole weights in Hugging Face format, and the tokenizer.

An adapter is merged into the model that it belongs to, in that model's own precision; a checkpoint of a whole model is
copied without what only a resumed run needs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grpo.errors import ConfigError, ModelError
from grpo.learning import lora
from grpo.learning.adapter_files import Saved, is_adapter, saved_adapter
from grpo.learning.loading import load_model, load_tokenizer, write_model
from grpo.run import checkpoints

NOT_COPIED = ("trainer", "adapter", "losses.jsonl")  # the optimizer, and what fine-tuning leaves beside a model


def export(place: Path, out: Path, say: Callable[[str], None]) -> None:
    """The model in `place`, a checkpoint or a run folder, goes to the new folder `out`.

    Raises `ConfigError`, `ModelError` or `CheckpointError` where there is nothing to export, or nowhere to put it.
    """
    if out.exists():
        raise ConfigError(f"{out}: exists already; choose another folder")
    source = _source(place)
    if out.resolve().is_relative_to(source.resolve()):
        raise ConfigError(f"{out}: lies within {source}, which is to be exported; choose a folder outside")
    if source != place:
        say(f"{place}: takes {source.relative_to(place)}")
    if (source / "trainer").is_dir():
        checkpoints.load(source)  # compares every file with its sum
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be made ({error.strerror}); choose another folder") from None
    if is_adapter(source):
        adapter = saved_adapter(source)
        checkpoints.write_whole(out, lambda folder: _merge(adapter, folder))
        say(f"{out}: {adapter.base} with the adapter merged into it")
    else:
        checkpoints.write_whole(out, lambda folder: _copy(source, folder))
        say(f"{out}: copied from {source}")


def _source(place: Path) -> Path:
    """The folder that holds the model: of a run the best checkpoint, else the newest."""
    if not place.is_dir():
        raise ConfigError(f"{place}: no such folder; give a checkpoint or a run folder")
    if (place / "config.json").is_file() or is_adapter(place):
        return place
    best, newest = place / "checkpoints" / "best", checkpoints.latest(place / "checkpoints")
    if best.is_dir():
        return best
    if newest is None:
        raise ConfigError(
            f"{place}: holds neither a model nor a run with a checkpoint; give a checkpoint or a run folder"
        )
    return newest


def _merge(adapter: Saved, folder: Path) -> None:
    lora.check_installed(f"{adapter.folder}: an adapter", packed=adapter.packed)
    if os.path.isabs(adapter.base) and not os.path.isdir(adapter.base):
        raise ModelError(
            f"{adapter.folder}: its adapter belongs to the model in {adapter.base}, which is not there; copy it back, "
            "or write where it is now into base_model_name_or_path of adapter_config.json"
        )
    model: Any = load_model(adapter.base, adapter.revision, dtype="auto", device="cpu")
    own = model.dtype  # the sum is rounded once, to this
    if adapter.packed:  # from the numbers that the run packed
        model.to(adapter.dtype)
        lora.quantise(model, "cpu")
    lora.put_back(model, adapter)
    lora.fold(model)
    write_model(model.to(own), folder)
    load_tokenizer(adapter.base, adapter.revision).save_pretrained(folder)


def _copy(source: Path, folder: Path) -> None:
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(*NOT_COPIED), dirs_exist_ok=True)
