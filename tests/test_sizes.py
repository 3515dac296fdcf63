"""Sizes: the first that fit, in the order of what they cost; what is set stands; docs/sizes.md is what is computed."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.assemble import Place
from grpo.config import Cluster, Sampling
from grpo.errors import ConfigError
from grpo.memory import Machine, Sizes, Work
from grpo.sizes import LEAST_CACHE, ROOM, TOKENS_ON_GPU, choose, kept, sampling_alone, vllm_needs
from tests import sizes
from tests.sizes import card, settings, shape_of_qwen, work_on

AUTO = settings()


def test_the_table_in_the_docs_is_what_is_computed():
    assert sizes.DOCS.read_text(encoding="utf-8") == sizes.page(), "python -m tests.sizes writes it"


# --- The order ----------------------------------------------------------------------------------------------------


def test_with_room_to_spare_everything_is_on_the_gpu_and_nothing_is_computed_twice():
    assert choose(AUTO, work_on(1.5, 0), card(141)).sizes == Sizes(16384, False, False, 0.13)


@given(st.sampled_from([0.5, 1.5, 3.0, 7.0, 14.0]), st.floats(4, 300))
def test_what_is_chosen_is_the_first_in_the_order_of_cost_that_fits(billions: float, gigabytes: float):
    work, machine = work_on(billions, 0), card(gigabytes)
    found = choose(AUTO, work, machine)
    for offload, checkpointing, tokens in itertools.product((False, True), (False, True), TOKENS_ON_GPU):
        said = settings(
            optim={"tokens_per_microbatch": tokens, "offload": offload},
            model={"gradient_checkpointing": checkpointing},
        )
        alone = choose(said, work, machine)
        if not alone.lack:
            assert alone.sizes == found.sizes
            assert alone.memory.total <= ROOM * machine.device
            return
    assert found.lack
    assert found.sizes.checkpointing and found.sizes.offload and found.sizes.tokens == 2048


@given(st.floats(10, 200), st.floats(10, 200))
def test_a_larger_gpu_never_gets_costlier_sizes(one: float, other: float):
    def cost(gigabytes: float) -> tuple[bool, bool, bool, int]:
        choice = choose(AUTO, work_on(1.5, 0), card(gigabytes))
        return bool(choice.lack), choice.sizes.offload, choice.sizes.checkpointing, -choice.sizes.tokens

    small, large = sorted((one, other))
    assert cost(large) <= cost(small)


def test_the_same_machine_settles_the_same():
    assert choose(AUTO, work_on(3, 0), card(48)) == choose(AUTO, work_on(3, 0), card(48))


def test_what_is_set_by_hand_stands_and_the_rest_is_found_around_it():
    said = settings(optim={"tokens_per_microbatch": 777, "offload": True}, sampling={"gpu_memory_utilization": 0.45})
    assert choose(said, work_on(1.5, 0), card(80)).sizes == Sizes(777, False, True, 0.45)
    checkpointed = settings(model={"gradient_checkpointing": True})
    assert choose(checkpointed, work_on(1.5, 0), card(80)).sizes == Sizes(16384, True, False, 0.22)


def test_the_optimizer_goes_where_there_is_room_for_it_or_nowhere():
    small_host = choose(AUTO, work_on(1.5, 0), card(24, host=16.0))
    assert small_host.certain
    assert small_host.lack == "the offloaded optimizer may need 22.1 GiB on the host, which has 16.0"
    assert not choose(AUTO, work_on(1.5, 0), card(24, host=23.0)).lack


def test_what_cannot_fit_is_certain_and_what_might_is_not():
    lost = choose(AUTO, work_on(7, 0), card(24))
    assert lost.certain
    assert lost.lack.startswith("the learner keeps 14.2 GiB of the GPU's 22.4 and leaves ")
    assert lost.lack.endswith(" to vLLM, which needs 19.0 at least")
    tight = choose(settings(optim={"tokens_per_microbatch": 16384}), work_on(1.5, 0), card(78))
    assert not tight.lack and tight.sizes.checkpointing
    by_hand = settings(optim={"tokens_per_microbatch": 16384}, model={"gradient_checkpointing": False})
    over = choose(by_hand.with_changes(optim={"offload": False}), work_on(1.5, 0), card(78))
    assert (over.lack.startswith("the run may need at most about 74.8 GiB of 72.6 on the GPU"), over.certain) == (
        True,
        False,
    )


# --- Those who share a model, and those who share a device --------------------------------------------------------


def test_a_lone_learner_of_a_cluster_has_the_whole_model_and_its_device_to_itself():
    lone = choose(AUTO, work_on(1.5, 0, Cluster(learners=1, samplers=1, colocate=False)), card(80))
    assert lone.sizes == Sizes(8192, False, False, 0.9)
    assert (lone.memory.always, lone.memory.sampling) == (choose(AUTO, work_on(1.5, 0), card(80)).memory.always, 0)


def test_learners_that_share_a_model_need_less_each():
    eight = Cluster(learners=8, samplers=8, colocate=True)
    assert choose(AUTO, work_on(7, 0), card(80)).sizes.offload
    shared = choose(AUTO, work_on(7, 0, eight), card(80))
    assert not shared.lack and not shared.sizes.offload


# --- vLLM ---------------------------------------------------------------------------------------------------------


def test_what_vllm_needs_by_hand():
    need = vllm_needs(work_on(1.5, 0), 24.0)
    # 256 × 1,280 tokens, in 28 layers, keys and values of 2 heads of 128 in 2 bytes
    assert need.cache * 2**30 == 256 * 1280 * 28 * 2 * 2 * 128 * 2
    # 8,192 tokens of 4 × 1,536 states and 3 × 8,960 in the MLP; 256 rows of logits, three times in float32
    assert (need.work - 1.5) * 2**30 == 8192 * 2 * (4 * 1536 + 3 * 8960) + 256 * 151_936 * 12
    assert need.weights == pytest.approx(2 * 1.5437e9 / 2**30, rel=1e-3)


def test_vllm_gets_no_more_than_it_has_use_for_however_large_the_gpu():
    for gigabytes in (80, 141, 288):
        choice = choose(AUTO, work_on(1.5, 0), card(gigabytes))
        need = vllm_needs(work_on(1.5, 0), card(gigabytes).device).all
        assert need <= choice.memory.sampling <= need + 0.01 * choice.memory.available


def test_vllm_gets_what_the_learner_leaves_and_a_tenth_of_the_keys_and_values_at_least():
    work, machine = work_on(14, 32), card(80)
    choice = choose(AUTO, work, machine)
    assert vllm_needs(work, machine.device).least <= choice.memory.sampling < vllm_needs(work, machine.device).all
    assert choice.memory.always + choice.memory.sampling <= ROOM * machine.device
    assert "% of what would be of use" in choice.lines[-1]
    assert LEAST_CACHE == 0.1


def test_more_completions_than_run_at_once_take_no_more():
    few, many = (replace(work_on(0.5, 0), completions=number) for number in (256, 4096))
    assert vllm_needs(few, 24.0) == vllm_needs(many, 24.0)
    assert vllm_needs(many, 80.0).cache == 4 * vllm_needs(few, 80.0).cache
    two = replace(many, cluster=Cluster(learners=2, samplers=8, colocate=True), completions=1024)
    assert vllm_needs(two, 80.0).cache == vllm_needs(few, 80.0).cache / 2


def test_where_nobody_learns_vllm_has_the_gpu_to_itself():
    assert sampling_alone(Sampling(), "cuda").share == 0.9
    assert sampling_alone(Sampling(), "cpu").share == 0.45
    assert sampling_alone(Sampling(gpu_memory_utilization=0.3), "cuda").share == 0.3


# --- CPUs ---------------------------------------------------------------------------------------------------------


def on_a_cpu() -> Work:
    return replace(work_on(0.5, 0), place=Place("cpu", "float32"))


def test_on_cpus_sizes_are_the_same_everywhere_but_for_checkpointing_where_memory_is_short():
    assert choose(AUTO, on_a_cpu(), Machine(64.0)).sizes == Sizes(2048, False, False, 0.45)
    assert choose(AUTO, on_a_cpu(), Machine(640.0)).sizes == Sizes(2048, False, False, 0.45)
    short = choose(AUTO, on_a_cpu(), Machine(18.0))
    assert (short.sizes, short.lack) == (Sizes(2048, True, False, 0.45), "")
    too_short = choose(AUTO, on_a_cpu(), Machine(10.0))
    assert too_short.lack.startswith("the run may need") and not too_short.certain
    assert choose(AUTO, on_a_cpu(), Machine(4.0)).certain


# --- In words, and written down -----------------------------------------------------------------------------------


def test_what_was_settled_is_said_with_reasons_as_in_the_docs():
    choice = choose(AUTO, work_on(1.5, 0), card(80))
    first, second = choice.lines
    assert f"memory: {choice.memory}\n{first}\n{second}\n" in sizes.DOCS.read_text(encoding="utf-8")
    assert first == (
        "sizes: 8,192 tokens at a time, no gradient checkpointing, optimizer on the GPU: 51.4 GiB of 74.5 to learn; "
        "with 16,384 tokens it would be 74.8"
    )
    assert second == (
        "sizes: vLLM may take 0.22 of the GPU: 2.9 GiB of weights, 4.2 to work in, 9.3 for keys and values of "
        "completions"
    )
    [cpu] = choose(settings(sampling={"backend": "transformers"}), on_a_cpu(), Machine(64.0)).lines
    assert "optimizer" not in cpu and "2,048 tokens at a time, no gradient checkpointing: " in cpu


def test_a_run_has_numbers_for_sizes_and_nothing_else_changed():
    choice = choose(AUTO, work_on(1.5, 0), card(24))
    config = choice.written_into(AUTO)
    found = (config.optim.tokens, config.model.checkpoints, config.optim.on_host, config.sampling.share)
    assert found == (2048, False, True, 0.63)
    assert '"auto"' not in config.to_toml().replace('address = "auto"', "")
    assert choose(config, work_on(1.5, 0), card(24)).sizes == choice.sizes
    opened = config.with_changes(
        optim={"tokens_per_microbatch": "auto", "offload": "auto"},
        model={"gradient_checkpointing": "auto"},
        sampling={"gpu_memory_utilization": "auto"},
    )
    assert opened == AUTO


def test_a_run_that_goes_on_keeps_the_sizes_that_it_was_begun_with_where_nothing_else_is_said(tmp_path: Path):
    stored = tmp_path / "config.toml"
    stored.write_text(choose(AUTO, work_on(1.5, 0), card(24)).written_into(AUTO).to_toml())
    again = kept(AUTO, stored)
    assert choose(again, work_on(1.5, 0), card(141)).sizes == Sizes(2048, False, True, 0.13)  # of another GPU
    said = kept(settings(optim={"offload": False}), stored)
    assert (said.optim.offload, said.optim.tokens) == (False, 2048)


def test_a_run_folder_without_sizes_or_without_sense_leaves_the_settings_or_is_refused(tmp_path: Path):
    stored = tmp_path / "config.toml"
    assert kept(AUTO, stored) == AUTO
    stored.write_text("[model\n")
    assert kept(AUTO, stored) == AUTO
    stored.write_text('[optim]\noffload = "often"\n')
    with pytest.raises(ConfigError, match=r"config\.toml: optim\.offload = 'often': must be \"auto\", true or false"):
        kept(AUTO, stored)


def test_shapes_are_qwens():
    for billions, parameters in ((0.5, 0.494e9), (1.5, 1.544e9), (3, 3.086e9), (7, 7.616e9), (14, 14.770e9)):
        assert shape_of_qwen(billions, 0).numbers == pytest.approx(parameters, rel=1e-3)
