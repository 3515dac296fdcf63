"""Rows from files, directories, generated tasks and the Hub; and the sentence each failure ends in."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.config import Data
from grpo.errors import DataError
from grpo.problems import arithmetic, load_problems
from grpo.problems.files import read_file
from grpo.problems.sources import read_rows, stem, stream_rows

ROWS = [
    {"problem": "1 + 1?", "answer": "2"},
    {"problem": "1 + 2?", "answer": "3"},
    {"problem": "2 + 2?", "answer": "4"},
]


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def write_jsonl(path, rows=ROWS):
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def write_csv(path):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ROWS[0])
        writer.writeheader()
        writer.writerows(ROWS)
    return path


def write_parquet(path):
    datasets.Dataset.from_list(ROWS).to_parquet(path)
    return path


def write_gz(path):
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in ROWS)
    return path


WRITERS = {
    "p.jsonl": write_jsonl,
    "p.JSONL": write_jsonl,
    "lines.json": write_jsonl,
    "p.json": lambda path: write(path, json.dumps(ROWS, indent=2)),
    "p.jsonl.gz": write_gz,
    "p.csv": write_csv,
    "p.parquet": write_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_holds_the_same_rows(tmp_path, name):
    source = str(WRITERS[name](tmp_path / name))
    assert read_rows(Data(source=source)) == ROWS
    assert read_rows(Data(source=source, limit=2)) == ROWS[:2]


@pytest.mark.parametrize("name", ["p.jsonl", "p.csv", "p.jsonl.gz"])
def test_rows_are_read_one_after_another(tmp_path, name):
    """What is wrong further down is not met before its turn."""
    path = WRITERS[name](tmp_path / name)
    opener = gzip.open if name.endswith(".gz") else open
    with opener(path, "at") as file:
        file.write('"cut')
    rows = stream_rows(Data(source=str(path)))
    assert [next(rows) for _ in ROWS] == ROWS
    with pytest.raises(DataError):
        next(rows)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.lists(st.dictionaries(st.text(), json_values), min_size=1, max_size=4), st.booleans())
def test_json_lines_come_back_as_they_were_written(tmp_path_factory, rows, ascii_only):
    text = "\n\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)  # U+2028 in a text ends no line
    path = write(tmp_path_factory.mktemp("rows") / "p.jsonl", text.encode("utf-8", "replace").decode())
    assert read_file(path) == [json.loads(json.dumps(row).encode("utf-8", "replace")) for row in rows]


def test_columns_are_not_bent_into_one_type(tmp_path):
    rows = [{"answer": 1}, {"answer": 2.5, "extra": {"a": 1}}, {"answer": "x", "extra": {"b": None}}]
    assert read_rows(Data(source=str(write_jsonl(tmp_path / "p.jsonl", rows)))) == rows


def test_numbers_in_a_csv_keep_their_digits(tmp_path):
    path = write(tmp_path / "p.csv", '\ufeffproblem,answer\r\n"a, b",007\r\nc,1.10\r\n')  # as Excel saves it
    assert read_file(path) == [{"problem": "a, b", "answer": "007"}, {"problem": "c", "answer": "1.10"}]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("p.jsonl", '{"a": 1}\n\n{"a": }\n', r"p\.jsonl line 3: not JSON \(Expecting value at column 7\)"),
        ("p.jsonl", '{"a": 1}\n[1]\n', r"p\.jsonl line 2: a row must be an object .*\(given list\)"),
        ("p.jsonl", "\n \n", r"p\.jsonl: has no rows"),
        ("p.jsonl", "9" * 5000, r"p\.jsonl line 1: not JSON that can be read"),
        ("p.jsonl", "[" * 200_000, r"p\.jsonl line 1: not JSON"),
        ("p.json", '[\n{"a": 1},\n{"a" 2}]', r"p\.json line 3: not JSON"),
        ("p.json", '{"data": []}', r"p\.json: holds one dict; it must be a list of objects"),
        ("p.json", "[1]", r"p\.json row 1: a row must be an object"),
        ("p.json", '{"a": 1}\n{"a": \n', r"p\.json line 2: not JSON"),
        ("p.json", "[]", r"p\.json: has no rows"),
        ("p.csv", "problem,answer\na,1\nb,2,3\n", r"p\.csv line 3: not as many fields as the header has \(2\)"),
        ("p.csv", "problem,answer\na\n", r"p\.csv line 2: not as many fields"),
        ("p.csv", 'problem,answer\n"a"b,1\n', r"p\.csv: not CSV after line 1"),
        ("p.csv", 'problem,answer\na,"1\n', r"p\.csv: not CSV after line"),
        ("p.csv", "problem,answer\n", r"p\.csv: has no rows"),
        ("p.parquet", "no parquet at all", r"p\.parquet: not a Parquet file"),
        ("p.jsonl.gz", "not compressed", r"p\.jsonl\.gz: cannot be read \(Not a gzipped file"),
        ("p.txt", "a", r"p\.txt: cannot be read by its ending; allowed are \.jsonl, \.json, \.csv, \.parquet"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(tmp_path, name, text, says):
    with pytest.raises(DataError, match=says):
        read_rows(Data(source=str(write(tmp_path / name, text))))


def test_text_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_bytes('{"a": "é"}'.encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8 text"):
        read_file(path)


def test_a_gz_that_is_cut_off_is_refused(tmp_path):
    path = write_gz(tmp_path / "p.jsonl.gz")
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match=r"p\.jsonl\.gz: cannot be read"):
        read_file(path)


def test_a_missing_file_is_not_looked_for_on_the_hub():
    with pytest.raises(DataError, match=r"nowhere/train\.jsonl: no such file"):
        read_rows(Data(source="nowhere/train.jsonl"))


# Directories, through the real `datasets`


def hub_folder(folder):
    """Two subsets, as on the Hub: "easy" has train and test, "hard" has test only."""
    parts = {"easy": ["train", "test"], "hard": ["test"]}
    for subset, splits in parts.items():
        (folder / subset).mkdir(parents=True)
        for split in splits:
            write_jsonl(folder / subset / f"{split}.jsonl", [{"problem": f"{subset} {split}", "answer": "1"}])
    configs = "".join(
        f"- config_name: {subset}\n  data_files:\n"
        + "".join(f"  - split: {split}\n    path: {subset}/{split}.jsonl\n" for split in splits)
        for subset, splits in parts.items()
    )
    write(folder / "README.md", f"---\nconfigs:\n{configs}---\n")
    return str(folder)


def test_a_directory_in_the_hubs_layout_has_subsets_and_splits(tmp_path):
    source = hub_folder(tmp_path / "mine")
    [problem] = load_problems(Data(source=source, subset="easy", split="test"))
    assert (problem.id, problem.messages[0]["content"]) == ("mine/0", "easy test")
    assert read_rows(Data(source=source, subset="easy"))[0]["problem"] == "easy train"  # the default split


@pytest.mark.parametrize(
    ("subset", "split", "says"),
    [
        (None, None, r'mine: has subsets easy, hard; choose one: data\.subset = "…"'),
        ("medium", None, r'mine: has no subset "medium"; it has easy, hard'),
        ("hard", None, r'mine: has no split "train"; it has test'),
        ("easy", "dev", r'mine: has no split "dev"; it has train, test'),
    ],
)
def test_a_wrong_subset_or_split_is_refused_with_those_that_there_are(tmp_path, subset, split, says):
    with pytest.raises(DataError, match=says):
        read_rows(Data(source=hub_folder(tmp_path / "mine"), subset=subset, split=split))


def test_a_directory_without_data_is_refused(tmp_path):
    with pytest.raises(DataError, match="is no data set that can be read"):
        read_rows(Data(source=str(tmp_path)))


def test_a_directory_with_a_broken_file_is_refused(tmp_path):
    write(tmp_path / "train.jsonl", '{"problem": "a"}\n{broken\n')
    with pytest.raises(DataError, match=r"is no data set that can be read \(.+\)"):
        read_rows(Data(source=str(tmp_path)))


def test_what_datasets_saved_is_read_as_it_is(tmp_path):
    table = datasets.Dataset.from_list(ROWS)
    table.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": table}).save_to_disk(tmp_path / "many")
    assert read_rows(Data(source=str(tmp_path / "one"), limit=2)) == ROWS[:2]
    assert read_rows(Data(source=str(tmp_path / "many"), limit=100)) == ROWS
    with pytest.raises(DataError, match=r'has no split "test"; it has train'):
        read_rows(Data(source=str(tmp_path / "many"), split="test"))


# The Hub, which a test must not reach


def test_a_hub_data_set_is_asked_for_by_subset_and_split(monkeypatch):
    asked = []

    def load_dataset(*args, **kwargs):
        asked.append((args, kwargs))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    problems = load_problems(Data(source="openai/gsm8k", subset="main", limit=2))
    assert asked == [(("openai/gsm8k", "main"), {"split": "train"})]
    assert [problem.id for problem in problems] == ["gsm8k/0", "gsm8k/1"]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            ConnectionError("Couldn't reach 'a/b'"),
            r"data set a/b: is not \(or not whole\) in the cache .*/hub, and HF_",
        ),
        (RuntimeError("Dataset scripts are no longer supported"), r"a/b: is no data set .*scripts are no longer"),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_line(monkeypatch, error, says):
    def fail(*args, **kwargs):
        raise error

    for name in ("load_dataset", "get_dataset_config_names"):
        monkeypatch.setattr(datasets, name, fail)
    with pytest.raises(DataError, match=says) as refusal:
        read_rows(Data(source="a/b"))
    assert "\n" not in str(refusal.value)


# Generated tasks


def test_a_generated_task_is_a_source_like_any_other():
    training = load_problems(Data(source="builtin:arithmetic", limit=2))
    assert [problem.facts for problem in training] == arithmetic.rows("train")[:2]
    held_out = load_problems(Data(source="builtin:arithmetic", split="test"))
    assert [problem.facts for problem in held_out] == arithmetic.rows("test")


@pytest.mark.parametrize(
    ("source", "split", "says"),
    [
        ("builtin:arithmetics", None, r'"builtin:arithmetics": no such generated task; there is arithmetic'),
        ("builtin:arithmetic", "dev", r"builtin:arithmetic: .* no split .dev.; it has train, test, worked"),
    ],
)
def test_a_generated_task_that_does_not_exist_is_refused(source, split, says):
    with pytest.raises(DataError, match=says):
        read_rows(Data(source=source, split=split))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("openai/gsm8k", "gsm8k"),
        ("HuggingFaceH4/MATH-500", "MATH-500"),
        ("org/v1.5", "v1.5"),
        ("mine/train.jsonl.gz", "train"),
        ("mine/", "mine"),
        ("builtin:arithmetic", "arithmetic"),
    ],
)
def test_rows_are_named_after_their_source(source, name):
    assert stem(source) == name


def test_reading_a_text_file_imports_neither_torch_nor_datasets(tmp_path):
    path = write_jsonl(tmp_path / "p.jsonl")
    code = (
        "import sys; from grpo.config import Data; from grpo.problems import load_problems\n"
        f"assert len(load_problems(Data(source={str(path)!r}))) == 3\n"
        "print([name for name in ('torch', 'datasets', 'transformers', 'pyarrow') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
