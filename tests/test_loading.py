"""A model is opened whole, or not at all and with one sentence that says why."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from grpo.config import Model
from grpo.errors import ConfigError, ModelError
from grpo.learning.loading import (
    check_shapes,
    choose_device,
    choose_dtype,
    context_length,
    load_model,
    load_tokenizer,
    vocabulary_size,
)
from tests.tiny import CHARACTERS, END, make_model, save_model


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def good(request, tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"), tied=request.param)


def load(place: Path | str) -> torch.nn.Module:
    return load_model(str(place), None, dtype="float32", device="cpu")


def test_a_model_has_the_weights_that_were_saved(good):
    tied = json.loads((good / "config.json").read_text())["tie_word_embeddings"]
    expected = dict(make_model(tied).named_parameters())
    loaded = dict(load(good).named_parameters())
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_a_model_has_the_dtype_that_was_asked_for(good):
    model = load_model(str(good), None, dtype="bfloat16", device="cpu")
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}


def test_a_tokenizer_and_the_context_come_from_the_same_directory(good):
    tokenizer = load_tokenizer(str(good), None)
    assert (tokenizer.eos_token_id, tokenizer("2+2")["input_ids"]) == (END, [CHARACTERS.index(c) for c in "2+2"])
    assert context_length(str(good), None) == 512
    assert vocabulary_size(str(good), None) == len(CHARACTERS)


# --- Damage -------------------------------------------------------------------------------------------------------


def without_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def cut_short(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def without_a_shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def of_another_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 32}))


def writes(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (without_a_weight, r"1 of the weights that its config.json asks for are not in its files \(model.norm.weight"),
        (cut_short, r"model.safetensors: weights that cannot be read \(.*\); copy the file again"),
        (writes("model.safetensors", "hello"), r"model.safetensors: weights that cannot be read \("),
        (without_a_shard, r"model-00002-of-00002.safetensors: weights that cannot be read \(No such file"),
        (writes("model.safetensors.index.json", "[]"), r"model.safetensors.index.json: is no index of weights"),
        (of_another_size, r"cannot be opened \(its weights do not have the shapes that its config.json says\)"),
        (writes("config.json", "not JSON"), r"cannot be opened \(.*not a valid JSON file"),
        (writes("config.json", '{"model_type": "nope"}'), r"cannot be opened \(.*model type `nope`"),
        (writes("config.json", '{"model_type": "t5"}'), r"cannot be opened \(.*T5Config.* for this kind of AutoModel"),
    ],
)
def test_a_damaged_model_is_refused(good, tmp_path, damage, sentence):
    shutil.copytree(good, tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(ModelError, match=sentence) as error:
        load(tmp_path / "model")
    assert "\n" not in str(error.value)
    assert str(tmp_path / "model") in str(error.value)


@pytest.mark.parametrize("size", ["hidden_size", "intermediate_size", "vocab_size"])
def test_weights_of_another_shape_than_config_json_says_are_refused_before_anything_opens_them(good, tmp_path, size):
    shutil.copytree(good, tmp_path / "model")
    check_shapes(str(tmp_path / "model"))
    config = json.loads((good / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {size: 2 * config[size]}))
    with pytest.raises(ModelError, match=r"model.safetensors: \S+ has the shape \(.*\), and config.json asks for \("):
        check_shapes(str(tmp_path / "model"))


@pytest.mark.parametrize("key", ["num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size"])
@pytest.mark.parametrize("value", [0, -1, 3, "many", None, [], 10**9])
def test_a_config_that_cannot_be_is_one_sentence(good, tmp_path, key, value):
    shutil.copytree(good, tmp_path / "model")
    config = json.loads((good / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(ModelError) as error:
        load_tokenizer(str(tmp_path / "model"), None)
        check_shapes(str(tmp_path / "model"))
        load(tmp_path / "model")
    assert "\n" not in str(error.value)


def test_a_directory_without_a_vocabulary_is_refused_though_a_tokenizer_can_be_made_of_it(good, tmp_path):
    shutil.copytree(good, tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"has no tokenizer \(no tokenizer.json, which holds the vocabulary\); copy"):
        load_tokenizer(str(tmp_path / "model"), None)


@pytest.mark.parametrize("text", ["not JSON", '{"a": 1}'])
def test_a_damaged_tokenizer_is_refused(good, tmp_path, text):
    shutil.copytree(good, tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_text(text)
    with pytest.raises(ModelError, match=r"cannot be opened \("):
        load_tokenizer(str(tmp_path / "model"), None)


def test_a_tokenizer_without_an_end_token_is_refused(good, tmp_path):
    shutil.copytree(good, tmp_path / "model")
    path = tmp_path / "model" / "tokenizer_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "eos_token"}))
    with pytest.raises(ModelError, match="the tokenizer has no end token that the model knows"):
        load_tokenizer(str(tmp_path / "model"), None)


@pytest.mark.parametrize("damage", [cut_short, without_a_shard])
def test_damaged_weights_are_noticed_before_a_sampler_opens_them(good, tmp_path, damage):
    shutil.copytree(good, tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(ModelError, match="weights that cannot be read"):
        load_tokenizer(str(tmp_path / "model"), None)


@pytest.mark.parametrize("name", ["./no", "../no", "/no", "~/no", "a/b/c", "", "x" * 5000, "no where", "a\nb", "[red]"])
def test_a_place_that_is_not_there_is_refused_without_asking_the_hub(name):
    for opened in (load, lambda name: load_tokenizer(name, None), lambda name: context_length(name, None)):
        with pytest.raises(ModelError, match="no such directory; give a model in Hugging Face format or a Hub id"):
            opened(name)


@pytest.mark.parametrize("name", ["no/where", "nowhere"])
def test_a_model_that_the_hub_does_not_give_is_refused(name):
    with pytest.raises(ModelError, match=rf"^model {name}: is not \(or not whole\) in the cache"):
        load_tokenizer(name, None)


# --- Choices ------------------------------------------------------------------------------------------------------


def test_the_device_and_dtype_that_are_named_are_used():
    assert choose_device(Model(name="m", device="cpu")) == "cpu"
    assert choose_dtype(Model(name="m", dtype="bfloat16"), "cpu") == "bfloat16"


def test_processors_compute_in_float32_unless_told():
    assert choose_dtype(Model(name="m"), "cpu") == "float32"


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    assert choose_device(Model(name="m")) == "cpu"
    with pytest.raises(ConfigError, match="PyTorch sees no CUDA device here"):
        choose_device(Model(name="m", device="cuda"))


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """One where PyTorch sees no GPU and `nvidia-smi` is this script."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def make(script: str) -> None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return make


