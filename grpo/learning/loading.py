"""Models and tokenizers from the Hub or a directory, or one sentence that says why not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from grpo import hub
from grpo.config import Model
from grpo.errors import ConfigError, ModelError
from grpo.learning.adapter_files import is_adapter

disable_progress_bar()  # the console has its own
set_verbosity_error()  # what it would warn of and matters here, weights that are not there, is refused below

# What transformers raises where config.json asks for something that cannot be: it checks some, and trips over the rest.
UNOPENABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
)
# Files that hold a vocabulary.  Without any, transformers makes an empty tokenizer from tokenizer_config.json alone.
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.*", "*.tiktoken", "tekken.json", "spiece.model")

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(settings: Model) -> str:
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError('model.device = "cuda": PyTorch sees no CUDA device here; use "cpu", or check nvidia-smi')
    if settings.device != "auto":
        return settings.device
    if torch.cuda.is_available():
        return "cuda"
    if unseen := unseen_gpu():
        raise ConfigError(f'model.device = "auto": {unseen}, or set model.device = "cpu" to go on without it')
    return "cpu"


def unseen_gpu() -> str:
    """Why PyTorch sees no GPU though the driver does, and what to do; "" where there is none or it is hidden."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1") or shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        asked = subprocess.run(query, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):  # no driver, or one that hangs
        return ""
    if asked.returncode or not asked.stdout.strip():
        return ""
    name, _, driver = asked.stdout.splitlines()[0].partition(", ")
    seen = f"nvidia-smi sees {name} with driver {driver}, and PyTorch {torch.__version__} sees no CUDA device"
    if torch.version.cuda is None:
        return f"{seen}, because it is a build for CPUs; install a build for CUDA"
    newer = f"its CUDA {torch.version.cuda} may need a newer driver"
    return f"{seen}; {newer}: update it, or install a build for an older CUDA"


def choose_dtype(settings: Model, device: str) -> str:
    if settings.dtype != "auto":
        return settings.dtype
    return "bfloat16" if device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


def load_tokenizer(name: str, revision: str | None) -> PreTrainedTokenizerBase:
    check_place(name, revision)
    tokenizer: PreTrainedTokenizerBase = _load(AutoTokenizer, name, revision)
    tokenizer.name_or_path = name  # which sentences begin with; the Hub's would be a folder of the cache
    end = tokenizer.eos_token_id
    # Where tokenizer_config.json names none, transformers may add its class's own, which the model has never seen.
    if not isinstance(end, int) or end >= vocabulary_size(name, revision):
        raise ModelError(
            f"{name}: the tokenizer has no end token that the model knows ({tokenizer.eos_token}), so no completion "
            "could end; set eos_token in tokenizer_config.json"
        )
    return tokenizer


def load_model(name: str, revision: str | None, *, dtype: str, device: str) -> PreTrainedModel:
    """`dtype`: one of `DTYPES`, or "auto" for that of the files."""
    check_place(name, revision)
    loaded: tuple[PreTrainedModel, dict[str, Any]]
    loaded = _load(AutoModelForCausalLM, name, revision, dtype=DTYPES.get(dtype, dtype), output_loading_info=True)
    model, info = loaded
    if missing := sorted(info["missing_keys"]):  # transformers would go on with random numbers in their place
        raise ModelError(
            f"{name}: {len(missing)} of the weights that its config.json asks for are not in its files "
            f"({missing[0]} for one); save the model again, or take the config.json that belongs to it"
        )
    try:
        model.to(device)  # type: ignore[arg-type]
    except torch.OutOfMemoryError:
        raise ModelError(f"{name}: its weights do not fit into the GPU's memory; take a smaller model") from None
    return model


def write_model(model: PreTrainedModel, folder: Path, weights: dict[str, torch.Tensor] | None = None) -> None:
    """In Hugging Face format, with these weights in place of its own, which may be shards."""
    if model.can_generate():
        # Some models ship a temperature without do_sample, which transformers reads but refuses to write.
        model.generation_config.do_sample = True
    dtype = next(iter(weights.values())).dtype if weights else model.dtype
    model.save_pretrained(folder, state_dict=weights)  # which empties `weights`
    if dtype != model.dtype:  # the shards' is what transformers has written into config.json
        model.config.dtype = dtype
        model.config.save_pretrained(folder)


