"""Models and tokenizers from the Hub or a directory, or one sentence that says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from grpo.config import Model
from grpo.errors import ConfigError, ModelError

disable_progress_bar()  # the console has its own

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(settings: Model) -> str:
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError('model.device = "cuda": PyTorch sees no CUDA device here; use "cpu", or check nvidia-smi')
    if settings.device != "auto":
        return settings.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_dtype(settings: Model, device: str) -> str:
    if settings.dtype != "auto":
        return settings.dtype
    return "bfloat16" if device == "cuda" and torch.cuda.is_bf16_supported() else "float32"


def load_tokenizer(name: str, revision: str | None) -> PreTrainedTokenizerBase:
    _check_directory(name)
    if Path(name).is_dir() and not any(Path(name).glob("tokenizer*")):
        raise ModelError(f"{name}: has no tokenizer; copy tokenizer.json and tokenizer_config.json beside the weights")
    tokenizer: PreTrainedTokenizerBase = _load(AutoTokenizer, name, revision)
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{name}: the tokenizer has no end token, so no completion could end; set eos_token in it")
    return tokenizer


def load_model(name: str, revision: str | None, *, dtype: str, device: str) -> PreTrainedModel:
    _check_directory(name)
    if Path(name).is_dir() and not any(Path(name).glob("*.safetensors")) and not any(Path(name).glob("*.bin")):
        raise ModelError(f"{name}: has no weights; expected model.safetensors (or shards of it) beside config.json")
    model: PreTrainedModel = _load(AutoModelForCausalLM, name, revision, dtype=DTYPES[dtype])
    model.to(device)  # type: ignore[arg-type]
    return model


def context_length(name: str, revision: str | None) -> int:
    """Most tokens of prompt and completion together that the model was made for."""
    _check_directory(name)
    config = _load(AutoConfig, name, revision)
    length: int = getattr(config.get_text_config(), "max_position_embeddings", 0) or 2**31 - 1
    return length


def _check_directory(name: str) -> None:
    path = Path(name)
    if path.is_dir() and not (path / "config.json").is_file():
        raise ModelError(f"{name}: is a directory without config.json; give a model in Hugging Face format")
    if not path.is_dir() and (path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1):
        raise ModelError(
            f"{name}: no such directory; give a model in Hugging Face format or a Hub id like Qwen/Qwen3-0.6B"
        )


def _load(kind: Any, name: str, revision: str | None, **options: Any) -> Any:
    try:
        return kind.from_pretrained(name, revision=revision, **options)
    except (OSError, ValueError, KeyError) as error:
        # transformers' messages are paragraphs; their first line says what, the rest is advice for other programs.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"model {name}: cannot be opened ({reason}); check the id, or give a directory") from None
