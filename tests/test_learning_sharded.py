"""Several ranks compute what one process computes: the same code, on shares of a batch and shards of a model."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from grpo.algorithm import policy_loss
from grpo.config import Model, Objective, Optim
from grpo.errors import CheckpointError, ModelError
from grpo.learning import lora
from grpo.learning.batch import Batch
from grpo.learning.loading import load_model
from grpo.learning.policy import LanguageModel, Policy
from grpo.learning.sharded import open_sharded, open_sharded_frozen, refuse_several_dtypes
from grpo.objectives import choose
from tests.batches import Row, collate
from tests.tiny import make_model, save_model

LOSS = partial(policy_loss, objective=choose(Objective()))
LR, TEMPERATURE = 1e-5, 0.7


def groups(*sizes: int, seed: int = 0) -> Batch:
    """One group of so many completions per size: prompts of 1 to 20 tokens, completions of 1 to 30."""
    draw = random.Random(seed)
    rows = []
    for size in sizes:
        prompt = tuple(draw.randint(4, 90) for _ in range(draw.randint(1, 20)))
        for _ in range(size):
            tokens = tuple(draw.randint(4, 90) for _ in range(draw.randint(1, 30)))
            logprobs = tuple(-4 * draw.random() for _ in tokens)
            rows.append(Row(prompt, tokens, logprobs, draw.uniform(-2, 2), 1 / (20 * sum(sizes))))
    draw.shuffle(rows)
    return collate(rows)


@dataclass(frozen=True)
class Case:
    batch: Batch
    tied: bool = True
    dtype: str = "float32"
    checkpointing: bool = False
    adapter: bool = False
    float32_head: bool = False
    optim: dict[str, Any] = field(default_factory=dict)


CASES = {
    "tied": Case(groups(4, 4, 4, 4)),
    "untied": Case(groups(4, 4, 4, 4, seed=1), tied=False),
    "uneven groups": Case(groups(1, 7, 2, 5, 3)),
    "fewer groups than ranks": Case(groups(5)),
    "gradient checkpointing": Case(groups(3, 4, 5), checkpointing=True),
    "more micro-batches on one rank": Case(groups(9, 1, 1), optim={"tokens_per_microbatch": 64}),
    "adapter": Case(groups(4, 3, 4), adapter=True),
    "adapter and gradient checkpointing": Case(groups(4, 3), tied=False, adapter=True, checkpointing=True),
    "clipped and offloaded": Case(groups(4, 4), optim={"max_grad_norm": 0.01, "offload": True}),
    "half the width": Case(groups(4, 3, 4), dtype="bfloat16"),
    "adapter of half the width": Case(groups(4, 3, 4), dtype="bfloat16", adapter=True),
    "half the width but for the head": Case(groups(4, 3, 4), dtype="bfloat16", float32_head=True),
}
DTYPES = ("float32", "bfloat16")


def settings(case: Case) -> dict[str, Any]:
    return {
        "optim": Optim(**case.optim),
        "temperature": TEMPERATURE,
        "gradient_checkpointing": case.checkpointing,
        "float32_head": case.float32_head,
    }


ADAPTER = Model(name="base", lora_rank=4)


def with_adapter(model: Any) -> None:
    lora.inject(model, ADAPTER, "base")


def fill_adapter(model: Any) -> None:
    """With values that change what the model says from the start."""
    lora.initialise(model, seed=0)
    draws = torch.Generator().manual_seed(1)
    for name, weight in model.named_parameters():
        if ".lora_B." in name:
            lora.fill(weight, 0.05 * torch.randn(weight.shape, generator=draws))


def open_alone(model: Path, case: Case) -> Policy:
    opened = load_model(str(model), None, dtype=case.dtype, device="cpu")
    if case.adapter:
        with_adapter(opened)
        fill_adapter(opened)  # before the optimizer copies its masters
    return Policy(opened, **settings(case))


def open_on_ranks(model: Path, case: Case) -> Policy:
    prepare = with_adapter if case.adapter else None
    policy = open_sharded(str(model), None, dtype=case.dtype, device="cpu", prepare=prepare, **settings(case))
    if case.adapter:
        fill_adapter(policy.model)
    return policy


Open = Callable[[Path, Case], Policy]


def weights(policy: Policy) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in policy.weights()}


def train(policy: Policy, batch: Batch, steps: int) -> list[dict[str, float]]:
    """Of each step the loss, sums and peaks, and the gradient's norm."""
    return [{**policy.forward_backward(batch, LOSS), "norm": policy.optim_step(LR)} for _ in range(steps)]


