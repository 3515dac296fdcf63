"""`model.head_dtype = "float32"`: logits in float32 from bfloat16 weights, in the policy and in both samplers."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from grpo import assemble, config
from grpo.commands_eval import EvalOptions, evaluate
from grpo.errors import ModelError
from grpo.learning import head
from grpo.learning.head import Projection
from grpo.learning.loading import load_model
from grpo.learning.policy import Policy
from grpo.replay import replay
from grpo.sampling import Sampler, canary, make_sampler
from grpo.train import train
from grpo.types import Problem, Prompt, SamplingParams
from tests import runs
from tests.families import FAMILIES, write_family
from tests.test_learning_shared_prompts import NOT_SHARING, SIZES
from tests.tiny import encode, make_model, save_model

BFLOAT16 = torch.bfloat16
ROUNDING = 1e-5  # mean |Δ log-probability| of two float32 sums in another order; of logits rounded to bfloat16, 1e-2
VLLM = importlib.util.find_spec("vllm") is not None


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- The head in tiles ------------------------------------------------------------------------------------------------


def plain(layer: nn.Linear, states_ND: Tensor, projection: Projection) -> Tensor:
    """Log-probabilities [N, V] as autograd has them of float32 copies of bfloat16 weights."""
    bias_V = None if layer.bias is None else layer.bias.float()
    products_NV = nn.functional.linear(states_ND.float(), layer.weight.float(), bias_V)
    if projection.cap:
        products_NV = projection.cap * torch.tanh(products_NV / projection.cap)
    return (products_NV / projection.divisor).log_softmax(1)


def drawn(bias: bool) -> tuple[nn.Linear, Tensor, Tensor]:
    torch.manual_seed(0)
    layer, states_ND = nn.Linear(32, 51, bias=bias).to(BFLOAT16), (6 * torch.randn(70, 32)).to(BFLOAT16)
    return layer, states_ND, torch.randint(0, 51, (70,))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("tile", [128 * 4 * 7, 10**7])
@pytest.mark.parametrize("projection", [(1.0, 0.0), (0.7, 0.0), (1.4, 3.0)])
def test_its_log_probabilities_and_gradients_are_the_plain_ones_rounded_once(
    bias: bool, tile: int, projection: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "TILE", {"cpu": tile})
    how = Projection(*projection, float32=True)
    layer, states_ND, tokens_N = drawn(bias)
    results = []
    for logprobs in (
        lambda states: head.head_logprobs(layer, states, tokens_N, how),
        lambda states: plain(layer, states, how).gather(1, tokens_N[:, None])[:, 0],
    ):
        states = states_ND.clone().requires_grad_()
        found_N = logprobs(states)
        gradients = torch.autograd.grad((found_N * torch.linspace(-1, 1, 70)).sum(), [states, *layer.parameters()])
        results.append((found_N.detach(), *gradients))
    (found_N, *found), (expected_N, *expected) = results
    assert torch.allclose(found_N, expected_N, atol=1e-5)
    # Here and there a sum in another order falls to the other side, one in 256.
    assert [gradient.dtype for gradient in found] == [BFLOAT16] * len(expected)
    assert all(apart(a, b) < 5e-4 for a, b in zip(found, expected, strict=True))


def apart(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected.float()).norm() / expected.float().norm())


def test_products_that_are_rounded_give_others() -> None:
    layer, states_ND, tokens_N = drawn(bias=False)
    own_N, wide_N = (head.head_logprobs(layer, states_ND, tokens_N, Projection(float32=wide)) for wide in (False, True))
    assert float((own_N - wide_N).detach().abs().mean()) > 1e-3


@pytest.mark.parametrize("cap", [0.0, 3.0])
def test_entropies_are_those_of_the_float32_logits(cap: float) -> None:
    layer, states_ND, _ = drawn(bias=True)
    how = Projection(0.7, cap, float32=True)
    expected_N = torch.distributions.Categorical(logits=plain(layer, states_ND, how)).entropy()
    assert torch.allclose(head.head_entropies(layer, states_ND, how), expected_N, atol=1e-5)


def test_two_halves_of_bfloat16_have_sixteen_bits_of_a_float32() -> None:
    values = torch.randn(1000)
    high, low = head._halves(values.clone(), BFLOAT16)
    assert high.dtype == low.dtype == BFLOAT16
    assert float(((high.float() + low.float() - values) / values).abs().max()) < 2**-16
    assert float(((high.float() - values) / values).abs().max()) > 2**-10


# --- On both sides ----------------------------------------------------------------------------------------------------
# Two computations of states in bfloat16 differ by as much as their heads do.  So here no layer adds anything to the
# embedding: the states are the same on all sides, and what is left to differ is the head.


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_still(tmp_path_factory.mktemp("still"), tied=True)


def save_still(folder: Path, tied: bool, share: float = 0.0) -> Path:
    save_model(folder, tied)
    still_model(tied, share=share).save_pretrained(folder)
    return folder


def still_model(tied: bool, seed: int = 0, share: float = 0.0) -> Any:
    """What its layers add is `share` of what they would."""
    model = make_model(tied, seed)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.mul_(share)
            layer.mlp.down_proj.weight.mul_(share)
        model.model.norm.weight.mul_(0.5 if tied else 4.0)  # logits of about 5, with a tied head of the token itself
    return model.to(BFLOAT16)


def sampler(folder: Path, backend: str, wide: bool) -> Sampler:
    settings = config.Sampling.model_validate({"backend": backend, "gpu_memory_utilization": 0.02})
    return make_sampler(
        settings,
        str(folder),
        revision=None,
        dtype="bfloat16",
        device="cpu",
        context=100,
        seed=0,
        float32_head=wide,
    )


def policy(folder: Path, wide: bool) -> Policy:
    model = load_model(str(folder), None, dtype="bfloat16", device="cpu")
    return Policy(model, config.Optim(), temperature=1.0, gradient_checkpointing=False, float32_head=wide)


PROMPT = Prompt(Problem("p", ({"role": "user", "content": "?"},), {}), encode("How many legs has a spider?"))


def gaps(sampler: Sampler, policies: dict[bool, Policy]) -> dict[bool, float]:
    """Of drawn tokens and of scored ones the larger, by the policy's head."""
    ((_, group),) = sampler.sample([PROMPT], 8, SamplingParams(max_tokens=40))
    rows = [(PROMPT.token_ids, tuple(map(int, completion.token_ids))) for completion in group.completions]
    drawn = [completion.logprobs.tolist() for completion in group.completions]
    found = {}
    for wide, one in policies.items():
        scored = one.score(rows)
        found[wide] = max(canary.logprob_gap(drawn, scored), canary.logprob_gap(sampler.score(rows), scored))
    return found


