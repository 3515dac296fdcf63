"""Low-rank adapters (LoRA, arXiv 2106.09685) through PEFT, and frozen weights in 4 bits (QLoRA, arXiv 2305.14314).

A linear layer W gets a neighbour, so that it computes W x + s B A x with s = lora_alpha / lora_rank; A and B are
learned, W is frozen.  B is 0 at first: a run starts from the very model it was given.  A sampler is given whole
weights, W + s B A under the names of the model's own file, because serving an adapter halves vLLM's tokens per second;
a reference model is this one with the adapter off, so there is no second one in memory.

PEFT's layers are put *into* the model: it stays the class it was, whose attention and head `grpo.learning.logprobs`
knows (`get_peft_model` would wrap it).  That works on a model without memory ("meta"), too, before it is sharded:
`inject`, then shards and their memory, then `initialise`.

The only file that imports peft and bitsandbytes, and it does so where an adapter is asked for.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from grpo.config import Model
from grpo.errors import CheckpointError, ConfigError
from grpo.learning.adapter_files import FROZEN, WEIGHTS, Saved
from grpo.learning.batch import Sequences

NAME = "default"  # PEFT's name of a model's only adapter
ALL = "all-linear"
NF4 = 0.5 + (1 + 4 / 256) / 64  # bytes of a weight: 4 bits, and per 64 a scale in 8 bits that is scaled per 256

Whole = Callable[[Tensor], Tensor]  # a parameter, or a process's shard of one → all of it


def itself(parameter: Tensor) -> Tensor:
    """Of a model that is not sharded a parameter is whole already."""
    return parameter


def check(settings: Model, *, sharded: bool = False) -> None:
    """Refuse what cannot be, before a model is opened.  Raises `ConfigError`."""
    if settings.load_in_4bit and not settings.lora_rank:
        raise ConfigError(
            "model.load_in_4bit: weights in 4 bits stay as they are, so there must be an adapter to learn; "
            "set model.lora_rank, such as 16"
        )
    if settings.load_in_4bit and sharded:
        raise ConfigError(
            "model.load_in_4bit: is for one process, because weights in 4 bits cannot be sharded; "
            "set cluster.learners = 0, or leave the setting out"
        )
    if settings.lora_rank:
        check_installed(f"model.lora_rank = {settings.lora_rank}", packed=settings.load_in_4bit)


def check_installed(what: str, *, packed: bool) -> None:
    """Refuse `what`, an adapter beside `packed` weights or others, where what it needs is not installed."""
    if find_spec("peft") is None:
        raise ConfigError(f'{what}: needs PEFT; pip install "grpo-train[lora]"')
    if packed and find_spec("bitsandbytes") is None:
        raise ConfigError(f"{what} and weights in 4 bits: needs bitsandbytes; pip install bitsandbytes")


def inject(model: Any, settings: Model, base: str, revision: str | None = None) -> None:
    """Freeze the model and put an adapter beside the layers that the settings name.  Its values are `initialise`'s.

    `base`, the model's directory or Hub id, is what a saved adapter will say that it belongs to.
    Raises `ConfigError` where no layer has such a name.
    """
    from peft import LoraConfig

    config = LoraConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=os.path.abspath(base) if os.path.isdir(base) else base,
        revision=revision,
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha or 2 * settings.lora_rank,
        lora_dropout=0.0,  # the sampler has none
        target_modules=_targets(model, settings.lora_target_modules),
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in model.modules()),
    )
    _inject(model, config, next(model.parameters()).dtype)


def _inject(model: Any, config: Any, dtype: torch.dtype) -> None:
    from peft import inject_adapter_in_model

    model.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):  # PEFT draws values, which are not kept
        inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        if _is_adapter(name):
            parameter.data = parameter.data.to(dtype)  # beside packed weights PEFT makes float32


def linear_layers(model: Any) -> dict[str, nn.Module]:
    """All layers that may have an adapter, by name: the head, which shares its weight with the embedding, may not."""
    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }


def _targets(model: Any, wanted: Sequence[str]) -> list[str]:
    layers = list(linear_layers(model))
    found: dict[str, None] = {}
    for target in wanted:
        named = [name for name in layers if target == ALL or f".{name}".endswith(f".{target}")]
        if not named:
            ends = ", ".join(sorted({name.rpartition(".")[2] for name in layers})) or "none"
            raise ConfigError(
                f'model.lora_target_modules: no linear layer of this model is named "{target}"; there are {ends}, '
                f'and "{ALL}" for all of them'
            )
        found.update(dict.fromkeys(named))
    return list(found)


@torch.no_grad()
def initialise(model: Any, seed: int) -> None:
    """An adapter that changes nothing yet: A uniform within ±1/√in, as PEFT's and PyTorch's own layers, and B = 0.

    The values depend on the seed alone: not on the device, nor on who holds which shard.
    """
    draws = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if ".lora_A." in name:
            bound = 1 / math.sqrt(parameter.shape[1])
            fill(parameter, torch.empty(parameter.shape).uniform_(-bound, bound, generator=draws))
        elif ".lora_B." in name:
            parameter.zero_()


@torch.no_grad()
def fill(parameter: Tensor, whole: Tensor) -> None:
    """Copy `whole` into a parameter, or this process's shard of it into a shard."""
    from torch.distributed.tensor import DTensor, distribute_tensor  # a second of imports that one process does without

    value = whole.to(parameter.device, parameter.dtype)
    if isinstance(parameter, DTensor):
        mesh, placements = parameter.device_mesh, parameter.placements
        value = distribute_tensor(value, mesh, placements, src_data_rank=None)  # all have it: nothing is sent
    parameter.copy_(value)