def seen(open_policy: Open, folder: Path, case: Case) -> dict[str, Any]:
    """All that a policy says and does in a case."""
    policy, sequences = open_policy(folder / ("tied" if case.tied else "untied"), case), case.batch.sequences
    completions = [row[:n] for row, n in zip(sequences.tokens_BT.tolist(), sequences.lengths, strict=True)]
    return {
        "start": weights(policy),
        "logprobs": policy.logprobs(sequences),
        "entropies": policy.entropies(sequences),
        "score": policy.score(list(zip(sequences.prompts, completions, strict=True))),
        "gradients": policy.gradients(case.batch, LOSS),
        "steps": train(policy, case.batch, 5),
        "weights": weights(policy),
        "after": policy.logprobs(sequences),
    }


def interrupted(open_policy: Open, folder: Path, target: Path, case: Case) -> dict[str, Any]:
    """Three steps, a checkpoint into `target`, and what two more steps make of it."""
    policy = open_policy(folder / "tied", case)
    train(policy, case.batch, 3)
    policy.save(target)
    policy.save_state(target / "state")
    return {"steps": train(policy, case.batch, 2), "weights": weights(policy)}


def resumed(open_policy: Open, checkpoint: Path, case: Case) -> dict[str, Any]:
    policy = open_policy(checkpoint, case)
    policy.load_state(checkpoint / "state")
    return {"steps": train(policy, case.batch, 2), "weights": weights(policy)}


def resuming(dtype: str) -> Case:
    return Case(groups(3, 4, 2), dtype=dtype)


Found = dict[str, Any]


def frozen_types(folder: Path, dtype: str) -> dict[str, list[str]]:
    """In what types shards are kept."""

    def types(weights: Iterable[Tensor]) -> list[str]:
        return sorted({str(weight.dtype).removeprefix("torch.") for weight in weights})

    options: dict[str, Any] = {"dtype": dtype, "device": "cpu", "optim": Optim(), "temperature": TEMPERATURE}
    reference = open_sharded_frozen(str(folder / "tied"), None, **options).model
    adapted = open_on_ranks(folder / "tied", Case(CASES["tied"].batch, dtype=dtype, adapter=True)).model
    return {
        "reference": types(reference.parameters()),
        "beside an adapter": types(weight for weight in adapted.parameters() if not weight.requires_grad),
        "adapter": types(weight for weight in adapted.parameters() if weight.requires_grad),
    }


class Unsendable(Exception):
    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one}, {other}")  # from which pickle cannot make it again


def raised_by_all(model: LanguageModel) -> list[str]:
    said = []
    for error in (ModelError("no"), Unsendable("two", "arguments")):

        def act(error: Exception = error) -> None:
            raise error

        with pytest.raises((ModelError, RuntimeError)) as raised:
            model.ranks.once(act)
        said.append(f"{type(raised.value).__name__}: {raised.value}")
    return said