def assert_alike(folder: Path, backend: str) -> None:
    policies = {wide: policy(folder, wide) for wide in (False, True)}
    with closing(sampler(folder, backend, True)) as served:
        assert served.name.endswith("on cpu, bfloat16 with a float32 head")
        before = gaps(served, policies)
        other = still_model(bool(policies[True].model.config.tie_word_embeddings), seed=1)
        for one in policies.values():
            one.model.load_state_dict(other.state_dict())
        served.load_weights(policies[True].weights(), 1)
        after = gaps(served, policies)
    for found in (before, after):
        assert found[True] < ROUNDING < 1e-3 < found[False]


@pytest.mark.parametrize("tied", [True, False])
def test_policy_and_transformers_agree_where_both_have_it(tied: bool, tmp_path: Path) -> None:
    assert_alike(save_still(tmp_path, tied), "transformers")


@pytest.mark.skipif(not VLLM, reason="vLLM is not installed")
def test_policy_and_vllm_agree_where_both_have_it(tmp_path: Path) -> None:
    """With a tied head, which vLLM's CPU backend computes with a packed copy of when it is in bfloat16."""
    assert_alike(save_still(tmp_path, tied=True), "vllm")


def test_the_gap_of_a_bfloat16_model_gets_smaller(tmp_path: Path) -> None:
    """Where layers do something: the states' share of the gap stays."""
    save_still(tmp_path, tied=False, share=0.3)
    found = {}
    for wide in (False, True):
        with closing(sampler(tmp_path, "transformers", wide)) as served:
            found[wide] = gaps(served, {wide: policy(tmp_path, wide)})[wide]
    assert ROUNDING < found[True] < 0.9 * found[False]


def test_a_capped_head_is_capped_in_float32_on_both_sides(tmp_path: Path) -> None:
    gemma = next(family for family in FAMILIES if family.name == "Gemma 2")
    folder = write_family(gemma, tmp_path, final_logit_softcapping=2.0)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.post_attention_layernorm.weight.fill_(-1)  # a gain of 0
            layer.post_feedforward_layernorm.weight.fill_(-1)
    model.save_pretrained(folder)
    with closing(sampler(folder, "transformers", True)) as served:
        found = gaps(served, {wide: policy(folder, wide) for wide in (False, True)})
    assert found[True] < ROUNDING < 1e-3 < found[False]


