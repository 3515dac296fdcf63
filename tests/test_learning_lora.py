"""Adapters: nothing but the adapter learns, and what is served, saved and left out of it is what it should be."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from grpo import assemble, engines
from grpo.algorithm import policy_loss
from grpo.assemble import open_model
from grpo.config import Config, Model, Objective, Optim
from grpo.errors import CheckpointError, ConfigError, ModelError
from grpo.learning import head, lora
from grpo.learning.adapter_files import is_adapter
from grpo.learning.batch import Batch
from grpo.learning.policy import LanguageModel, Policy
from grpo.objectives import choose
from grpo.train import train
from tests import runs
from tests.batches import Row, collate
from tests.tiny import CHARACTERS, make_model, with_adapter, with_learned_adapter

pytest.importorskip("peft")

LOSS = partial(policy_loss, objective=choose(Objective()))
needs_4_bits = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not there")


def batch() -> Batch:
    rows = [((5, 6, 7), (8, 9, 10, 11)), ((5, 6, 7), (12, 13)), ((20, 21), (22, 23, 24))]
    return collate([Row(p, t, (-1.0,) * len(t), (-1.0) ** i, 1 / 9) for i, (p, t) in enumerate(rows)])


def policy(model: Any, checkpointing: bool = False, **optim: Any) -> Policy:
    return Policy(model, Optim(**optim), temperature=1.0, gradient_checkpointing=checkpointing)


def adapter(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in lora.adapter_weights(model).items()}


def logprobs(model: Any) -> torch.Tensor:
    return LanguageModel(model, temperature=1.0, tokens_per_microbatch=2048).logprobs(batch().sequences)


def frozen(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}


def gpt2() -> Any:
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=len(CHARACTERS), n_embd=32, n_layer=1, n_head=2, n_positions=64)
    ).eval()


MODELS = {"tied": partial(make_model, True), "untied": partial(make_model, False), "gpt2": gpt2}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())


# --- Learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpointing", [False, True])
def test_steps_move_the_adapter_and_not_a_bit_of_the_model(checkpointing: bool) -> None:
    model = with_adapter(make_model(tied=True), 4)
    learner = policy(model, checkpointing, lr=1e-2)
    before, start = frozen(model), adapter(model)
    for _ in range(3):
        learner.forward_backward(batch(), LOSS)
        assert all((p.grad is not None) == p.requires_grad for p in model.parameters())
        assert learner.optim_step(1e-2) > 0
    after = frozen(model)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    # B was 0, so A has no gradient in the first step; by the third everything has moved.
    moved = lora.adapter_weights(model)
    assert len(start) == 2 * 7 * 2
    assert not any(torch.equal(start[name], moved[name]) for name in start)
    assert {name.split(".lora_")[0] for name in learner.optimizer.weights} == {
        f"model.layers.{layer}.{part}"
        for layer in range(2)
        for part in (
            *(f"self_attn.{x}_proj" for x in "qkvo"),
            *(f"mlp.{x}_proj" for x in ("gate", "up", "down")),
        )
    }


def test_gradient_checkpointing_through_a_frozen_embedding_changes_no_gradient() -> None:
    plain, recomputed = (
        policy(with_learned_adapter(make_model(tied=True), 4), checkpointing).gradients(batch(), LOSS)
        for checkpointing in (False, True)
    )
    assert plain.keys() == recomputed.keys() and len(plain) == 28
    assert all(torch.allclose(plain[name], recomputed[name], atol=1e-7) for name in plain)
    assert all(float(grad.abs().max()) > 0 for grad in plain.values())


def test_no_product_is_made_for_the_gradient_of_a_frozen_weight() -> None:
    def flops(model: Any) -> int:
        learner = policy(model)
        with FlopCounterMode(display=False) as counted:
            learner.forward_backward(batch(), LOSS)
        return counted.get_total_flops()

    flops(make_model(True))  # the process's first products are tried, which counts, too
    # Forward, and backward to the inputs: two products with each weight instead of three, the adapter's own apart.
    # The head has one more in either, where its logits are made again.
    whole, frozen = flops(make_model(True)), flops(with_adapter(make_model(True), 1))
    assert 0.6 < frozen / whole < 0.7  # less than 2/3: the first layer's inputs have no gradient either


def test_the_head_makes_no_gradient_of_a_weight_that_is_frozen() -> None:
    draws = torch.Generator().manual_seed(0)
    states_ND = torch.randn(64, 8, generator=draws).requires_grad_()
    weight_VD, tokens_N = torch.randn(20, 8, generator=draws), torch.arange(64) % 20
    for learned in (True, False):
        out = head._HeadLogprobs.apply(states_ND, weight_VD.requires_grad_(learned), None, tokens_N, head.Projection())
        with torch.no_grad():
            grads = head._HeadLogprobs.backward(out.grad_fn, torch.ones_like(out))
        assert [grad is not None for grad in grads[:2]] == [True, learned]


def test_an_adapter_in_half_precision_learns_by_float32_masters() -> None:
    model = with_adapter(make_model(tied=True).to(torch.bfloat16), 4)
    learner = policy(model)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert {master.dtype for master in learner.optimizer.masters.values()} == {torch.float32}
    assert len(learner.optimizer.masters) == 28


# --- What is served ---------------------------------------------------------------------------------------------------


@every_model
def test_merged_weights_say_what_the_adapter_says_by_the_names_of_the_model_s_file(
    make: Callable[[], Any], tmp_path: Path
) -> None:
    plain = make()
    plain.save_pretrained(tmp_path)
    base, model = logprobs(plain), with_learned_adapter(make(), 4)
    expected = logprobs(model)
    assert float((expected - base).abs().max()) > 0.1
    weights = dict(lora.named_weights(model))
    stored = load_file(tmp_path / "model.safetensors")
    assert weights.keys() == stored.keys()
    plain.load_state_dict(weights, strict=False)
    assert float((logprobs(plain) - expected).abs().max()) < 1e-5


@every_model
def test_without_an_adapter_the_weights_are_the_model_s_own_each_once(make: Callable[[], Any], tmp_path: Path) -> None:
    model = make()
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    given = list(lora.named_weights(model))
    assert sorted(name for name, _ in given) == sorted(stored)
    assert all(torch.equal(weight, stored[name]) and not weight.requires_grad for name, weight in given)


@every_model
def test_folding_leaves_a_plain_model_that_says_the_same(make: Callable[[], Any]) -> None:
    model = with_learned_adapter(make(), 4)
    expected = logprobs(model)
    lora.fold(model)
    assert not lora.has_adapter(model)
    assert model.state_dict().keys() == make().state_dict().keys()
    assert float((logprobs(model) - expected).abs().max()) < 1e-5


def test_a_merged_weight_in_half_precision_is_rounded_once() -> None:
    model = with_learned_adapter(make_model(tied=True).to(torch.bfloat16), 4)
    layer = model.model.layers[0].mlp.up_proj
    a, b = (pair["default"].weight.double() for pair in (layer.lora_A, layer.lora_B))
    exact = layer.base_layer.weight.double() + 2 * b @ a  # alpha is twice the rank
    merged = dict(lora.named_weights(model))["model.layers.0.mlp.up_proj.weight"]
    assert merged.dtype == torch.bfloat16
    assert float((merged != exact.to(torch.bfloat16)).float().mean()) < 1e-3  # but for ties of float32


# --- The reference ----------------------------------------------------------------------------------------------------


def test_with_the_adapter_off_the_model_is_the_one_it_was() -> None:
    before, model = logprobs(make_model(tied=True)), with_learned_adapter(make_model(tied=True), 4)
    learner = policy(model)
    with_it = learner.logprobs(batch().sequences)
    reference = lora.with_adapter_off(model, learner.logprobs)
    assert torch.equal(reference(batch().sequences), before)
    assert torch.equal(learner.logprobs(batch().sequences), with_it)
    with pytest.raises(KeyError), lora.adapter_off(model):
        raise KeyError
    assert torch.equal(learner.logprobs(batch().sequences), with_it)
    assert sum(p.requires_grad for p in model.parameters()) == 28


def test_a_kl_penalty_beside_an_adapter_opens_no_second_model(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.write_inputs(tmp_path)
    opened: list[str] = []

    def load_model(name: str, *arguments: Any, **options: Any) -> Any:
        opened.append(name)
        return original(name, *arguments, **options)

    original = engines.load_model
    monkeypatch.setattr(engines, "load_model", load_model)
    config = runs.settings(tmp_path, tiny_model, model={"lora_rank": 4}, objective={"kl_coef": 0.1})
    files = open_model(str(tiny_model))
    engine = engines.open_local_engine(assemble.resolved(config), files, files, context=64, step=0, checkpoint=None)
    with closing(engine):
        assert opened == [str(tiny_model)]
        start = engine.logprobs(batch().sequences, of="reference")
        assert torch.equal(start, engine.logprobs(batch().sequences))
        for _ in range(2):
            engine.update(batch(), LOSS, 1e-2)
        assert torch.equal(start, engine.logprobs(batch().sequences, of="reference"))
        assert not torch.equal(start, engine.logprobs(batch().sequences))


# --- Where adapters go, and how they begin ----------------------------------------------------------------------------


def adapted(model: Any) -> set[str]:
    return {name.split(".lora_")[0] for name, _ in model.named_parameters() if ".lora_" in name}


def test_modules_are_named_by_the_end_of_their_names() -> None:
    attention = {f"model.layers.{layer}.self_attn.{x}_proj" for layer in (0, 1) for x in "qv"}
    assert adapted(with_adapter(make_model(True), 2, lora_target_modules=("q_proj", "v_proj"))) == attention
    one = "model.layers.1.mlp.up_proj"
    assert adapted(with_adapter(make_model(True), 2, lora_target_modules=("layers.1.mlp.up_proj",))) == {one}
    assert len(adapted(with_adapter(make_model(False), 2))) == 14  # all linear layers, and not the head


@pytest.mark.parametrize("target", ["query", "proj", "lm_head", "embed_tokens", " "])
def test_a_module_that_is_no_linear_layer_of_the_model_is_refused_with_those_there_are(target: str) -> None:
    ends = r"down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj, and \"all-linear\""
    with pytest.raises(
        ConfigError, match=rf'lora_target_modules: no linear layer of this model is named "{target}".*{ends}'
    ):
        with_adapter(make_model(tied=False), 2, lora_target_modules=("q_proj", target))


def test_the_first_adapter_depends_on_the_seed_alone_and_changes_nothing() -> None:
    model = with_adapter(make_model(True), 4, seed=1)
    first = lora.adapter_weights(model)
    assert torch.equal(logprobs(model), logprobs(make_model(True)))
    torch.manual_seed(123)
    state = torch.get_rng_state()
    again = lora.adapter_weights(with_adapter(make_model(True, seed=7), 4, seed=1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = lora.adapter_weights(with_adapter(make_model(True), 4, seed=2))
    assert not any(torch.equal(first[name], other[name]) for name in first if "lora_A" in name)
    a = first["base_model.model.model.layers.0.mlp.down_proj.lora_A.weight"]
    assert a.shape == (4, 128) and 0.95 / 128**0.5 < float(a.abs().max()) <= 1 / 128**0.5
    torch.manual_seed(123)
    assert torch.equal(state, torch.get_rng_state())


def test_putting_an_adapter_in_draws_nothing_from_the_process_s_generator() -> None:
    model = make_model(True)
    state = torch.get_rng_state()
    with_adapter(model, 4)
    assert torch.equal(state, torch.get_rng_state())


# --- Shards -----------------------------------------------------------------------------------------------------------


def _shards(rank: int, folder: str) -> None:
    """An adapter put in on "meta", sharded over two processes, then given memory and values: in each process."""
    import torch.distributed as dist
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    def whole(parameter: Any) -> Any:
        return parameter.full_tensor() if isinstance(parameter, DTensor) else parameter

    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    source = make_model(tied=True)
    with torch.device("meta"):
        model = with_adapter(type(source)(source.config), 3)
    for layer in model.model.layers:
        fully_shard(layer)
    fully_shard(model)
    model.to_empty(device="cpu")
    own = source.state_dict()
    for name, parameter in model.named_parameters():
        if lora.file_name(name) in own:
            lora.fill(parameter, own[lora.file_name(name)])
    lora.initialise(model, seed=5)
    weights, adapter = dict(lora.named_weights(model, whole)), lora.adapter_weights(model, whole)
    save_file({name: weight.clone() for name, weight in weights.items()}, f"{folder}/weights-{rank}")
    lora.write_adapter(model, adapter, Path(folder, f"adapter-{rank}"))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
def test_every_process_that_holds_shards_begins_with_the_adapter_that_one_process_begins_with(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_shards, (str(tmp_path),), nprocs=2)
    alone = with_adapter(make_model(tied=True), 3, seed=5)
    expected = dict(lora.named_weights(alone))
    for rank in (0, 1):
        found = load_file(tmp_path / f"weights-{rank}")
        assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
        opened = with_adapter(make_model(tied=True), 3, seed=6)
        lora.read_adapter(opened, tmp_path / f"adapter-{rank}")
        ours, theirs = lora.adapter_weights(opened), lora.adapter_weights(alone)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


# --- Files ------------------------------------------------------------------------------------------------------------


def test_peft_opens_a_checkpoint_beside_its_model(tmp_path: Path, tiny_model: Path) -> None:
    from peft import AutoPeftModelForCausalLM, PeftModel

    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    lora.inject(base, Model(name="m", lora_rank=4), str(tiny_model), "main")
    for index, parameter in enumerate(p for p in base.parameters() if p.requires_grad):
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(index))
    policy(base).save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    ids = torch.arange(5, 25).unsqueeze(0)
    expected = base(ids).logits
    opened = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), tmp_path)
    assert torch.equal(opened(ids).logits, expected)
    stated = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (stated["base_model_name_or_path"], stated["revision"]) == (str(tiny_model), "main")
    assert torch.equal(AutoPeftModelForCausalLM.from_pretrained(tmp_path)(ids).logits, expected)


def test_an_adapter_of_another_shape_is_refused_with_the_name_of_a_weight(tmp_path: Path) -> None:
    policy(with_adapter(make_model(True), 4)).save(tmp_path)
    for other in (
        with_adapter(make_model(True), 2),
        with_adapter(make_model(True), 4, lora_target_modules=("q_proj",)),
    ):
        with pytest.raises(CheckpointError, match=r"weights of its adapter are not those of this model's \(base_model"):
            lora.read_adapter(other, tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"none")
    with pytest.raises(CheckpointError, match=r"adapter_model.safetensors cannot be read"):
        lora.read_adapter(with_adapter(make_model(True), 4), tmp_path)


def test_a_folder_with_an_adapter_is_no_model_and_says_what_to_do(tmp_path: Path, tiny_model: Path) -> None:
    policy(with_adapter(make_model(True), 4)).save(tmp_path / "adapter")
    for folder in (tmp_path / "adapter", tmp_path / "both"):
        if folder.name == "both":  # transformers would open the model that the adapter names
            make_model(True).save_pretrained(folder)
            policy(with_adapter(make_model(True), 4)).save(folder)
        with pytest.raises(ModelError, match=rf"is an adapter without its model; .* grpo export {folder} MERGED"):
            open_model(str(folder))


# --- Runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path) -> Config:
    runs.write_inputs(tmp_path)
    changes: dict[str, Any] = {"model": {"lora_rank": 4}, "optim": {"lr": 1e-2}, "objective": {"kl_coef": 0.01}}
    return runs.settings(tmp_path, tiny_model, run={"steps": 4, "save_every": 2}, eval={"limit": 2}, **changes)


def test_a_resumed_run_of_an_adapter_is_the_run_that_never_stopped(config: Config, tmp_path: Path) -> None:
    train(config, tmp_path / "whole")
    train(config.with_changes(run={"steps": 2}), tmp_path / "run")
    train(config, tmp_path / "run", resume=True)
    steps = [row for row in runs.rows(tmp_path / "run" / "metrics.jsonl") if "solved" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4]
    assert all(row["sync/logprob_gap"] < 1e-5 and row["policy/updates"] == 2 for row in steps)
    whole = [row for row in runs.rows(tmp_path / "whole" / "metrics.jsonl") if "solved" in row]
    assert steps == whole
    files = [tmp_path / name / "checkpoints" / "step-4" for name in ("run", "whole")]
    ours, theirs = (load_file(file / "adapter_model.safetensors") for file in files)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not (files[0] / "model.safetensors").exists() and (files[0] / "tokenizer.json").exists()
    best = tmp_path / "run" / "checkpoints" / "best"
    assert not best.exists() or is_adapter(best)


def test_vllm_serves_the_merged_adapter_and_the_canary_sees_that_it_does(config: Config, tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    changes: dict[str, Any] = {
        "sampling": {"backend": "vllm", "gpu_memory_utilization": 0.01},
        "run": {"steps": 3, "save_every": 1},
    }
    train(config.with_changes(optim={"lr": 3e-2}, **changes), tmp_path / "run")
    steps = [row for row in runs.rows(tmp_path / "run" / "metrics.jsonl") if "solved" in row]
    assert len(steps) == 3 and all(row["sync/logprob_gap"] < 1e-4 for row in steps)
    files = [tmp_path / "run" / "checkpoints" / f"step-{step}" / "adapter_model.safetensors" for step in (2, 3)]
    two, three = map(load_file, files)
    assert max(float((three[name] - two[name]).abs().max()) for name in two) > 1e-2


def test_the_cold_start_leaves_a_whole_model_with_the_adapter_beside_it(tmp_path: Path, tiny_model: Path) -> None:
    from grpo.sft import Schedule, fine_tune, load_examples, open_learner

    rows = [{"problem": f"{n}+1", "answer": str(n + 1), "solution": f"<answer>{n + 1}</answer>"} for n in range(4)]
    (tmp_path / "worked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"source": str(tmp_path / "worked.jsonl"), "steps": 40, "batch_size": 4, "lr": 2e-2}
    config = Config(model={"name": str(tiny_model), "lora_rank": 8}, data={"source": settings["source"]}, sft=settings)
    start = open_model(str(tiny_model))
    examples = load_examples(config.data, config.sft, start, lambda said: None)
    learner = open_learner(config, start, examples)
    losses: list[float] = []
    files = fine_tune(
        Schedule(config.sft, examples, 0),
        learner,
        start,
        tmp_path / "tuned",
        shown=lambda step, loss: losses.append(loss),
    )
    assert losses[-1] < 0.3 * losses[0]
    tuned, base = (AutoModelForCausalLM.from_pretrained(place) for place in (files.name, tiny_model))
    model = with_adapter(base, 8)
    lora.read_adapter(model, tmp_path / "tuned" / "adapter")
    assert float((logprobs(tuned) - logprobs(model)).abs().max()) < 1e-4
    with lora.adapter_off(model):
        assert float((logprobs(tuned) - logprobs(model)).abs().max()) > 0.1


# --- What cannot be ---------------------------------------------------------------------------------------------------


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora, "find_spec", lambda name: None if name == package else object())


def test_what_is_not_installed_is_said_before_anything_is_opened(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without("peft", monkeypatch)
    with pytest.raises(ConfigError, match=r'model.lora_rank = 4: needs PEFT; pip install "grpo-train\[lora\]"'):
        train(config, tmp_path / "run")
    without("bitsandbytes", monkeypatch)
    with pytest.raises(ConfigError, match=r"in 4 bits: needs bitsandbytes; pip install bitsandbytes"):
        train(config.with_changes(model={"load_in_4bit": True}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_in_4_bits_need_an_adapter_and_one_process() -> None:
    with pytest.raises(ConfigError, match=r"there must be an adapter to learn; set model.lora_rank"):
        lora.check(Model(name="m", load_in_4bit=True))
    with pytest.raises(ConfigError, match=r"cannot be sharded; set cluster.learners = 0"):
        lora.check(Model(name="m", load_in_4bit=True, lora_rank=4), sharded=True)


# --- 4 bits -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def packed() -> Any:
    model = make_model(tied=True)
    lora.quantise(model, "cpu")
    return with_learned_adapter(model, 4, lora_target_modules=("q_proj", "up_proj"))


@needs_4_bits
def test_beside_weights_in_4_bits_the_merged_ones_say_what_the_adapter_says(packed: Any) -> None:
    expected, plain = logprobs(packed), make_model(tied=True)
    assert float((expected - logprobs(plain)).abs().max()) > 0.1
    weights = dict(lora.named_weights(packed))
    assert weights.keys() == dict(plain.named_parameters()).keys()
    plain.load_state_dict(weights, strict=False)
    assert float((logprobs(plain) - expected).abs().max()) < 1e-5
    lora.fold(packed)
    assert float((logprobs(packed) - expected).abs().max()) < 1e-5
    assert packed.state_dict().keys() == plain.state_dict().keys()


@needs_4_bits
def test_weights_in_4_bits_stay_as_they_are_while_the_adapter_learns(packed: Any) -> None:
    learner, before = policy(packed, lr=1e-2), frozen(packed)
    assert not learner.computation.fallback
    start = adapter(packed)
    for _ in range(2):
        learner.forward_backward(batch(), LOSS)
        learner.optim_step(1e-2)
    assert all(torch.equal(value, before[name]) for name, value in frozen(packed).items())
    assert not any(torch.equal(value, start[name]) for name, value in lora.adapter_weights(packed).items())


@needs_4_bits
def test_a_run_beside_weights_in_4_bits_serves_what_it_learns_and_goes_on_bit_for_bit(
    config: Config, tmp_path: Path
) -> None:
    config = config.with_changes(model={"load_in_4bit": True})
    train(config, tmp_path / "whole")
    train(config.with_changes(run={"steps": 2}), tmp_path / "run")
    train(config, tmp_path / "run", resume=True)
    ours, theirs = (
        [row for row in runs.rows(tmp_path / name / "metrics.jsonl") if "solved" in row] for name in ("run", "whole")
    )
    assert ours == theirs and all(row["sync/logprob_gap"] < 1e-5 for row in ours)
