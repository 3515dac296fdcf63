"""A model that is never whole in one place: outlined without memory, tried on a small twin, and filled from its files,
each rank with its own part."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import GenerationConfig, PreTrainedModel
from transformers.utils.hub import get_checkpoint_shard_files

from grpo import hub
from grpo.errors import ModelError
from grpo.learning import lora
from grpo.learning.loading import build, check_place, load_model
from grpo.learning.logprobs import Choice, decide
from grpo.learning.policy import without_dropout
from grpo.learning.trial import layers_of_every_kind, small_twin


class Placed(Protocol):
    """What is asked of the ranks: `grpo.learning.sharded.Shards`."""

    rank: int
    size: int
    device: torch.device  # that computes, where buffers are
    home: torch.device  # of the shards
    dtypes: Mapping[str, torch.dtype]
    root: nn.Module

    def once(self, act: Callable[[], None]) -> None: ...


def on_meta(name: str, revision: str | None, *, dtype: str) -> PreTrainedModel:
    """The model with parameters that take no memory.  Its buffers are real: the rotary ones are in no file."""
    check_place(name, revision)
    model = build(name, revision, dtype=dtype, within=init_empty_weights(include_buffers=False))
    model.tie_weights()
    with suppress(OSError):  # not every model has one
        model.generation_config = GenerationConfig.from_pretrained(hub.local(name, revision))
    model.eval()
    return model


def choose_on_twin(model: PreTrainedModel, device: torch.device) -> Choice:
    """How `model` can compute, tried on a smaller one: random weights, few tokens, and as many of the first layers as
    show every kind of layer."""
    twin = small_twin(model, device, layers_of_every_kind(model, model.config.get_text_config().num_hidden_layers))
    without_dropout(twin)
    return decide(twin)


def fill(ranks: Placed, model: PreTrainedModel, name: str, revision: str | None, *, dtype: str) -> None:
    """Give `model`, sharded and still on "meta", the weights from the files of `name`.

    Files that hold both of two tied weights are not streamed: that the two are equal shows only in all their values.
    Raises `ModelError` on every rank.
    """
    ranks.root._apply(lambda t: torch.empty_like(t, device=ranks.home) if t.is_meta else t.to(ranks.device))
    model.tie_weights()  # each module has got a parameter of its own
    names = lora.parameters_in_files(model)
    wanted = {name: weight for name, weight in names.items() if _first_name(names, weight) == name}
    dtypes = {lora.file_name(parameter): dtype for parameter, dtype in ranks.dtypes.items()}
    if files := _streamable(ranks.size, name, revision, names, wanted):
        for path in files:
            with safe_open(path, framework="pt") as file:
                for weight in set(file.keys()) & set(wanted):
                    _take(wanted[weight], dtypes.get(weight), ranks, file.get_slice(weight).__getitem__)
        return
    # transformers renames or rearranges what is there, or refuses it.
    whole: dict[str, Tensor] = {}
    ranks.once(lambda: whole.update(_loaded(name, revision, names, dtype=dtype)))
    for weight, target in wanted.items():
        values = whole[weight] if ranks.rank == 0 else torch.empty(target.shape)
        values = values.to(ranks.device, target.dtype)
        dist.broadcast(values, 0)
        _take(target, dtypes.get(weight), ranks, values.__getitem__)


def _streamable(
    size: int, name: str, revision: str | None, names: Collection[str], wanted: Mapping[str, Tensor]
) -> list[str]:
    """Paths of the files, where they hold each of the `wanted` once and in its shape; else none.

    The ranks may be on machines with other files, and must go the same way: raises `ModelError` on all of them.
    """
    files, failure = list[str](), ""
    try:
        files = _weight_files(name, revision)
        found = {weight: shape for path in files for weight, shape in _shapes(path).items() if weight in names}
        if found != {weight: tuple(target.shape) for weight, target in wanted.items()}:
            files = []
    except (OSError, SafetensorError) as error:
        failure = str(error) or type(error).__name__
    answers: list[Any] = [None] * size
    dist.all_gather_object(answers, (bool(files), failure))
    agree(name, answers)
    return files


def agree(name: str, answers: Sequence[tuple[bool, str]]) -> None:
    """Raises `ModelError` unless all ranks can stream the model, or none, and nothing failed."""
    for rank, (_, failure) in enumerate(answers):
        if failure:
            raise ModelError(f"{name}: rank {rank} cannot read its files ({failure}); copy them again")
    if len(set(answers)) > 1:
        can, cannot = ([rank for rank, (one, _) in enumerate(answers) if one is wanted] for wanted in (True, False))
        raise ModelError(
            f"{name}: its files are not the same on all machines (ranks {can} have all weights in safetensors files, "
            f"ranks {cannot} have not); copy the same ones to each"
        )


@torch.no_grad()
def _take(target: Tensor, dtype: torch.dtype | None, ranks: Placed, read: Callable[[slice], Tensor]) -> None:
    """This rank's part of what `read` gives row by row, rounded to `dtype` as one process would."""
    part, rows = target, slice(None)
    if isinstance(target, DTensor):  # cut as `torch.chunk` cuts
        part = target.to_local()
        start = ranks.rank * ceil(target.shape[0] / ranks.size)
        rows = slice(start, start + len(part))
    if part.numel():
        part.copy_(read(rows).to(dtype))


def _first_name(names: Mapping[str, Tensor], weight: Tensor) -> str:
    """Of those that tied weights have."""
    return next(name for name, other in names.items() if other is weight)


def _loaded(name: str, revision: str | None, names: Mapping[str, Tensor], *, dtype: str) -> dict[str, Tensor]:
    loaded = load_model(name, revision, dtype=dtype, device="cpu").state_dict()
    for alias, weight in names.items():
        first = _first_name(names, weight)
        if not torch.equal(loaded[alias], loaded[first]):
            raise ModelError(
                f"{name}: its config.json says that {alias} is {first}, and its files have two; "
                "set tie_word_embeddings = false there"
            )
    return loaded


def _weight_files(name: str, revision: str | None) -> list[str]:
    """Paths of safetensors files; none where a model has only others."""
    folder = Path(hub.local(name, revision))
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if index.is_file():
        paths: list[str] = get_checkpoint_shard_files(str(folder), str(index))[0]
        return sorted(set(paths))
    return [str(single)] if single.is_file() else []


def _shapes(path: str) -> dict[str, tuple[int, ...]]:
    with safe_open(path, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  no mapping