# --- Whole commands ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"objective": {"kl_coef": 0.1}}, {"model": {"lora_rank": 2}}], ids=str)
def test_a_run_has_it_from_settings_to_replay(
    still: Path, tmp_path: Path, changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """At a rate that moves no bfloat16 weight: layers go on adding nothing, and the canary sees the head alone."""
    runs.write_inputs(tmp_path)
    settings = runs.settings(tmp_path, still, **wide_run(changes))
    train(settings, tmp_path / "run")
    assert "bfloat16 with a float32 head" in capsys.readouterr().out
    steps = [row for row in runs.rows(tmp_path / "run" / "metrics.jsonl") if "solved" in row]
    assert max(row["sync/logprob_gap"] for row in steps) < ROUNDING
    assert max(row["policy/sampler_gap"] for row in steps) < ROUNDING
    if "objective" in changes:  # the reference is the policy, to the last bit
        assert max(abs(row["policy/kl"]) for row in steps) < ROUNDING
    said: list[str] = []
    assert replay(tmp_path / "run", 2, said.append), said


def wide_run(changes: dict[str, Any]) -> dict[str, Any]:
    model = {"dtype": "bfloat16", "head_dtype": "float32", **changes.get("model", {})}
    own = {
        "model": model,
        "data": {"chat": False},
        "optim": {"lr": 1e-12},
        "eval": {"limit": 1, "every": 0},
        "run": {"steps": 2},
    }
    return {**changes, **own}


def test_an_evaluation_samples_with_it(still: Path, tmp_path: Path) -> None:
    runs.write_inputs(tmp_path, problems=2)
    changes = ["data.chat=false", "model.dtype=bfloat16", "model.head_dtype=float32", "sampling.backend=transformers"]
    options = EvalOptions(
        n=1, k="", limit=None, temperature=None, top_p=1.0, max_tokens=4, seed=0, rewards=[], by=None, recipe=None,
        changes=changes, completions=None, out=tmp_path / "out",
    )  # fmt: skip
    evaluate([str(still), str(tmp_path / "problems.jsonl")], options, lambda text: None)
    recipe = json.loads((tmp_path / "out" / "results.json").read_text())["recipe"]
    assert recipe["sampler"].endswith("bfloat16 with a float32 head")


# --- What cannot have it ----------------------------------------------------------------------------------------------


def refusal(folder: Path, **changes: str) -> str:
    settings = config.Model.model_validate({"name": str(folder), "dtype": "bfloat16", "head_dtype": "float32"})
    with pytest.raises(ModelError) as error:
        assemble.find_model(settings.model_copy(update=changes), folder, seed=0)
    return str(error.value)


def test_a_family_with_logits_of_its_own_kind_is_refused_before_its_weights_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("recurrent_gemma", **{**SIZES, **NOT_SHARING["recurrent_gemma"][0]})
    )
    model.save_pretrained(tmp_path)
    monkeypatch.setattr(type(model), "from_pretrained", None)  # whatever reads its weights
    said = refusal(tmp_path)
    assert said.startswith(f'{tmp_path}: cannot have model.head_dtype = "float32" (it does more to its logits')
    own = config.Model(name=str(tmp_path), dtype="bfloat16")
    assert assemble.find_model(own, tmp_path, seed=0).name == str(tmp_path)


def test_a_policy_refuses_it_too() -> None:
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("recurrent_gemma", **{**SIZES, **NOT_SHARING["recurrent_gemma"][0]})
    ).to(BFLOAT16)
    with pytest.raises(ModelError, match=r"cannot have model\.head_dtype"):
        Policy(model, config.Optim(), temperature=1.0, gradient_checkpointing=False, float32_head=True)


def test_a_model_in_fewer_bits_is_refused(tmp_path: Path) -> None:
    """Its head may be packed as well, and vLLM has a float32 head of plain weights only."""
    save_model(tmp_path)
    path = tmp_path / "config.json"
    quantised = {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}
    path.write_text(json.dumps(json.loads(path.read_text()) | quantised))
    assert "its weights are quantised" in refusal(tmp_path)


def test_a_float32_model_has_it_already(still: Path) -> None:
    settings = config.Model(name=str(still), dtype="float32", head_dtype="float32")
    assert not assemble.choose_place(settings).float32_head


@pytest.mark.parametrize(("states", "expected"), [(17_408, 7_680), (8_704, 15_360), (3, 151_936)])
def test_tiles_are_as_wide_as_their_bytes_allow_in_whole_64s(states: int, expected: int) -> None:
    """2^29 / (4 · 17,408) = 7,710, and products of rows that wide have no fast kernel on a GPU."""
    states_ND = torch.empty(states, 1, device="meta")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(head.TILE, "meta", head.TILE["cuda"])
        assert head.tile_width(states_ND, 151_936, head.Projection()) == expected
        patch.setitem(head.TILE, "meta", 4 * states * 50)
        assert head.tile_width(states_ND, 151_936, head.Projection()) == 50  # less than 64 is as it is
