"""The pages of `grpo show` in a real browser, over the real server: numbers, addresses, keys, a phone, hostile text."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from grpo.run.folder import RunFolder
from tests.conftest import ROOT
from tests.shown_runs import HOSTILE, add_step, make_run

playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser: pip install playwright")
pytest.importorskip("starlette", reason="grpo show needs the extra `show`")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
STATIC = ROOT / "grpo" / "show" / "static"
PAGES = {
    "runs": "#/",
    "overview": "#/run/one",
    "curves": "#/curves",
    "rollouts": "#/run/one/rollouts",
    "group": "#/run/one/group?step=3&problem=sum-0",
    "problem": "#/run/one/problem?problem=sum-0",
    "evaluations": "#/run/one/evaluations",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Two seeds: one is finished, the other goes on, which its lock says."""
    place = tmp_path_factory.mktemp("shown")
    found = {"one": make_run(place / "one", seed=1), "two": make_run(place / "two", seed=2, steps=4)}
    with RunFolder.hold(found["two"]):
        yield found


@pytest.fixture(scope="module")
def address(folders: dict[str, Path]) -> Iterator[str]:
    command = [sys.executable, "-c", "from grpo.cli import main; main()", "show", *map(str, folders.values())]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    assert server.stdout is not None
    said = ""
    for line in server.stdout:
        said += line
        if found := re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", line):
            break
    else:
        pytest.fail(f"grpo show did not say where it is: {said}")
    yield found[0]
    server.terminate()
    server.wait(timeout=30)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as tools:
        found = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


class Reader:
    """Someone at the pages, who notices errors, dialogs, and requests that leave this machine."""

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("console", lambda said: said.type == "error" and self.wrong.append(said.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(f"dialog {dialog.message}"))
        self.page.on("request", lambda asked: self._leaves(asked.url) and self.wrong.append(f"left: {asked.url}"))
        self.page.goto(address)
        self.page.wait_for_selector("h1")

    @staticmethod
    def _leaves(url: str) -> bool:
        return urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).hostname != "127.0.0.1"

    def go(self, fragment: str) -> Any:
        """The page at this address, drawn."""
        self.page.evaluate("document.querySelector('main').replaceChildren()")
        self.page.evaluate("fragment => { location.hash = ''; location.hash = fragment }", fragment)
        self.page.wait_for_selector("main h1, main .say")
        return self.page

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))


@pytest.fixture
def reader(browser: Any, address: str) -> Iterator[Reader]:
    found = Reader(browser, address)
    yield found
    found.context.close()
    assert found.wrong == []


def rows(reader: Reader, table: str) -> list[list[str]]:
    """The texts of a table's cells."""
    return [
        [cell.inner_text().strip() for cell in row.query_selector_all("th, td")]
        for row in reader.page.query_selector_all(f"{table} tbody tr")
    ]


# --- Each page and its numbers ---------------------------------------------------------------------------------------


@needs_chromium
def test_the_list_says_of_each_run_what_became_of_it(reader: Reader) -> None:
    reader.go("#/")
    reader.page.wait_for_selector("text=30.0% → 60.0%")
    one, two = rows(reader, "table.runs")
    assert "one" in one[0] and "seed 1, one of 2 that differ in it only" in one[0]
    assert one[1].startswith("finished") and two[1].startswith("running")
    assert one[2] == "6 of 6" and two[2] == "4 of 6"
    assert "+30.0 points" in one[3]  # 3 of 10 solved before, 6 of 10 after
    assert "10 held-out problems" in one[3] and "not held out" in two[3]
    assert one[5] == "1 alarm"  # of two that were raised one was cleared


@needs_chromium
def test_the_overview_gives_the_headline_with_its_interval_the_alarms_and_the_phases(reader: Reader) -> None:
    reader.go(PAGES["overview"])
    hero = reader.text(".result")
    assert "30.0%→60.0%" in hero.replace("\n", "")
    assert "+30.0 points" in hero and "31.3% – 83.2%" in hero  # Wilson's interval of 6 of 10
    (alarm,) = reader.page.query_selector_all(".alarm:not(.over)")
    assert "Completions repeat themselves." in alarm.inner_text() and "now 0.21" in alarm.inner_text()
    phases = reader.text("table:has-text('Phase')")
    assert re.search(r"sample\s+36 s\s+66\.7%", phases)  # 6 steps of 6 s; of 6 + 3
    alarm.query_selector("a >> nth=0").click()
    reader.page.wait_for_selector(".sample.named")
    assert "no. 4" in reader.text(".sample.named")


