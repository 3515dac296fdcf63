"""The server of `grpo show`: who may ask, and each address with numbers known by hand (tests/shown_runs.py)."""

from __future__ import annotations

import json
import math
import os
import re
import select
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any
from urllib.request import urlopen

import pyarrow.parquet as pq
import pytest

pytest.importorskip("starlette", reason="grpo show needs the extra `show`")
pytest.importorskip("duckdb", reason="grpo show needs the extra `show`")
from starlette.testclient import TestClient

from grpo.errors import ConfigError, DataError
from grpo.run import rollouts
from grpo.run.folder import RunFolder
from grpo.show.catalogue import Catalogue
from grpo.show.server import application, ratios, serve
from tests.conftest import ROOT
from tests.shown_runs import ENTROPIES, HOSTILE, RATIOS, add_step, make_run

TOKEN, PORT = "the-token", 4321
HERE = f"http://127.0.0.1:{PORT}"


def stranger(*places: Path, base: str = HERE) -> TestClient:
    """Somebody without the token."""
    return TestClient(application(Catalogue(places), TOKEN, PORT), base_url=base, follow_redirects=False)


class Reader:
    """Somebody with it, who asks for JSON."""

    def __init__(self, *places: Path) -> None:
        self.client = stranger(*places)
        self.client.cookies.set(f"grpo-show-{PORT}", TOKEN)

    def __call__(self, path: str, status: int = 200, **query: Any) -> Any:
        answer = self.client.get(f"/api/{path}", params=query)
        assert answer.status_code == status, answer.text
        return answer.json()

    def refused(self, path: str, status: int, **query: Any) -> str:
        (sentence,) = self(path, status, **query).values()
        return str(sentence)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests that only read, as the server does."""
    return make_run(tmp_path_factory.mktemp("runs") / "one", seed=1)


@pytest.fixture(scope="module")
def read(run: Path) -> Reader:
    return Reader(run)


@pytest.fixture
def changing(tmp_path: Path) -> Path:
    return make_run(tmp_path / "one", seed=1)


# --- Who may ask -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/api/runs", "/api/runs/one", "/static/app.js", "/?token=wrong", "/?token="])
def test_without_the_token_nothing_is_answered(run: Path, path: str) -> None:
    answer = stranger(run).get(path)
    assert answer.status_code == 403
    assert "with its token" in answer.json()["error"]


def test_the_printed_address_sets_a_cookie_and_leaves_the_address_bar(run: Path) -> None:
    client = stranger(run)
    answer = client.get(f"/?token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert "<html" in client.get("/").text
    assert client.get("/api/runs").status_code == 200


def test_the_token_may_stand_in_the_address_of_a_single_question(run: Path) -> None:
    answer = stranger(run).get(f"/api/runs/one/rollouts?token={TOKEN}&step_min=6")
    assert answer.json()["total"] == 16


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1.evil.example", "10.0.0.7:4321", ""]
)
def test_a_page_whose_name_was_made_to_lead_here_is_refused(run: Path, host: str) -> None:
    answer = stranger(run).get(f"/api/runs?token={TOKEN}", headers={"host": host})
    assert answer.status_code == 403
    assert "127.0.0.1 only" in answer.json()["error"]


@pytest.mark.parametrize("host", [f"127.0.0.1:{PORT}", f"localhost:{PORT}", "localhost:9999", "[::1]:9999"])
def test_this_machine_goes_by_its_names_and_behind_a_tunnel_by_another_port(run: Path, host: str) -> None:
    assert stranger(run).get(f"/api/runs?token={TOKEN}", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_can_be_changed(read: Reader, method: str) -> None:
    answer = read.client.request(method, "/api/runs")
    assert (answer.status_code, answer.json()) == (405, {"error": "this server only reads"})


def test_head_is_a_way_to_read(read: Reader) -> None:
    answer = read.client.head("/api/runs")
    assert (answer.status_code, answer.text) == (200, "")


@pytest.mark.parametrize(
    "path",
    [
        "/api/runs/..%2Fsecret",
        "/api/runs/%2Fetc%2Fpasswd",
        "/api/runs/..",
        "/api/runs/one/..%2F..%2Fsecret/rollouts",
        "/static/..%2Fserver.py",
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static//etc/passwd",
        "/config.toml",
        "/one/config.toml",
    ],
)
def test_no_path_leads_out_of_the_pages(run: Path, read: Reader, path: str) -> None:
    (run.parent / "secret").mkdir(exist_ok=True)
    (run.parent / "secret" / "config.toml").touch()
    answer = read.client.get(path)
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize("label", ["../eval/before", "../../one/eval/before", "/etc"])
def test_an_evaluation_is_asked_for_by_its_label_and_not_by_a_path(read: Reader, label: str) -> None:
    assert "there are before, after" in read.refused("runs/one/wonlost", 404, a=label, b="after")


def test_every_answer_forbids_scripts_frames_and_caches(read: Reader) -> None:
    for path in ("/", "/api/runs", "/static/app.js", "/nowhere"):
        headers = read.client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_hostile_text_comes_as_json_and_as_nothing_else(read: Reader) -> None:
    answer = read.client.get("/api/runs/one/group", params={"step": 1, "problem": "sum-0"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["completions"][3]["text"] == HOSTILE


# --- Runs ------------------------------------------------------------------------------------------------------------


def test_a_run_in_one_line(read: Reader, run: Path) -> None:
    (line,) = read("runs")
    assert line | {"updated": 0, "experiment": ""} == {
        "id": "one",
        "path": str(run),
        "command": "train",
        "model": "tiny/model",
        "data": "sums.jsonl",
        "seed": 1,
        "step": 6,
        "steps": 6,
        "state": "finished",
        "updated": 0,
        "experiment": "",
    }
    assert line["updated"] == (run / "metrics.jsonl").stat().st_mtime


def test_the_overview_has_headline_alarms_phases_and_settings(read: Reader, run: Path) -> None:
    found = read("runs/one")
    assert found["headline"]["before"]["value"] == 0.3
    assert found["headline"]["after"]["value"] == 0.6
    assert found["headline"]["change"] == pytest.approx(0.3)
    assert found["phases"] == {"sample": 36.0, "update": 18.0}  # six steps of 6 s and 3 s
    assert [alarm["name"] for alarm in found["alarms"]] == ["truncated", "repetition", "truncated"]
    assert found["config"] == (run / "config.toml").read_text()
    assert {"value": "6", "name": "steps"} in found["tiles"]
    assert found["cost"] is None


def test_runs_that_differ_in_their_seed_or_in_what_changes_no_result_are_one_experiment(tmp_path: Path) -> None:
    for name, old, new in (
        ("one", "", ""),
        ("seed", "seed = 1", "seed = 7"),
        ("keep", "keep = 2", "keep = 3"),
        ("lr", "\nlr = 1e-06", "\nlr = 2e-06"),
    ):
        config = make_run(tmp_path / name, seed=1, steps=0) / "config.toml"
        text = config.read_text()
        assert old in text
        config.write_text(text.replace(old, new, 1))
    one, seed, keep, lr = (
        {line["id"]: line["experiment"] for line in Reader(tmp_path)("runs")}[name]
        for name in ("one", "seed", "keep", "lr")
    )
    assert one == seed == keep != lr


def test_a_folder_of_runs_shows_those_in_it_and_the_stages_of_pipelines(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    make_run(runs / "one", seed=1, steps=0)
    make_run(runs / "pipe" / "1-sft", seed=1, steps=0)
    make_run(runs / "pipe" / "2-rl", seed=1, steps=0)
    make_run(runs / "other" / "2-rl", seed=1, steps=0)
    (runs / "one" / "checkpoints" / "step-6").mkdir(parents=True)
    (runs / "one" / "checkpoints" / "step-6" / "config.toml").write_text("")  # is the run's, and no run
    (runs / "notes").mkdir()
    read = Reader(runs)
    paths = {line["id"]: str(Path(line["path"]).relative_to(runs)) for line in read("runs")}
    assert paths == {"one": "one", "2-rl": "other/2-rl", "1-sft": "pipe/1-sft", "pipe-2-rl": "pipe/2-rl"}
    make_run(runs / "later", seed=3, steps=0)
    assert {line["id"]: line["state"] for line in read("runs")}["later"] == "empty"


def test_a_run_named_twice_is_shown_once(run: Path) -> None:
    assert len(Reader(run, run / ".." / "one")("runs")) == 1


def test_a_folder_that_is_no_run_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is no run folder and holds none \(no config.toml\); name one"):
        Catalogue([tmp_path])
    with pytest.raises(DataError, match="is no run folder"):
        Catalogue([tmp_path / "nowhere"])


def test_what_the_other_commands_leave_opens_too(tmp_path: Path) -> None:
    tuned, collected, taught = (make_run(tmp_path / name, seed=1, steps=0) for name in ("sft", "collect", "distill"))
    rows = [{"step": step, "sft/loss": 2.0 / step, "sft/epoch": step / 2, "time/step": 1.0} for step in (1, 2)]
    (tuned / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = (tuned / "config.toml").read_text()
    (tuned / "config.toml").write_text(settings.replace("[sft]", "[sft]\nepochs = 1", 1))
    assert "[sft]" in settings
    (collected / "collect.json").write_text("{}")
    (collected / "completions.parquet").write_bytes(b"")
    settings = (taught / "config.toml").read_text()
    (taught / "config.toml").write_text(settings.replace("[distill]", '[distill]\nteacher = "large/model"', 1))
    read = Reader(tmp_path)
    found = {line["id"]: (line["command"], line["state"], line["steps"]) for line in read("runs")}
    assert found["sft"] == ("sft", "finished", None)  # one epoch of one
    assert found["collect"][:2] == ("collect", "finished")
    assert found["distill"][:2] == ("distill", "empty")
    assert read("curves", runs="sft", metric="sft/loss")["series"][0]["y"] == [2.0, 1.0]
    for name in found:
        assert read(f"runs/{name}")["tiles"] == [] or name == "sft"


def test_of_a_run_from_before_rollouts_it_is_said_where_its_completions_are(tmp_path: Path) -> None:
    old = make_run(tmp_path / "old", seed=1)
    for file in (old / "rollouts").iterdir():
        file.unlink()
    (old / "rollouts").rmdir()
    (old / "samples.jsonl").write_text("{}\n")
    read = Reader(old)
    assert "what was written is in its samples.jsonl" in read.refused("runs/old/rollouts", 404)
    assert read("runs/old")["headline"]["change"] == pytest.approx(0.3)  # all else is there


# --- Whether it runs -------------------------------------------------------------------------------------------------

STARTS = """
import sys
from pathlib import Path
from grpo.run.folder import RunFolder
with RunFolder.hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_run_can_start_while_show_looks_and_is_running_until_it_ends(changing: Path) -> None:
    add_step(changing, 7)
    read = Reader(changing)
    assert read("runs")[0]["state"] == "finished"
    with subprocess.Popen(
        [sys.executable, "-c", STARTS, str(changing)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        while not select.select([process.stdout], [], [], 0)[0]:
            assert read("runs")[0]["state"] in ("finished", "running")
        assert process.stdout.readline() == "held\n"
        assert read("runs")[0]["state"] == "running"
        process.communicate("\n")
    assert process.returncode == 0
    assert read("runs")[0]["state"] == "finished"


def test_looking_takes_no_lock(changing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("show has asked for a lock")

    with RunFolder.hold(changing):
        monkeypatch.setattr("fcntl.flock", refuse)
        monkeypatch.setattr("fcntl.lockf", refuse)
        assert Reader(changing)("runs")[0]["state"] == "running"


def test_a_lock_file_whose_number_is_another_process_by_now_is_no_running_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "cut", seed=1, steps=3)
    (run / ".lock").write_text(f"{os.getpid()}\n")  # alive, but has not opened it
    assert Reader(run)("runs")[0]["state"] == "stopped"
    (run / ".lock").write_text("")
    assert Reader(run)("runs")[0]["state"] == "stopped"


# --- Completions -----------------------------------------------------------------------------------------------------


def of(rows: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


@pytest.mark.parametrize(
    ("query", "total"),
    [
        ({}, 96),  # 6 steps of 4 problems, 4 times each
        ({"step_min": 2, "step_max": 3}, 32),
        ({"problem": "sum-1"}, 24),
        ({"problem": "SUM-1", "step_min": 6}, 4),
        ({"reward_min": 1}, 48),  # 1 + 3 + 6 + 10 + 13 + 15
        ({"reward_max": 0.5}, 48),
        ({"finish": "length"}, 18),  # number 3 of sum-j is wrong in 3 + j steps
        ({"failure": "timeout"}, 6),
        ({"failure": "any"}, 6),
        ({"failure": "limits"}, 0),
        ({"useful": 1}, 48),  # each problem is mixed in 3 steps
        ({"useful": "false"}, 96),
        ({"reward_min": 1, "finish": "stop", "step_max": 2}, 4),  # 1 + 3
        ({"step_min": 9}, 0),
    ],
)
def test_filters_count_what_they_leave(read: Reader, query: dict[str, Any], total: int) -> None:
    found = read("runs/one/rollouts", limit=100, **query)
    assert (found["total"], len(found["rows"]), found["more"]) == (total, total, False)


def test_a_row_says_where_its_completion_is_and_how_it_did(read: Reader) -> None:
    (row,) = read("runs/one/rollouts", step_min=2, step_max=2, problem="sum-3", failure="timeout")["rows"]
    assert row == {
        "step": 2,
        "problem": "sum-3",
        "index": 3,
        "reward": 0.0,
        "advantage": 0.0,
        "finish": "length",
        "tokens": 23,
        "failure": "timeout",
        "snippet": "<think>3 and 4</think><answer>many</answer>",
        "shown": False,
    }


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("-step", (6, "sum-0", 0)),
        ("step", (1, "sum-0", 0)),
        ("-reward", (1, "sum-0", 0)),  # solved first in step 1
        ("reward", (1, "sum-0", 1)),
        ("-tokens", (6, "sum-0", 3)),  # 10 · 6 + 3
        ("tokens", (1, "sum-0", 0)),
    ],
)
def test_orders(read: Reader, sort: str, first: tuple[Any, ...]) -> None:
    rows = read("runs/one/rollouts", sort=sort, limit=100)["rows"]
    assert of(rows, "step", "problem", "index")[0] == first
    name = sort.removeprefix("-")
    assert [row[name] for row in rows] == sorted((row[name] for row in rows), reverse=sort.startswith("-"))


def test_pages_together_are_everything_once(read: Reader) -> None:
    pages = [read("runs/one/rollouts", sort="reward", limit=40, offset=offset) for offset in (0, 40, 80)]
    assert [(len(page["rows"]), page["more"]) for page in pages] == [(40, True), (40, True), (16, False)]
    everything = [row for page in pages for row in of(page["rows"], "step", "problem", "index")]
    assert len(set(everything)) == 96


def test_a_text_is_found_in_any_case_newest_first_with_what_stands_around_it(read: Reader) -> None:
    found = read("runs/one/rollouts", text="ONERROR")
    assert found["total"] == 6 and not found["more"]
    assert of(found["rows"], "step", "problem", "index")[:2] == [(6, "sum-0", 3), (5, "sum-0", 3)]
    assert 'x onerror="alert' in found["rows"][0]["snippet"]
    assert read("runs/one/rollouts", text="2 and 3", step_max=2, reward_min=1)["total"] == 0
    assert read("runs/one/rollouts", text="2 and 3", step_max=3, reward_min=1)["total"] == 1
    assert read("runs/one/rollouts", text=".*")["total"] == 0  # a text, not a pattern


def test_a_search_that_has_enough_does_not_count_the_rest(read: Reader) -> None:
    found = read("runs/one/rollouts", text="and", limit=5)
    assert (found["total"], len(found["rows"]), found["more"], found["back_to"]) == (None, 5, True, 6)
    rest = read("runs/one/rollouts", text="and", limit=100, offset=85)
    assert (rest["total"], len(rest["rows"]), rest["more"]) == (90, 5, False)  # all but HOSTILE in each step


def test_a_search_that_runs_out_of_time_says_how_far_it_came(read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, 1.0, 6.0])  # it begins, looks at the newest step, and is late
    monkeypatch.setattr("grpo.show.index.monotonic", lambda: next(seconds))
    found = read("runs/one/rollouts", text="nowhere to be found")
    assert found == {"total": None, "rows": [], "more": False, "back_to": 6, "unreadable": []}