def on_two(folder: Path) -> Found:
    found: Found = {name: seen(open_on_ranks, folder, case) for name, case in CASES.items()}
    for dtype in DTYPES:
        case = resuming(dtype)
        found["interrupted", dtype] = interrupted(open_on_ranks, folder, folder / f"of-2-{dtype}", case)
        found["resumed", dtype] = resumed(open_on_ranks, folder / f"of-2-{dtype}", case)
        found["resumed from one", dtype] = resumed(open_on_ranks, folder / f"of-1-{dtype}", case)
    optim = Optim(**CASES["tied"].optim)
    frozen = open_sharded_frozen(
        str(folder / "tied"), None, dtype="float32", device="cpu", optim=optim, temperature=TEMPERATURE
    )
    found["frozen"] = frozen.logprobs(CASES["tied"].batch.sequences)
    found["types"] = {dtype: frozen_types(folder, dtype) for dtype in DTYPES}
    found["raised"] = raised_by_all(frozen)
    found["renamed"] = weights(open_on_ranks(folder / "renamed", CASES["tied"]))
    for what in ("missing", "two"):
        with pytest.raises(ModelError) as refused:
            open_on_ranks(folder / what, CASES["tied"])
        found[what] = str(refused.value)
    with pytest.raises(CheckpointError) as refused:
        open_on_ranks(folder / "untied", CASES["untied"]).load_state(folder / "of-2-float32" / "state")
    found["of another model"] = str(refused.value)
    return found


def on_three(folder: Path) -> Found:
    found: Found = {("resumed", d): resumed(open_on_ranks, folder / f"of-2-{d}", resuming(d)) for d in DTYPES}
    return {**found, "fewer groups than ranks": seen(open_on_ranks, folder, CASES["fewer groups than ranks"])}


def on_four(folder: Path) -> Found:
    return {name: seen(open_on_ranks, folder, CASES[name]) for name in ("tied", "untied", "uneven groups")}


