"""Other trainers' names are answered with ours; their tables are true, and docs/coming-from-….md are made of them."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import pytest

from grpo.config_file import load_config
from grpo.errors import ConfigError
from grpo.importing import convert
from grpo.migration import TRAINERS, Foreign, look_up, rows
from tests.conftest import ROOT
from tests.test_config import MINIMAL, SETTINGS

PAGES = {trainer: ROOT / "docs" / f"coming-from-{trainer.lower()}.md" for trainer in TRAINERS}
ROWS = list(rows())
DEFAULTS = re.compile(r"\((?P<theirs>[^()→]+) → (?P<ours>[^()]+)\)")


def refusal(tmp_path, text=MINIMAL, *changes) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load_config(str(path), changes)
    return str(error.value)


# --- The table ----------------------------------------------------------------------------------------------------


def test_the_table_leads_to_settings_that_there_are():
    assert {row.ours for row in ROWS} - {None} <= set(SETTINGS)


def test_a_name_without_a_counterpart_says_why():
    assert all(row.note for row in ROWS if row.ours is None)


def test_the_settings_that_notes_name_are_there():
    groups = "|".join({key.partition(".")[0] for key in SETTINGS})
    named = {name for row in ROWS for name in re.findall(rf"\b(?:{groups})\.[a-z][a-z_]*\b", row.note)}
    assert named - set(SETTINGS) == {"data.train_batch_size", "data.max_len"}  # verl's and OpenRLHF's


@pytest.mark.parametrize("row", [row for row in ROWS if row.ours and DEFAULTS.search(row.note)], ids=lambda r: r.name)
def test_the_default_that_a_note_gives_is_ours(row: Foreign):
    said = DEFAULTS.search(row.note)
    assert said is not None
    setting = "objective.clip_high" if "set objective.clip_high as well" in row.note else str(row.ours)
    default = SETTINGS[setting].default
    named = {"objective.clip_high": 0.28, "objective.correction_max": 2, "objective.correction": "token_truncate"}
    value = named.get(setting) if default is None else default  # of dapo, which is the default objective
    words = {"true": True, "false": False, "off": 0}
    first = re.match(r'"?([\w.]+)', said["ours"])
    assert first is not None
    assert words.get(first[1], first[1]) == value or float(first[1]) == value


def test_what_trainers_call_alike_is_one_thing_to_us():
    by_name: dict[str, set[str | None]] = {}
    for row in ROWS:
        by_name.setdefault(row.name, set()).add(row.ours)
    assert {name: ours for name, ours in by_name.items() if len(ours) > 1} == {}


# --- What is said -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.trainer}-{row.name}")
@pytest.mark.parametrize("prefix", ["", "trainer_args.", "+", "--"])
def test_every_name_is_found_whatever_stands_before_it(row: Foreign, prefix: str):
    [found] = look_up(f"{prefix}{row.name}".split("."))
    assert (found.name, found.ours) == (row.name, row.ours)


SAID = [
    ("beta", "TRL's beta is objective.kl_coef here"),
    ("epsilon", "TRL's epsilon is objective.clip_low here: for both sides"),
    ("num_generations", "TRL's num_generations is sampling.group_size here"),
    ("learning_rate", "TRL's learning_rate is optim.lr here"),
    ("max_completion_length", "TRL's max_completion_length is sampling.max_tokens here"),
    ("vllm_server_host", "TRL's vllm_server_host has no counterpart here: all GPUs are used"),
    ("actor_rollout_ref.rollout.n", "verl's actor_rollout_ref.rollout.n is sampling.group_size here"),
    ("rollout.n", "verl's actor_rollout_ref.rollout.n is sampling.group_size here"),
    ("data.train_files", "verl's data.train_files is data.source here"),
    ("n_samples_per_prompt", "OpenRLHF's n_samples_per_prompt is sampling.group_size here"),
    ("orchestrator.batch_size", "prime-rl's orchestrator.batch_size is sampling.problems_per_step here: in problems"),
]


@pytest.mark.parametrize(("name", "said"), SAID)
@pytest.mark.parametrize("before", ["", "grpo.", "objective."])
def test_another_trainers_name_in_a_change_is_answered_with_ours(tmp_path, name, said, before):
    assert f"{before}{name} is not a setting; {said}" in refusal(tmp_path, MINIMAL, f"{before}{name}=1")


@pytest.mark.parametrize(("name", "said"), SAID)
def test_another_trainers_name_in_a_file_is_answered_with_ours(tmp_path, name, said):
    text = MINIMAL if name.startswith("data.") else f"{MINIMAL}[grpo]\n"
    assert f"{name} is not a setting; {said}" in refusal(tmp_path, f"{text}{name.removeprefix('data.')} = 1\n")


def test_another_trainers_file_is_answered_with_its_names_before_what_it_lacks(tmp_path):
    said = refusal(tmp_path, "num_generations = 8\n")
    assert said == "mine.toml: num_generations is not a setting; TRL's num_generations is sampling.group_size here"


def test_a_name_of_several_things_is_answered_with_all_of_them(tmp_path):
    said = refusal(tmp_path, MINIMAL, "batch_size=1")
    assert "rollout.batch_size is sampling.problems_per_step" in said and "is optim.updates_per_step" in said


@pytest.mark.parametrize("name", ["run.name", "optim.type", "data.path", "model.n", "clip_hgh", "x"])
def test_a_word_that_could_be_anyones_is_nobodys(name):
    assert look_up(name.split(".")) == []


# --- The pages ----------------------------------------------------------------------------------------------------


def page(trainer: str) -> str:
    """A trainer's page with what is made anew: the TOML of its example, and the table of settings at its end."""
    before = PAGES[trainer].read_text(encoding="utf-8").partition("\n## Settings")[0].rstrip("\n")
    return "\n\n".join([with_example(before, trainer), "## Settings", settings(trainer)]) + "\n"


