"""`grpo collect`: every completion once and in its place, whatever stops it; and no more in memory than two shards."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from grpo import collect as module
from grpo.collect import Collector, Progress, collect, shard_seed
from grpo.completions import Writer, groups
from grpo.config import CollectConfig
from grpo.config_file import validate
from grpo.errors import CheckpointError, ConfigError, DataError, Interrupted, RewardError
from grpo.interrupt import StopRequest
from grpo.parts import Parts, Record
from grpo.run.console import Console
from grpo.run.folder import RunFolder
from grpo.types import Group, Problem, Prompt, SamplingParams
from tests import collecting
from tests.fakes import FakeSampler, FakeScorer
from tests.runs import write_inputs
from tests.tiny import save_model

N, SHARD, PROBLEMS = 3, 4, 10  # so the last shard is smaller than the others


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_inputs(tmp_path, PROBLEMS)
    return tmp_path


def settings(place: Path, model: Path, /, **changes: dict[str, Any]) -> CollectConfig:
    tree: dict[str, Any] = {
        "model": {"name": str(model)},
        "data": {"source": str(place / "problems.jsonl"), "chat": False},
        "sampling": {"backend": "transformers", "problems_per_step": SHARD, "group_size": N, "max_tokens": 8},
        "reward": [{"use": f"{place / 'reward.py'}:digits"}],
        "run": {"reward_workers": 1},
    }
    for group, values in changes.items():
        tree[group] = {**tree[group], **values} if isinstance(values, dict) else values
    return validate(tree, place="test", kind=CollectConfig)


def answer(problem: Problem, g: int, seed: int) -> str:
    return f"{problem.facts['answer'] if g else 'x'} {seed % 1000}"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    collecting.without_reward_processes(monkeypatch.setattr)


class Counting(FakeSampler):
    """Counts how often each problem is answered; `before(number)` is called before every answer."""

    def __init__(self, before: Callable[[int], None] = lambda number: None) -> None:
        super().__init__(answer)
        self.asked: Counter[str] = Counter()
        self.before = before

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> Iterator[tuple[int, Group]]:
        for index, group in super().sample(prompts, n, params):
            self.before(self.asked.total())
            self.asked[group.prompt.problem.id] += 1
            yield index, group


def opening(sampler: Any) -> Any:
    return lambda *_, **__: sampler


def nobody(*_: Any, **__: Any) -> Any:
    raise AssertionError("a model was opened although nothing is to be sampled")


def stop_at(number: int, error: Exception | None = None) -> Callable[[int], None]:
    """Before the answer of that number, counted from 0, either raise, or ask for a stop as a terminal does."""

    def before(now: int) -> None:
        if now == number:
            if error is not None:
                raise error
            os.kill(os.getpid(), signal.SIGTERM)

    return before


def left(folder: Path) -> dict[str, bytes]:
    """All that a collection leaves and that must be the same again."""
    files = {name: (folder / name).read_bytes() for name in ("completions.parquet", "config.toml")}
    told = (folder / "collect.json").read_text().splitlines()
    return files | {"collect.json": "\n".join(line for line in told if '"seconds"' not in line).encode()}


def whole(place: Path, model: Path, name: str = "whole") -> dict[str, bytes]:
    """What a collection leaves that nobody stopped."""
    collect(settings(place, model), place / name, open_sampler=opening(Counting()))
    return left(place / name)


@pytest.mark.usefixtures("quick")
def test_every_completion_is_there_once_in_the_order_of_the_problems(place: Path, model: Path) -> None:
    sampler = Counting()
    collect(settings(place, model), place / "out", open_sampler=opening(sampler))
    found = list(groups(place / "out"))
    assert [group.problem.id for group in found] == [f"p{i}" for i in range(PROBLEMS)]
    assert sampler.asked == {f"p{i}": 1 for i in range(PROBLEMS)}
    assert found[5].problem.facts["answer"] == "11"
    seed = shard_seed(0, 5 // SHARD)
    assert [row.completion for row in found[5].rows] == [answer(found[5].problem, g, seed)[:8] for g in range(N)]
    assert [row.sample for row in found[5].rows] == list(range(N))
    row = found[5].rows[1]
    digits = sum(character.isdigit() for character in row.completion)
    assert row.reward == row.scores["given"].value == pytest.approx(digits / (len(row.completion) + 1))
    assert not (place / "out" / "parts").exists()


@pytest.mark.usefixtures("quick")
def test_shards_are_drawn_with_seeds_of_their_own(place: Path, model: Path) -> None:
    collect(settings(place, model), place / "out", open_sampler=opening(Counting()))
    texts = [group.rows[1].completion.split()[1] for group in groups(place / "out")]
    assert len(set(texts)) == 3 and len(set(texts[:SHARD])) == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("number", [0, 1, SHARD, SHARD + 1, 2 * SHARD + 1, PROBLEMS - 1])
def test_a_stopped_collection_goes_on_and_samples_nothing_that_is_kept(place: Path, model: Path, number: int) -> None:
    expected, out = whole(place, model), place / "out"
    first, second = Counting(stop_at(number)), Counting()
    kept = number // SHARD * SHARD  # the shard under way is gone, the one before is not, though it was being written
    said = f"{kept} of 10 problems are kept in {out}; go on with --resume" if kept else "nothing was finished"
    with pytest.raises(Interrupted, match=f"^stopped by SIGTERM; {said}"):
        collect(settings(place, model), out, open_sampler=opening(first))
    collect(settings(place, model), out, resume=True, open_sampler=opening(second))
    assert second.asked == {f"p{i}": 1 for i in range(kept, PROBLEMS)}
    assert left(out) == expected


@pytest.mark.usefixtures("quick")
def test_a_finished_collection_is_left_as_it_is(place: Path, model: Path) -> None:
    expected = whole(place, model)
    collect(settings(place, model), place / "whole", resume=True, open_sampler=nobody)
    assert left(place / "whole") == expected
    with pytest.raises(CheckpointError, match="already holds a run; continue it with --resume"):
        collect(settings(place, model), place / "whole", open_sampler=nobody)


@pytest.mark.usefixtures("quick")
def test_what_is_left_of_a_kill_while_parts_are_joined_becomes_the_same_table(place: Path, model: Path) -> None:
    expected, out = whole(place, model), place / "out"
    with pytest.raises(RuntimeError, match="killed"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parts, "join", lambda *_: (_ for _ in ()).throw(RuntimeError("killed")))
        collect(settings(place, model), out, open_sampler=opening(Counting()))
    (out / ".completions.parquet.writing").write_bytes(expected["completions.parquet"][:1000])
    collect(settings(place, model), out, resume=True, open_sampler=nobody)
    assert left(out) == expected
    # … and of one after the table got its name, before the parts were gone and the summary was written.
    (out / "parts").mkdir()
    (out / "parts" / "000000.parquet").write_bytes(b"no longer needed")
    told = json.loads((out / "collect.json").read_text())
    (out / "collect.json").write_text(json.dumps({name: told[name] for name in ("problems", "checksum", "seconds")}))
    collect(settings(place, model), out, resume=True, open_sampler=nobody)
    assert left(out) == expected and not (out / "parts").exists()


def unfinished(place: Path, model: Path, number: int = PROBLEMS - 1) -> Path:
    """A collection that was stopped before that answer."""
    with pytest.raises(Interrupted):
        collect(settings(place, model), place / "out", open_sampler=opening(Counting(stop_at(number))))
    return place / "out"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("damage", [lambda whole: whole[:-100], lambda whole: whole[:200] + b"?" + whole[201:]])
def test_a_damaged_part_is_named_and_once_deleted_sampled_again(
    place: Path, model: Path, damage: Callable[[bytes], bytes]
) -> None:
    expected, out = whole(place, model), unfinished(place, model)
    part, sampler = out / "parts" / "000001.parquet", Counting()
    part.write_bytes(damage(part.read_bytes()))
    with pytest.raises(CheckpointError, match=r"000001\.parquet: is not what was written; delete it and go on with"):
        collect(settings(place, model), out, resume=True, open_sampler=opening(sampler))
    part.unlink()
    collect(settings(place, model), out, resume=True, open_sampler=opening(sampler))
    assert [problem for problem, times in sampler.asked.items() if problem in ("p4", "p5", "p6", "p7")]
    assert left(out) == expected


@pytest.mark.usefixtures("quick")
def test_settings_that_change_the_numbers_are_refused_by_name(place: Path, model: Path) -> None:
    out = unfinished(place, model)
    for changes, said in [
        ({"sampling": {"temperature": 0.7}}, r"sampling\.temperature: 1\.0 in the run, 0\.7 given"),
        ({"sampling": {"problems_per_step": 5}}, r"sampling\.problems_per_step: 4 in the run, 5 given"),
        ({"run": {"seed": 1}}, r"run\.seed: 0 in the run, 1 given"),
        ({"data": {"template": "{problem}="}}, r"data\.template: not set in the run, \"\{problem\}=\" given"),
        ({"reward": [{"use": "length"}]}, r"reward\.0\.use: "),
    ]:
        with pytest.raises(CheckpointError, match=said):
            collect(settings(place, model, **changes), out, resume=True, open_sampler=nobody)
    patient = [{"use": f"{place / 'reward.py'}:digits", "timeout": 60.0}]
    collect(settings(place, model, reward=patient), out, resume=True, open_sampler=opening(Counting()))


@pytest.mark.usefixtures("quick")
def test_problems_that_changed_underneath_are_refused(place: Path, model: Path) -> None:
    out, source = unfinished(place, model), place / "problems.jsonl"
    before = source.read_text()
    source.write_text(before.replace('"answer": "3"', '"answer": "4"'))
    with pytest.raises(
        CheckpointError, match=r"problems of .*problems\.jsonl are not those .*\(checksum \w+ then, \w+"
    ):
        collect(settings(place, model), out, resume=True, open_sampler=nobody)
    source.write_text("".join(before.splitlines(keepends=True)[1:]))
    with pytest.raises(CheckpointError, match=r"\(problems 10 then, 9 now\)"):
        collect(settings(place, model), out, resume=True, open_sampler=nobody)


def test_a_reward_that_raises_stops_at_once_and_what_was_done_is_kept(place: Path, model: Path) -> None:
    (place / "raises.py").write_text(
        "import pathlib\n"
        "def digits(completion, problem):\n"
        "    if completion[:1] == 'x' and problem['id'] == 'p5':\n"
        f"        pathlib.Path({str(place / 'raising')!r}).touch()\n"
        "        raise ZeroDivisionError('no such thing')\n"
        "    return float(bool(completion))\n"
    )

    def until_it_raised(number: int) -> None:
        """However long the reward's process takes to start."""
        until = time.monotonic() + 60
        while number == 8 and not (place / "raising").exists() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.05 if number < 8 else 1)

    reward, sampler = {"use": f"{place / 'raises.py'}:digits"}, Counting(until_it_raised)
    with pytest.raises(RewardError, match=r"ZeroDivisionError.*on problem p5.*completion saved to .*failed\.json"):
        collect(settings(place, model, reward=[reward]), place / "out", open_sampler=opening(sampler))
    assert "p9" not in sampler.asked, "it is not the next shard's end that tells of it"
    second = Counting()
    skipping = settings(place, model, reward=[{**reward, "on_error": "skip"}])
    collect(skipping, place / "out", resume=True, open_sampler=opening(second))
    assert not {"p0", "p1", "p2", "p3"} & set(second.asked)
    unjudged = [row for group in groups(place / "out") for row in group.rows if row.reward is None]
    assert len(unjudged) == 1 and unjudged[0].scores["digits"].failure == "fault"