def check_shapes(name: str, revision: str | None = None) -> None:
    """Refuse a model whose weights have other shapes than its config.json says, before anything opens them.

    A sampler would say it in a hundred lines or with no word.  Only headers are read.  Names that the model does not
    have are passed over: transformers renames some on their way in.
    """
    if hasattr(_load(AutoConfig, name, revision), "quantization_config"):  # packed: other shapes
        return
    shapes = outline(name, revision, dtype="float32").state_dict()
    asked = {weight: tuple(value.shape) for weight, value in shapes.items()}
    for shard in sorted(Path(hub.local(name, revision)).glob("*.safetensors")):
        with safe_open(shard, framework="pt") as file:
            for weight in file.keys():  # noqa: SIM118  it is no mapping
                shape = tuple(file.get_slice(weight).get_shape())
                if shape != asked.get(weight, shape):
                    raise ModelError(
                        f"{shard}: {weight} has the shape {shape}, and config.json asks for {asked[weight]}; take the "
                        "config.json that belongs to these weights"
                    )


def outline(name: str, revision: str | None, *, dtype: str) -> PreTrainedModel:
    """The model without its weights: shapes only, on the "meta" device."""
    return build(name, revision, dtype=dtype, within=torch.device("meta"))


def build(name: str, revision: str | None, *, dtype: str, within: AbstractContextManager[Any]) -> PreTrainedModel:
    """The model as its config.json has it, made inside `within`; no weights are read."""
    config = _load(AutoConfig, name, revision)
    try:
        with within:
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=DTYPES[dtype])
    except UNOPENABLE as error:
        raise _unopenable(name, error) from None
    return model


def model_config(name: str, revision: str | None) -> PreTrainedConfig:
    """What its config.json says."""
    config: PreTrainedConfig = _load(AutoConfig, name, revision)
    return config


def vocabulary_size(name: str, revision: str | None) -> int:
    """How many tokens the model has; an id from there on is none of its."""
    size: int = _load(AutoConfig, name, revision).get_text_config().vocab_size
    return size


def context_length(name: str, revision: str | None) -> int:
    """Most tokens of prompt and completion together that the model was made for."""
    check_place(name, revision)
    config = _load(AutoConfig, name, revision)
    length: int = getattr(config.get_text_config(), "max_position_embeddings", 0) or 2**31 - 1
    return length


def check_place(name: str, revision: str | None) -> None:
    """What a model's files lack is said before anything is made of them, for the samplers' sake too."""
    path = Path(hub.local(name, revision))
    if is_adapter(path):  # beside a config.json, too: transformers would open the model that the adapter names
        raise ModelError(
            f"{name}: is an adapter without its model; merge them into a folder with grpo export {name} MERGED, and "
            "give that"
        )
    if not (path / "config.json").is_file():
        raise ModelError(f"{name}: has no config.json, so it is no model in Hugging Face format; give another")
    if not any(found for pattern in VOCABULARIES for found in path.glob(pattern)):
        raise ModelError(
            f"{name}: has no tokenizer (no tokenizer.json, which holds the vocabulary); copy tokenizer.json and "
            "tokenizer_config.json beside the weights"
        )
    shards = sorted(path.glob("*.safetensors"))
    if not shards and not any(path.glob("*.bin")):
        raise ModelError(f"{name}: has no weights; expected model.safetensors (or shards of it) beside config.json")
    for shard in [*_listed_shards(path), *shards]:
        try:
            with safe_open(shard, framework="pt"):  # reads the header, and that the file is as long as it says
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{shard}: weights that cannot be read ({error}); copy the file again") from None


def _listed_shards(path: Path) -> list[Path]:
    index = path / "model.safetensors.index.json"
    if not index.is_file():
        return []
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return sorted({path / name for name in names})
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise ModelError(f"{index}: is no index of weights; copy the file again") from None


def _load(kind: Any, name: str, revision: str | None, **options: Any) -> Any:
    try:
        return kind.from_pretrained(hub.local(name, revision), **options)
    except UNOPENABLE as error:
        raise _unopenable(name, error) from None


def _unopenable(name: str, error: Exception) -> ModelError:
    """In a sentence.  transformers' messages are paragraphs; their first line says what, the rest is advice for other
    programs, except that its checks of a config.json say what in their cause."""
    said = str(error.__cause__ or error) if isinstance(error, StrictDataclassError) else str(error)
    reason = said.strip().splitlines()[0] if said.strip() else type(error).__name__
    if "ignore_mismatched_sizes" in reason:
        reason = "its weights do not have the shapes that its config.json says"
    return ModelError(f"model {name}: cannot be opened ({reason}); check the id, or give a directory")
