"""Every shipped recipe loads, says what it needs, and fits together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from grpo.config import Data
from grpo.config_file import load_config, recipes
from grpo.problems.columns import to_problems
from grpo.sizes import choose
from tests.sizes import card, resolved_on_a_gpu, work_on

ON_24_GB = ("gsm8k", "math", "r1-zero")


@pytest.fixture(params=sorted(recipes()))
def name(request):
    return request.param


def test_the_recipes_of_the_readme_are_shipped():
    assert set(ON_24_GB) <= set(recipes())


def test_a_recipe_loads_by_its_name(name):
    assert load_config(name) == load_config(str(recipes()[name]))


def test_what_a_run_writes_down_loads_as_the_same_configuration(name, tmp_path):
    config = load_config(name)
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml(), encoding="utf-8")
    assert load_config(str(path)) == config


def test_a_recipe_begins_with_what_it_does_and_how_to_run_it(name):
    header = recipes()[name].read_text(encoding="utf-8").partition("\n[")[0]
    assert all(line.startswith("#") for line in header.strip().splitlines())
    assert f"grpo train {name}\n" in header


def test_a_recipe_holds_problems_out(name):
    config = load_config(name)
    assert config.eval.source is not None
    assert (config.eval.source, config.eval.split) != (config.data.source, config.data.split or "train")


@pytest.mark.parametrize("name", ON_24_GB)
def test_the_model_reads_the_problem_and_how_to_answer(name):
    config = load_config(name)
    [problem] = to_problems([{"problem": r"What is $\frac{4}{2}$?", "answer": "2"}], config.data, stem="p", needs=())
    [message] = problem.messages
    assert message["role"] == "user"
    assert r"What is $\frac{4}{2}$?" in message["content"]
    assert (r"within \boxed{}." if config.data.chat else "<answer> answer </answer>") in message["content"]
    assert not message["content"].startswith("\n")


@pytest.mark.parametrize("name", ON_24_GB)
def test_a_recipe_for_gpus_fits_24_gb_and_has_the_optimizer_on_the_gpu_where_there_is_room(name):
    config = resolved_on_a_gpu(load_config(name))
    work = replace(work_on(1.5, 0), completions=256, longest_row=512 + config.sampling.max_tokens)
    work = replace(work, context=work.longest_row)
    small, large = (choose(config, work, card(size, host=30.0)) for size in (24, 80))
    assert not small.lack and not large.lack
    assert small.sizes.offload and not large.sizes.offload
    assert large.sizes.tokens >= 4 * small.sizes.tokens


def test_r1_zero_starts_from_a_base_model_and_ends_with_the_answer():
    config = load_config("r1-zero")
    assert (config.data.chat, config.sft.steps) == (False, 0)
    assert config.sampling.stop == ("</answer>",)
    assert config.data.template.endswith("Assistant:")
    math, layout = config.reward
    assert (math.use, layout.use) == ("math", "layout")
    assert layout.weight < math.weight  # the layout cannot outweigh the answer


@pytest.mark.parametrize(("name", "rows"), [("gsm8k", 7473), ("math", 7500), ("r1-zero", 7500)])
def test_a_run_is_whole_epochs_and_no_more(name, rows):
    config = load_config(name)
    drawn = config.run.steps * config.sampling.problems_per_step
    assert 0 <= -drawn % rows < config.sampling.problems_per_step


def test_a_recipe_may_be_pointed_at_other_data():
    config = load_config("math", ["data.source=mine.jsonl"])
    assert config.data == Data(source="mine.jsonl", template=config.data.template)
