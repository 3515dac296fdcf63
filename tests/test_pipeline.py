"""Stages that are skipped, resumed, refused and made anew; commands are fakes that write in no time."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from grpo import estimates
from grpo.errors import CheckpointError, ConfigError, DataError, Interrupted, StageError
from grpo.pipeline import records
from grpo.pipeline.estimate import dry_run
from grpo.pipeline.runner import Choice, run_pipeline
from tests.stages import FakeCommands, Killed, r1

ALL = ["cold-start", "rl", "drawn", "chosen", "mix", "check"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the six stages in out/; returns the command lines and what was said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(estimates, "FLIPS", 1)  # the p-value of a difference is not on the page, and takes its time
    stages = r1(Path("."))

    def run(commands=None, stages=stages, out="out", **choice):
        commands, said = commands or FakeCommands(), []
        run_pipeline(stages, Path(out), said.append, Choice(**choice), open_commands=commands)
        return commands.lines, said

    return run


def record(stage, out="out"):
    return json.loads(next(Path(out).glob(f"*-{stage}/stage.json")).read_text())


def bytes_of(out):
    """All that the stages' commands wrote, and their records but for the time they took; of a folder in its place."""
    found = {}
    for path in Path(out).rglob("*"):
        name = str(path.relative_to(out))
        if path.is_file() and name != "report.html" and "/." not in f"/{name}":
            found[name] = path.read_bytes().replace(f"{out}/".encode(), b"OUT/")
            if path.name == "stage.json":
                found[name] = {**json.loads(found[name]), "seconds": 0}
    return found


def test_stages_run_in_order_as_the_commands_that_are_printed(run):
    lines, said = run()
    assert lines == [
        "sft out/1-cold-start.toml --out out/1-cold-start",
        "train out/2-rl.toml --out out/2-rl",
        "collect --recipe out/3-drawn.toml --out out/3-drawn",
        "select --recipe out/4-chosen.toml --out out/4-chosen/selected.jsonl",
        "sft out/5-mix.toml --out out/5-mix",
        "eval out/5-mix/checkpoints/step-2 test.jsonl --recipe out/6-check.toml --out out/6-check",
    ]
    assert [line for line in said if "grpo " in line] == [
        f"\nstage {number} of 6, {name}: grpo {line}"
        for number, (name, line) in enumerate(zip(ALL, lines, strict=True), 1)
    ]
    assert 'name = "out/1-cold-start/checkpoints/step-2"' in Path("out/2-rl.toml").read_text()
    assert 'source = "out/4-chosen/selected.jsonl"' in Path("out/5-mix.toml").read_text()


def test_the_second_fine_tuning_starts_from_the_base(run):
    run()
    base = {"model.safetensors": hashlib.sha256(Path("base/model.safetensors").read_bytes()).hexdigest()}
    assert (
        record("mix")["start"]
        == record("cold-start")["start"]
        == records.start_of({"model": {"name": "base"}}, Path("out"))
    )
    assert record("mix")["start"]["weights"] == hashlib.sha256(json.dumps(base).encode()).hexdigest()
    assert record("rl")["start"]["weights"] != record("mix")["start"]["weights"]


def test_a_record_names_every_input_and_output_with_its_sum(run):
    run()
    found = record("rl")
    weights = hashlib.sha256(Path("out/1-cold-start/checkpoints/step-2/model.safetensors").read_bytes()).hexdigest()
    assert found["inputs"]["@cold-start/checkpoints/step-2/model.safetensors"] == weights
    assert record("cold-start")["outputs"]["checkpoints/step-2/model.safetensors"] == weights
    assert set(found["inputs"]) >= {"problems.jsonl"}
    assert list(found["measured_by"]) == ["test.jsonl"]
    assert found["figures"] == {"tokens/sample": 20, "tokens/update": 40, "steps": 2}
    assert record("drawn")["figures"] == {"samples": 3, "tokens/sample": 6}
    assert record("chosen")["figures"] == {"seen": 3, "kept": 2, "tokens": 5}


def test_what_is_finished_is_skipped(run):
    run()
    before = bytes_of("out")
    lines, said = run()
    assert lines == []
    assert bytes_of("out") == before
    assert sum(": finished, in " in line for line in said) == 6


def test_a_finished_pipeline_may_be_moved(run):
    run()
    Path("out").rename("elsewhere")
    assert run(out="elsewhere")[0] == []


@pytest.mark.parametrize("dies", [0, 1, 3, 7, 11, 15, 18, 20, 21, 26])
def test_killed_at_any_moment_and_started_again_it_ends_with_the_same_bytes(run, dies):
    run(out="whole")
    with pytest.raises(Killed):
        run(FakeCommands(dies=dies))
    assert not list(Path("out").glob("6-*/stage.json"))
    run()
    assert bytes_of("out") == bytes_of("whole")