@pytest.mark.usefixtures("quick")
def test_a_full_disk_is_one_sentence_and_loses_no_part(
    place: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = whole(place, model)
    add, added = Writer.add, []

    def full(self: Writer, group: Any) -> None:
        added.append(group)
        if len(added) == SHARD + 2:
            raise OSError(28, "No space left on device")
        add(self, group)

    monkeypatch.setattr(Writer, "add", full)
    said = r"000001\.parquet: could not be written \(No space left on device\); make room and go on with --resume"
    with pytest.raises(CheckpointError, match=said):
        collect(settings(place, model), place / "out", open_sampler=opening(Counting()))
    assert [path.name for path in (place / "out" / "parts").iterdir()] == ["000000.parquet"]
    collect(settings(place, model), place / "out", resume=True, open_sampler=opening(Counting()))
    assert left(place / "out") == expected


@pytest.mark.usefixtures("quick")
def test_a_model_without_room_is_refused_before_it_is_opened(place: Path, model: Path) -> None:
    with pytest.raises(DataError, match="do not fit into the model's context of 512 tokens"):
        collect(settings(place, model, sampling={"max_tokens": 512}), place / "out", open_sampler=nobody)


@pytest.mark.usefixtures("quick")
def test_a_folder_belongs_to_one_process(place: Path, model: Path) -> None:
    config = settings(place, model)
    with (
        RunFolder.create(place / "out", config.to_toml()),
        pytest.raises(CheckpointError, match="another run is using this folder"),
    ):
        collect(config, place / "out", open_sampler=nobody)


def test_a_reward_that_rejects_every_gold_answer_is_refused_before_anything_is_sampled(
    place: Path, model: Path
) -> None:
    rows = [f'{{"problem": "{i}?", "answer": "{"(" * (i + 1)}"}}\n' for i in range(3)]
    (place / "problems.jsonl").write_text("".join(rows))
    with pytest.raises(ConfigError, match="preflight: reward math does not give 3 of 3 gold answers its best value"):
        collect(settings(place, model, reward=[{"use": "math"}]), place / "out", open_sampler=nobody)


# --- Memory ---------------------------------------------------------------------------------------------------------


class Traceable(Group):
    """Without `__slots__`, so that it can be referred to weakly."""


class Endless(FakeSampler):
    """Counts how many of its groups are alive at the most."""

    def __init__(self) -> None:
        super().__init__(lambda problem, g, seed: "1")
        self.alive: set[int] = set()
        self.made = self.most = 0

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> Iterator[tuple[int, Group]]:
        for index, group in super().sample(prompts, n, params):
            known = Traceable(group.prompt, group.completions, group.policy_step)
            self.made += 1
            self.alive.add(self.made)
            weakref.finalize(known, self.alive.discard, self.made)
            self.most = max(self.most, len(self.alive))
            yield index, known


def bench(folder: Path, problems: int, sampler: Any, *, shard: int, n: int, at_once: int = 1) -> Parts:
    """Sample, write and join through fakes; problems are made when they are asked for."""
    given = [Problem(f"p{i}", ({"role": "user", "content": "?"},), {"answer": "1"}) for i in range(problems)]
    config = validate(
        {
            "model": {"name": "x"},
            "data": {"source": "x"},
            "sampling": {"problems_per_step": shard, "group_size": n, "max_tokens": 4},
        },
        place="test",
        kind=CollectConfig,
    )
    parts = Parts(folder, problems=problems, size=shard)
    record = Record.begin(folder / "collect.json", "x", given, resume=False)
    progress = Progress(parts, record, Console(0), StopRequest())
    progress.begin()
    scorer: Any = FakeScorer(lambda problem, g: float(g == 0))
    Collector(config, given, lambda some: [Prompt(one, (1,)) for one in some], sampler, scorer, progress).run(at_once)
    parts.join()
    return parts


@pytest.mark.parametrize("at_once", [1, 2])
def test_no_more_than_the_shards_under_way_are_in_memory(tmp_path: Path, at_once: int) -> None:
    sampler = Endless()
    parts = bench(tmp_path, 1000, sampler, shard=20, n=4, at_once=at_once)
    assert sampler.most <= (at_once + 1) * 20 + 2, "those that are sampled and the one that is written"
    tally = parts.tally()
    assert (tally.problems, tally.completions, tally.right) == (1000, 4000, 1000)
    read = sum(len(group.rows) for group in groups(tmp_path))
    assert read == 4000


# --- For real -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_shards_that_are_sampled_side_by_side_give_the_same_table(
    place: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect(settings(place, model), place / "one")
    monkeypatch.setitem(module.SHARDS_AT_ONCE, "cpu", 2)
    collect(settings(place, model), place / "two")
    assert left(place / "one") == left(place / "two")


@pytest.mark.usefixtures("quick")
def test_killed_at_any_moment_and_resumed_it_ends_with_the_same_bytes(place: Path, model: Path) -> None:
    write_inputs(place, 120)
    config = settings(place, model, sampling={"max_tokens": 16})
    collect(config, place / "whole")
    out, moments = place / "out", random.Random(1)
    processes = multiprocessing.get_context("forkserver")  # it imports torch once, and computes nothing
    processes.set_forkserver_preload(["tests.collecting", "transformers.models.qwen2.modeling_qwen2"])

    def start() -> Any:
        process = processes.Process(target=collecting.run, args=(str(out), config.to_toml(), out.exists()))
        process.start()
        return process

    def parts() -> int:
        return len(list(out.glob("parts/*.parquet")))

    ends = []
    for _ in range(3):
        there, process = parts(), start()
        while parts() <= there and process.is_alive():  # however slow the machine, it gets further each time
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.05))
        process.kill()
        process.join()
        ends.append(process.exitcode)
    assert -signal.SIGKILL in ends
    last = start()
    last.join()
    assert last.exitcode == 0
    assert left(out) == left(place / "whole")
