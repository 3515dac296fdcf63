"""Settings: few, each explained; what is not one, or has no such value, is refused in a sentence that helps."""

from __future__ import annotations

import ast
import re
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from grpo.config import GROUPS, CollectConfig, Config, EvalConfig, JudgeConfig, Select, SelectConfig
from grpo.config_file import _REFUSED, _RENAMED, apply_changes, change, load_config, load_settings, recipes, validate
from grpo.errors import ConfigError

MINIMAL = '[model]\nname = "m"\n[data]\nsource = "d.jsonl"\n'
# Each is one more thing to understand: take one out before one comes in.  Apart from them stand those that choose an
# objective's parts and a curriculum, which nobody needs who is content with a name.
MOST_SETTINGS, MOST_WITH_PARTS = 61, 108
# What a run does for whoever comes back to it.
NOBODY_BESIDE_IT = ("control", "shown_groups", "on_alarm", "notify", "deadline", "watchdog", "price", "push_to_hub")
PARTS = (
    *("name", "advantages", "weights", "surrogate", "ratio", "dual_clip", "pass_k", "top_entropy_quantile"),
    *("kl_estimator", "kl_unbiased", "kl_in", "correction", "correction_min", "correction_max", "veto"),
)


def groups():
    for name, field in Config.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        yield name, next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))


SETTINGS = {f"{group}.{name}": field for group, kind in groups() for name, field in kind.model_fields.items()}


@pytest.fixture
def load(tmp_path):
    """What a TOML file with this text, and these changes, makes."""

    def load(text=MINIMAL, *changes, **options):
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return load_config(str(path), changes, **options)

    return load


@pytest.fixture
def refusal(load):
    """The sentence with which it is refused."""

    def refusal(text=MINIMAL, *changes, **options):
        with pytest.raises(ConfigError) as error:
            load(text, *changes, **options)
        return str(error.value)

    return refusal


# --- The settings -------------------------------------------------------------------------------------------------


def test_there_are_few_settings():
    of_parts = {f"objective.{name}" for name in PARTS} | {"optim.num_iterations", "sampling.max_num_gen_batches"}
    of_parts |= {key for key in SETTINGS if key.startswith(("curriculum.", "cluster.", "distill.", "model.lora_"))}
    of_parts |= {"model.load_in_4bit", "data.chat_template_kwargs"}  # an adapter's, too; a chat template's own
    of_parts |= {"model.head_dtype"}  # of the gap between sampler and policy
    of_parts |= {f"run.{name}" for name in NOBODY_BESIDE_IT}
    assert len([key for key in SETTINGS if key.startswith("cluster.")]) <= 10
    assert of_parts <= set(SETTINGS)
    assert len(set(SETTINGS) - of_parts) <= MOST_SETTINGS
    assert len(SETTINGS) <= MOST_WITH_PARTS


def test_every_group_of_settings_has_its_place_in_a_file():
    assert set(GROUPS) == Config.model_fields.keys() | SelectConfig.model_fields.keys()