EXAMPLE = re.compile(r"(\n## An example\n\n```(\w+)\n)(.*?)(\n```\n\n.*?\n```toml\n)(.*?)```", re.DOTALL)
OPTIONS = re.compile(r"`--(processes|problems) (\d+)`")


def with_example(text: str, trainer: str) -> str:
    """`text` with what `grpo import` makes of its first example, with the options that stand between the two."""

    def made(found: re.Match[str]) -> str:
        before, kind, theirs, between, _ = found.groups()
        name = {"TRL": "grpo.yaml", "verl": "run.sh", "OpenRLHF": "run.sh"}[trainer]
        assert name.endswith(kind)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_text(theirs + "\n", encoding="utf-8")
            options = {option: int(number) for option, number in OPTIONS.findall(between)}
            toml = convert(trainer.lower(), path, **options).toml
        return f"{before}{theirs}{between}{toml}```"

    return EXAMPLE.sub(made, text)


def settings(trainer: str) -> str:
    lines = [
        'Their names, and ours. "(a → b)" are defaults, theirs and ours; "–": there is no counterpart, for the reason',
        "beside it. The program knows them, too: `--set beta=0.04` is answered with `objective.kl_coef`.",
        "",
        f"| {trainer} | here | what differs |",
        "| --- | --- | --- |",
    ]
    for row in ROWS:
        if row.trainer == trainer:
            lines.append(f"| `{row.name}` | {f'`{row.ours}`' if row.ours else '–'} | {row.note} |")
    return "\n".join(lines)


@pytest.mark.parametrize("trainer", PAGES)
def test_the_pages_are_what_the_program_says(trainer):
    assert PAGES[trainer].read_text(encoding="utf-8") == page(trainer), "python -m tests.test_migration writes them"


@pytest.mark.parametrize("trainer", PAGES)
def test_the_settings_of_ours_that_a_page_names_are_there(trainer):
    text = PAGES[trainer].read_text(encoding="utf-8")
    groups = "|".join({key.partition(".")[0] for key in SETTINGS})
    named = set(re.findall(rf"`((?:{groups})\.[a-z][a-z_]*)`", text))
    theirs = {row.name for row in ROWS}
    assert {name for name in named if not any(one.endswith(name) for one in theirs)} <= set(SETTINGS)


if __name__ == "__main__":
    for one, place in PAGES.items():
        place.write_text(page(one), encoding="utf-8")
        sys.stdout.write(f"{place}\n")