def test_a_long_search_holds_nobody_up(read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    searching, go_on = Event(), Event()

    def at_last() -> float:
        searching.set()
        assert go_on.wait(120)
        return 0.0

    monkeypatch.setattr("grpo.show.index.monotonic", at_last)
    with ThreadPoolExecutor() as pool:
        try:
            search = pool.submit(read, "runs/one/rollouts", text="onerror")
            assert searching.wait(60)
            assert pool.submit(read, "runs/one/rollouts").result(timeout=60)["total"] == 96
        finally:
            go_on.set()
        assert search.result()["total"] == 6


def test_a_group_with_its_tokens(read: Reader) -> None:
    found = read("runs/one/group", step=3, problem="sum-1")
    assert (found["step"], found["problem"], found["prompt"], found["gold"]) == (3, "sum-1", "What is 1+2?", "3")
    first = found["completions"][0]
    assert [one["index"] for one in found["completions"]] == [0, 1, 2, 3]
    assert [one["reward"] for one in found["completions"]] == [1, 1, 0, 0]  # the first 3 − 1
    assert "".join(first["pieces"]) == first["text"] == "<think>1 and 2</think><answer>3</answer>"
    assert first["ratios"] == pytest.approx(RATIOS, rel=1e-6)  # float32
    assert first["entropies"] == list(ENTROPIES)
    score = {"reward": "math", "value": 1.0, "answer": "3", "why": "equal to the gold answer", "failure": None}
    assert first["scores"] == [score]
    assert (first["advantage"], first["dropped"], first["tokens"]) == (0.5, False, 30)
    assert read("runs/one/group", step=3, problem="sum-2")["completions"][0]["ratios"] is None


def test_a_token_whose_log_probability_is_no_number_has_no_ratio() -> None:
    assert ratios([-1.0, None, -1.0], [-1.5, -1.0, None]) == [math.exp(0.5), None, None]


def test_a_problem_over_the_run(read: Reader) -> None:
    found = read("runs/one/problem", problem="sum-2")
    assert (found["prompt"], found["gold"]) == ("What is 2+3?", "5")
    assert [step["solved"] for step in found["steps"]] == [0, 0, 0.25, 0.5, 0.75, 1]
    assert found["steps"][2] == {
        "step": 3,
        "n": 4,
        "solved": 0.25,
        "reward_mean": 0.25,
        "length_mean": 31.5,  # 30 … 33
        "truncated": 0.25,  # the last
    }


@pytest.mark.parametrize(
    ("path", "query", "status", "sentence"),
    [
        ("runs/two", {}, 404, "there is no run 'two'; there are one"),
        ("runs/one/rollouts", {"step_min": "x"}, 400, "step_min=x: must be a whole number"),
        ("runs/one/rollouts", {"step_min": -1}, 400, "step_min=-1: must be between 0 and"),
        ("runs/one/rollouts", {"step_max": 2**31}, 400, "must be between 0 and 2147483647"),
        ("runs/one/rollouts", {"limit": 501}, 400, "limit=501: must be between 0 and 500"),
        ("runs/one/rollouts", {"reward_min": "much"}, 400, "reward_min=much: must be a number"),
        ("runs/one/rollouts", {"sort": "name; drop table completions"}, 400, "must be one of step, -step"),
        ("runs/one/rollouts", {"useful": "perhaps"}, 400, "useful=perhaps: must be one of"),
        ("runs/one/group", {"step": 3, "problem": "sum-9"}, 404, "step 3 has no completions of 'sum-9'"),
        ("runs/one/group", {"step": 99, "problem": "sum-0"}, 404, "step 99 has no completions"),
        ("runs/one/problem", {"problem": "' or 1=1 --"}, 404, "there are no completions of"),
        ("runs/one/wonlost", {"a": "before", "b": "later"}, 404, "there is no evaluation 'later'"),
        ("curves", {"runs": "one,two"}, 404, "there is no run 'two'"),
        ("curves", {"runs": "one", "axis": "money"}, 400, "axis=money: must be one of step, tokens, time"),
        ("curves", {"runs": "one", "smooth": 1}, 400, "smooth=1: must be at least 0 and below 1"),
        ("curves", {"runs": "one", "smooth": "nan"}, 400, "smooth=nan: must be"),
        ("nothing", {}, 404, "/api/nothing: Not Found"),
    ],
)
def test_what_cannot_be_answered_is_said_in_a_sentence(
    read: Reader, path: str, query: dict[str, Any], status: int, sentence: str
) -> None:
    assert sentence in read.refused(path, status, **query)


def test_a_value_is_a_value_and_never_sql(read: Reader) -> None:
    for name in ("problem", "finish", "failure", "text"):
        assert read("runs/one/rollouts", **{name: "'; drop table completions; --\x00\\E"})["rows"] == []
    assert read("runs/one/rollouts")["total"] == 96


# --- Evaluations -----------------------------------------------------------------------------------------------------


def test_evaluations_by_column(read: Reader) -> None:
    before, after = read("runs/one/evaluations")
    assert (before["label"], before["step"], after["label"], after["step"]) == ("before", 0, "after", 6)
    assert before["problems"] == 10
    assert before["measures"]["pass@1"]["mean"] == 0.3
    assert after["columns"]["level"]["easy"]["mean"] == 0.8  # t1 … t4 of t0 … t4
    assert after["columns"]["level"]["hard"]["n"] == 5


def test_problems_won_and_lost_with_mcnemars_exact_p(read: Reader) -> None:
    found = read("runs/one/wonlost", a="before", b="after")
    assert [row["problem"] for row in found["won"]] == ["t3", "t4", "t5", "t6"]
    assert [row["problem"] for row in found["lost"]] == ["t0"]
    assert (found["won_count"], found["lost_count"], found["same_right"], found["same_wrong"]) == (4, 1, 2, 3)
    assert found["p"] == 0.375  # 2 · (1 + 5) / 2⁵
    assert found["lost"][0] == {
        "problem": "t0",
        "prompt": "Question t0?",
        "gold": "1",
        "a": [{"completion": "before says t0", "value": 1.0}],
        "b": [{"completion": "after says t0", "value": 0.0}],
    }
    back = read("runs/one/wonlost", a="after", b="before")
    assert (back["won_count"], back["lost_count"], back["p"]) == (1, 4, 0.375)


# --- While it goes on ------------------------------------------------------------------------------------------------


def test_steps_that_are_added_appear_and_steps_that_are_forgotten_go(tmp_path: Path) -> None:
    run = make_run(tmp_path / "on", seed=1, steps=2)
    read = Reader(run)
    assert read("runs/on/rollouts")["total"] == 32
    assert read("runs")[0]["step"] == 2
    add_step(run, 3)
    assert read("runs/on/rollouts")["total"] == 48
    assert (read("runs")[0]["step"], read("runs")[0]["state"]) == (3, "stopped")
    with RunFolder.hold(run) as folder:  # it goes on from a checkpoint at step 1
        folder.rewind(1)
    assert read("runs/on/rollouts")["total"] == 16
    assert read("runs")[0]["step"] == 1
    add_step(run, 2)
    add_step(run, 3)
    assert read("runs/on/rollouts")["total"] == 48
    assert read("curves", runs="on", metric="solved")["series"][0]["x"] == [1, 2, 3]


def test_a_step_that_was_taken_anew_replaces_what_it_was(tmp_path: Path) -> None:
    run = make_run(tmp_path / "on", seed=1, steps=2)
    read = Reader(run)
    assert read("runs/on/rollouts", reward_min=1)["total"] == 4  # 1 + 3
    path = rollouts.files(run)[2]
    again = [{**row, "reward": 1.0} for row in rollouts.read_step(path)]
    rollouts.write(run, 2, again)
    assert read("runs/on/rollouts", reward_min=1)["total"] == 17
    assert read("runs/on/rollouts")["total"] == 32


def test_half_a_row_waits_for_its_other_half(changing: Path) -> None:
    read = Reader(changing)
    assert read("runs")[0]["step"] == 6
    row = json.dumps({"step": 7, "solved": 0.5})
    with (changing / "metrics.jsonl").open("a") as file:
        file.write(row[:9])
        file.flush()
        assert read("runs")[0]["step"] == 6
        file.write(row[9:] + "\n")
    assert read("runs")[0]["step"] == 7
    (changing / "metrics.jsonl").write_text("")
    assert read("runs")[0]["step"] == 0
    (changing / "metrics.jsonl").write_text(row + "\n")
    assert read("runs")[0]["step"] == 7


def test_a_damaged_file_is_named_and_all_others_are_there_once(changing: Path) -> None:
    read = Reader(changing)
    path = rollouts.files(changing)[4]
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    for _ in range(2):
        found = read("runs/one/rollouts")
        assert (found["total"], found["unreadable"]) == (80, [4])  # 5 of 6 steps
    assert "cannot be read" in read.refused("runs/one/group", 400, step=4, problem="sum-0")
    path.write_bytes(whole)
    found = read("runs/one/rollouts")
    assert (found["total"], found["unreadable"]) == (96, [])


def test_a_folders_name_is_no_pattern(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run[1]*?", seed=1)
    read = Reader(run)
    (line,) = read("runs")
    assert line["id"] == "run-1-"
    assert read("runs/run-1-/rollouts", text="onerror")["total"] == 6


def test_texts_that_utf8_has_no_bytes_for_come_as_json_has_them(changing: Path) -> None:
    read = Reader(changing)
    samples = changing / "eval" / "after" / "samples.jsonl"
    samples.write_text(samples.read_text().replace("after says t0", "half \\ud83d of a pair"))
    found = read("runs/one/wonlost", a="before", b="after")
    assert found["lost"][0]["b"][0]["completion"] == "half \ud83d of a pair"


# --- The command -----------------------------------------------------------------------------------------------------


def test_show_needs_no_torch_says_its_address_and_ends_well_at_ctrl_c(run: Path) -> None:
    program = "import sys; from grpo.cli import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "show", str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    address = process.stdout.readline()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{20,}\n", address)
    assert process.stdout.readline() == f"1 run of {run}; Ctrl-C ends it\n"
    with urlopen(address.strip().replace("/?", "/api/runs?")) as answer:
        assert json.load(answer)[0]["id"] == "one"
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert (process.returncode, rest) == (0, "False\n")


def test_a_port_that_is_taken_is_said_in_a_sentence(run: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Exception, match=r"--port \d+: cannot be used \(Address already in use\); leave it out"):
            serve([run], taken.getsockname()[1], lambda text: None)


def test_what_is_not_installed_is_named_with_how_to_get_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from grpo import commands

    monkeypatch.setitem(sys.modules, "duckdb", None)
    for name in [name for name in sys.modules if name.startswith("grpo.show")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError, match=r"pip install 'grpo-train\[show\]'"):
        commands.show([run], 0)


def test_it_writes_nothing_into_a_run(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    read = Reader(run)
    for path in ("", "/rollouts", "/evaluations", "/wonlost"):
        read(f"runs/one{path}")
    read("runs/one/problem", problem="sum-1")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    assert pq.read_table(rollouts.files(run)[1]).num_rows == 16
