"""`grpo select` from end to end: rows, card and funnel; the same bytes each time; a sentence where nothing is left."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from grpo.cli import app
from grpo.completions import COMPLETIONS
from grpo.config import Select, SelectConfig, Source
from grpo.config_file import load_select
from grpo.errors import ConfigError, DataError
from grpo.selection import select, writing
from grpo.selection.candidates import checksum
from grpo.selection.filters import Funnel
from tests.conftest import ROOT
from tests.selections import chat, collect, one, read_jsonl, write_jsonl

ITEM = "Which of the seven bridges of the old town did the mayor cross first on the day of the fair?"


def said(problem: int, sample: int) -> str:
    draw = random.Random(f"{problem}/{sample}")
    return " ".join(
        draw.choice("so then we add up take away and find out that it is more or less".split()) for _ in range(30)
    )


def problems(count: int):
    """Half of the samples right; one in each problem cut off, one not judged; problem 0 is an evaluation item."""
    rows = {}
    for problem in range(count):
        values = [1.0, 0.0, 1.0, 0.0, 1.0, None, 1.0, 1.0]
        finish = ["stop"] * 7 + ["length"]
        asked = ITEM if problem == 0 else f"Problem {problem}?"
        rows[asked] = [one(n, said(problem, n), values[n], finish=finish[n]) for n in range(8)]
    return rows


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A collection of 20 problems, 12 general rows and an evaluation set, in the directory that the test is in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    collect(tmp_path / "collected", problems(20))
    write_jsonl(tmp_path / "general.jsonl", [chat(f"Hello {n}", f"Good day, number {n}. " * n) for n in range(1, 13)])
    write_jsonl(tmp_path / "test.jsonl", [{"problem": ITEM, "answer": "4"}, {"problem": "What else?", "answer": "5"}])
    return tmp_path


def run(out: str, *sources: str, **settings) -> list[str]:
    """The lines that a selection says."""
    lines: list[str] = []
    tree = {"select": {"source": list(sources), **settings}}
    select(SelectConfig.model_validate(tree), Path(out), lines.append)
    return lines


ALL = {"decontaminate": ["test.jsonl"], "max_per_problem": 3}


# --- What is written ------------------------------------------------------------------------------------------------


def test_the_funnel_says_what_became_of_every_completion(places):
    lines = run("sft.jsonl", "collected", "general.jsonl", **ALL)
    assert [" ".join(line.split()) for line in lines] == [
        "collected: 160 completions of 20 problems",
        "not judged -20 140",
        "wrong -40 100",
        "truncated -20 80",
        "looping 0 80",
        "contaminated -4 76",
        "duplicate 0 76",
        "near duplicate 0 76",
        "over the cap -19 57",
        "kept 57 35.6%, 19 problems",
        "general: 12 rows, from a trusted source",
        "contaminated 0 12",
        "duplicate 0 12",
        "kept 12 100.0%",
        "warning: the training data had the evaluation set test.jsonl: 4 rows dropped, 50.0% of its 2 items touched",
        "mix samples words",
        "collected 57 82.6% 1,710 84.6%",
        "general 12 17.4% 312 15.4%",
        "sft.jsonl: 69 rows; what they are, and why: sft.jsonl.card.md",
    ]


def test_rows_are_conversations_with_where_they_come_from(places):
    run("sft.jsonl", "collected", "general.jsonl", **ALL)
    rows = read_jsonl(places / "sft.jsonl")
    assert {tuple(row) for row in rows} == {("id", "messages", "source", "tokens", "reward")}
    assert {(row["source"], row["reward"]) for row in rows} == {("collected", 1.0), ("general", None)}
    assert all(row["messages"][-1]["role"] == "assistant" for row in rows)
    assert all(row["tokens"] == 31 for row in rows if row["source"] == "collected")
    assert ITEM not in {row["messages"][0]["content"] for row in rows}


def test_datasets_reads_both_formats_as_conversations_and_they_hold_the_same(places):
    for name, kind in (("sft.jsonl", "json"), ("sft.parquet", "parquet")):
        run(name, "collected", "general.jsonl", **ALL)
        table = datasets.load_dataset(kind, data_files=name, split="train")
        assert table.to_list() == read_jsonl(places / "sft.jsonl")
        assert table.features["messages"] == datasets.List(
            {"role": datasets.Value("string"), "content": datasets.Value("string")}
        )
    assert pq.read_schema("sft.parquet") == writing.SCHEMA


def test_trl_takes_a_row_for_a_conversation(places):
    """What its `is_conversational` asks: a list of messages, each with a role and a content."""
    run("sft.jsonl", "collected")
    [row, *_] = read_jsonl(places / "sft.jsonl")
    assert isinstance(row["messages"], list) and all({"role", "content"} == set(one) for one in row["messages"])


def test_what_was_dropped_for_an_evaluation_set_is_listed_beside_it(places):
    run("sft.jsonl", "collected", **ALL)
    listed = read_jsonl(places / "sft.jsonl.overlaps.jsonl")
    assert [row["row"] for row in listed] == [f"{ITEM}#{n}" for n in (0, 2, 4, 6)]
    assert {(row["evaluation"], row["item"], row["covered"]) for row in listed} == {("test.jsonl", "test/0", 1.0)}
    assert {(row["evaluation_text"], row["training_text"]) for row in listed} == {(ITEM, ITEM)}


def test_the_card_and_its_numbers_say_what_is_in_the_file(places):
    run("sft.jsonl", "collected", "general.jsonl", **ALL)
    facts = json.loads((places / "sft.jsonl.json").read_text())
    first, second = facts["sources"]
    assert facts["file"] == {"name": "sft.jsonl", "rows": 69, "sha256": checksum(places / "sft.jsonl")}
    assert first["sha256"] == checksum(places / "collected" / COMPLETIONS)
    assert sum(first["dropped"].values()) + first["kept"] == first["rows"] == 160
    assert (first["kept because"], second["kept because"]) == ("its rewards", "trusted source")
    assert (first["written"], second["written"], first["words"], facts["unit"]) == (57, 12, 1710, "words")
    assert sum(rows for _, rows in facts["lengths"]) == 69 and len(facts["examples"]) == 3
    assert facts["decontamination"] == [
        {"set": "test.jsonl", "items": 2, "rows dropped": 4, "items touched": 1, "share touched": 0.5}
    ]
    card = (places / "sft.jsonl.card.md").read_text()
    for part in (
        "| not judged | 20 | 140 |",
        "| test.jsonl | 4 | 1 of 2 | 50.0% |",
        "| ≤ 64 |",
        first["sha256"],
        "82.6%",
    ):
        assert part in card


def test_lengths_are_in_tokens_where_all_are_known(places, tiny_model):
    run("a.jsonl", "collected")
    assert json.loads(Path("a.jsonl.json").read_text())["unit"] == "tokens"
    lines = run("b.jsonl", "collected", "general.jsonl", tokenizer=str(tiny_model), max_tokens=10_000)
    assert any(line.split() == ["mix", "samples", "tokens"] for line in lines)
    general = [row for row in read_jsonl(Path("b.jsonl")) if row["source"] == "general"]
    assert all(row["tokens"] > 1 for row in general)


def test_a_mix_by_weight_says_its_shares_of_samples_and_of_lengths(places):
    sources = [{"use": "collected", "weight": 3.0}, {"use": "general.jsonl", "weight": 1.0}]
    lines = run("sft.jsonl", *sources, max_per_problem=3)  # of 60 and 12: 36 and 12
    assert [line.split()[:3] for line in lines[-3:-1]] == [["collected", "36", "75.0%"], ["general", "12", "25.0%"]]
    twice = [sources[0], {**sources[1], "repeat": 2}]
    rows = run("twice.jsonl", *twice, max_per_problem=3, rows=80)
    assert [line.rpartition("%")[2].strip() for line in rows[-3:-1]] == ["", "of 12 kept"]
    assert [line.split()[:3] for line in rows[-3:-1]] == [["collected", "60", "75.0%"], ["general", "20", "25.0%"]]
    ids = [row["id"] for row in read_jsonl(Path("twice.jsonl")) if row["source"] == "general"]
    assert len(set(ids)) == 12 and len(ids) == 20


def test_a_source_that_is_no_file_has_the_checksum_of_its_rows(places):
    rows = [chat(f"Hello {n}", f"Good day, number {n}.") for n in range(3)]
    for name, of in (("all", rows), ("some", rows[:2])):
        datasets.Dataset.from_list(of).save_to_disk(places / name)
    run("a.jsonl", "all")
    run("b.jsonl", "all")
    run("c.jsonl", "some")
    sums = [json.loads(Path(f"{name}.jsonl.json").read_text())["sources"][0]["sha256"] for name in "abc"]
    assert sums[0] == sums[1] != sums[2] and {len(one) for one in sums} == {64}


# --- The same bytes -------------------------------------------------------------------------------------------------

ENDS = ("", ".json", ".card.md", ".overlaps.jsonl")


@pytest.mark.parametrize("name", ["sft.jsonl", "sft.parquet"])
def test_the_same_inputs_give_the_same_bytes(places, name):
    written = []
    for folder in ("one", "two"):
        run(f"{folder}/{name}", "collected", "general.jsonl", **ALL, rows=40)
        written.append([Path(folder, name + end).read_bytes() for end in ENDS])
        assert sorted(file.name for file in Path(folder).iterdir()) == sorted(name + end for end in ENDS)
    assert written[0] == written[1]


KILLED = "import sys; sys.argv = ['grpo', *sys.argv[1:]]; from grpo.cli import main; main()"


def test_killed_and_started_again_it_writes_what_it_would_have_written(places):
    collect(places / "many", problems(1000))
    command = [sys.executable, "-c", KILLED, "select", "many", "--out", "killed.jsonl"]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
    while process.poll() is None and not list(places.glob(".killed.jsonl.writing/0")):
        time.sleep(0.01)
    process.kill()
    process.wait()
    if not (places / "killed.jsonl").exists():  # else it was faster, and the file is whole
        run("killed.jsonl", "many")
    run("whole.jsonl", "many")
    assert (places / "killed.jsonl").read_bytes() == (places / "whole.jsonl").read_bytes()
    assert not list(places.glob(".*writing"))


# --- What is refused ------------------------------------------------------------------------------------------------


def refusal(error: type[Exception], out: str, *sources, **settings) -> str:
    with pytest.raises(error) as raised:
        run(out, *sources, **settings)
    assert not list(Path().glob(f"*{out}*")) and not list(Path().glob(".*writing"))
    return str(raised.value)


def test_an_empty_selection_names_the_biggest_loss_and_what_to_do(places):
    collect(places / "bad", {f"p{n}": [one(0, "x", 0.0), one(1, "y", 1.0, finish="length")] for n in range(3)})
    assert refusal(DataError, "o.jsonl", "bad") == (
        'bad: 0 of 6 rows are left (0.0%); most were dropped as "wrong" (3): collect from a better model or with more '
        "samples, or lower select.min_reward"
    )


def test_a_yield_below_one_in_a_hundred_stops_and_what_the_cap_drops_is_no_loss(places):
    collect(places / "poor", {f"p{n}": [one(s, said(n, s), float(n + s == 0)) for s in range(3)] for n in range(40)})
    assert refusal(DataError, "o.jsonl", "poor").startswith("poor: 1 of 120 rows are left (0.8%); most were dropped")
    collect(places / "rich", {"p": [one(s, said(0, s)) for s in range(150)]})
    run("o.jsonl", "rich", max_per_problem=1)
    assert len(read_jsonl(Path("o.jsonl"))) == 1


def test_an_evaluation_set_that_is_all_there_is_to_train_on_is_a_sentence(places):
    collect(places / "leaked", {ITEM: [one(0, "a b c"), one(1, "d e f")]})
    assert 'most were dropped as "contaminated" (2): what is trained on' in refusal(
        DataError, "o.jsonl", "leaked", decontaminate=["test.jsonl"]
    )


@pytest.mark.parametrize(
    ("sources", "settings", "sentence"),
    [
        (
            ["general.jsonl"],
            {"decontaminate": ["./general.jsonl"]},
            "select.decontaminate: ./general.jsonl is a source, too",
        ),
        (
            ["general.jsonl"],
            {"max_tokens": 9},
            "select.max_tokens: how many tokens a row of general.jsonl has is not known",
        ),
        ([], {}, "grpo select: no source"),
        (["general.jsonl"], {"language": "eng"}, "select.language: 'eng' is no language that is told apart here"),
        ([{"use": "general.jsonl", "weight": 1.0}], {"rows": 99}, "select.rows = 99: there are 12 to write"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(places, sources, settings, sentence):
    assert refusal(ConfigError, "o.jsonl", *sources, **settings).startswith(sentence)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("no-such/data-set", "data set no-such/data-set: "),
        ("nope.jsonl", "nope.jsonl: no such file"),
        ("runs/nope", "runs/nope: no such file or directory"),
        ("empty.jsonl", "empty.jsonl: has no rows"),
        ("cut", "cut/completions.parquet: is damaged or cut off"),
    ],
)
def test_a_source_that_is_missing_empty_or_half_written_is_refused_at_once(places, monkeypatch, source, sentence):
    (places / "runs").mkdir()
    (places / "empty.jsonl").write_text("")
    (places / "cut").mkdir()
    (places / "cut" / COMPLETIONS).write_bytes((places / "collected" / COMPLETIONS).read_bytes()[:-100])
    monkeypatch.setattr(Funnel, "through", None)  # nothing is filtered before
    assert refusal(DataError, "o.jsonl", "collected", source).startswith(sentence)


def test_a_place_to_write_that_cannot_be_used_is_refused_before_anything_is_read(places):
    with pytest.raises(ConfigError, match=r"^--out o\.csv: must end in \.jsonl or \.parquet$"):
        run("o.csv", "nope.jsonl")
    with pytest.raises(ConfigError, match=r"^general\.jsonl: exists already"):
        run("general.jsonl", "nope.jsonl")
    with pytest.raises(DataError, match=r"^general\.jsonl/o\.jsonl: could not be written"):
        run("general.jsonl/o.jsonl", "collected")


# --- The command ----------------------------------------------------------------------------------------------------


def test_the_command_reads_a_recipe_its_arguments_and_changes(places):
    recipe = places / "r.toml"
    recipe.write_text('[select]\nmax_per_problem = 1\n[[select.source]]\nuse = "general.jsonl"\nweight = 1.0\n')
    config = load_select(str(recipe), ["collected"], ["select.rows=7", "run.seed=3"])
    assert [(one.use, one.weight) for one in config.select.source] == [("collected", None), ("general.jsonl", 1.0)]
    assert (config.select.max_per_problem, config.select.rows, config.run.seed) == (1, 7, 3)
    arguments = ["select", "--recipe", "r.toml", "--out", "o.jsonl", "--set", "select.rows=7"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0 and len(read_jsonl(Path("o.jsonl"))) == 7


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["select.maxtokens=3"], r"select\.maxtokens is not a setting; did you mean select\.max_tokens\?"),
        (["data.source=x"], r"data is not read here; the groups that are: select, run"),
        (['select.source=[{use="a", wieght=2}]'], r"select\.source\.0\.wieght is not a setting; did you mean"),
        (["select.source=3"], r"select\.source = 3: must be a list"),
        (['select.choose="best"'], r"select\.choose = 'best': must be 'different', 'shortest' or 'random'"),
        (["select=3"], r"select = 3: must be a table"),
    ],
)
def test_a_wrong_setting_is_refused_in_words(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load_select(None, [], changes)


def test_settings_are_few_and_each_says_what_it_does():
    fields = {**{f"source.{name}": field for name, field in Source.model_fields.items()}, **Select.model_fields}
    assert len(fields) <= 20
    assert {name for name, field in fields.items() if not field.description} == {"source.subset"}


def test_out_is_needed(places):
    with pytest.raises(ConfigError, match=r"^grpo select: needs --out FILE"):
        CliRunner().invoke(app, ["select", "collected"], catch_exceptions=False)
