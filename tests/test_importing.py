"""Other trainers' configurations become ours: the arithmetic is right, and no setting of theirs is lost on the way.

tests/importing/ has one of each kind.  training_args.json is what `GRPOConfig(…).to_dict()` of TRL 1.16.0 gives.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from grpo import cli, migration
from grpo.config_file import load_config
from grpo.errors import ConfigError
from grpo.importing import TRAINERS, convert
from grpo.importing.reading import LARGEST
from grpo.importing.theirs import defaults_of
from grpo.objectives import resolved
from tests.conftest import ROOT
from tests.parity.cases import CASES
from tests.parity.test_parity import make_objective
from tests.test_config import SETTINGS

FOLDER = ROOT / "tests" / "importing"
FILES = {
    "grpo.yaml": "trl",
    "training_args.json": "trl",
    "verl.sh": "verl",
    "openrlhf.sh": "openrlhf",
}
TABLE = {"trl": "TRL", "verl": "verl", "openrlhf": "OpenRLHF"}


@pytest.fixture
def ours(tmp_path):
    """A file of theirs with this text: the settings that our TOML for it holds, and what was left, by name."""

    def ours(trainer, text, *, suffix=".yaml", **options):
        path = tmp_path / f"theirs{suffix}"
        path.write_text(text, encoding="utf-8")
        made = convert(trainer, path, **options)
        return tomllib.loads(made.toml), {left.name: left.why for left in made.carried.left if left.matters}

    return ours


@pytest.fixture
def refusal(ours):
    def refusal(trainer, text, **options):
        with pytest.raises(ConfigError) as error:
            ours(trainer, text, **options)
        return str(error.value)

    return refusal


def loaded(toml: str, folder: Path):
    path = folder / "ours.toml"
    path.write_text(toml, encoding="utf-8")
    return load_config(str(path), ["model.name=m", "data.source=d.jsonl"])


# --- Nothing is lost ----------------------------------------------------------------------------------------------


def accounted(made) -> set[str]:
    return made.carried.used() | {left.name for left in made.carried.left} | set(made.carried.same)


@pytest.mark.parametrize(("name", "trainer"), FILES.items())
def test_every_setting_of_theirs_is_carried_or_named(name, trainer, tmp_path):
    made = convert(trainer, FOLDER / name)
    assert made.given - accounted(made) == set()
    assert loaded(made.toml, tmp_path).run.steps >= 1


@pytest.mark.parametrize("trainer", TRAINERS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_set_is_accounted_for_or_refused_in_a_sentence(trainer, tmp_path, data):
    names = st.sampled_from(sorted(defaults_of(trainer)[1]))
    values = st.one_of(
        st.integers(-1, 8), st.booleans(), st.none(), st.sampled_from([0.5, "token", [1, 2], "x\n[run]"])
    )
    tree = data.draw(st.dictionaries(names, values, max_size=6))
    path = tmp_path / "some.json"
    path.write_text(json.dumps(tree))
    try:
        made = convert(trainer, path)
    except ConfigError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert "some.json" in refused and "\n" not in refused
        return
    assert made.given - accounted(made) == set()
    loaded(made.toml, tmp_path)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_names_of_the_tables_are_known_to_the_versions_that_are_meant(trainer):
    of, known = defaults_of(trainer)
    about = TRAINERS[trainer]
    told = {row.name for row in migration.rows() if row.trainer == TABLE[trainer]}
    of_scripts = {"use_liger_kernel", "resume_from_checkpoint"} & set(known)
    assert told - set(known) - set(about.renamed) - set(about.extra) - of_scripts <= OLDER[trainer], of


# What these versions do not have any more, and configurations that are around still do.
OLDER = {
    "trl": {"vllm_importance_sampling_cap"},
    "verl": {
        "data.apply_chat_template_kwargs",
        "reward_model.overlong_buffer.len",
        "reward_model.enable",
    },
    "openrlhf": set(),
}
DEFAULTS = re.compile(r"\((?P<theirs>[^()→]+) → [^()]+\)")
IN_WORDS = {
    "off": (None, False, -1),
    "never": (-1,),
    "all": (None,),
    "3 epochs": (3.0,),
    "30 epochs": (30,),
    "3 %": (0.03,),
}


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_defaults_that_the_tables_give_are_theirs(trainer):
    """Example: TRL's max_completion_length has the note "(512 → 1024)"."""
    known = {**defaults_of(trainer)[1], **TRAINERS[trainer].extra}
    for row in migration.rows():
        said = DEFAULTS.search(row.note)
        name = TRAINERS[trainer].renamed.get(row.name, row.name)
        if row.trainer != TABLE[trainer] or said is None or name not in known:
            continue
        word = said["theirs"].strip('"').partition(",")[0]
        default = known[name]
        if word in known or word == "epsilon":
            assert default is None, row  # as another setting of theirs
        elif word in IN_WORDS:
            assert default in IN_WORDS[word], row
        else:
            assert word == str(default).lower() or float(word) == default, row