def _one_rank(rank: int, size: int, folder: Path, act: Callable[[Path], Found]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/group-of-{size}", rank=rank, world_size=size)
    torch.save(act(folder), folder / f"found-{size}-{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def on_ranks(size: int, folder: Path, act: Callable[[Path], Found]) -> list[Found]:
    """What each of `size` ranks found."""
    spawn(_one_rank, (size, folder, act), nprocs=size)
    return [torch.load(folder / f"found-{size}-{rank}.pt", weights_only=True) for rank in range(size)]


def rewrite(model: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    save_file(change(load_file(model / "model.safetensors")), model / "model.safetensors", {"format": "pt"})


def without_a_layer_norm(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight for name, weight in weights.items() if name != "model.norm.weight"}


def as_the_body_names_them(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("model."): weight for name, weight in weights.items()}


def with_another_head(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**weights, "lm_head.weight": 2 * weights["model.embed_tokens.weight"]}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, and what one process has saved."""
    folder = tmp_path_factory.mktemp("sharded")
    save_model(folder / "tied", tied=True)
    save_model(folder / "untied", tied=False)
    changes = {"renamed": as_the_body_names_them, "missing": without_a_layer_norm, "two": with_another_head}
    for name, change in changes.items():
        rewrite(save_model(folder / name, tied=True), change)
    for target in (f"of-{size}-{dtype}" for size in (1, 2) for dtype in DTYPES):
        (folder / target).mkdir()
        for file in folder.glob("tied/tokenizer*"):
            shutil.copy(file, folder / target)
    return folder


@pytest.fixture(scope="session")
def alone(folder: Path) -> Found:
    found: Found = {name: seen(open_alone, folder, case) for name, case in CASES.items()}
    for dtype in DTYPES:
        found["interrupted", dtype] = interrupted(open_alone, folder, folder / f"of-1-{dtype}", resuming(dtype))
    return found


@pytest.fixture(scope="session")
def two(folder: Path, alone: Found) -> list[Found]:
    return on_ranks(2, folder, on_two)


@pytest.fixture(scope="session")
def three(folder: Path, two: list[Found]) -> list[Found]:
    return on_ranks(3, folder, on_three)


def difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest relative one of any tensor."""
    assert list(found) == list(expected)
    assert all(found[name].dtype == expected[name].dtype for name in found)
    return max(float((found[name] - expected[name]).norm() / expected[name].norm()) for name in expected)


def assert_nearly_same(found: Found, expected: Found) -> None:
    """In bfloat16, whose numbers are 2⁻⁸ apart: sums over ranks are rounded elsewhere than in one process."""
    assert difference(found["start"], expected["start"]) == 0
    for name in ("logprobs", "entropies"):
        assert torch.allclose(found[name], expected[name], rtol=2**-5, atol=2**-5)
    assert torch.allclose(found["after"], expected["after"], rtol=2**-3, atol=2**-3)  # of weights that differ a little
    assert together(found["gradients"], expected["gradients"]) < 2**-5
    assert together(found["weights"], expected["weights"]) < 2**-8
    assert {weight.dtype for weight in found["weights"].values()} == {torch.bfloat16}


def assert_same(found: Found, expected: Found) -> None:
    assert difference(found["start"], expected["start"]) == 0
    for name in ("logprobs", "entropies", "after"):
        assert torch.allclose(found[name], expected[name], rtol=1e-5, atol=1e-5)
    for row, wanted in zip(found["score"], expected["score"], strict=True):
        assert row == pytest.approx(wanted, abs=1e-5)
    assert together(found["gradients"], expected["gradients"]) < 1e-6
    for step, wanted in zip(found["steps"], expected["steps"], strict=True):
        assert set(step) == set(wanted)
        assert step["loss"] == pytest.approx(wanted["loss"], rel=1e-6, abs=1e-6)
        told = [name for name in wanted if not name.startswith("tokens/")]
        assert {name: step[name] for name in told} == pytest.approx(
            {name: wanted[name] for name in told}, rel=1e-4, abs=1e-5
        )
    assert together(found["weights"], expected["weights"]) < 1e-6
    assert together(expected["weights"], expected["start"]) > 1e-5  # they went somewhere


def together(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Their relative difference as one vector."""
    assert list(found) == list(expected)
    a, b = (torch.cat([weight.flatten() for weight in some.values()]) for some in (found, expected))
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_compute_what_one_process_computes(case: str, alone: Found, two: list[Found]) -> None:
    compare = assert_same if CASES[case].dtype == "float32" else assert_nearly_same
    for found in two:
        compare(found[case], alone[case])


def test_only_what_learns_is_kept_wider_than_the_model_computes(two: list[Found]) -> None:
    for found in two:
        assert found["types"] == {
            "float32": {"reference": ["float32"], "beside an adapter": ["float32"], "adapter": ["float32"]},
            "bfloat16": {"reference": ["bfloat16"], "beside an adapter": ["bfloat16"], "adapter": ["float32"]},
        }


def test_what_one_rank_does_for_all_fails_on_all_whatever_it_raises(two: list[Found]) -> None:
    for found in two:
        assert found["raised"] == ["ModelError: no", "RuntimeError: Unsendable: two, arguments"]


def test_a_model_that_keeps_a_part_in_float32_is_refused_where_it_computes_in_half_the_width() -> None:
    model = make_model(tied=True)
    refuse_several_dtypes(model.to(torch.bfloat16))
    model.model.norm.float()
    with pytest.raises(ModelError, match=r"keeps some of its weights in another type .*cluster.learners = 0"):
        refuse_several_dtypes(model)
    model.to(torch.bfloat16)._keep_in_fp32_modules_strict = {"norm"}
    with pytest.raises(ModelError, match=r"Qwen2ForCausalLM: keeps norm in another type than torch.bfloat16"):
        refuse_several_dtypes(model)
    refuse_several_dtypes(model.float())


def test_two_ranks_return_the_very_same(two: list[Found]) -> None:
    first, second = two
    for case in CASES:
        assert first[case]["steps"] == second[case]["steps"]
        assert torch.equal(first[case]["after"], second[case]["after"])
        assert difference(first[case]["weights"], second[case]["weights"]) == 0
        assert difference(first[case]["gradients"], second[case]["gradients"]) == 0


def test_three_ranks_with_one_group_compute_what_one_process_computes(alone: Found, three: list[Found]) -> None:
    for found in three:
        assert_same(found["fewer groups than ranks"], alone["fewer groups than ranks"])


@pytest.mark.slow
def test_four_ranks_compute_what_one_process_computes(folder: Path, alone: Found) -> None:
    for found in on_ranks(4, folder, on_four):
        for case in found:
            assert_same(found[case], alone[case])


@pytest.mark.parametrize("dtype", DTYPES)
def test_two_ranks_go_on_from_their_checkpoint_bit_for_bit(dtype: str, two: list[Found]) -> None:
    for found in two:
        assert found["resumed", dtype]["steps"] == found["interrupted", dtype]["steps"]
        assert difference(found["resumed", dtype]["weights"], found["interrupted", dtype]["weights"]) == 0


def assert_goes_on(found: Found, expected: Found, dtype: str) -> None:
    """As another number of ranks would have: to rounding, which in bfloat16 is 2⁻⁹ of a weight."""
    tolerance = 1e-5 if dtype == "float32" else 2**-9
    losses = [[step["loss"] for step in some["steps"]] for some in (found, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=tolerance, abs=tolerance)
    assert together(found["weights"], expected["weights"]) < tolerance / 10


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_two_ranks_saved_goes_on_in_one_process(dtype: str, folder: Path, two: list[Found]) -> None:
    found = resumed(open_alone, folder / f"of-2-{dtype}", resuming(dtype))
    assert_goes_on(found, two[0]["interrupted", dtype], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_one_process_saved_goes_on_on_two_ranks(dtype: str, alone: Found, two: list[Found]) -> None:
    assert_goes_on(two[0]["resumed from one", dtype], alone["interrupted", dtype], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_two_ranks_saved_goes_on_on_three(dtype: str, two: list[Found], three: list[Found]) -> None:
    assert_goes_on(three[2]["resumed", dtype], two[0]["interrupted", dtype], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_process_goes_on_from_its_checkpoint_bit_for_bit(dtype: str, folder: Path, alone: Found) -> None:
    found = resumed(open_alone, folder / f"of-1-{dtype}", resuming(dtype))
    assert found["steps"] == alone["interrupted", dtype]["steps"]
    assert difference(found["weights"], alone["interrupted", dtype]["weights"]) == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_ranks_save_the_files_that_one_process_saves(dtype: str, folder: Path, two: list[Found]) -> None:
    by_one, by_two = folder / f"of-1-{dtype}", folder / f"of-2-{dtype}"
    assert {path.name for path in by_two.iterdir()} == {path.name for path in by_one.iterdir()}
    for name in ("config.json", "generation_config.json"):
        assert json.loads((by_two / name).read_text()) == json.loads((by_one / name).read_text())
    saved = load_file(by_two / "model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {getattr(torch, dtype)}
    assert saved.keys() == load_file(by_one / "model.safetensors").keys()


def test_a_frozen_model_on_ranks_says_what_the_policy_says_before_it_learns(two: list[Found], alone: Found) -> None:
    for found in two:
        assert torch.allclose(found["frozen"], alone["tied"]["logprobs"], atol=1e-5)


def test_files_with_other_names_than_the_models_are_loaded_all_the_same(two: list[Found], alone: Found) -> None:
    for found in two:
        assert difference(found["renamed"], alone["tied"]["start"]) == 0


def test_every_rank_refuses_what_cannot_be_opened_in_the_same_words(two: list[Found]) -> None:
    for found in two:
        assert "1 of the weights" in found["missing"] and "model.norm.weight for one" in found["missing"]
        assert "lm_head.weight is model.embed_tokens.weight, and its files have two" in found["two"]
        assert "lm_head.weight is not there); delete the checkpoint" in found["of another model"]