@pytest.mark.parametrize("name", ["stage.json", "begun.json"])
def test_killed_around_the_writing_of_a_record_it_ends_with_the_same_bytes(run, monkeypatch, name):
    run(out="whole")
    original = records.replace_file

    def die_at(file, pieces):
        if file.name.endswith(name) and "3-drawn" in str(file):
            raise Killed
        original(file, pieces)

    with monkeypatch.context() as patch:
        patch.setattr(records, "replace_file", die_at)
        with pytest.raises(Killed):
            run()
    run()
    assert bytes_of("out") == bytes_of("whole")


def test_a_stage_that_was_cut_goes_on_and_one_that_cannot_starts_anew(run):
    with pytest.raises(Killed):
        run(FakeCommands(dies=2))
    assert run()[0][0] == "sft out/1-cold-start.toml --out out/1-cold-start --resume"
    Path("out/6-check/stage.json").unlink()
    Path("out/6-check.begun.json").write_text(json.dumps(record("mix")))
    assert run()[0] == ["eval out/5-mix/checkpoints/step-2 test.jsonl --recipe out/6-check.toml --out out/6-check"]


def test_a_folder_made_by_hand_is_taken_as_it_is(run):
    run()
    Path("out/2-rl/stage.json").unlink()
    assert run()[0] == ["train out/2-rl.toml --out out/2-rl --resume"]


def test_a_changed_reward_file_invalidates_the_collection_and_all_after_and_nothing_before(run):
    run()
    judge = Path("judge.py")
    judge.write_text(judge.read_text() + "# stricter\n")
    said = []
    with pytest.raises(CheckpointError, match=r"out/3-drawn: .*judge\.py has changed.*--redo drawn"):
        run_pipeline(r1_stages(), Path("out"), said.append, open_commands=FakeCommands())
    assert [line.split(":")[0] for line in said] == ["stage 1 of 6, cold-start", "stage 2 of 6, rl"]
    lines, said = run(redo="drawn")
    assert [line.split()[0] for line in lines] == ["collect", "select", "sft", "eval"]
    assert "moved to out/before-redo-1: 3-drawn, 3-drawn.toml, 4-chosen" in "\n".join(said)
    assert Path("out/before-redo-1/3-drawn/completions.parquet").is_file()


def r1_stages():
    """The stages again, with the files left as they are."""
    kept = {path: path.read_bytes() for path in Path(".").glob("*.*") if path.is_file()}
    stages = r1(Path("."))
    for path, content in kept.items():
        path.write_bytes(content)
    return stages


def test_a_changed_input_a_changed_setting_and_a_changed_output_are_named(run):
    run()
    Path("problems.jsonl").write_text('{"problem": "another", "answer": "2"}\n')
    with pytest.raises(CheckpointError, match=r"out/2-rl: .*\(problems.jsonl has changed\)"):
        run()
    r1(Path("."))
    with pytest.raises(CheckpointError, match=r"out/2-rl: .*run.steps: 2 then, 3 now"):
        run(stages=with_settings(r1(Path(".")), "rl", run={"steps": 3}))
    Path("out/2-rl/checkpoints/step-2/model.safetensors").write_text("other")
    with pytest.raises(CheckpointError, match=r"out/2-rl/checkpoints/step-2/model.safetensors has changed"):
        run()


def with_settings(stages, name, **groups):
    from dataclasses import replace

    return [replace(s, settings={**s.settings, **groups}) if s.name == name else s for s in stages]


def test_settings_that_change_speed_alone_may_change(run):
    run()
    assert run(stages=with_settings(r1(Path(".")), "rl", run={"steps": 2, "keep": 5}))[0] == []


def test_another_evaluation_set_is_said_and_makes_no_other_model(run):
    run(until="mix")
    Path("test.jsonl").write_text('{"problem": "harder", "answer": "2"}\n')
    _, said = run(until="mix")
    assert "warning: stage rl was evaluated before test.jsonl has changed: its score may not compare" in said


def test_inputs_that_change_while_a_stage_is_half_done_are_refused(run):
    with pytest.raises(Killed):
        run(FakeCommands(dies=2))
    Path("traces.jsonl").write_text('{"problem": "another", "solution": "2"}\n')
    with pytest.raises(CheckpointError, match=r"out/1-cold-start: .*traces.jsonl has changed"):
        run()


def test_from_needs_the_stages_before_and_until_stops(run):
    with pytest.raises(ConfigError, match="stage cold-start comes before and is not finished"):
        run(start="rl")
    assert len(run(until="rl")[0]) == 2
    assert len(run(start="drawn", until="chosen")[0]) == 2
    with pytest.raises(ConfigError, match="--until rl: comes before --from mix"):
        run(start="mix", until="rl")
    with pytest.raises(ConfigError, match=r"--from mixx: there is no such stage; did you mean mix\?"):
        run(start="mixx")


def test_a_command_that_fails_ends_the_pipeline_with_its_code(run):
    commands = FakeCommands(code=2)
    with pytest.raises(StageError, match="stage cold-start ended with exit code 2") as caught:
        run(commands)
    assert caught.value.exit_code == 2
    assert len(commands.lines) == 1


