"""From a TOML file to stages, and what is refused."""

from __future__ import annotations

import re
import socket
import tomllib
from pathlib import Path

import pytest

from grpo.config_file import load_config, pipelines, recipes
from grpo.errors import ConfigError
from grpo.pipeline.estimate import dry_run
from grpo.pipeline.plan import load_plan, make_plan, replaced


def plan(*stages, **common):
    common = {"model": {"name": "base-model", "revision": "abc"}, "data": {"source": "train.jsonl"}, **common}
    return make_plan({**common, "stage": list(stages)}, place="p.toml")


def train(name="rl", **own):
    return {"name": name, "command": "train", **own}


def refusal(*stages, **common):
    with pytest.raises(ConfigError) as caught:
        plan(*stages, **common)
    return str(caught.value)


def test_a_stage_has_the_common_settings_and_its_own_over_them():
    [stage] = plan(train(optim={"lr": 2e-6}), optim={"lr": 1e-6, "warmup_steps": 3})
    assert stage.settings["optim"] == {"lr": 2e-6, "warmup_steps": 3}
    assert stage.settings["model"] == {"name": "base-model", "revision": "abc"}


def test_a_stage_reads_only_the_groups_of_its_command():
    drawn, chosen = plan(
        {"name": "drawn", "command": "collect"},
        {"name": "chosen", "command": "select", "select": {"source": [{"use": "@drawn"}]}},
        select={"max_per_problem": 2},
    )
    assert "select" not in drawn.settings
    assert set(chosen.settings) == {"select"}
    assert chosen.settings["select"] == {"max_per_problem": 2, "source": [{"use": "@drawn"}]}


def test_what_was_said_of_a_source_goes_with_the_source():
    common = {"data": {"source": "a.jsonl", "subset": "main", "answer": "gold", "template": "{problem}"}}
    [stage] = plan(train(data={"source": "b.jsonl"}), **common)
    assert stage.settings["data"] == {"source": "b.jsonl", "template": "{problem}"}


def test_a_model_of_its_own_has_no_revision_of_the_common_one_and_base_has():
    _, second, third = plan(train("one"), train("two", model={"name": "@one"}), train("three", model={"name": "@base"}))
    assert second.settings["model"] == {"name": "@one"}
    assert third.settings["model"] == {"name": "base-model", "revision": "abc"}


def test_another_objective_means_that_ones_parts():
    [stage] = plan(train(objective={"name": "gspo"}), objective={"name": "dapo", "clip_high": 0.28})
    assert stage.settings["objective"] == {"name": "gspo"}


def test_rewards_of_a_stage_stand_for_all_of_the_common_ones():
    [stage] = plan(train(reward=[{"use": "layout"}]), reward=[{"use": "math"}, {"use": "length"}])
    assert stage.settings["reward"] == [{"use": "layout"}]


def test_changes_go_into_the_common_settings_and_into_a_stage():
    tree = {"model": {"name": "m"}, "data": {"source": "d.jsonl"}, "stage": [train("a"), train("b")]}
    first, second = make_plan(tree, place="p.toml", changes=["optim.lr=1e-5", "stage.b.optim.lr=2e-5"])
    assert (first.settings["optim"]["lr"], second.settings["optim"]["lr"]) == (1e-5, 2e-5)


def test_references_are_replaced_wherever_they_stand_and_other_texts_are_left():
    tree = {"a": [{"use": "@one"}, "@two"], "b": "mail@one", "c": 3}
    stands_for = {"one": "out/1", "two": None}.get
    assert replaced(tree, stands_for) == {"a": [{"use": "out/1"}, "@two"], "b": "mail@one", "c": 3}


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        ([{"name": "a", "command": "trian"}], "stage a: command = 'trian' is none; did you mean train?"),
        ([train("A b")], "stage 1: name = 'A b': must be small letters"),
        ([train("base")], "not 'base', which is the common model"),
        ([train("a"), train("a")], "stage a: there are two of this name"),
        ([train("a", sfft={"steps": 1})], "stage a: sfft is not read by train; did you mean sft?"),
        ([train("a", optim={"lrr": 1.0})], "stage a: optim.lrr is not a setting; did you mean optim.lr?"),
        ([train("cold"), train("b", model={"name": "@colt"})], "'@colt': is no earlier stage; did you mean @cold?"),
        ([train("a", model={"name": "@b"}), train("b")], "'@b': comes later; there are @base"),
        ([{"name": "c", "command": "collect"}, train("b", model={"name": "@c"})], "collect makes no model"),
        (
            [{"name": "c", "command": "collect"}, {"name": "d", "command": "distill", "distill": {"teacher": "@c"}}],
            "distill.teacher = '@c': collect makes no model",
        ),
        (
            [{"name": "c", "command": "collect"}, {"name": "s", "command": "sft", "sft": {"source": "@c"}}],
            "sft.source = '@c': collect makes no rows to learn from; name a stage of select",
        ),
        ([{"name": "s", "command": "sft"}], "stage s: sft.source is missing; sft needs it"),
    ],
)
def test_a_stage_that_cannot_be_is_refused_with_what_was_meant(stages, sentence):
    assert sentence in refusal(*stages)