def has_adapter(model: Any) -> bool:
    return hasattr(model, "peft_config")


@contextmanager
def adapter_off(model: Any) -> Iterator[None]:
    """Inside, the model computes what it did before it had an adapter."""
    layers = [module for module in model.modules() if _is_adapted(module)]
    # PEFT's `enable_adapters(False)` would besides declare the adapter frozen, and that is no business of a reference.
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


def with_adapter_off(model: Any, compute: Callable[[Sequences], Tensor]) -> Callable[[Sequences], Tensor]:
    """`compute`, which asks the model, as it would be without the adapter."""

    def computed(sequences: Sequences) -> Tensor:
        with adapter_off(model):
            return compute(sequences)

    return computed


def _is_adapter(parameter_name: str) -> bool:
    return ".lora_A." in parameter_name or ".lora_B." in parameter_name


def _is_adapted(module: nn.Module) -> bool:
    return hasattr(module, "base_layer") and hasattr(module, "lora_A")


# --- Whole weights ----------------------------------------------------------------------------------------------------


def file_name(parameter_name: str) -> str:
    """The name that a frozen weight has in the model's own file."""
    return parameter_name.replace(".base_layer.", ".")


def parameters_in_files(model: Any) -> dict[str, Tensor]:
    """What a model's own file has values for, by the names there; under all their names where weights are tied."""
    weights = model.state_dict(keep_vars=True).items()
    return {file_name(name): weight for name, weight in weights if not _is_adapter(name)}


@torch.no_grad()
def named_weights(model: Any, whole: Whole = itself) -> Iterator[tuple[str, Tensor]]:
    """The weights that the model computes with, adapter included: names as in its Hugging Face file, tied ones once.

    Of any model, with an adapter or without.  Over shards every process must ask, and each is given all.
    """
    buffers = dict(model.named_buffers())
    saved = [(name, buffers[name]) for name in model.state_dict() if name in buffers]
    for name, value in [*model.named_parameters(), *saved]:
        if not _is_adapter(name):
            path, _, kind = name.rpartition(".")
            layer = model.get_submodule(path.removesuffix(".base_layer"))
            adapted = kind == "weight" and path.endswith(".base_layer")
            yield file_name(name), _merged(layer, value, whole) if adapted else _unpacked(value, whole)


def _merged(layer: Any, weight: Tensor, whole: Whole) -> Tensor:
    """W + s B A, rounded once."""
    a, b = (whole(pair[NAME].weight.detach()).float() for pair in (layer.lora_A, layer.lora_B))
    delta = (b @ a) * layer.scaling[NAME]
    frozen = _unpacked(weight, whole)
    merged: Tensor = frozen.float() + (delta.t() if layer.fan_in_fan_out else delta)
    return merged.to(frozen.dtype)


def _unpacked(weight: Tensor, whole: Whole) -> Tensor:
    packing = getattr(weight, "quant_state", None)
    if packing is None:
        return whole(weight.detach())
    from bitsandbytes.functional import dequantize_4bit

    plain: Tensor = dequantize_4bit(weight.data, packing)
    return plain


@torch.no_grad()
def fold(model: Any) -> None:
    """Add the adapter to the weights and take it out; afterwards it is a plain model again, not packed either."""
    for name, module in list(model.named_modules()):
        if name.endswith(".base_layer"):
            continue  # goes with its adapter
        if _is_adapted(module):
            weight = _merged(module, module.base_layer.weight, itself)
            model.set_submodule(name, _plain(module.base_layer, weight))
        elif hasattr(getattr(module, "weight", None), "quant_state"):
            model.set_submodule(name, _plain(module, _unpacked(module.weight, itself)))
    model.is_loaded_in_4bit = False
    del model.peft_config