@pytest.mark.parametrize("kind", [CollectConfig, EvalConfig, Config])
def test_a_recipe_may_say_what_to_select_for_the_commands_that_do_not(kind, tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text('[model]\nname = "m"\n[data]\nsource = "d"\n[select]\nrows = 5\n')
    assert load_settings(str(recipe), (), kind=kind).data.source == "d"
    with pytest.raises(ConfigError, match=r"^--set select.rows=6: select is not read here; the groups that are: "):
        load_settings(str(recipe), ["select.rows=6"], kind=kind)


def test_no_sentence_of_the_program_names_a_setting_that_is_not_there():
    """What a message advises to set must be a setting, and so must what the code looks up by name."""
    named = re.compile(rf"(?<!grpo\.)\b(?:{'|'.join(GROUPS)})\.[a-z][a-z_]*\b")
    found = {
        (path.name, name)
        for path in (Path(__file__).parents[1] / "grpo").rglob("*.py")
        if path.parent.name not in ("migration", "importing")  # of others' names; see test_migration.py
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for name in named.findall(node.value)
    }
    refused = {("config_file.py", name) for name in _REFUSED}
    of_select = {f"select.{name}" for name in Select.model_fields}
    assert {name for _, name in found - refused} - set(SETTINGS) - of_select == {
        "model.safetensors",
        "cluster.md",
        "distill.json",
        "sft.md",
    }  # which are files


def test_judging_takes_some_of_the_settings_that_sampling_takes_and_training_all():
    assert set(JudgeConfig.model_fields) < set(EvalConfig.model_fields) < set(Config.model_fields)
    assert set(JudgeConfig.model_fields) == {"data", "reward", "run"}
    assert set(EvalConfig.model_fields) == {"data", "reward", "run", "model", "sampling", "eval"}
    judged = validate({"data": {"source": "d"}, "reward": [{"use": "math"}]}, place="x", kind=JudgeConfig)
    assert type(judged) is JudgeConfig and judged.data.source == "d"
    with pytest.raises(ConfigError, match=r"^x: model is missing; it has no default$"):
        validate({"data": {"source": "d"}}, place="x", kind=EvalConfig)


@pytest.mark.parametrize("kind", [JudgeConfig, EvalConfig, CollectConfig])
def test_settings_that_a_command_does_not_take_are_refused_and_its_own_are_checked(kind):
    tree = {"model": {"name": "m"}, "data": {"source": "d"}}
    tree = {group: tree[group] for group in tree if group in kind.model_fields}
    read = ", ".join(group for group in GROUPS if group in kind.model_fields)
    with pytest.raises(ConfigError, match=rf"^x: optim is not read here; the groups that are: {read}$"):
        validate({**tree, "optim": {"lr": 1e-6}}, place="x", kind=kind)
    with pytest.raises(ConfigError, match=r"^x: data.template has no \{problem\} in it"):
        validate({**tree, "data": {"source": "d", "template": "hello"}}, place="x", kind=kind)


def test_a_setting_says_what_it_does_unless_its_name_does():
    plain = {
        "model.device", "sampling.problems_per_step", "objective.correction_min", "eval.subset", "eval.split",
        "eval.limit", "sft.subset", "sft.split",
    }  # fmt: skip
    assert {key for key, field in SETTINGS.items() if not field.description} == plain


def test_only_the_model_and_the_data_have_no_default(load):
    assert load() == Config(model={"name": "m"}, data={"source": "d.jsonl"})
    required = {key for key, field in SETTINGS.items() if field.is_required()}
    assert required == {"model.name", "data.source", "reward.use"}


def test_the_defaults_are_values_that_are_allowed(load):
    assert Config.model_validate(load().model_dump()) == load()


def test_a_configuration_cannot_be_changed_in_place(load):
    with pytest.raises(ValueError, match="frozen"):
        load().run.steps = 3


def test_a_copy_of_a_configuration_differs_in_what_is_named_and_nothing_else(load):
    before = load()
    after = before.with_changes(run={"steps": 3}, sampling={"temperature": 0.5})
    assert (after.run.steps, after.sampling.temperature) == (3, 0.5)
    assert after.with_changes(run={"steps": before.run.steps}, sampling={"temperature": 1.0}) == before


# --- Reading and writing ------------------------------------------------------------------------------------------

numbers = st.floats(1e-9, 1e9, allow_nan=False)


@given(lr=numbers, steps=st.integers(1, 10**12), system=st.text(), stop=st.lists(st.text(min_size=1), max_size=3))
def test_a_configuration_that_is_written_down_reads_back_as_the_same(lr, steps, system, stop):
    config = Config(
        model={"name": "m"},
        data={"source": "d", "system": system},
        sampling={"stop": stop},
        optim={"lr": lr},
        run={"steps": steps},
        reward=[{"use": "math"}, {"use": "length", "weight": 0.1, "options": {"max_tokens": 9, "tags": ["a"]}}],
    )
    assert validate(tomllib.loads(config.to_toml()), place="x") == config


@given(st.text())
@example("😀")
@example("\x7f\x00\n\"\\'")
@example("[red]#")
@example("1\nrun.steps = 2")
def test_any_text_can_be_put_into_a_setting(text):
    tree = apply_changes(tomllib.loads(MINIMAL), [change("data.system", text)])
    assert validate(tree, place="x").data.system == text


@given(st.text(max_size=30), st.text(max_size=30))
@example("data.reward.x", "1")
@example("reward.0.use", "math")
@example("reward", "[]")
@example("data", "1\nx = 2")
def test_no_change_however_strange_is_a_crash(key, value):
    with suppress(ConfigError):
        validate(apply_changes(tomllib.loads(MINIMAL), [f"{key}={value}"]), place="x")


@given(st.sampled_from(sorted(SETTINGS)), st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=9)))
def test_no_value_however_strange_is_a_crash(key, value):
    group, name = key.split(".")
    tree = {"model": {"name": "m"}, "data": {"source": "d"}, "reward": [{"use": "math"}]}
    target = tree["reward"][0] if group == "reward" else tree.setdefault(group, {})
    target[name] = value
    with suppress(ConfigError):
        validate(tree, place="x")