def test_common_settings_that_no_stage_reads_are_refused():
    assert "p.toml: select is read by none of the stages" in refusal(train(), select={"max_per_problem": 2})


def test_a_reference_among_the_common_settings_is_refused():
    assert "is common to all stages, the first too" in refusal(train(), eval={"source": "@rl"})


def test_a_change_for_a_stage_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"--set stage\.rll: there is no such stage; did you mean rl\?"):
        make_plan({"data": {"source": "d"}, "stage": [train()]}, place="p", changes=["stage.rll.optim.lr=1e-5"])


def test_a_list_of_stages_is_no_recipe_and_a_recipe_no_list_of_stages(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[model]\nname = "m"\n[[stage]]\nname = "a"\ncommand = "train"\n')
    with pytest.raises(ConfigError, match="is a list of stages; run it with grpo pipeline"):
        load_config(str(file))
    with pytest.raises(ConfigError, match="run it with grpo train gsm8k"):
        load_plan("gsm8k")
    assert not recipes().keys() & pipelines().keys()


@pytest.mark.parametrize("name", sorted(pipelines()))
def test_a_shipped_pipeline_loads_and_begins_with_what_it_does_and_how_to_run_it(name):
    assert load_plan(name) == load_plan(str(pipelines()[name]))
    header = pipelines()[name].read_text(encoding="utf-8").partition("\n[")[0]
    assert all(line.startswith("#") for line in header.strip().splitlines())
    assert f"grpo pipeline {name}\n" in header


def test_the_recipe_of_r1_fine_tunes_the_base_again_and_not_the_checkpoint_of_its_rl():
    stages = {stage.name: stage for stage in load_plan("r1")}
    assert list(stages) == ["cold-start", "rl", "drawn", "chosen", "mix", "rl-2", "small"]
    begins = {name: stage.settings.get("model", {}).get("name") for name, stage in stages.items()}
    base = "Qwen/Qwen2.5-1.5B"
    assert begins["cold-start"] == begins["mix"] == base
    assert (begins["rl"], begins["drawn"], begins["rl-2"]) == ("@cold-start", "@rl", "@mix")
    assert stages["mix"].settings["sft"]["source"] == stages["small"].settings["sft"]["source"] == "@chosen"


def test_a_dry_run_of_it_asks_no_network(monkeypatch, tmp_path):
    def nobody(*_, **__):
        pytest.fail("a dry run asked the network")

    monkeypatch.setattr(socket.socket, "connect", nobody)
    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    said = []
    dry_run(load_plan("r1"), tmp_path / "out", said.append)
    text = "\n".join(said)
    assert "@base" not in text
    assert "Qwen/Qwen2.5-1.5B for model.name (from the Hub)" in text
    # 468 steps × 32 problems × 16 completions × 8,192 tokens; of the Hub's held-out problems nothing is known.
    assert f"samples {468 * 32 * 16 * 8192 / 1e6:.1f}M tokens at most; evaluations as large as their data" in text
    assert not (tmp_path / "out").exists()


def test_the_file_in_the_docs_is_a_pipeline():
    text = (Path(__file__).parents[1] / "docs/pipeline.md").read_text(encoding="utf-8")
    [file] = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    stages = make_plan(tomllib.loads(file), place="docs/pipeline.md")
    assert [stage.command for stage in stages] == ["sft", "train", "collect", "select", "sft"]