def _plain(layer: Any, weight: Tensor) -> nn.Module:
    """The layer with this weight, in an ordinary one where its own is packed."""
    if isinstance(layer, Conv1D) or type(layer) is nn.Linear:
        layer.weight.data = weight
        return layer
    plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    plain.weight, plain.bias = nn.Parameter(weight, requires_grad=False), layer.bias
    return plain


# --- 4 bits -----------------------------------------------------------------------------------------------------------


def quantise(model: Any, device: str) -> None:
    """Pack the weights of all linear layers but the head into nf4, each on `device`, where the rest follows.

    Layer by layer, so that a GPU never holds the unpacked model.  The scales are packed, too (QLoRA section 3).
    """
    for name, layer in linear_layers(model).items():
        if not isinstance(layer, nn.Linear):
            raise ConfigError(f"model.load_in_4bit: {name} is no plain linear layer; leave the setting out")
        try:
            model.set_submodule(name, _packed(layer, device))
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError) as error:  # of a device that bitsandbytes has no kernels for
            raise ConfigError(
                f"model.load_in_4bit: bitsandbytes cannot pack weights on {device} ({error}); leave the setting out"
            ) from None
    model.is_loaded_in_4bit = True  # PEFT asks
    model.to(device)


def _packed(layer: nn.Linear, device: str) -> nn.Module:
    from bitsandbytes.nn import Linear4bit, Params4bit

    dtype, has_bias = layer.weight.dtype, layer.bias is not None
    packed = Linear4bit(layer.in_features, layer.out_features, has_bias, dtype, quant_type="nf4", device="meta")
    packed.weight = Params4bit(layer.weight.data, quant_type="nf4", module=packed)
    packed.bias = layer.bias
    # On some CPUs it would turn to bfloat16 wherever no gradient flows, and pack its weights in another order.
    packed.support_avx512bf16_for_cpu = False
    on_device: nn.Module = packed.to(device)  # which packs
    return on_device


def packed_numbers(outline: Any) -> int:
    """How many of a model's weights `quantise` would pack, or has; the model may have an adapter already."""
    weights: list[Any] = [layer.weight for layer in linear_layers(outline).values()]
    return sum(weight.numel() for weight in weights if not weight.requires_grad)


def is_packed(model: Any) -> bool:
    return bool(getattr(model, "is_loaded_in_4bit", False))


# --- Saved adapters ---------------------------------------------------------------------------------------------------


def adapter_weights(model: Any, whole: Whole = itself) -> dict[str, Tensor]:
    """The adapter's own weights on the CPU, by PEFT's names in files.  Over shards every process must ask."""
    own = _own(model)
    return {name: whole(parameter.detach()).cpu().contiguous() for name, parameter in own.items()}


def write_adapter(model: Any, weights: Mapping[str, Tensor], folder: Path) -> None:
    """What `adapter_weights` gave, in PEFT's format: `peft.PeftModel.from_pretrained(base, folder)` opens it."""
    model.peft_config[NAME].save_pretrained(folder)
    # What was learned beside packed weights belongs to those, and is to be merged with those.
    save_file(dict(weights), folder / WEIGHTS, {"format": "pt", FROZEN: "nf4" if is_packed(model) else "plain"})


def read_adapter(model: Any, folder: Path) -> None:
    """Values for the adapter that was put into the model.  Raises `CheckpointError` where they are another's."""
    try:
        weights = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: {WEIGHTS} cannot be read ({error}); copy it again", exit_code=2) from None
    own = _own(model)
    given, asked = ({name: tuple(value.shape) for name, value in some.items()} for some in (weights, own))
    if wrong := sorted(name for name in given.keys() | asked.keys() if given.get(name) != asked.get(name)):
        raise CheckpointError(
            f"{folder}: {len(wrong)} weights of its adapter are not those of this model's ({wrong[0]} for one); "
            "take the model and the settings that it was made with",
            exit_code=2,
        )
    for name, parameter in own.items():
        fill(parameter, weights[name])


def put_back(model: Any, adapter: Saved) -> None:
    """A saved adapter, in its own precision, into the model that it belongs to."""
    from peft import LoraConfig

    _inject(model, LoraConfig.from_pretrained(adapter.folder), adapter.dtype)
    read_adapter(model, adapter.folder)


def _own(model: Any) -> dict[str, Tensor]:
    names = ((name, parameter) for name, parameter in model.named_parameters() if _is_adapter(name))
    return {"base_model.model." + name.replace(f".{NAME}.", "."): parameter for name, parameter in names}