# --- Mathematics --------------------------------------------------------------------------------------------------


def test_what_trl_says_with_nothing_is_its_own_default_run(ours):
    tree, left = ours("trl", "{}")
    # 8 completions per device × 1 process × 1 accumulated / 8 in a group: one problem a step
    assert tree["sampling"] == {"backend": "transformers", "problems_per_step": 1, "max_tokens": 512}
    # dapo there is epsilon = 0.2 on both sides; without vLLM nothing is corrected
    assert tree["objective"] == {"name": "dapo", "clip_high": 0.2, "correction": "off", "filter_groups": False}
    assert tree["optim"] == {"lr_scheduler_type": "linear"}
    assert left.keys() == {"num_train_epochs", "adam_beta2"}


def test_what_verl_says_with_nothing_is_its_own_default_run(ours):
    tree, left = ours("verl", "{}")
    assert tree["sampling"] == {"problems_per_step": 1024, "max_tokens": 512}
    assert tree["objective"] == {
        "name": "dapo",
        "clip_high": 0.2,
        "dual_clip": 3.0,
        "correction": "off",
        "filter_groups": False,
    }
    assert tree["optim"] == {"updates_per_step": 4}  # 1024 / 256
    assert {"algorithm.adv_estimator", "actor_rollout_ref.rollout.n"} <= left.keys()  # a critic; no group
    assert {"actor_rollout_ref.actor.optim.weight_decay", "actor_rollout_ref.actor.optim.betas"} <= left.keys()


def test_what_openrlhf_says_with_nothing_is_its_own_default_run(ours):
    tree, left = ours("openrlhf", "{}")
    # 1024 prompts × 1 sample / 128 completions an update
    assert tree["optim"] == {"lr_scheduler_type": "cosine", "updates_per_step": 8}
    assert tree["objective"]["kl_coef"] == 0.01 and tree["objective"]["kl_in"] == "reward"
    assert tree["data"] == {"chat": False}
    assert {"actor.adam.betas", "actor.min_lr_ratio", "actor.lr_warmup_ratio", "train.num_episodes"} <= left.keys()


def test_trl_batches_become_problems_and_updates():
    tree = tomllib.loads(convert("trl", FOLDER / "grpo.yaml").toml)
    # sampled at once: 8 per device × 4 processes × 8 steps per generation = 256 completions / 8 = 32 problems
    assert (tree["sampling"]["problems_per_step"], tree["optim"]["updates_per_step"]) == (32, 2)  # 8 / 4 accumulated
    assert tree["run"]["steps"] == 200  # 400 updates / 2 a round
    assert tree["optim"]["warmup_steps"] == 20  # 0.1 of 200
    assert [reward["use"] for reward in tree["reward"]] == [
        "math",
        "trl.rewards:think_format_reward",
        "my_rewards:brevity",
        "length",
    ]
    assert [reward.get("weight", 1.0) for reward in tree["reward"]] == [1.0, 0.1, 0.2, 0.5]
    assert tree["reward"][3]["options"] == {"max_tokens": 1280, "cache": 256}
    assert tree["objective"]["correction"] == "sequence_mask" and tree["objective"]["correction_max"] == 3.0
    assert tree["objective"]["kl_unbiased"] is True