@needs_chromium
def test_curves_show_the_last_value_and_under_the_crosshair_that_step_in_all_charts(reader: Reader) -> None:
    page = reader.go("#/curves?smooth=0")
    page.wait_for_selector("[data-metric=solved] canvas")
    assert "93.8%" in reader.text("[data-metric=solved] .values")  # 15 of 16 in step 6
    assert "62.5%" in reader.text("[data-metric=solved] .values")  # the other run has come to step 4: 10 of 16
    page.focus("[data-metric=solved] .plot")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    step = reader.text("[data-metric=solved] .values .at >> nth=0")
    assert step in ("step 2", "step 3")
    assert step in reader.text("[data-metric='policy/entropy'] .values")


@needs_chromium
def test_a_drag_looks_closer_in_all_charts_and_a_button_goes_back(reader: Reader) -> None:
    page = reader.go("#/curves")
    box = page.wait_for_selector("[data-metric=solved] .u-over").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 40, steps=4)
    page.mouse.up()
    page.wait_for_function("location.hash.includes('zoom=')")
    page.click("text=Whole range")
    page.wait_for_function("!location.hash.includes('zoom=')")


@needs_chromium
def test_any_metric_can_be_found_and_added_and_the_address_keeps_it(reader: Reader) -> None:
    page = reader.go("#/curves")
    page.keyboard.press("/")
    page.keyboard.type("odd_met")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-metric='some/odd_metric'] canvas")
    assert "some/odd_metric" in page.evaluate("location.hash")


@needs_chromium
def test_seeds_together_are_one_curve_and_a_run_can_be_hidden(reader: Reader) -> None:
    page = reader.go("#/curves")
    page.wait_for_selector(".legend-key >> nth=1")
    page.click(".legend-key >> nth=0")
    page.wait_for_selector(".legend-key[aria-pressed=false]")
    assert len(page.query_selector_all("[data-metric='reward/mean'] .key")) == 1
    page.click("text=mean and interval")
    page.wait_for_selector(".legend-key:has-text('one and 1 more seed')")
    assert len(page.query_selector_all(".legend-key")) == 1


@needs_chromium
def test_filters_change_the_table_and_the_address_and_an_address_sets_the_filters(reader: Reader) -> None:
    page = reader.go(PAGES["rollouts"])
    page.wait_for_selector("text=of 96 completions")  # 6 steps of 16
    assert len(rows(reader, ".rollouts")) == 50
    page.click("text=Next →")
    page.wait_for_selector("text=51 – 96 of 96 completions")
    page.fill("[name=step_min]", "5")
    page.fill("[name=problem]", "sum-1")
    page.wait_for_selector("text=1 – 8 of 8 completions")
    assert page.evaluate("location.hash") == "#/run/one/rollouts?step_min=5&problem=sum-1"
    page.click("th button:has-text('Tokens')")
    page.wait_for_selector("th[aria-sort=descending]:has-text('Tokens')")
    page.wait_for_function("document.querySelector('.rollouts tbody [data-label=Tokens]').innerText.includes('63')")
    page.go_back()
    page.wait_for_selector("th[aria-sort=descending]:has-text('Step')")
    reader.go("#/run/one/rollouts?reward_min=1&step_max=1")
    page.wait_for_selector("text=1 – 1 of 1 completion")  # step 1 solves 1 of 16
    assert page.input_value("[name=reward_min]") == "1"
    reader.go("#/run/one/rollouts?text=nowhere+to+be+found")
    page.wait_for_selector("text=No completion passes these filters.")
    page.click("text=Clear")
    page.wait_for_selector("text=of 96 completions")