@pytest.mark.parametrize(
    ("written", "value"),
    [("2e-6", 2e-6), ("1", 1), (" 3e-5 ", 3e-5)],
)
def test_a_change_is_read_as_toml(load, written, value):
    assert load(MINIMAL, f"optim.lr={written}").optim.lr == value


@pytest.mark.parametrize("written", ["hello there", '"hello there"', " hello there "])
def test_a_change_that_is_not_toml_is_text(load, written):
    assert load(MINIMAL, f"data.system={written}").data.system == "hello there"


def test_the_last_of_several_changes_holds(load):
    assert load(MINIMAL, "run.steps=3", "run.steps=4").run.steps == 4


def test_the_only_reward_needs_no_number(load):
    one, two = MINIMAL + '[[reward]]\nuse = "math"\n', '[[reward]]\nuse = "layout"\n'
    assert load(one, "reward.weight=2").reward[0].weight == 2
    assert [reward.weight for reward in load(one + two, "reward.0.weight=2", "reward.1.weight=3").reward] == [2, 3]
    with pytest.raises(ConfigError, match=r"there are 2 rewards; say which: reward\.0\.weight"):
        load(one + two, "reward.weight=2")


def test_other_examples_replace_what_was_said_of_the_old_ones(load):
    text = MINIMAL + '[sft]\nsource = "old.jsonl"\nsplit = "worked"\nsteps = 3\n'
    config = load(text, examples="new.jsonl")
    assert (config.sft.source, config.sft.split, config.sft.steps) == ("new.jsonl", None, 3)
    assert config.data.source == load(MINIMAL).data.source


def test_examples_are_the_data_where_none_is_named(load):
    assert load('[model]\nname = "m"\n', examples="new.jsonl").data.source == "new.jsonl"


def test_another_data_set_does_not_inherit_what_was_said_of_the_first(load):
    text = MINIMAL.replace('source = "d.jsonl"', 'source = "d.jsonl"\nsubset = "main"\nsystem = "Think."')
    data = load(text, data="other.jsonl").data
    assert (data.source, data.subset, data.system) == ("other.jsonl", None, "Think.")


def test_an_option_of_a_reward_can_be_set(load):
    text = MINIMAL + '[[reward]]\nuse = "length"\n'
    assert load(text, "reward.0.options.max_tokens=9").reward[0].options == {"max_tokens": 9}


def test_rewards_on_the_command_line_replace_those_of_the_file(load):
    text = MINIMAL + '[[reward]]\nuse = "math"\nweight = 5.0\n'
    assert [(r.use, r.weight) for r in load(text, rewards=["a.py:f", "layout"]).reward] == [
        ("a.py:f", 1.0),
        ("layout", 1.0),
    ]


def test_sizes_that_are_not_settled_are_those_of_a_cpu_and_what_is_said_stands(load):
    config = load()
    assert config.optim.tokens_per_microbatch == config.optim.offload == "auto"
    assert config.model.gradient_checkpointing == config.sampling.gpu_memory_utilization == "auto"
    assert (config.optim.tokens, config.optim.on_host) == (2048, False)
    assert (config.model.checkpoints, config.sampling.share) == (False, 0.45)
    said = load(
        MINIMAL,
        "optim.tokens_per_microbatch=9",
        "optim.offload=true",
        "model.gradient_checkpointing=true",
        "sampling.gpu_memory_utilization=1",
    )
    assert (said.optim.tokens, said.optim.on_host, said.model.checkpoints, said.sampling.share) == (9, True, True, 1.0)


# --- Refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", _RENAMED)
def test_a_setting_that_is_called_otherwise_now_is_refused_with_its_new_name(refusal, old):
    group, name = old.split(".")
    text = MINIMAL + '[[reward]]\nuse = "math"\n'
    place = "reward.0" if group == "reward" else group
    assert _RENAMED[old] in SETTINGS
    assert (
        refusal(text, f"{place}.{name}=1")
        == f"--set {place}.{name}=1: {place}.{name} is not a setting; it is called {_RENAMED[old]}"
    )


@pytest.mark.parametrize("old", _REFUSED)
def test_a_setting_that_is_gone_is_refused_with_what_to_do_instead(refusal, old):
    assert old not in SETTINGS
    group, name = old.split(".")
    place = "reward.0" if group == "reward" else group
    said = refusal(MINIMAL + '[[reward]]\nuse = "math"\n', f"{place}.{name}=1")
    assert said == f"--set {place}.{name}=1: {place}.{name} is not a setting{_REFUSED[old]}"
    assert "did you mean" not in said