def test_a_dump_of_trl_tells_the_number_of_its_processes(ours):
    # 128 completions at once = 4 per device × 8 accumulated × 4 processes; / 8 in a group = 16 problems
    text = "{generation_batch_size: 128, steps_per_generation: 8, per_device_train_batch_size: 4, "
    tree, _ = ours("trl", text + "gradient_accumulation_steps: 8, num_generations: 8}")
    assert tree["sampling"]["problems_per_step"] == 16 and tree["optim"]["updates_per_step"] == 1


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("loss_type: dr_grpo, scale_rewards: none", {"name": "dr_grpo", "advantages": "group_mean"}),
        ("loss_type: dr_grpo", {"name": "dr_grpo", "advantages": "group_std"}),  # the loss alone
        ("loss_type: grpo, importance_sampling_level: sequence", {"name": "gspo"}),  # epsilon 0.2 would clip nothing
        (
            "loss_type: grpo, importance_sampling_level: sequence, epsilon: 3e-4, epsilon_high: 4e-4",
            {"name": "gspo", "clip_low": 3e-4, "clip_high": 4e-4},
        ),
        ("loss_type: cispo, epsilon_high: 5.0", {"name": "cispo", "clip_high": 4.0}),  # 1 + 4 is the cap
        ("loss_type: luspo", {"name": "grpo", "weights": "sum", "clip_high": None}),
        ("epsilon_high: 0.28, delta: 4.0", {"clip_high": 0.28, "dual_clip": 4.0}),
        ("multi_objective_aggregation: normalize_then_sum", {"advantages": "gdpo", "clip_high": 0.2}),
        ("beta: 0.04, use_bias_correction_kl: false", {"kl_coef": 0.04, "kl_unbiased": False, "clip_high": 0.2}),
    ],
)
def test_what_trl_maximises_is_what_is_maximised_here(ours, said, expected):
    tree, _ = ours("trl", f"{{{said}}}")
    assert {key: tree["objective"].get(key) for key in expected} == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_imported_is_what_parity_with_trl_was_shown_for(case, tmp_path):
    """tests/parity computes with `make_objective(case)` what TRL computes with these settings, to 1e-5."""
    path = tmp_path / "case.json"
    given = {
        "loss_type": case.loss_type,
        "importance_sampling_level": case.importance_sampling_level,
        "scale_rewards": case.scale_rewards,
        "multi_objective_aggregation": case.multi_objective_aggregation,
        "epsilon": case.epsilon,
        "epsilon_high": case.epsilon_high,
        "delta": case.delta,
        "beta": case.beta,
        "use_bias_correction_kl": case.bias_correction,
        "top_entropy_quantile": case.top_entropy_quantile,
        "mask_truncated_completions": case.mask_truncated,
        "use_vllm": True,
        "vllm_importance_sampling_correction": case.importance,
        "vllm_importance_sampling_mode": case.mode,
        "vllm_importance_sampling_clip_min": case.clip_min,
        "vllm_importance_sampling_clip_max": case.clip_max,
    }
    path.write_text(json.dumps(given))
    imported = resolved(loaded(convert("trl", path).toml, tmp_path).objective)
    assert parts_of(imported) == parts_of(make_objective(case).settings)


def parts_of(objective):
    """All that the loss reads of it, whatever its name: "grpo" by sequences is "gspo"."""
    bounds = () if objective.correction == "off" else objective.correction_bounds
    tree = objective.model_dump(exclude={"name", "correction_min", "correction_max", "clip_low", "clip_high"})
    reads_clip = objective.surrogate != "sapo"
    return {**tree, "bounds": bounds, "clip": objective.trust_region if reads_clip else None}


def test_verls_script_with_arrays_variables_and_arithmetic():
    made = convert("verl", FOLDER / "verl.sh", problems=1000)
    tree = tomllib.loads(made.toml)
    assert tree["model"]["name"] == "Qwen/Qwen3-4B"
    assert tree["sampling"] | {"backend": "vllm"} == tree["sampling"]
    assert (tree["sampling"]["problems_per_step"], tree["sampling"]["group_size"]) == (256, 16)
    assert tree["sampling"]["max_tokens"] == 4096  # 1024 * 4
    assert tree["optim"] == {"lr": 1e-6, "warmup_steps": 10, "updates_per_step": 4}  # 256 / 64
    assert tree["run"]["steps"] == 12  # 3 passes × 1000 / 256 = 11.7
    assert tree["objective"] == {
        "name": "dapo",
        "advantages": "group_std",
        "weights": "constant",
        "clip_high": 0.28,
        "dual_clip": 3.0,
        "kl_coef": 0.002,
        "kl_estimator": "k2",  # the value k3's, with + the gradient k2's
        "correction": "token_truncate",
        "correction_max": 2.0,
        "filter_groups": False,
    }
    assert [reward["use"] for reward in tree["reward"]] == ["rewards/mine.py:score", "length"]
    assert tree["reward"][1]["options"] == {"max_tokens": 4096, "cache": 512}
    assert tree["eval"] == {"source": "/data/math/test.parquet", "every": 5}
    left = {one.name: one.why for one in made.carried.left}
    assert "under a condition" in left["actor_rollout_ref.rollout.enforce_eager"]
    assert "first value is taken" in left["actor_rollout_ref.rollout.tensor_model_parallel_size"]
    assert "what the script does not set" in left["trainer.experiment_name"]  # $RUN_NAME
    assert "no critic" in left["critic.optim.lr"]
    assert "actor_rollout_ref.actor.entropy_coeff" not in made.given  # it is a comment


