"""Measures come from judged samples, nothing is left out in silence, and what is written says how it was made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from grpo.config import Reward
from grpo.errors import DataError, GrpoError
from grpo.evaluate import Answers, evaluate, measure, read_results, score_completions, write
from grpo.scoring import Scorer
from grpo.types import Problem, Prompt, SamplingParams, Scores
from rewards import Score
from tests.fakes import FakeSampler


def problem(id: str, **facts) -> Problem:
    return Problem(id, ({"role": "user", "content": f"{id}?"},), {"answer": "4", **facts})


def prompt(id: str, **facts) -> Prompt:
    return Prompt(problem(id, **facts), (1, 2))


def answered(id: str, *scores: Score, finish: Sequence[str] = (), **facts) -> Answers:
    """One token each, which ended as `finish` says."""
    judged = Scores(tuple({"math": score} for score in scores), tuple(score.value for score in scores))
    ends = tuple(finish) or ("stop",) * len(scores)
    return Answers(
        problem(id, **facts), tuple(f"answer {g}" for g in range(len(scores))), judged, ends, (1,) * len(scores)
    )


RIGHT = Score(1.0, answer="4", parsed=True)
WRONG = Score(0.0, answer="5", parsed=True)
UNREADABLE = Score(0.0, parsed=False)


# --- Measures -----------------------------------------------------------------------------------------------------


def test_measures_of_an_evaluation_by_hand():
    answers = [
        answered("a", RIGHT, RIGHT, WRONG, WRONG),
        answered("b", WRONG, WRONG, WRONG, RIGHT),
        answered("c", UNREADABLE, UNREADABLE, UNREADABLE, WRONG, finish=["length", "stop", "stop", "stop"]),
    ]
    result = measure(answers, "math", ks=[1, 4, 2])
    means = {name: value.mean for name, value in result.measures.items()}
    assert means["pass@1"] == pytest.approx((0.5 + 0.25 + 0) / 3)
    # 1 - C(wrong, 2) / C(4, 2): a 1 - 1/6, b 1 - 3/6, c 0.
    assert means["pass@2"] == pytest.approx((5 / 6 + 1 / 2) / 3)
    assert means["pass@4"] == pytest.approx(2 / 3)
    assert means["maj@4"] == pytest.approx(0.5 / 3)  # a is a tie, b and c vote for 5
    assert means["truncated"] == pytest.approx(1 / 12)
    assert means["unparseable"] == pytest.approx(3 / 12)
    assert result.solved == {"a": 0.5, "b": 0.25, "c": 0.0}
    assert list(means) == ["pass@1", "pass@2", "maj@2", "pass@4", "maj@4", "truncated", "unparseable"]


def test_part_of_a_reward_is_not_a_right_answer():
    assert (
        measure([answered("a", Score(0.99)), answered("b", Score(1.5))], "math", ks=[1]).measures["pass@1"].mean == 0.5
    )


def test_completions_that_could_not_be_judged_are_counted_and_leave_the_denominator():
    result = measure([answered("a", RIGHT, Score.none("down")), answered("b", Score.none("down"))], "math", ks=[1])
    assert result.measures["pass@1"].mean == 1.0
    assert (result.unscored, result.solved) == (2, {"a": 1.0})


def test_a_reward_that_judges_nothing_is_an_error():
    with pytest.raises(GrpoError, match='reward "math" could judge no completion'):
        measure([answered("a", Score.none("down"))], "math", ks=[1])


def test_the_usual_columns_are_broken_down_and_rows_without_them_stay():
    answers = [answered("a", RIGHT, level="1"), answered("b", WRONG, level="1"), answered("c", RIGHT)]
    result = measure(answers, "math", ks=[1])
    assert {value: (count, share.mean) for value, (count, share) in result.breakdown["level"].items()} == {
        "1": (2, 0.5),
        "(none)": (1, 1.0),
    }


def test_a_breakdown_may_be_by_any_column():
    answers = [answered("a", RIGHT, year=2024, level=1), answered("b", WRONG, year=2025, level=1)]
    result = measure(answers, "math", ks=[1], by=["year"])
    assert list(result.breakdown) == ["year"]
    assert {value: share.mean for value, (_, share) in result.breakdown["year"].items()} == {"2024": 1.0, "2025": 0.0}


# --- Sampling -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scorer():
    with Scorer([Reward(use="math")], workers=1, chat=True) as scorer:
        yield scorer


def test_what_is_sampled_is_scored_in_the_order_of_the_problems(scorer):
    prompts = [prompt("a"), prompt("b", answer="5"), prompt("c")]
    seen = []
    result = evaluate(
        FakeSampler(lambda problem, g, seed: r"\boxed{4}"),
        scorer,
        prompts,
        2,
        SamplingParams(64),
        ks=[2],
        arrived=lambda done, total: seen.append((done, total)),
    )
    assert [one.problem.id for one in result.answers] == ["a", "b", "c"]
    assert result.solved == {"a": 1.0, "b": 0.0, "c": 1.0}
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert result.answers[1].texts == (r"\boxed{4}",) * 2
    assert result.answers[1].tokens == (len(r"\boxed{4}") + 1,) * 2  # a token per character, and the end
    assert result.answers[1].finishes == ("stop",) * 2
    assert result.row(7) | {"step": 7, "eval/pass@1": pytest.approx(2 / 3)} == result.row(7)


def test_a_column_that_is_not_there_is_refused_before_anything_is_sampled(scorer):
    sampler = FakeSampler(lambda problem, g, seed: "4")
    with pytest.raises(DataError, match="--by yaer: there is no such column; there are answer, year"):
        evaluate(sampler, scorer, [prompt("a", year=1)], 1, SamplingParams(64), by=["yaer"])
    assert sampler.calls == []


# --- Completions made elsewhere -----------------------------------------------------------------------------------

PROBLEMS = [problem("a"), problem("b"), problem("c")]


def test_several_texts_for_one_problem_are_its_samples(scorer):
    texts = {"a": [r"\boxed{4}", r"\boxed{4}", r"\boxed{5}"], "b": [r"\boxed{5}"] * 2, "c": [r"\boxed{4}"] * 2}
    result = score_completions(scorer, PROBLEMS, texts)
    assert result.solved == pytest.approx({"a": 2 / 3, "b": 0.0, "c": 1.0})
    assert {"pass@1", "pass@2", "maj@2"} <= set(result.measures)
    assert result.missing == 0


def test_of_completions_made_elsewhere_nothing_is_said_of_how_they_ended_or_how_long_they_are(scorer):
    result = score_completions(scorer, PROBLEMS, {"a": ["4"], "b": ["4"], "c": ["4"]})
    assert "truncated" not in result.measures
    assert [(one.finishes, one.tokens) for one in result.answers] == [((), ())] * 3
    (row,) = result.answers[0].rows("a?")
    assert (row["problem"], row["prompt"], row["completion"]) == ("a", "a?", "4")
    assert not {"finish", "tokens"} & row.keys()


def test_a_problem_without_a_completion_is_wrong_and_counted(scorer):
    result = score_completions(scorer, PROBLEMS, {"b": [r"\boxed{4}", r"\boxed{4}"]})
    assert result.measures["pass@1"].mean == pytest.approx(1 / 3)
    assert result.measures["pass@2"].mean == pytest.approx(1 / 3)
    assert (result.missing, result.unscored) == (2, 0)
    assert result.solved == {"a": 0.0, "b": 1.0, "c": 0.0}
    assert result.answers[0].judged.scores[0]["math"].why == "no completion was given"


def test_a_completion_for_no_problem_is_refused(scorer):
    with pytest.raises(
        DataError, match=r"2 of 3 ids .* name no problem of the data, 'x' first; the data's ids are 'a', 'b', 'c'"
    ):
        score_completions(scorer, PROBLEMS, {"y": ["4"], "x": ["4"], "a": ["4"]})


def test_no_completion_at_all_is_refused(scorer):
    with pytest.raises(DataError, match="no completion names a problem"):
        score_completions(scorer, PROBLEMS, {})


def test_pass_at_k_of_more_samples_than_were_given_is_refused(scorer):
    with pytest.raises(DataError, match="k = 4: there are 1 completions for some problems"):
        score_completions(scorer, PROBLEMS, {"a": ["4"], "b": ["4"] * 4, "c": ["4"] * 4}, ks=[4])


# --- Files --------------------------------------------------------------------------------------------------------


@pytest.fixture
def result():
    return measure([answered("a", RIGHT, WRONG, level="1"), answered("b", WRONG, WRONG, level="2")], "math", ks=[1, 2])


TEXTS = {"a": "a?", "b": "b?"}


def test_results_have_each_measure_with_its_interval_and_the_recipe(result, tmp_path):
    write(result, tmp_path / "new" / "eval", {"n": 2}, TEXTS)
    results = json.loads((tmp_path / "new" / "eval" / "results.json").read_text())
    for name in ("pass@1", "pass@2", "maj@2", "truncated", "unparseable"):
        assert set(results[name]) == {"mean", "low", "high"}
    assert results["pass@1"]["mean"] == 0.25
    assert results["recipe"] == {"n": 2}
    assert results["breakdown"]["level"]["1"] | {"problems": 1, "mean": 0.5} == results["breakdown"]["level"]["1"]
    assert (results["problems"], results["unscored"], results["missing"]) == (2, 0, 0)


def test_every_completion_is_written_with_its_reason(result, tmp_path):
    write(result, tmp_path, {}, TEXTS)
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [(row["problem"], row["completion"], row["reward"]) for row in rows] == [
        ("a", "answer 0", 1.0),
        ("a", "answer 1", 0.0),
        ("b", "answer 0", 0.0),
        ("b", "answer 1", 0.0),
    ]
    assert rows[0]["scores"]["math"] == {"value": 1.0, "answer": "4", "why": ""}
    assert [(row["prompt"], row["gold"], row["finish"], row["tokens"]) for row in rows] == [
        ("a?", "4", "stop", 1),
        ("a?", "4", "stop", 1),
        ("b?", "4", "stop", 1),
        ("b?", "4", "stop", 1),
    ]


def test_any_text_can_be_written_into_results(tmp_path):
    odd = "\ud800\u2028\x00[red]😀"
    answers = [answered("a", Score(0.0, answer=odd, why=odd), level=odd)]
    write(measure(answers, "math", ks=[1]), tmp_path, {"of": odd}, {"a": odd})
    assert read_results(str(tmp_path))["recipe"] == {"of": odd}
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 1


def test_results_that_were_written_read_back_from_folder_or_file(result, tmp_path):
    write(result, tmp_path, {}, TEXTS)
    assert read_results(str(tmp_path)) == read_results(str(tmp_path / "results.json"))
    assert read_results(str(tmp_path))["solved"] == {"a": 0.5, "b": 0.0}


def test_a_place_where_results_cannot_be_written_is_said(result, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GrpoError, match=r"file/x: results cannot be written \(Not a directory\); choose another place"):
        write(result, tmp_path / "file" / "x", {}, TEXTS)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's file that is always full")
def test_a_disk_too_full_for_results_is_said(result, tmp_path):
    (tmp_path / "samples.jsonl").symlink_to("/dev/full")
    with pytest.raises(GrpoError, match=r"cannot be written \(No space left on device\)"):
        write(result, tmp_path, {}, TEXTS)


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"solved": 3}', "\x00"])
def test_a_file_that_holds_no_results_is_refused(tmp_path, content):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(DataError, match="is not a results"):
        read_results(str(path))


def test_a_result_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"results.json: cannot be read \(No such file or directory\)"):
        read_results(str(tmp_path))
