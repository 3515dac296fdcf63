"""Models and data sets of the Hub: found, pinned to a commit, used without a network; what goes wrong is a sentence.

All of it goes through the real client, against a small Hub on this machine (`tests/hub.py`).
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import datasets
import huggingface_hub.constants as constants
import pyarrow
import pyarrow.parquet
import pytest

from grpo import assemble, cli, hub
from grpo.config import Data, Model, Sampling
from grpo.errors import ModelError
from grpo.problems import load_problems
from grpo.sampling import make_sampler
from tests.conftest import ROOT
from tests.hub import STRANGER, TOKEN, Hub, serve
from tests.tiny import save_model

NAME, SET = "org/tiny", "org/sums"
ROWS = [{"problem": f"{n} + {n} = ?", "answer": str(2 * n), "solution": str(2 * n)} for n in range(1, 9)]
SMALL = """
[model]
name = "org/tiny"
[data]
source = "org/sums"
[sampling]
backend = "transformers"
problems_per_step = 2
group_size = 2
max_tokens = 4
[[reward]]
use = "length"
options = {max_tokens = 4, cache = 2}
[run]
steps = 1
preflight = "report"
reward_workers = 1
"""


@pytest.fixture(scope="module")
def sums(tmp_path_factory) -> Path:
    """A data set as the Hub lays it out: Parquet files whose names say the split."""
    folder = tmp_path_factory.mktemp("sums")
    (folder / "data").mkdir()
    for split, rows in (("train", ROWS), ("test", ROWS[:2])):
        table = pyarrow.Table.from_pylist(rows)
        pyarrow.parquet.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet")
    (folder / "README.md").write_text("---\nlicense: mit\n---\nSums.\n")
    return folder


@pytest.fixture
def served(tiny_model, sums) -> Iterator[Hub]:
    with serve() as running:
        running.add("models", NAME, tiny_model)
        running.add("datasets", SET, sums)
        yield running


@pytest.fixture
def client(served, tmp_path, monkeypatch) -> Iterator[Callable[[str], None]]:
    """The client of this process asks `served`, with an empty cache; call it to send it to another address."""

    def ask(address: str) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", address)

    ask(served.address)
    home = tmp_path / "home"
    monkeypatch.setattr(constants, "HF_HOME", str(home))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name, value in (("HF_HUB_OFFLINE", False), ("HF_DATASETS_CACHE", home / "datasets")):
        monkeypatch.setattr(datasets.config, name, value)
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", home / "datasets" / "downloads")
    monkeypatch.setenv("HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    _forget()
    yield ask
    _forget()


def _forget() -> None:
    """What a process remembers of the Hub."""
    hub.commit_of.cache_clear()
    hub._snapshot.cache_clear()


def offline(monkeypatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def grpo(client, tmp_path, monkeypatch, capfd) -> Callable[..., tuple[int, str]]:
    """Runs a command in an empty directory; returns its exit code and what it said on stderr."""
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(SMALL)

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["grpo", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), capfd.readouterr().err

    return run


@pytest.fixture
def refusal(grpo) -> Callable[..., str]:
    """The one sentence with which a command is refused."""

    def refused(*arguments: object) -> str:
        code, said = grpo(*arguments)
        assert code == 2
        assert said.startswith("grpo: ") and said.count("\n") == 1
        return said.removeprefix("grpo: ").rstrip("\n")

    return refused


# --- What works ---------------------------------------------------------------------------------------------------


@pytest.mark.slow  # starts three processes, each of which imports everything
def test_a_model_and_a_data_set_of_the_hub_are_trained_on_and_evaluated_without_it_afterwards(served, tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env |= {"HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}

    def grpo(*arguments: str, **more: str) -> str:
        command = [sys.executable, "-c", "from grpo.cli import main; main()", *arguments]
        ended = subprocess.run(command, env=env | more, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    grpo("train", "small.toml", HF_ENDPOINT=served.address)
    commit = served.models[NAME].branches["main"]
    assert tomllib.loads((tmp_path / "runs" / "small" / "config.toml").read_text())["model"]["revision"] == commit
    nobody = "http://127.0.0.1:9"  # where no server listens
    grpo("train", "small.toml", "--resume", "--set", "run.steps=2", HF_ENDPOINT=nobody)
    rows = [json.loads(line) for line in (tmp_path / "runs" / "small" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    grpo("eval", NAME, SET, "--recipe", "small.toml", HF_HUB_OFFLINE="1")


def test_worked_examples_of_the_hub_fine_tune_a_model_of_the_hub(grpo):
    assert grpo("sft", "small.toml", "--data", SET, "--set", "sft.steps=1")[0] == 0
    assert Path("runs/small-sft/checkpoints/step-1/model.safetensors").is_file()


def test_a_model_is_opened_with_what_opens_it_and_nothing_else(client, served, tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "more")
    for extra in ("consolidated.safetensors", "params.json", "onnx/model.onnx", "original/tokenizer.model", "a.gguf"):
        (tmp_path / "more" / extra).parent.mkdir(exist_ok=True)
        (tmp_path / "more" / extra).write_text("large")
    served.models[NAME].push(tmp_path / "more")
    files = assemble.open_model(NAME)
    there = {path.name for path in Path(hub.local(NAME, files.revision)).iterdir()}
    assert there == {path.name for path in tiny_model.iterdir() if path.suffix in (".json", ".jinja", ".safetensors")}
    assert (files.name, files.revision, files.context) == (NAME, served.models[NAME].branches["main"], 256)
    assert files.tokenizer.name_or_path == NAME


def test_a_model_that_has_only_old_weights_is_opened_too(client, served, tiny_model, tmp_path):
    import torch
    from safetensors.torch import load_file

    shutil.copytree(tiny_model, tmp_path / "old")
    torch.save(load_file(tmp_path / "old" / "model.safetensors"), tmp_path / "old" / "pytorch_model.bin")
    (tmp_path / "old" / "model.safetensors").unlink()
    served.models[NAME].push(tmp_path / "old")
    assert (Path(hub.local(NAME, None)) / "pytorch_model.bin").is_file()
    assert assemble.open_model(NAME).context == 256


def test_a_branch_that_moves_on_is_the_commit_that_it_was_at_first(client, served, tmp_path):
    first = served.models[NAME].branches["main"]
    files = assemble.open_model(NAME)
    served.models[NAME].push(save_model(tmp_path / "other"))
    asked = len(served.asked)
    again = assemble.open_model(NAME)
    sampler = make_sampler(
        Sampling(backend="transformers"),
        files.name,
        revision=files.revision,
        dtype="float32",
        device="cpu",
        context=64,
        seed=0,
    )
    sampler.close()
    assert files.revision == again.revision == first
    assert len(served.asked) == asked  # and nobody asked again


def test_a_resumed_run_has_the_commit_that_it_began_with(grpo, served, tmp_path):
    first = served.models[NAME].branches["main"]
    assert grpo("train", "small.toml")[0] == 0
    served.models[NAME].push(save_model(tmp_path / "other"))
    _forget()
    assert grpo("train", "small.toml", "--resume", "--set", "run.steps=2")[0] == 0
    assert tomllib.loads(Path("runs/small/config.toml").read_text())["model"]["revision"] == first
    _forget()
    code, said = grpo("train", "small.toml", "--resume", "--set", 'model.revision="main"')
    assert code == 2 and f'model.revision: "{first}" in the run' in said


@pytest.mark.parametrize("revision", [None, "v1", "commit"])
def test_any_name_of_a_commit_opens_it(client, served, tiny_model, tmp_path, revision):
    repository = served.models[NAME]
    commit = repository.push(tiny_model, "v1")
    if revision:
        repository.push(save_model(tmp_path / "other"))
    else:
        commit = repository.branches["main"]
    assert assemble.open_model(NAME, commit if revision == "commit" else revision).revision == commit


@pytest.mark.parametrize("silence", ["nobody listens", "HF_HUB_OFFLINE", 503, 429, "the token is refused"])
def test_what_the_cache_has_is_used_where_the_hub_does_not_answer(client, served, monkeypatch, silence):
    here = assemble.open_model(NAME).revision
    rows = load_problems(Data(source=SET))
    _forget()
    if silence == "nobody listens":
        client("http://127.0.0.1:9")
    elif silence == "HF_HUB_OFFLINE":
        offline(monkeypatch)
    elif isinstance(silence, int):
        served.status = silence
    else:
        monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert assemble.open_model(NAME).revision == here
    assert load_problems(Data(source=SET)) == rows
    assert constants.HF_HUB_OFFLINE is (silence == "HF_HUB_OFFLINE")


def test_a_download_that_breaks_off_is_taken_up_where_it_broke(client, served):
    served.broken_downloads = 2
    assert assemble.open_model(NAME).context == 256
    assert sum(line.startswith("GET /lfs/") for line in served.asked) == 3


def test_a_gated_model_is_open_to_whom_it_lets_in(client, served, monkeypatch):
    served.models[NAME].gated = served.datasets[SET].gated = True
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert assemble.open_model(NAME).context == 256
    assert len(load_problems(Data(source=SET))) == 8


# --- What does not ------------------------------------------------------------------------------------------------


def test_a_model_or_a_data_set_that_the_hub_does_not_have_is_refused(refusal, served, monkeypatch):
    for token in (None, STRANGER):
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        cure = "check the spelling, log in with `hf auth login`, or give a"
        assert refusal("train", "small.toml", "--model", "org/none") == (
            f"model org/none: no such model on the Hugging Face Hub, or a private one; {cure} directory"
        )
        assert refusal("train", "small.toml", "--data", "org/none") == (
            f"data set org/none: no such data set on the Hugging Face Hub, or a private one; {cure} file or a directory"
        )


@pytest.mark.parametrize("token", [None, STRANGER])
def test_a_gated_one_says_where_its_licence_is(refusal, served, monkeypatch, token):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    served.models[NAME].gated = True
    cure = "then log in with `hf auth login`, or give a"
    assert refusal("train", "small.toml") == (
        f"model org/tiny: is gated; accept its licence at {served.address}/org/tiny, {cure} directory"
    )
    served.models[NAME].gated, served.datasets[SET].gated = False, True
    assert refusal("train", "small.toml") == (
        f"data set org/sums: is gated; accept its licence at {served.address}/datasets/org/sums, {cure} file or a "
        "directory"
    )


def test_a_revision_that_there_is_not_is_named(refusal, served):
    assert refusal("train", "small.toml", "--set", "model.revision=v9") == (
        f'model org/tiny: has no revision "v9"; take a branch, tag or commit that {served.address}/org/tiny/commits '
        "shows, or give a directory"
    )
    said = refusal("train", "small.toml", "--set", f"model.revision={'a' * 40}")
    assert said.startswith(f'model org/tiny: has no revision "{"a" * 40}"')


def test_a_token_that_the_hub_does_not_know_is_said_to_be_the_reason(refusal, served, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    for command in (["train", "small.toml"], ["eval", "./here", SET]):
        said = refusal(*command)
        assert ": the Hub refuses the token; log in again with `hf auth login`, or unset HF_TOKEN, or give a " in said


@pytest.mark.parametrize(
    ("status", "reason"),
    [(429, "the Hub answers no more for now (429, too many requests)"), (503, "the Hub answers with status 503")],
)
def test_a_hub_that_is_tired_is_not_asked_for_minutes(refusal, served, status, reason):
    served.status = status
    for command in (["train", "small.toml"], ["eval", "./here", SET]):
        assert f": {reason}; " in refusal(*command)
    assert len(served.asked) == 2  # once for the model, once for the data set


def test_without_a_network_and_without_a_copy_there_is_a_sentence(refusal, client, monkeypatch):
    client("http://127.0.0.1:9")
    for command in (["train", "small.toml"], ["eval", "./here", SET]):
        said = refusal(*command)
        assert ": the Hub cannot be reached (" in said and "check network and HF_ENDPOINT" in said


def test_off_line_without_a_copy_the_command_that_fetches_one_is_said(refusal, client, monkeypatch, tmp_path):
    offline(monkeypatch)
    cure = "run `hf download {} where there is a network, unset HF_HUB_OFFLINE, or give a"
    where = f"is not (or not whole) in the cache {tmp_path}/home/hub, and HF_HUB_OFFLINE = 1 forbids to fetch it"
    assert refusal("train", "small.toml") == f"model {NAME}: {where}; {cure.format(f'{NAME}`')} directory"
    assert refusal("eval", "./here", SET) == (
        f"data set {SET}: {where}; {cure.format(f'{SET} --repo-type dataset`')} file or a directory"
    )


def test_a_copy_that_is_not_whole_is_none(client, served, monkeypatch):
    commit = hub.commit_of(NAME, None)  # its config.json is there, its weights are not
    client("http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"model org/tiny: the Hub cannot be reached"):
        assemble.open_model(NAME, commit)
    offline(monkeypatch)
    with pytest.raises(ModelError, match=r"is not \(or not whole\) in the cache"):
        assemble.open_model(NAME)


def test_a_download_that_breaks_off_for_good_is_a_sentence(refusal, served, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    monkeypatch.setattr("tests.hub._Handler._large", lambda self, path: self._send(200, b"x" * 100, {}, cut=0))
    for kind, arguments in (("data set", []), ("model", ["--data", "builtin:arithmetic"])):
        said = refusal("train", "small.toml", *arguments)
        assert said.startswith(f"{kind} org/") and "; start again, what is whole stays in the cache, or give a" in said
        assert ": the download broke off (" in said


def test_a_cache_that_cannot_be_written_is_named(refusal, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    said = refusal("train", "small.toml")
    assert said.startswith("model org/tiny: the cache cannot be written (") and "set HF_HOME to a folder" in said


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named(refusal, tmp_path, monkeypatch, number):
    def full(self, *arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    said = refusal("train", "small.toml")
    assert said == (
        f"model org/tiny: its files do not fit on the disk of {tmp_path}/home; make room, set HF_HOME to another disk, "
        "or give a directory"
    )


def test_a_file_larger_than_what_the_disk_has_left_is_not_begun(refusal, served, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.shutil.disk_usage", lambda path: SimpleNamespace(free=0))
    said = refusal("train", "small.toml", "--data", "builtin:arithmetic")
    assert said.startswith(f"model org/tiny: its files do not fit on the disk of {tmp_path}/home; make room")
    assert not [line for line in served.asked if line.startswith("GET /lfs")]


def test_a_repository_without_a_model_is_refused(refusal, served, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model.gguf").write_text("gguf")
    served.add("models", "org/gguf", tmp_path / "weights")
    said = refusal("train", "small.toml", "--model", "org/gguf")
    assert said == (
        "model org/gguf: has no config.json, so it is no model in Hugging Face format; take another, or give a "
        "directory"
    )


def test_names_that_cannot_be_on_the_hub_are_not_looked_for_there(refusal, served):
    for name in ("./none", "a/b/c", "runs/../none/x"):
        assert refusal("train", "small.toml", "--model", name).startswith(f"{name}: no such directory")
        assert refusal("train", "small.toml", "--model", NAME, "--data", name).startswith(f"{name}: no such file")
    assert not [line for line in served.asked if "none" in line or "a/b" in line]


def test_a_model_made_on_the_spot_asks_nobody(client, served, tmp_path):
    assemble.find_model(Model(name="builtin:tiny"), tmp_path / "made", seed=0)
    assert served.asked == []