def test_a_command_within_a_command_is_read(ours):
    script = """srun bash -c "pip install x && python3 -m verl.trainer.main_ppo data.train_batch_size=64 data.seed=" """
    tree, left = ours("verl", script, suffix=".sh")
    assert tree["sampling"]["problems_per_step"] == 64 and "is empty" in left["data.seed"]


def test_verls_groups_may_come_as_a_file_of_hydra(ours):
    tree, left = ours(
        "verl",
        "algorithm: {adv_estimator: rloo, use_kl_in_reward: true, kl_ctrl: {kl_coef: 0.01}}\n"
        "actor_rollout_ref:\n  rollout: {n: 4}\n  actor: {ppo_mini_batch_size: 512, policy_loss: {loss_mode: gspo},\n"
        "    clip_ratio_low: 3e-4, clip_ratio_high: 4.0e-4}\n"
        "data: {apply_chat_template_kwargs: {enable_thinking: false}}\ncritic: {optim: {lr: 1.0}}\n",
    )
    assert tree["objective"]["advantages"] == "leave_one_out" and tree["objective"]["kl_in"] == "reward"
    assert tree["objective"]["name"] == "gspo" and tree["objective"]["clip_high"] == 4e-4
    assert tree["data"]["chat_template_kwargs"] == {"enable_thinking": False}
    assert "dual_clip" not in tree["objective"]  # verl's gspo has none
    assert "critic.optim.lr" not in left


def test_openrlhfs_old_names_are_read_as_its_new_ones():
    made = convert("openrlhf", FOLDER / "openrlhf.sh", problems=3200)
    tree = tomllib.loads(made.toml)
    assert tree["sampling"] == {"problems_per_step": 64, "group_size": 8, "max_tokens": 3000}
    assert tree["optim"]["updates_per_step"] == 4  # 64 × 8 / 128
    assert tree["run"]["steps"] == 100  # 2 × 3200 / 64
    assert tree["optim"]["warmup_steps"] == 3  # 0.03 × 100
    assert tree["objective"]["clip_high"] == 0.27 and tree["objective"]["dual_clip"] == 3.0
    assert tree["data"]["problem"] == "question" and tree["data"]["answer"] == "answer"
    assert "reward.remote_url" in {left.name for left in made.carried.left if left.matters}
    assert tree["run"]["save_every"] == 20  # in an array
    assert not {"not_ours", "address", "reward.model_name_or_path"} & made.given  # other commands', and a comment


# --- What a reader is told ----------------------------------------------------------------------------------------


def test_a_name_that_nobody_has_is_named_with_the_nearest(ours):
    _, left = ours("trl", "learing_rate: 1e-6")
    assert left["learing_rate"].endswith("did you mean learning_rate?")


def test_what_is_missing_is_a_comment_and_the_rest_still_loads(tmp_path):
    made = convert("trl", FOLDER / "training_args.json")
    assert made.missing == ("model.name", "data.source", "reward")
    assert '\n# name = "…"  # missing there; ' in made.toml
    assert loaded(made.toml, tmp_path).objective.name == "dr_grpo"


def test_no_key_of_an_account_is_written():
    for name, trainer in FILES.items():
        toml = convert(trainer, FOLDER / name).toml
        assert "my-secret-key" not in toml and "hf_secret" not in toml


def test_what_stands_in_a_value_does_not_get_out_of_its_comment(ours):
    tree, left = ours("trl", 'run_name: "x\\n[run]\\nsteps = 1"\nnobody: "y\\u2028[cluster]\\nlearners = 2"')
    assert "cluster" not in tree and "steps" not in tree.get("run", {}) and "nobody" in left


def test_the_command_writes_the_file_and_counts_on_standard_error(tmp_path):
    out = tmp_path / "mine.toml"
    command = ["import", "trl", str(FOLDER / "grpo.yaml"), "--out", str(out)]
    first = CliRunner().invoke(cli.app, command)
    assert first.exit_code == 0 and first.stdout == ""
    assert re.search(r"^\d+ of 22 settings carried over; 4 not, which would change the run: ", first.stderr)
    assert load_config(str(out)).sampling.problems_per_step == 32
    again = CliRunner().invoke(cli.app, command)
    assert isinstance(again.exception, ConfigError) and "is there already" in str(again.exception)