def test_a_stop_is_one_sentence_and_the_exit_code_of_the_signal(run):
    import signal

    commands = FakeCommands(code=130)
    commands.received = None
    original = commands.run

    def stopped(arguments, note):
        commands.received = signal.SIGINT
        return original(arguments, note)

    commands.run = stopped
    with pytest.raises(Interrupted, match="stopped by SIGINT in stage cold-start; the same command goes on") as caught:
        run(commands)
    assert caught.value.exit_code == 130


def test_inputs_that_are_not_there_are_said_before_anything_runs(run):
    Path("traces.jsonl").unlink()
    commands = FakeCommands()
    with pytest.raises(DataError, match=r"stage cold-start: sft.source = traces.jsonl: no such file"):
        run(commands)
    assert commands.lines == []


def test_a_reward_file_that_is_not_there_is_said_before_anything_runs(run):
    Path("judge.py").unlink()
    with pytest.raises(DataError, match=r"stage drawn: reward.0.use = judge.py:right: no such file"):
        run()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("", "problems.jsonl: has no rows"), ('{"problem": "1+1=?"}\n{"prob', "problems.jsonl line 2: not JSON")],
)
def test_a_file_that_is_empty_or_half_written_is_said_before_anything_runs(run, text, sentence):
    Path("problems.jsonl").write_text(text)  # which only the second stage reads
    commands = FakeCommands()
    with pytest.raises(DataError, match=f"stage rl: {sentence}"):
        run(commands)
    assert commands.lines == []


def test_a_reward_that_is_none_is_said_before_anything_runs(run):
    commands = FakeCommands()
    with pytest.raises(DataError, match=r"stage cold-start: reward 'maths': .*did you mean 'math'"):
        run(commands, stages=r1(Path("."), reward=[{"use": "maths"}]))
    assert commands.lines == []


def test_an_evaluation_set_that_is_trained_on_is_said(run):
    Path("test.jsonl").write_text(Path("problems.jsonl").read_text())
    _, said = run()
    assert any(
        "warning: stage rl: eval.source = test.jsonl shares 1 problem of its 1 with the training" in line
        for line in said
    )


def test_the_same_set_for_both_is_said(run):
    stages = with_settings(r1(Path(".")), "rl", eval={"source": "problems.jsonl"})
    _, said = run(stages=stages)
    assert any("stage rl: trains on and is evaluated on the same problems, problems.jsonl" in line for line in said)


def test_a_second_pipeline_in_the_same_folder_is_refused(run):
    from grpo.run.folder import RunFolder

    with RunFolder.hold(Path("out")), pytest.raises(CheckpointError, match=f"process {os.getpid()}"):
        run()


def test_a_stage_whose_number_moved_is_refused(run):
    run(until="rl")
    Path("out/2-rl").rename("out/3-rl")
    with pytest.raises(ConfigError, match="out/3-rl: is of stage rl, which is number 2 now; rename it"):
        run()


def test_a_damaged_record_is_said(run):
    run(until="cold-start")
    Path("out/1-cold-start/stage.json").write_text('{"name":')
    with pytest.raises(CheckpointError, match=r"stage.json: cannot be read"):
        run()


def said_of(stages):
    said = []
    dry_run(stages, Path("out"), said.append)
    return "\n".join(said)


def test_a_dry_run_says_what_would_run_and_leaves_nothing(run):
    run(until="rl")
    Path("traces.jsonl").write_text("")
    before = sorted(Path(".").rglob("*"))
    r1(Path("."))
    text = said_of(r1_stages())
    assert sorted(Path(".").rglob("*")) == before
    assert "stage 2 of 6, rl: finished" in text
    assert "stage 3 of 6, drawn: to do\n  grpo collect --recipe out/3-drawn.toml --out out/3-drawn\n" in text
    assert "@rl for model.name (out/2-rl/checkpoints/step-2)" in text
    assert "@drawn for select.source.0.use (not made yet)" in text
    assert "problems.jsonl for data.source (here)" in text


def test_a_dry_run_bounds_the_tokens_and_says_what_is_missing(run):
    # rl: 2 steps × 32 problems × 8 completions × 1024 tokens, and 1 held-out problem × 1024 tokens, twice.
    stages = r1(Path("."))
    Path("judge.py").unlink()
    text = said_of(stages)
    assert f"  samples {2 * 32 * 8 * 1024 / 1000:.1f}k tokens at most; evaluations 2048 tokens at most\n" in text
    assert "  learns from 64 examples; evaluations 2048 tokens at most\n" in text
    assert "judge.py:right for reward.0.use (MISSING)" in text


def test_the_page_has_the_stages_side_by_side(run):
    run()
    page = Path("out/report.html").read_text()
    for name in ["base", *ALL]:
        assert f">{name}</" in page
    assert "25.0%<i>→</i>75.0%" in page
    assert "+25.0" in page
    assert "What chosen kept" in page
    assert "http" not in page.split("<body>")[1]
    assert "<script" not in page


def test_the_table_at_the_end_has_a_row_per_stage(run):
    _, said = run()
    table = "\n".join(said)
    assert "rl           train        50.0%   30.0% – 70.0%" in table
    assert "2 of 3" in table
