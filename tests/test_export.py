"""`grpo export`: what comes out is the model that was sampled from, and anything opens it."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from grpo.assemble import open_model
from grpo.config import Model, Optim
from grpo.errors import CheckpointError, ConfigError, ModelError
from grpo.export import export
from grpo.learning import lora
from grpo.learning.loading import load_model
from grpo.learning.policy import Policy
from grpo.run import checkpoints
from grpo.run.checkpoints import Progress
from tests.tiny import save_model

pytest.importorskip("peft")


def open_policy(base: Path, *, rank: int = 4, packed: bool = False, dtype: str = "float32") -> Policy:
    """The model in `base`, with an adapter that says something where `rank` is not 0."""
    model: Any = load_model(str(base), None, dtype=dtype, device="cpu")
    if packed:
        lora.quantise(model, "cpu")
    if rank:
        lora.inject(model, Model(name="m", lora_rank=rank), str(base))
        draws = torch.Generator().manual_seed(0)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = 0.2 * torch.randn(parameter.shape, generator=draws).to(parameter)
    return Policy(model, Optim(), temperature=1.0, gradient_checkpointing=False)


def save(policy: Policy, base: Path, folder: Path, step: int) -> Path:
    """A checkpoint as an engine writes it."""

    def write(target: Path) -> None:
        policy.save(target)
        AutoTokenizer.from_pretrained(base).save_pretrained(target)
        (target / "trainer" / "optimizer").mkdir(parents=True)
        policy.save_state(target / "trainer" / "optimizer")

    return checkpoints.save(folder, Progress(step, drawn=0), write, keep=9)


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return save_model(tmp_path / "base", tied=request.param)


@pytest.mark.parametrize(
    "packed",
    [
        False,
        pytest.param(
            True,
            marks=pytest.mark.skipif(
                importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not there"
            ),
        ),
    ],
)
def test_an_exported_adapter_is_the_model_that_was_served(base: Path, tmp_path: Path, packed: bool) -> None:
    policy = open_policy(base, packed=packed)
    said: list[str] = []
    export(save(policy, base, tmp_path / "c", 1), tmp_path / "new" / "out", said.append)
    assert said == [f"{tmp_path}/new/out: {base} with the adapter merged into it"]
    out = tmp_path / "new" / "out"
    stored, served, before = (
        load_file(out / "model.safetensors"),
        dict(policy.weights()),
        load_file(base / "model.safetensors"),
    )
    assert stored.keys() == served.keys() == before.keys()
    assert all(torch.equal(stored[name], served[name]) for name in served)
    assert not torch.equal(stored["model.layers.0.mlp.up_proj.weight"], before["model.layers.0.mlp.up_proj.weight"])
    assert not list(out.glob("adapter*")) and not (out / "trainer").exists()
    text = "1+1=2 and so on"
    tokenizers = [AutoTokenizer.from_pretrained(folder)(text)["input_ids"] for folder in (out, base)]
    assert tokenizers[0] == tokenizers[1]
    assert open_model(str(out)).context == 512
    model, opened = policy.model, AutoModelForCausalLM.from_pretrained(out)
    ids = torch.tensor([tokenizers[0]])
    with torch.no_grad():
        assert float((model(ids).logits - opened(ids).logits).abs().max()) < 1e-4
    assert json.loads((out / "config.json").read_text()) == json.loads((base / "config.json").read_text())


def test_an_export_has_the_precision_of_the_base_whatever_the_run_had(tmp_path: Path) -> None:
    base = save_model(tmp_path / "base")
    half = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    half.save_pretrained(base)
    policy = open_policy(base)
    export(save(policy, base, tmp_path / "c", 1), tmp_path / "out", lambda _: None)
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.bfloat16}
    assert all(torch.equal(stored[name], weight.to(torch.bfloat16)) for name, weight in policy.weights())


def test_a_whole_checkpoint_is_copied_without_what_only_training_needs(base: Path, tmp_path: Path) -> None:
    checkpoint = save(open_policy(base, rank=0), base, tmp_path / "c", 3)
    said: list[str] = []
    export(checkpoint, tmp_path / "out", said.append)
    assert said == [f"{tmp_path}/out: copied from {checkpoint}"]
    names = {path.name for path in checkpoint.iterdir()} - {"trainer"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names and "model.safetensors" in names
    assert all((tmp_path / "out" / name).read_bytes() == (checkpoint / name).read_bytes() for name in names)
    open_model(str(tmp_path / "out"))


def test_of_a_run_the_best_checkpoint_is_taken_else_the_newest(tmp_path: Path) -> None:
    base = save_model(tmp_path / "base")
    run, said = tmp_path / "run", list[str]()
    for step in (9, 10):
        save(open_policy(base), base, run / "checkpoints", step)
    export(run, tmp_path / "newest", said.append)
    assert said[0] == f"{run}: takes checkpoints/step-10"
    shutil.copytree(run / "checkpoints" / "step-9", run / "checkpoints" / "best")
    export(run, tmp_path / "best", said.append)
    assert said[2] == f"{run}: takes checkpoints/best"


# --- What cannot be exported ------------------------------------------------------------------------------------------


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    base = save_model(tmp_path / "base")
    return save(open_policy(base), base, tmp_path / "c", 1)


def refused(place: Path, out: Path, match: str, kind: type[Exception] = ModelError) -> None:
    with pytest.raises(kind, match=match):
        export(place, out, lambda _: None)


def test_a_folder_that_is_there_is_not_written_over(adapter: Path, tmp_path: Path) -> None:
    refused(adapter, tmp_path, r"exists already; choose another folder", ConfigError)
    refused(
        adapter, tmp_path / "base" / "config.json" / "out", r"cannot be made \((File exists|Not a dir)", ConfigError
    )


def test_a_folder_within_the_source_is_refused(adapter: Path) -> None:
    refused(adapter, adapter / "new" / "out", r"out: lies within .*step-1, .*choose a folder outside", ConfigError)
    assert not (adapter / "new").exists()


def test_what_holds_no_model_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "nothing", tmp_path / "out", r"nothing: no such folder; give a checkpoint", ConfigError)
    refused(tmp_path, tmp_path / "out", r"holds neither a model nor a run with a checkpoint", ConfigError)


def test_an_adapter_without_its_model_names_it(adapter: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "base")
    refused(adapter, tmp_path / "out", r"belongs to the model in .*/base, which is not there; copy it back, or write")
    assert not (tmp_path / "out").exists()


def test_a_damaged_checkpoint_is_not_exported(adapter: Path, tmp_path: Path) -> None:
    (adapter / "adapter_model.safetensors").write_bytes(b"short")
    refused(adapter, tmp_path / "out", r"the checkpoint is damaged: adapter_model.safetensors", CheckpointError)
    shutil.rmtree(adapter / "trainer")
    refused(adapter, tmp_path / "out", r"holds no adapter that can be read")


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"use_dora": True}, "use_dora"), ({"peft_type": "IA3"}, "IA3"), ({"bias": "all"}, "bias all")],
)
def test_another_kind_of_adapter_is_not_merged_wrongly(
    adapter: Path, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    shutil.rmtree(adapter / "trainer")
    stated = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(stated | changes))
    refused(adapter, tmp_path / "out", rf"is another kind of adapter \(.*{named}.*\); merge it with PEFT itself")


def test_an_adapter_that_lacks_a_weight_is_refused(adapter: Path, tmp_path: Path) -> None:
    shutil.rmtree(adapter / "trainer")
    weights = load_file(adapter / "adapter_model.safetensors")
    weights.pop(min(weights))
    save_file(weights, adapter / "adapter_model.safetensors", {"format": "pt"})
    refused(adapter, tmp_path / "out", r"1 weights of its adapter are not those of this model's", CheckpointError)