@needs_chromium
def test_failure_finish_and_useful_narrow_the_table_too(reader: Reader) -> None:
    page = reader.go("#/run/one/rollouts?failure=timeout")
    page.wait_for_selector("text=1 – 6 of 6 completions")
    page.select_option("[name=failure]", "")
    page.select_option("[name=finish]", "length")
    page.wait_for_selector("text=1 – 18 of 18 completions")  # number 4 of sum-j fails in 3 + j steps: 3 + 4 + 5 + 6
    page.select_option("[name=finish]", "")
    page.check("[name=useful]")
    page.wait_for_selector("text=of 48 completions")  # each problem is mixed in 3 steps: 4 · 3 · 4


@needs_chromium
def test_a_groups_tokens_are_coloured_by_ratio_or_entropy_and_the_keyboard_reads_them(reader: Reader) -> None:
    page = reader.go(PAGES["group"])
    page.wait_for_selector(".t")
    background = "nodes => nodes.slice(0, 3).map(node => getComputedStyle(node).backgroundColor)"
    same, more, less = page.eval_on_selector_all(".t", background)
    assert len({same, more, less}) == 3 and same.endswith(("/ 0)", ", 0)"))  # at ratio 1 there is no colour
    page.focus("pre.tokens")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert "ratio 1.65" in reader.text(".readout") and "entropy 2" in reader.text(".readout")  # exp(0.5)
    page.check("input[value=entropy]")
    by_entropy = page.eval_on_selector_all(".t", background)
    assert by_entropy[0].endswith(("/ 0)", ", 0)")) and by_entropy[1] not in (more, by_entropy[2])
    assert "colour=entropy" in page.evaluate("location.hash")


@needs_chromium
def test_a_group_shows_why_each_was_marked_as_it_was_and_why_it_has_no_colours(reader: Reader) -> None:
    page = reader.go("#/run/one/group?step=3&problem=sum-2")
    assert "What is 2+3?" in reader.text(".prompt") and "gold answer 5" in reader.text(".gold")
    best, *others = [one.inner_text() for one in page.query_selector_all(".sample")]
    assert len(others) == 3 and "reward 1" in best and "advantage +0.75" in best  # 1 − 1/4
    assert "read as 5 · equal to the gold answer" in best
    assert "run.shown_groups" in reader.text(".why")


@needs_chromium
def test_a_problem_is_followed_from_step_to_step(reader: Reader) -> None:
    page = reader.go("#/run/one/problem?problem=sum-1")
    page.wait_for_selector("canvas")
    steps = rows(reader, "main table")
    assert [row[2] for row in steps] == ["0.0%", "25.0%", "50.0%", "75.0%", "100.0%", "100.0%"]
    page.click("text=step 3 >> nth=0")
    page.wait_for_selector("text=← step 2")
    page.keyboard.press("]")
    page.wait_for_selector("text=← step 3")


@needs_chromium
def test_two_evaluations_say_which_problems_were_won_and_lost_and_how_surely(reader: Reader) -> None:
    page = reader.go(PAGES["evaluations"])
    page.wait_for_selector(".tiles")
    tiles = [tile.inner_text().split("\n")[0] for tile in page.query_selector_all(".tiles .tile")]
    assert tiles == ["4", "1", "2", "3", "0.375"]  # t3–t6 won, t0 lost; 2 · (1 + 5) / 2⁵
    assert ["easy", "5", "60.0% (23.1 – 88.2)", "80.0% (37.6 – 96.4)"] in rows(reader, "main table:has-text('level')")
    page.click("summary:has-text('t0')")
    page.wait_for_selector("details[open] .sample")
    assert "before says t0" in reader.text("details[open]") and "after says t0" in reader.text("details[open]")


# --- Whoever reads, and whatever was written -------------------------------------------------------------------------


@needs_chromium
def test_with_the_keyboard_alone_from_the_list_of_runs_to_a_completion(reader: Reader) -> None:
    page = reader.go("#/")
    press = page.keyboard.press
    press("j")
    press("Enter")
    page.wait_for_selector(".tabs")
    while page.evaluate("document.activeElement.innerText") != "Rollouts":
        press("Tab")
    press("Enter")
    page.wait_for_selector(".rollouts")
    press("/")
    assert page.evaluate("document.activeElement.name") == "text"
    press("Escape")
    press("j")
    press("j")
    press("Enter")
    page.wait_for_selector(".sample.named pre:focus")
    assert "no. 2" in reader.text(".sample.named")
    press("j")
    page.wait_for_selector("h1:has-text('sum-1')")
    press("u")
    page.wait_for_selector(".rollouts")
    press("?")
    assert page.is_visible("dialog[open]")
    press("Escape")
    assert not page.is_visible("dialog[open]")


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_a_phone(browser: Any, address: str, scheme: str) -> None:
    reader = Reader(browser, address, viewport={"width": 360, "height": 740}, color_scheme=scheme, has_touch=True)
    for name, fragment in PAGES.items():
        page = reader.go(fragment)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 360, name
    reader.context.close()
    assert reader.wrong == []