# --- What cannot be read ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "theirs.yaml: not YAML (line 1: "),
        ("a: 1\na: 2\n", "a stands there twice"),
        ("- 1\n", "holds no settings by name"),
        ("", "holds no settings by name"),
        ("!!python/object/apply:os.system ['true']", "not YAML"),
        ("[" * 5000, "not YAML"),
        ("num_generations: many", "num_generations = 'many': must be a number"),
        ("num_generations: 1.5", "must be a whole number"),
        ("num_generations: 3", "8 × 1 × 1 completions are sampled at once, no multiple of num_generations = 3"),
        ("reward_funcs: [accuracy_reward]\nreward_weights: [1, 2]", "must have one number for each of 1 reward_funcs"),
        ("learning_rate: -1", "theirs.yaml, as ours: optim.lr = -1: must be greater than 0"),
        ("use_vllm: 3", "use_vllm = 3: must be true or false"),
        ("x: " + "y" * LARGEST, "has more than 1,000,000 bytes"),
    ],
)
def test_what_is_no_configuration_is_refused_in_a_sentence(refusal, text, said):
    sentence = refusal("trl", text)
    assert said in sentence and "\n" not in sentence


def test_references_that_never_end_are_refused(refusal):
    assert "has more than 10,000 settings" in refusal("verl", "a: &a {b: *a}")
    levels = "".join(f"a{n}: &a{n} {{{', '.join(f'x{i}: *a{n - 1}' for i in range(9))}}}\n" for n in range(1, 9))
    assert "has more than 10,000 settings" in refusal("verl", "a0: &a0 {x: 1}\n" + levels)


def test_scripts_and_trainers_that_cannot_be_read_are_refused(refusal, tmp_path):
    assert "not a shell script that can be read" in refusal("verl", "echo 'open", suffix=".sh")
    assert "holds no settings" in refusal("openrlhf", "echo hello", suffix=".sh")
    assert "cannot be read (No such file" in refusal_of(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is none that can be read; there are trl, verl, openrlhf"):
        convert("slime", FOLDER / "grpo.yaml")
    with pytest.raises(ConfigError, match="batches are of all devices together"):
        convert("verl", FOLDER / "verl.sh", processes=8)


def refusal_of(path: Path) -> str:
    with pytest.raises(ConfigError) as error:
        convert("trl", path)
    return str(error.value)


def test_nothing_in_a_script_is_run(ours, tmp_path):
    target = tmp_path / "made"
    ours(
        "verl", f"X=$(touch {target})\npython -m verl data.seed=`touch {target}` data.train_batch_size=8", suffix=".sh"
    )
    assert not target.exists()


def test_the_sentences_of_the_import_name_settings_that_are_there():
    theirs = {name for trainer in TRAINERS for name in (*defaults_of(trainer)[1], *TRAINERS[trainer].extra)}
    theirs |= {name for trainer in TRAINERS for name in TRAINERS[trainer].renamed}
    groups = {name.rpartition(".")[0] for name in theirs}
    named = re.compile(rf"(?<![\w.])(?:{'|'.join({key.partition('.')[0] for key in SETTINGS})})\.[a-z][a-z_]*\b")
    for path in (ROOT / "grpo" / "importing").glob("*.py"):
        told = {
            name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            for name in named.findall(node.value)
        }
        patterns = {name for name in told if not any(one.startswith(name) for one in (*theirs, *groups))}
        assert patterns - set(SETTINGS) <= {"model.lora_", "run.toml"}, path.name


# --- The defaults -------------------------------------------------------------------------------------------------


def test_defaults_are_read_from_sources_without_running_them(tmp_path):
    spec = importlib.util.spec_from_file_location("foreign_defaults", ROOT / "scripts" / "foreign_defaults.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    config = tmp_path / "grpo_config.py"
    config.write_text(
        "raise SystemExit\n@dataclass\nclass GRPOConfig(Base):\n    _private: int = 1\n    beta: float = 0.04\n"
        "    names: list = field(default_factory=list, metadata={})\n    cap: float | None = field(default=3.0)\n"
    )
    assert dict(script.of_dataclasses([config])) == {"beta": 0.04, "names": [], "cap": 3.0}
    flags = tmp_path / "train.py"
    flags.write_text(
        "for prefix in ('actor', 'critic'):\n"
        "    parser.add_argument(f'--{prefix}.adam.lr', default=1e-6 if prefix == 'actor' else 9e-6)\n"
        "parser.add_argument('--pair', nargs=2, default=(0, 1))\nparser.add_argument('--off', action='store_false')\n"
    )
    assert dict(script.of_parser(flags)) == {"actor.adam.lr": 1e-6, "critic.adam.lr": 9e-6, "pair": [0, 1]}
    assert dict(script.flat({"a": {"_target_": "x", "b": {"c": 1}, "d": {}}})) == {"a.b.c": 1, "a.d": {}}