WORKS = """echo "$@" | grep -q query-gpu=name,driver_version && echo "NVIDIA H100 PCIe, 535.104.05" """


def test_a_gpu_that_the_driver_sees_and_pytorch_does_not_is_said_instead_of_going_on_without_it(machine, monkeypatch):
    machine(WORKS)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(ConfigError) as raised:
        choose_device(Model(name="m"))
    said = str(raised.value)
    assert said.startswith(
        'model.device = "auto": nvidia-smi sees NVIDIA H100 PCIe with driver 535.104.05, and PyTorch'
    )
    assert "its CUDA 13.0 may need a newer driver: update it, or install a build for an older CUDA" in said
    assert said.endswith(', or set model.device = "cpu" to go on without it')
    assert choose_device(Model(name="m", device="cpu")) == "cpu"
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(
        ConfigError, match="sees no CUDA device, because it is a build for CPUs; install a build for CUDA"
    ):
        choose_device(Model(name="m"))


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_gpu_that_was_hidden_on_purpose_is_not_missed(machine, monkeypatch, hidden):
    machine(WORKS)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert choose_device(Model(name="m")) == "cpu"


@pytest.mark.parametrize("script", ["echo 'NVIDIA-SMI has failed'; exit 9", "true"])
def test_a_driver_that_sees_no_gpu_either_means_that_there_is_none(machine, script):
    machine(script)
    assert choose_device(Model(name="m")) == "cpu"