@pytest.mark.parametrize("old", ["optim.schedule", "objective.kl", "sampling.memory"])
def test_an_old_name_is_refused_in_a_file_as_it_is_in_a_change(refusal, old):
    group, name = old.split(".")
    said = refusal(f"{MINIMAL}[{group}]\n{name} = 1\n")
    assert said == f"mine.toml: {old} is not a setting; it is called {_RENAMED[old]}"


def test_shares_of_a_curriculum_are_at_most_all(load, refusal):
    assert load(MINIMAL, "curriculum.easy=0.4", "curriculum.hard=0.6").curriculum.hard == 0.6
    said = refusal(MINIMAL, "curriculum.easy=0.5", "curriculum.hard=0.6")
    assert said.startswith(
        "--set curriculum.hard=0.6: curriculum.easy = 0.5 and curriculum.hard = 0.6 are more than 1 together"
    )


@pytest.mark.parametrize("alone", ["easy", "hard"])
def test_a_curriculum_has_both_shares_or_neither(refusal, alone):
    said = refusal(MINIMAL, f"curriculum.{alone}=0.5")
    assert said.endswith("=0.5: curriculum.easy and curriculum.hard belong together; set both or none of them")


@pytest.mark.parametrize(
    ("changes", "on"),
    [(["easy=0.1", "hard=0.1"], True), (["retire_after=2"], True), (["retire_after=0"], False)],
)
def test_a_curriculum_is_on_where_anything_of_it_is_set(load, changes, on):
    assert not load().curriculum.is_on
    assert load(MINIMAL, *(f"curriculum.{change}" for change in changes)).curriculum.is_on == on


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("objective.clip_hgh=0.3", "objective.clip_hgh is not a setting; did you mean objective.clip_high?"),
        ("lr=1e-6", "lr is not a setting; did you mean optim.lr?"),
        ("optim.group_size=4", "optim.group_size is not a setting; did you mean sampling.group_size?"),
        ("objektive.kl_coef=1", "objektive.kl_coef is not a setting; did you mean objective.kl_coef?"),
        ("optimizer.lr=1e-6", "optimizer.lr is not a setting; did you mean optim.lr?"),
        ("sampling.n=8", "sampling.n is not a setting; it is called sampling.group_size"),
        ("loss.ratio=1", "loss.ratio is not a setting; did you mean objective.ratio?"),
        ("a.b.max_tokens=1", "a.b.max_tokens is not a setting; did you mean sampling.max_tokens?"),
        ("eval.[red]=1", "eval.[red] is not a setting; there are eval.source, "),
        ("qqqq=1", "qqqq is not a setting; there are model, data, "),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest(refusal, wrong, sentence):
    assert refusal(MINIMAL, wrong).startswith(f"--set {wrong}: {sentence}")


def test_an_unknown_setting_of_a_reward_is_refused_with_the_nearest(refusal):
    said = refusal(MINIMAL + '[[reward]]\nuse = "math"\nwieght = 2.0\n')
    assert said == "mine.toml: reward.0.wieght is not a setting; did you mean reward.weight?"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("run.steps=five", "run.steps = 'five': must be a valid integer"),
        ("run.steps=true", "run.steps = True: must be a valid integer"),
        ("run.steps=1.5", "run.steps = 1.5: must be a valid integer"),
        ("run.steps=0", "run.steps = 0: must be greater than or equal to 1"),
        ("run.seed=-1", "run.seed = -1: must be greater than or equal to 0"),
        ("run.seed=4294967296", "run.seed = 4294967296: must be less than 4294967296"),
        ("optim.lr=-1", "optim.lr = -1: must be greater than 0"),
        ("optim.lr=nan", "optim.lr = nan: must be a finite number"),
        ("sampling.group_size=1", "sampling.group_size = 1: must be greater than or equal to 2"),
        ("model.dtype=fp16", "model.dtype = 'fp16': must be 'auto', 'float32' or 'bfloat16'"),
        ("model.name=5", "model.name = 5: must be a valid string"),
        ("model.name=", "model.name = '': must not be empty"),
        ("data.source=", "data.source = '': must not be empty"),
        ('sampling.stop=[""]', "sampling.stop.0 = '': must not be empty"),
        ("data.chat=maybe", "data.chat = 'maybe': must be a valid boolean"),
        ("optim=5", "optim = 5: must be a table of settings for Optim"),
        ("optim.tokens_per_microbatch=0", 'optim.tokens_per_microbatch = 0: must be "auto" or a whole number from 1'),
        ("optim.tokens_per_microbatch=true", 'optim.tokens_per_microbatch = True: must be "auto" or a whole number'),
        ("optim.tokens_per_microbatch=all", "optim.tokens_per_microbatch = 'all': must be \"auto\" or a whole number"),
        ("optim.offload=maybe", "optim.offload = 'maybe': must be \"auto\", true or false"),
        ("model.gradient_checkpointing=1", 'model.gradient_checkpointing = 1: must be "auto", true or false'),
        (
            "sampling.gpu_memory_utilization=1.5",
            'sampling.gpu_memory_utilization = 1.5: must be "auto" or a number above 0 and at most 1',
        ),
        ("run.trackers=wandb", "run.trackers = 'wandb': must be a list"),
        ("reward=math", "reward: must be one [[reward]] table, in double brackets, for each reward"),
    ],
)
def test_a_wrong_type_or_range_is_refused_with_what_is_allowed(refusal, wrong, sentence):
    assert refusal(MINIMAL, wrong).startswith(f"--set {wrong}: {sentence}")


