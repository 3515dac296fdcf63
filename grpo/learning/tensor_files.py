"""Tensors by name in a folder of safetensors files, through `torch.distributed.checkpoint`.

Each process writes what it holds of each tensor and reads what it needs, so what many have written one can read, or any
other number.  The format is safetensors rather than PyTorch's own, whose list of contents is a pickle: opening it would
run whatever code somebody has put there.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from grpo.errors import CheckpointError


def write(tensors: Mapping[str, Tensor], folder: Path, *, alone: bool) -> None:
    """With `alone`, without the other processes, whatever group this one is in.  Raises OSError."""
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    try:
        _quietly(partial(save, dict(tensors), storage_writer=writer, no_dist=alone))
    except CheckpointException as error:  # no subclass of Exception; it holds what was raised, by process
        raise OSError(_reason(error)) from None


def read(tensors: Mapping[str, Tensor], folder: Path, *, alone: bool) -> None:
    """Into `tensors`, all of which must be there, in these shapes.  Raises `CheckpointError`."""
    reader = HuggingFaceStorageReader(str(folder))
    try:
        _check(tensors, reader)
        _quietly(partial(load, dict(tensors), storage_reader=reader, no_dist=alone))
    except (OSError, ValueError, LookupError, SafetensorError, CheckpointException) as error:
        reason = _reason(error) if isinstance(error, CheckpointException) else str(error)
        raise CheckpointError(
            f"{folder}: cannot be read ({reason}); delete the checkpoint to go on from an older one", exit_code=2
        ) from None


def _check(tensors: Mapping[str, Tensor], reader: HuggingFaceStorageReader) -> None:
    found = reader.read_metadata().state_dict_metadata
    for name, tensor in tensors.items():
        if name not in found:
            raise LookupError(f"{name} is not there")
        shape, wanted = tuple(getattr(found[name], "size", ())), tuple(tensor.shape)
        if shape != wanted:
            raise ValueError(f"{name} has the shape {shape} there, and {wanted} in the model")


def _quietly(act: Callable[[], object]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # as asked
        act()


def _reason(error: CheckpointException) -> str:
    return "; ".join(str(raised) for raised, _ in error.failures.values())