@needs_chromium
def test_what_a_model_wrote_is_text_and_runs_nothing(reader: Reader) -> None:
    page = reader.go("#/run/one/group?step=1&problem=sum-0&colour=none")
    seen = HOSTILE.replace("\x07", "⟨U+0007⟩").replace("\u202e", "⟨U+202E⟩")
    assert page.inner_text("#c3 pre") == seen
    reader.go("#/run/one/rollouts?problem=sum-0")
    page.wait_for_selector(".snippet >> text=onerror")
    reader.go(PAGES["problem"])
    assert page.query_selector("main img, main script") is None


@needs_chromium
def test_headings_tables_and_fields_have_names_on_every_page(reader: Reader) -> None:
    nameless = """() => [
        ...[...document.querySelectorAll("input, select")].filter((one) => !one.labels.length && !one.ariaLabel),
        ...[...document.querySelectorAll("main table")].filter((one) => !one.caption),
        ...[...document.querySelectorAll("main th")].filter((one) => !one.scope),
        ...[...document.querySelectorAll("main button")].filter((one) => !one.textContent.trim() && !one.ariaLabel),
    ].map((one) => one.outerHTML)"""
    for fragment in PAGES.values():
        page = reader.go(fragment)
        page.wait_for_load_state("networkidle")
        assert page.evaluate(nameless) == []
        assert len(page.query_selector_all("h1")) == 1


@needs_chromium
def test_what_is_not_there_is_said_in_a_sentence(browser: Any, address: str) -> None:
    reader = Reader(browser, address)
    page = reader.go("#/run/nowhere")
    page.wait_for_selector("[role=alert]")
    assert "There is no run 'nowhere'" in reader.text("[role=alert]") and reader.text("[role=alert]").endswith(".")
    reader.go("#/something/else")
    assert "There is no page at this address" in reader.text("main")
    reader.context.close()


@needs_chromium
def test_a_run_that_goes_on_is_followed_and_nothing_jumps(reader: Reader, folders: dict[str, Path]) -> None:
    page = reader.go("#/run/two")
    page.wait_for_selector("#live:has-text('step 4')")
    page.click("summary:has-text('config.toml')")
    page.evaluate("window.before = document.querySelector('details[open] summary')")
    add_step(folders["two"], 5)
    page.wait_for_selector("header p:has-text('step 5 of 6')")
    page.wait_for_selector("[data-metric=solved] .values:has-text('81.3% raw')")  # 13 of 16
    assert page.evaluate("window.before.isConnected && window.before.parentNode.open")


# --- What is served --------------------------------------------------------------------------------------------------


def test_what_is_vendored_is_what_its_table_says() -> None:
    table = dict(re.findall(r"\| `([^`]+)` \| `([0-9a-f]{64})` \|", (STATIC / "vendor" / "README.md").read_text()))
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (STATIC / "vendor").iterdir()}
    files.pop("README.md")
    assert table == files


def test_the_pages_have_the_reports_colours() -> None:
    def colours(css: str) -> list[dict[str, str]]:
        return [dict(re.findall(r"(--[\w-]+): ([^;]+);", block)) for block in re.findall(r":root \{([^}]*)\}", css)]

    report = colours((ROOT / "grpo" / "run" / "report.css").read_text())
    pages = colours((STATIC / "style.css").read_text())
    assert len(report) == len(pages) == 2
    for theirs, ours in zip(report, pages, strict=True):
        assert theirs.items() <= ours.items()


def test_no_module_makes_html_of_text_and_none_is_long() -> None:
    for path in [*STATIC.glob("*.js"), *STATIC.glob("pages/*.js")]:
        text = path.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|DOMParser", text), path
        assert len(text.splitlines()) <= 250, path