@pytest.mark.parametrize("weight", ["inf", "nan"])
def test_a_reward_weighs_something_finite(refusal, weight):
    assert "must be a finite number" in refusal(MINIMAL + f'[[reward]]\nuse = "math"\nweight = {weight}\n')


def test_one_pair_of_brackets_around_reward_is_not_enough(refusal):
    assert "[[reward]] table, in double brackets" in refusal(MINIMAL + '[reward]\nuse = "math"\n')


def test_a_setting_without_a_default_must_be_there(refusal):
    assert refusal('[data]\nsource = "d"\n') == "mine.toml: model is missing; it has no default"
    assert refusal('[model]\n[data]\nsource = "d"\n') == "mine.toml: model.name is missing; it has no default"


def test_a_huge_value_is_cut_where_it_is_quoted(refusal):
    assert len(refusal(MINIMAL, f"run.steps={'x' * 5000}")) < 200


def test_bytes_that_are_no_text_are_refused_wherever_they_are_given(refusal):
    said = "is not UTF-8 text; write it as UTF-8, or give the file another name"
    assert refusal(MINIMAL, "data.system=\udcff") == f"--set data.system=\udcff: {said}"
    assert refusal(MINIMAL, data="\udcff.jsonl") == f"\udcff.jsonl: {said}"
    assert refusal(MINIMAL, rewards=["\udcff.py:f"]) == f"\udcff.py:f: {said}"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("lr", '--set lr: must have the form group.key=value, such as "optim.lr=2e-6"'),
        ("=3", "--set =3: must have the form"),
        ("optim..lr=3", "--set optim..lr=3: must have the form"),
        ("model.name.x=3", "--set model.name.x=3: model.name is a setting, not a group of settings"),
        ("reward.weight=2", "--set reward.weight=2: the recipe has no [[reward]] table to change; choose one with"),
    ],
)
def test_a_change_that_names_no_setting_is_refused(refusal, wrong, sentence):
    assert refusal(MINIMAL, wrong).startswith(sentence)


