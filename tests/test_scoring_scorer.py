"""Groups are scored as they arrive, added up by two rules, and no misbehaviour stops more than it must."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.config import Reward
from grpo.errors import RewardError
from grpo.scoring import Scorer, failures, total
from grpo.types import Completion, Group, Problem, Prompt
from rewards import Score

HERE = Path(__file__).with_name("rewards_for_tests.py")
QUESTION = ({"role": "user", "content": "2+2?"},)


def a(function: str, **settings: object) -> Reward:
    return Reward(use=f"{HERE}:{function}", **settings)


def group(*texts: str, id: str = "gsm8k/1042", **facts: object) -> Group:
    problem = Problem(id, QUESTION, {"answer": "4", **facts})
    completions = [Completion((1,) * (n + 1), (-0.1,) * (n + 1), text, "stop") for n, text in enumerate(texts)]
    return Group(Prompt(problem, (1, 2)), tuple(completions), 0)


def scored(specs, *groups, workers=2, **settings):
    with Scorer(specs, workers=workers, chat=True, **settings) as scorer:
        futures = [scorer.submit(each) for each in groups]
        return [future.result() for future in futures]


values = st.none() | st.floats(-10, 10)
rows = st.lists(st.tuples(values, values), min_size=1, max_size=8)


def columns(rows):
    return [{"one": Score(one), "two": Score(two)} for one, two in rows]


@given(rows)
def test_a_reward_without_weight_changes_nothing(rows):
    alone = [{"one": Score(one)} for one, _ in rows]
    assert total(columns(rows), {"one": 2.0, "two": 0.0}) == total(alone, {"one": 2.0})


@given(rows)
def test_a_completion_is_scored_by_all_rewards_that_judge_its_group_or_not_at_all(rows):
    ones, twos = any(one is not None for one, _ in rows), any(two is not None for _, two in rows)
    for (one, two), reward in zip(rows, total(columns(rows), {"one": 1.0, "two": 1.0}), strict=True):
        if not (ones or twos) or (ones and one is None) or (twos and two is None):
            assert reward is None
        else:
            assert reward == (one or 0.0) + (two or 0.0)


def test_the_total_is_the_weighted_sum():
    # 1·1 + 0.5·3 = 2.5;  1·0 + 0.5·(-1) = -0.5
    scores = columns([(1.0, 3.0), (0.0, -1.0)])
    assert total(scores, {"one": 1.0, "two": 0.5}) == (2.5, -0.5)


def test_a_completion_that_could_not_be_judged_is_unscored_and_a_silent_reward_is_left_out():
    specs = [a("unsure_of_maybe"), a("judges_nothing"), a("tokens", weight=0.5)]
    [result] = scored(specs, group("yes", "maybe", "no"))
    # 1 + 0.5 × 1 token;  no judgement;  1 + 0.5 × 3 tokens
    assert result.rewards == (1.5, None, 2.5)
    assert result.scores[1]["unsure_of_maybe"] == Score.none("maybe")
    [result] = scored([a("judges_nothing")], group("yes", "no"))
    assert result.rewards == (None, None)


def test_a_group_is_scored_by_every_reward_under_its_own_name_in_the_order_of_completions():
    groups = [group("<answer>4</answer>", "<answer>5</answer>", id=f"p/{n}") for n in range(20)]
    specs = [a("exact"), a("tokens"), a("tokens", weight=0.0), a("trl_style", weight=0.0)]
    for each, result in zip(groups, scored(specs, *groups, workers=3), strict=True):
        assert result.group is each
        assert [list(scores) for scores in result.scores] == [["exact", "tokens", "tokens-2", "trl_style"]] * 2
        assert [scores["exact"].value for scores in result.scores] == [1.0, 0.0]
        assert result.rewards == (2.0, 2.0)


def test_a_reward_sees_a_row_of_its_own_each_time():
    numbers = [3]
    [result] = scored([a("meddles"), a("meddles")], group("a", "b", numbers=numbers), workers=1)
    assert result.rewards == (6.0, 6.0)
    assert numbers == [3]


def test_completions_that_hang_or_crash_score_0_with_the_reason_and_the_rest_goes_on():
    texts = ["fine", "backtrack", "os._exit", "fine", "fine"]
    [result, after] = scored([a("evil", timeout=2.0), a("tokens", weight=0.0)], group(*texts), group("fine"))
    assert result.rewards == (1.0, 0.0, 0.0, 1.0, 1.0)
    assert result.scores[1]["evil"] == Score(0.0, why="no answer within 2 s", failure="timeout")
    assert result.scores[2]["evil"] == Score(0.0, why="the reward's process died (exit code 7)", failure="crash")
    assert [scores["tokens"].value for scores in result.scores] == [1, 2, 3, 4, 5], "other rewards of it are not lost"
    assert after.rewards == (1.0,)
    assert failures([result, after]) == {"timeout": 1, "crash": 1, "fault": 0}


def test_timeouts_of_different_workers_run_at_the_same_time():
    begin = time.monotonic()
    scored([a("evil", timeout=2.0)], group(*["sleep"] * 4), workers=4)
    assert time.monotonic() - begin < 7.5, "one after the other is 8 s"


def test_a_reward_that_raises_stops_the_run_with_the_completion_saved(tmp_path):
    failed = tmp_path / "run" / "failed.json"
    with Scorer([a("evil")], workers=2, chat=True, failed=failed) as scorer:
        with pytest.raises(RewardError) as stop:
            scorer.submit(group("fine", "raise", answer="4", when=Path("x"))).result()
        assert str(stop.value) == (
            f"{HERE}:evil raised KeyError('answer') on problem gsm8k/1042; completion saved to {failed}"
        )
        assert stop.value.exit_code == 1
        with pytest.raises(RewardError) as again:
            scorer.submit(group("sys.exit", id="gsm8k/2")).result()
        assert again.value is stop.value, "the first fault is the one that is told and saved"
    saved = json.loads(failed.read_text())
    assert saved["reward"] == f"{HERE}:evil"
    assert saved["problem"] == "gsm8k/1042"
    assert saved["facts"] == {"answer": "4", "when": repr(Path("x"))}
    assert saved["completion"] == "raise"
    assert 'KeyError("answer")' in saved["traceback"]
    assert os.listdir(failed.parent) == ["failed.json"]


def test_a_disk_that_does_not_take_the_completion_does_not_hide_the_fault(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RewardError, match=r"raised KeyError.*could not be saved to .*failed.json \(.+\)$"):
        scored([a("evil")], group("raise"), failed=tmp_path / "file" / "failed.json")


@pytest.mark.parametrize(
    ("function", "text", "sentence"),
    [
        ("returns", "nan", "returned nan on problem gsm8k/1042; return a finite number or a Score"),
        ("returns", "text", "returned '1.0' on problem gsm8k/1042; return a finite number or a Score"),
        ("trl_wrong_length", "", "returned a list of 2 for 1 completion on problem gsm8k/1042; return a list with one"),
        ("trl_wants_ids", "", "needs completion_ids on problem gsm8k/1042; it can have answer, completion_tokens, "),
    ],
)
def test_a_broken_contract_stops_the_run_with_advice(function, text, sentence):
    with pytest.raises(RewardError) as stop:
        scored([a(function)], group(text))
    assert str(stop.value).startswith(f"{HERE}:{function} {sentence}")


def test_a_reward_that_may_be_skipped_leaves_the_completion_unscored_and_is_counted(tmp_path):
    failed = tmp_path / "failed.json"
    [result] = scored([a("evil", on_error="skip")], group("fine", "raise"), failed=failed)
    assert result.rewards == (1.0, None)
    assert result.scores[1]["evil"] == Score(None, why="raised KeyError('answer')", failure="fault")
    assert failures([result]) == {"timeout": 0, "crash": 0, "fault": 1}
    assert not failed.exists()


def test_a_reason_that_only_sounds_like_a_failure_counts_as_none():
    [result] = scored([a("claims")], group("deadline: no answer within 5 s", "crash: died", "fault: raised"))
    assert [scores["claims"].why for scores in result.scores] == [c.text for c in result.group.completions]
    assert failures([result]) == {"timeout": 0, "crash": 0, "fault": 0}


def test_a_failure_that_a_reward_claims_of_itself_is_not_counted_as_one():
    [result] = scored([a("claims", on_error="skip", options={"failure": "timeout"})], group("x"))
    assert failures([result]) == {"timeout": 0, "crash": 0, "fault": 1}, "it broke its contract, and that is a fault"


def test_plain_texts_are_scored_as_a_group_with_the_same_texts_is():
    given = group("<answer>4</answer>", "<answer>5</answer>")
    with Scorer([a("exact"), a("tokens", weight=0.5)], workers=2, chat=True) as scorer:
        plain = scorer.score(given.prompt.problem, [c.text for c in given.completions], [1, 2]).result()
        whole = scorer.submit(given).result()
    assert (plain.scores, plain.rewards) == (whole.scores, whole.rewards)
    assert plain.rewards == (1.5, 1.0)


def test_how_long_a_text_is_stays_open_where_nobody_counted():
    problem = Problem("p/0", QUESTION, {"answer": "4", "completion_tokens": 99})
    with Scorer([a("columns")], workers=1, chat=True) as scorer:
        [unknown, known] = scorer.score(problem, ["x", "x"], [None, 7]).result().scores
    assert unknown["columns"].why == "['answer', 'prompt']", "the column of that name is about some other text"
    assert known["columns"].why == "['answer', 'completion_tokens', 'prompt']"
    assert problem.facts["completion_tokens"] == 99


@pytest.mark.parametrize(("texts", "tokens"), [([], []), (["x"], []), (["x"], [1, 2])])
def test_texts_and_their_lengths_come_in_pairs(texts, tokens):
    with Scorer([a("exact")], workers=1, chat=True) as scorer, pytest.raises(ValueError):
        scorer.score(Problem("p/0", QUESTION, {}), texts, tokens)


def test_a_reward_that_cannot_be_loaded_is_refused_before_anything_is_scored():
    with pytest.raises(RewardError, match="has no function 'exct'; did you mean 'exact'"):
        Scorer([a("tokens"), a("exct")], workers=2, chat=True)


def test_a_closed_scorer_leaves_no_process_and_nobody_waiting():
    scorer = Scorer([a("process_id"), a("evil", timeout=100)], workers=2, chat=True)
    [pid] = {int(s["process_id"].value or 0) for s in scorer.submit(group("fine")).result().scores}
    waiting = [scorer.submit(group("sleep", "fine")) for _ in range(4)]
    time.sleep(0.3)  # two are under way, the others wait
    begin = time.monotonic()
    scorer.close()
    assert time.monotonic() - begin < 10
    for future in waiting:
        with pytest.raises(CancelledError):
            future.result(timeout=10)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    scorer.close()


def test_ctrl_c_in_the_main_thread_leaves_no_process():
    pids = []

    def interrupted():
        with Scorer([a("process_id")], workers=1, chat=True) as scorer:
            pids.append(int(scorer.submit(group("x")).result().rewards[0] or 0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_a_reward_with_a_timer_of_its_own_works_for_it_has_a_main_thread():
    [result] = scored([a("brings_its_own_timer", timeout=20.0)], group("x", "y"))
    assert result.rewards == (0.25, 0.25)


def test_a_reward_that_can_no_longer_be_loaded_stops_the_run(tmp_path):
    file = tmp_path / "my.py"
    file.write_text("import os\ndef f(completion, problem): os._exit(1)")
    with Scorer([Reward(use=f"{file}:f")], workers=1, chat=True) as scorer:
        file.write_text("def g(completion, problem): return 1.0")
        assert scorer.submit(group("x")).result().rewards == (0.0,)
        with pytest.raises(RewardError, match="has no function 'f'; there is g") as stop:
            scorer.submit(group("x")).result()
        assert stop.value.exit_code == 1


def test_a_killed_worker_is_replaced_by_one_that_scores_the_same():
    groups = [group("fine"), group("os._exit"), group("fine"), group("kill"), group("fine")]
    assert [result.rewards for result in scored([a("evil")], *groups, workers=1)] == [(1,), (0,), (1,), (0,), (1,)]
