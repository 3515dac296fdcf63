from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grpo.config import Config
from grpo.run import rollouts
from grpo.run.folder import RunFolder, _append
from grpo.run.report import MAX_BYTES, write_report
from grpo.run.samples_page import _COMPLETIONS, _CONTROLS
from grpo.types import Alarm, Example

VOID = {"meta", "rect", "path", "circle"}
TAGS = VOID | set(
    "html head title style body main header section footer h1 h2 h3 p div span b i small ul li pre details summary "
    "article figure figcaption svg g text table tr th td".split()
)
ATTRIBUTES = set(
    "lang charset name content http-equiv class open viewbox role aria-label d x y cx cy r width height text-anchor "
    "textlength lengthadjust".split()
)


class Page(HTMLParser):
    """Reads a report as a browser would, and refuses anything but our own harmless tags, each one closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.details: list[bool] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        assert {name for name, _ in attrs} <= ATTRIBUTES, attrs
        if tag == "details":
            self.details.append(("open", None) in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


def metrics(step: int, **changes: Any) -> dict[str, Any]:
    row = {
        "step": step,
        "solved": 0.5,
        "reward/mean": 0.6,
        "reward/std": 0.4,
        "reward/math": 0.5,
        "reward/layout": 1.0,
        "groups/useful": 0.7,
        "completions/truncated": 0.01,
        "completions/unparseable": 0.02,
        "completions/unscored": 0.0,
        "completions/length_mean": 80.0,
        "completions/length_max": 120,
        "policy/entropy": 0.5,
        "policy/ratio_mean": 1.0,
        "policy/ratio_max": 1.3,
        "policy/skipped_updates": 0,
        "sync/logprob_gap": 3e-6,
        "tokens/sample": 5000,
        "time/sample": 1.0,
        "time/score": 0.2,
        "time/update": 0.8,
        "time/sync": 0.1,
        "time/step": 2.5,
        "speed/tokens_per_second": 2000.0,
        "memory/peak_gib": 2.5,
    }
    return row | {name.replace("__", "/"): value for name, value in changes.items()}


def sample(step: int, problem: str = "arithmetic/1", reward: float | None = 1.0, **changes: Any) -> dict[str, Any]:
    row = {
        "step": step,
        "problem": problem,
        "prompt": "1 + 1 = ?",
        "gold": "2",
        "completion": "<think>easy</think><answer>2</answer>",
        "reward": reward,
        "advantage": 0.0 if reward is None else reward - 0.5,
        "finish": "stop",
        "tokens": 9,
        "scores": {"math": {"value": reward, "answer": "2", "why": "equal as integers"}},
    }
    return row | changes


def report(
    path: Path, rows: list[dict[str, Any]], samples: list[dict[str, Any]], evals: dict[str, Any] | None = None
) -> str:
    config = Config.model_validate({"model": {"name": "builtin:tiny"}, "data": {"source": "builtin:arithmetic"}})
    with RunFolder.create(path, config.to_toml()) as folder:
        _append(folder.metrics, rows)  # all at once: a test need not wait for the disk after each
        folder.append_samples(samples)
        for label, results in (evals or {}).items():
            (folder.eval / label).mkdir(parents=True)
            (folder.eval / label / "results.json").write_text(json.dumps(results))
    written = write_report(path)
    assert written == path / "report.html"
    return written.read_text(encoding="utf-8")


def measured(mean: float, low: float, high: float) -> dict[str, Any]:
    return {"pass@1": {"mean": mean, "low": low, "high": high}, "recipe": {"n": 1}}


def test_the_headline_is_before_and_after_with_their_intervals(tmp_path: Path) -> None:
    evals = {"before": measured(0.386, 0.346, 0.426), "after": measured(0.944, 0.92, 0.961)}
    evals = {label: results | {"problems": 500} for label, results in evals.items()}
    text = Page(report(tmp_path, [metrics(1), metrics(2)], [], evals)).text
    assert "500 held-out problems solved (pass@1)" in text and "38.6%→94.4%" in text and "+55.8 points" in text
    assert "95% intervals 34.6% – 42.6%, then 92.0% – 96.1%" in text


def tuning(step: int, loss: float) -> dict[str, Any]:
    return {"step": step, "sft/loss": loss, "sft/epoch": step / 4, "tokens/learned": 100, "tokens/shown": 300} | {
        "time/step": 2.0, "time/update": 1.5, "policy/lr": 1e-5, "policy/grad_norm": 1.0, "update/padded": 0.01
    }  # fmt: skip


def test_a_page_of_fine_tuning_shows_the_loss_and_nothing_of_rewards(tmp_path: Path) -> None:
    text = Page(report(tmp_path, [tuning(step, 4.0 / step) for step in range(1, 9)], [])).text
    assert "Loss2.08→0.635" in text  # means of the first and of the last four
    assert "2.00times through the examples" in text and "150tokens per second" in text
    for other in ("Solved", "Reward", "Useful", "Entropy", "Canary"):
        assert other not in text


def test_a_page_of_fine_tuning_begins_with_held_out_results_where_there_are_two(tmp_path: Path) -> None:
    evals = {"before": measured(0.2, 0.1, 0.3), "after": measured(0.6, 0.5, 0.7)}
    text = Page(report(tmp_path, [tuning(1, 2.0), tuning(2, 1.0)], [], evals)).text
    assert "20.0%→60.0%" in text and "held-out pass@1" in text


def test_without_an_evaluation_the_headline_says_that_it_is_not_held_out(tmp_path: Path) -> None:
    page = Page(report(tmp_path, [metrics(1, solved=0.25), metrics(2, solved=0.75)], []))
    assert "Solved while training, not held out" in page.text and "25.0%→75.0%" in page.text


def test_time_and_tokens_are_the_sums_over_the_steps(tmp_path: Path) -> None:
    text = Page(report(tmp_path, [metrics(step) for step in range(1, 101)], [])).text
    assert "4 minin steps, 2.5 s each" in text  # 100 × 2.5 s
    assert "500.0ktokens sampled" in text  # 100 × 5000


def test_the_gap_is_shown_by_position_where_completions_reach_more_than_one_range(tmp_path: Path) -> None:
    gaps = {"policy/sampler_gap": 1e-3, "policy/sampler_gap_p99": 5e-3, "policy/sampler_gap_from_0": 1e-3}
    short = Page(report(tmp_path / "short", [metrics(1) | gaps], [])).text
    assert "Gap of each token, nats" in short and "99 % are below 0.005" in short
    assert "by position" not in short
    longer = [metrics(1) | gaps, metrics(2) | gaps | {"policy/sampler_gap_from_16": 0.25}]
    text = Page(report(tmp_path / "longer", longer, [])).text
    assert "Gap by position, nats" in text and "from token 16 0.25" in text


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_a_run_of_any_length_has_a_report_even_without_samples(steps: int, tmp_path: Path) -> None:
    page = Page(report(tmp_path, [metrics(step) for step in range(1, steps + 1)], []))
    assert ("No step has been finished yet" in page.text) == (steps == 0)
    assert "What it wrote" not in page.text


def test_an_empty_folder_has_a_report(tmp_path: Path) -> None:
    assert "No step has been finished yet" in write_report(tmp_path).read_text(encoding="utf-8")


def test_steps_without_an_update_and_half_lines_are_passed_over(tmp_path: Path) -> None:
    rows = [metrics(1), {"step": 2, "solved": 0.0, "policy/entropy": None}, metrics(3)]
    report(tmp_path, rows, [sample(1)])
    for name in ("metrics.jsonl", "samples.jsonl"):
        with (tmp_path / name).open("a") as file:
            file.write('{"step": 4, "sol')
    (tmp_path / "eval" / "step-2").mkdir(parents=True)
    (tmp_path / "eval" / "step-2" / "results.json").write_text('{"pass@1": {"me')
    Page(write_report(tmp_path).read_text(encoding="utf-8"))


def test_samples_come_from_the_first_the_middle_and_the_last_step(tmp_path: Path) -> None:
    steps = range(1, 8)
    page = Page(report(tmp_path, [metrics(s) for s in steps], [sample(s, completion=f"text {s}!") for s in steps]))
    assert [s for s in steps if f"text {s}!" in page.text] == [1, 4, 7]


def test_the_groups_shown_are_those_whose_rewards_differ_with_best_and_worst(tmp_path: Path) -> None:
    dull = [sample(1, f"dull/{p}", 0.0) for p in range(8) for _ in range(4)]
    useful = [sample(1, "useful", g / 10, completion=f"mark {g};") for g in range(10)]
    page = Page(report(tmp_path, [metrics(1)], dull + useful))
    assert [g for g in range(10) if f"mark {g};" in page.text] == [0, 1, 8, 9]
    assert page.text.index("useful10 completions") < page.text.index("dull/0")
    assert page.details[:3] == [True, False, False] and "the 2 best and the 2 worst are shown" in page.text
    assert page.text.count("mark ") == _COMPLETIONS


def test_a_group_shows_the_gold_answer_where_there_is_one(tmp_path: Path) -> None:
    html = report(tmp_path / "with", [metrics(1)], [sample(1, gold="<7>")])
    assert "<b>gold answer</b> &lt;7&gt;" in html
    assert "gold answer" not in report(tmp_path / "without", [metrics(1)], [sample(1, gold=None)])


def test_a_completion_shows_its_reward_advantage_and_reasons(tmp_path: Path) -> None:
    rows = [sample(1, finish="length"), sample(1, reward=None, scores={"judge": {"value": None, "why": "no reply"}})]
    text = Page(report(tmp_path, [metrics(1)], rows)).text
    assert "reward 1advantage +0.509 tokens, ran out of room" in text
    assert "math 1 · read as 2 · equal as integers" in text
    assert "not scored" in text and "judge – · no reply" in text


def test_a_reward_that_gave_no_answer_of_its_own_is_shown_with_its_failure(tmp_path: Path) -> None:
    lost = {"value": 0.0, "answer": None, "why": "no answer within 5 s", "failure": "timeout"}
    text = Page(report(tmp_path, [metrics(1)], [sample(1, reward=0.0, scores={"math": lost})])).text
    assert "math 0 · timeout · no answer within 5 s" in text


hostile = st.text(st.characters(exclude_categories=()), max_size=40) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        "</pre></details></main>",
        '"><img src=x onerror=alert(1)>',
        "<!--",
        "]]>",
        "&lt;b&gt;",
        "\x00\x1b[31m\u202e",
        "\ud800",
        "</style><style>*{display:none}",
    ]
)


@settings(max_examples=40)
@given(hostile, hostile, hostile, hostile)
def test_no_text_of_a_model_or_a_data_set_becomes_markup(completion: str, prompt: str, why: str, name: str) -> None:
    scores = {name: {"value": 1.0, "answer": why, "why": why}}
    row = sample(1, name, completion=completion, prompt=prompt, gold=prompt, scores=scores)
    rows = [metrics(1) | {f"reward/{name}": 0.5}, metrics(2) | {f"reward/{name}": 0.5}]
    evals = {"before": {"pass@1": {"mean": 0.5}, name: {"mean": 0.5, "low": 0.4, "high": 0.6}}}
    with tempfile.TemporaryDirectory() as folder:
        page = Page(report(Path(folder), rows, [row], evals))
    shown = completion.translate(_CONTROLS).encode("utf-8", "replace").decode()
    assert shown in page.text


def test_control_characters_are_made_visible_in_a_report(tmp_path: Path) -> None:
    html = report(tmp_path, [metrics(1)], [sample(1, completion="a\x00b\x1bc\nd\te")])
    assert "a␀b␛c\nd\te" in html


def test_the_report_asks_for_nothing_from_outside_and_forbids_scripts(tmp_path: Path) -> None:
    html = report(tmp_path, [metrics(1)], [sample(1)])
    assert "default-src 'none'" in html
    assert not any(word in html for word in ("http://", "https://", "url(", "@import", "<script", "src="))


def test_the_report_stays_small_whatever_the_run(tmp_path: Path) -> None:
    rows = [metrics(step, **{f"reward__{'&' * 99}{i}": 0.1 for i in range(9)}) for step in range(1, 3001)]
    rows += [{"step": step, "eval/pass@1": 0.5} for step in range(3001)]
    scores = {f"{'&' * 999}{i}": {"value": 0.123456789, "answer": "'" * 9999, "why": "'" * 9999} for i in range(20)}
    text = "'" * 10_000
    samples = [
        sample(step, text + str(p), g / 7, completion=text, prompt=text, gold=text, scores=scores)
        for step in (1, 1501, 3000)
        for p in range(4)
        for g in range(8)
    ]
    report(tmp_path, rows, samples, {"&" * 50 + str(i): measured(0.5, 0.4, 0.6) for i in range(50)})
    rollouts.write(tmp_path, 1, [{**row, "step": 1, "index": index} for index, row in enumerate(samples[:3])])
    examples = tuple(Example(1, row["problem"], index) for index, row in enumerate(samples[:3]))
    numbers = {f"reward/{'&' * 99}{i}": 0.1 for i in range(9)}
    alarms = [asdict(Alarm("&" * 99, 1, "&" * 9999, numbers, examples)) for _ in range(300)]
    _append(tmp_path / "alarms.jsonl", alarms)
    html = write_report(tmp_path).read_text()
    Page(html)
    assert MAX_BYTES / 2 < len(html.encode()) <= MAX_BYTES, "the worst there can be, and it is meant to be near"
    assert "more characters" in html and "What it wrote in step 1501" in html


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"completions__truncated": 0.6}, "60.0% of the last completions ran out of room: raise sampling.max_tokens"),
        ({"completions__unparseable": 0.3}, "30.0% of the last completions held no answer"),
        ({"completions__unscored": 0.1}, "10.0% of the last completions could not be judged"),
        ({"groups__useful": 0.0, "solved": 0.0}, "nearly none is ever solved"),
        ({"groups__useful": 0.05, "solved": 0.99}, "nearly all problems are solved every time"),
        ({"policy__skipped_updates": 2}, "40 updates skipped"),
    ],
)
def test_what_may_ruin_a_run_is_said_at_the_top_of_its_report(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    page = Page(report(tmp_path / "bad", [metrics(step, **changes) for step in range(1, 21)], []))
    assert words in page.text
    assert words not in Page(report(tmp_path / "good", [metrics(step) for step in range(1, 21)], [])).text


def test_a_reward_that_rises_while_held_out_results_fall_is_pointed_at(tmp_path: Path) -> None:
    rows = [metrics(step, reward__mean=step / 30) for step in range(1, 31)]
    worse = {"before": measured(0.5, 0.4, 0.6), "after": measured(0.3, 0.2, 0.4)}
    better = {"before": measured(0.3, 0.2, 0.4), "after": measured(0.5, 0.4, 0.6)}
    assert "The reward rose, held-out results fell" in report(tmp_path / "a", rows, [], worse)
    assert "The reward rose, held-out results fell" not in report(tmp_path / "b", rows, [], better)


def test_evaluations_stand_in_a_report_in_their_order(tmp_path: Path) -> None:
    labels = ["after", "step-100", "before", "step-20"]
    text = Page(report(tmp_path, [metrics(1)], [], {label: measured(0.5, 0.4, 0.6) for label in labels})).text
    table = text[text.index("Evaluations") :]
    assert sorted(labels, key=table.index) == ["before", "step-20", "step-100", "after"]


# --- Alarms -----------------------------------------------------------------------------------------------------------


def alarmed(path: Path, *alarms: Alarm, samples: int = 4) -> str:
    """The report of a run of ten steps in which these alarms were raised; of step 7 all completions are there."""
    path.mkdir(exist_ok=True)
    completions = [sample(7, index=index, completion=f"what number {index} wrote") for index in range(samples)]
    rollouts.write(path, 7, completions)
    _append(path / "alarms.jsonl", [asdict(alarm) for alarm in alarms])
    _append(path / "metrics.jsonl", [metrics(step, policy__entropy=1 / step) for step in range(1, 11)])
    write_report(path)
    return (path / "report.html").read_text()


def test_an_alarm_shows_its_sentence_its_curve_and_its_completions(tmp_path: Path) -> None:
    numbers = {"policy/entropy": 0.1, "start policy/entropy": 1.0, "p": 0.01}
    examples = (Example(7, "arithmetic/1", 2), Example(7, "arithmetic/1", 0))
    said = "entropy has collapsed: 0.1, 1 at the start"
    page = alarmed(tmp_path, Alarm("entropy collapse", 7, said, numbers, examples))
    text = Page(page).text
    alarms = text[text.index("Alarms") : text.index("Step by step")]  # before the curves: it is to be seen
    assert "1 statement to be looked at, not verdicts" in alarms
    assert f"step 7: {said}" in alarms
    assert "policy/entropy 0.1" in alarms and "start policy/entropy 1" in alarms
    assert "what number 2 wrote" in alarms and "what number 0 wrote" in alarms
    assert "what number 1 wrote" not in alarms
    assert page.count('aria-label="policy/entropy"') == 1  # of the three numbers it is the one that is a metric


def test_an_alarm_that_is_over_says_since_when_and_one_that_came_again_does_not(tmp_path: Path) -> None:
    raised, over = Alarm("truncated", 4, "cut"), Alarm("truncated", 6, "is over", cleared=True)
    text = Page(alarmed(tmp_path, raised, over, Alarm("truncated", 9, "cut again"))).text
    assert "step 4, over since step 6: cut" in text
    assert "step 9: cut again" in text
    assert "2 statements" in text


def test_where_the_completions_of_an_alarm_are_damaged_it_stands_without_them(tmp_path: Path) -> None:
    alarm = Alarm("repetition", 7, "they repeat", {"solved": 0.5}, (Example(7, "arithmetic/1", 0),))
    alarmed(tmp_path, alarm)
    (tmp_path / "rollouts" / "step-000007.parquet").write_bytes(b"PAR1")
    write_report(tmp_path)
    text = Page((tmp_path / "report.html").read_text()).text
    assert "they repeat" in text and "what number" not in text


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30))
def test_nothing_in_an_alarm_becomes_markup(text: str) -> None:
    hostile = f"<script>{text}</script>"
    with tempfile.TemporaryDirectory() as place:
        page = Page(alarmed(Path(place), Alarm(hostile, 7, hostile, {hostile: 1.0})))  # which allows harmless tags only
    assert "script" in page.text