def test_a_reward_that_is_not_listed_cannot_be_changed(refusal):
    said = refusal(MINIMAL + '[[reward]]\nuse = "math"\n', "reward.1.weight=2")
    assert said == "--set reward.1.weight=2: there is no reward 1; the recipe lists 1, counted from 0"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("sampling.top_p=0.9", "sampling.top_p is not a setting while training: the sampler renormalises"),
        ("sampling.top_k=5", "sampling.top_k is not a setting while training: the sampler renormalises"),
        ("optim.updates_per_step=33", "optim.updates_per_step = 33 is more than sampling.problems_per_step = 32"),
        ("eval.every=3", "eval.every = 3 but eval.source is not set; name a held-out set"),
        ("eval.n=4", "eval.n = 4 with eval.temperature = 0 is 4 times the same; set one of them"),
        ("sft.steps=3", "sft.steps = 3 but sft.source is not set; name the worked examples"),
        ("data.template=hello", "data.template has no {problem} in it"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(refusal, wrong, sentence):
    assert refusal(MINIMAL, wrong).startswith(f"--set {wrong}: {sentence}")


def test_what_a_file_says_is_blamed_on_the_file_and_what_a_change_says_on_the_change(refusal):
    wrong = MINIMAL + "[optim]\nlr = -1\n[eval]\nevery = 3\n"
    assert refusal(wrong, "run.steps=3").startswith("mine.toml: optim.lr = -1: ")
    assert refusal(wrong, "optim.lr=-2").startswith("--set optim.lr=-2: optim.lr = -2: ")
    assert refusal(wrong, "optim.lr=1e-6").startswith("mine.toml: eval.every = 3 but ")
    assert refusal(wrong, "optim.lr=1e-6", "eval.every=4", "eval.every=5").startswith("--set eval.every=5: eval.every")


def test_a_change_is_not_blamed_for_what_another_setting_of_a_like_name_says(refusal):
    wrong = MINIMAL + '[optim]\nlr_scheduler_type = "x"\n'
    assert refusal(wrong, "optim.lr=1e-6", "run.steps=5").startswith("mine.toml: optim.lr_scheduler_type = 'x'")


def test_a_change_of_the_only_reward_is_blamed_by_its_short_name(refusal):
    said = refusal(MINIMAL + '[[reward]]\nuse = "math"\n', "reward.weight=heavy")
    assert said.startswith("--set reward.weight=heavy: reward.0.weight = 'heavy': ")


def test_a_system_message_needs_a_chat(refusal):
    assert "data.system needs data.chat = true" in refusal(MINIMAL, "data.chat=false", "data.system=hi")
    told = "data.chat_template_kwargs={enable_thinking=false}"
    assert "data.chat_template_kwargs needs data.chat = true" in refusal(MINIMAL, "data.chat=false", told)


# --- Files --------------------------------------------------------------------------------------------------------


def test_a_recipe_that_is_misspelt_is_refused_with_the_nearest():
    name = sorted(recipes())[0]
    with pytest.raises(ConfigError, match=f"^{name}x is neither a file nor a recipe; did you mean {name}.$"):
        load_config(name + "x")


@pytest.mark.parametrize("name", ["no.toml", "no/such", "", "x\0y", "x" * 5000, "/proc/1/mem/x", "[red]", "a\nb"])
def test_a_file_that_is_not_there_is_refused_with_the_recipes_there_are(name):
    with pytest.raises(ConfigError) as error:
        load_config(name)
    assert ", ".join(recipes()) in str(error.value)


def test_a_folder_is_no_configuration(tmp_path):
    with pytest.raises(ConfigError, match="no such file; the shipped recipes are"):
        load_config(str(tmp_path))


@pytest.mark.parametrize("content", [b"[model\n", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_a_file_that_is_not_toml_is_refused(tmp_path, content):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"mine.toml: not TOML \("):
        load_config(str(path))


def test_another_trainers_file_is_sent_to_the_names(tmp_path):
    path = tmp_path / "ppo_trainer.yaml"
    path.write_text("algorithm:\n  adv_estimator: grpo\n")
    with pytest.raises(
        ConfigError, match=r"ppo_trainer.yaml: not TOML .*grpo import trl, verl or openrlhf makes a TOML"
    ):
        load_config(str(path))


# --- The objective of a run's own settings ------------------------------------------------------------------------


@pytest.fixture
def written_out(tmp_path, load):
    """The settings of a run, in which every part of its objective is written out."""
    from grpo.objectives import resolved

    config = load()
    path = tmp_path / "run.toml"
    path.write_text(config.with_changes(objective=resolved(config.objective).model_dump()).to_toml())
    return path


def test_another_name_on_a_runs_settings_takes_that_names_parts(written_out):
    from grpo.objectives import resolved

    changed = resolved(load_config(str(written_out), ["objective.name=gspo"]).objective)
    assert (changed.ratio, changed.weights, changed.clip_high) == ("sequence", "sequence", 4e-4)


def test_a_part_that_is_set_beside_another_name_stays_whatever_the_order(written_out):
    for changes in (["objective.weights=sum", "objective.name=gspo"], ["objective.name=gspo", "objective.weights=sum"]):
        assert load_config(str(written_out), changes).objective.weights == "sum"


def test_another_correction_on_a_runs_settings_takes_its_own_bounds(written_out):
    from grpo.objectives import resolved

    changed = resolved(load_config(str(written_out), ["objective.correction=geometric_mask"]).objective)
    assert changed.correction_bounds == (0.99, 1.01)


def test_a_curriculum_may_be_of_hard_problems_alone(load):
    config = load(MINIMAL, "curriculum.easy=0.0", "curriculum.hard=1.0")
    assert config.curriculum.is_on
