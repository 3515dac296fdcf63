"""What rewards declare arrives from their workers; nothing of theirs runs in the trainer."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from grpo.config import Reward
from grpo.errors import RewardError
from grpo.scoring import Scorer, declarations
from grpo.types import Problem
from rewards import Declaration
from tests.conftest import ROOT

HERE = Path(__file__).with_name("rewards_for_tests.py")
PROBLEM = Problem("p/0", ({"role": "user", "content": "?"},), {"answer": "4"})


def a(function: str, **settings: object) -> Reward:
    return Reward(use=f"{HERE}:{function}", **settings)


def test_rewards_of_every_signature_declare_in_the_same_way():
    specs = [a(name) for name in ("slow", "trl_patient", "verl_strict", "by_hand", "exact")]
    expected = (
        Declaration(("answer", "unit"), 0.5, "ignore"),
        Declaration(timeout=30),
        Declaration(rejected_golds="drop"),
        Declaration(needs=("unit",)),
        Declaration(),
    )
    assert declarations(specs) == expected
    with Scorer(specs, workers=1, chat=True) as scorer:
        assert scorer.declarations == expected


def test_built_in_rewards_declare_as_everyones_do():
    specs = [Reward(use="math"), Reward(use="code"), Reward(use="length", options={"max_tokens": 9, "cache": 1})]
    math, code, length = declarations(specs)
    assert math.needs == ("answer",)
    assert (code.timeout, code.rejected_golds) == (60.0, "drop")
    assert length.rejected_golds == "ignore"


def test_a_package_declares_through_its_entry_point_and_is_not_imported_here(tmp_path, monkeypatch):
    (tmp_path / "their_rewards.py").write_text(
        "import os\nfrom pathlib import Path\nfrom rewards import declare\n"
        f"Path({str(tmp_path / 'imported-by')!r}).write_text(str(os.getpid()))\n"
        "@declare(needs=('proof',), timeout=17)\ndef proved(completion, problem): return 1.0\n"
    )
    info = tmp_path / "their_rewards-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-rewards\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[grpo.rewards]\nproved = their_rewards:proved\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert declarations([Reward(use="proved")]) == (Declaration(("proof",), 17),)
    assert int((tmp_path / "imported-by").read_text()) != os.getpid()
    assert "their_rewards" not in sys.modules


def test_a_reward_has_the_time_that_it_declares():
    [within, beyond], _ = scored(a("slow"), "0", "3")
    assert within.failure is None
    assert (beyond.value, beyond.failure, beyond.why) == (0.0, "timeout", "no answer within 0.5 s")


def test_a_timeout_in_the_settings_overrules_the_declared_one():
    [longer], _ = scored(a("slow", timeout=60.0), "1")
    assert (longer.value, longer.failure) == (1.0, None)
    [shorter], seconds = scored(a("slow", timeout=0.1), "30")
    assert shorter.why == "no answer within 0.1 s"
    assert seconds < 15


def scored(spec, *texts):
    begin = time.monotonic()
    with Scorer([spec], workers=1, chat=True) as scorer:
        scores = scorer.score(PROBLEM, texts, [None] * len(texts)).result().scores
    return [by_name["slow"] for by_name in scores], time.monotonic() - begin


def test_what_is_no_declaration_is_refused_when_the_reward_is_loaded():
    with pytest.raises(RewardError) as refusal:
        declarations([a("exact"), a("declares_nonsense")])
    assert str(refusal.value) == (
        f"{HERE}:declares_nonsense: its attribute `declaration` must be a rewards.Declaration (given {{'timeout': 3}})"
    )
    assert refusal.value.exit_code == 2


def test_a_declaration_that_cannot_be_made_is_one_sentence_with_the_reward(tmp_path):
    (tmp_path / "my.py").write_text(
        "from rewards import declare\n@declare(timeout=-1)\ndef f(completion, problem): return 1.0\n"
    )
    with pytest.raises(
        RewardError, match=r"^/.*/my.py:f: cannot be imported: ValueError: Declaration.timeout: must be"
    ):
        declarations([Reward(use=f"{tmp_path}/my.py:f")])


def test_the_reward_in_the_readme_declares_and_judges_as_it_reads(tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = next(block for block in readme.split("```python\n") if block.startswith("# my_rewards.py")).split("```")[0]
    (tmp_path / "my_rewards.py").write_text(code)
    spec = Reward(use=f"{tmp_path}/my_rewards.py:brief")
    assert declarations([spec]) == (Declaration(needs=("answer",), timeout=2.0),)
    with Scorer([spec], workers=1, chat=True) as scorer:
        scores = scorer.score(PROBLEM, ["It is 4", "It is 5"], [None, None]).result()
    assert scores.rewards == (1.0, 0.0)
    assert scores.scores[0]["brief"].why == "3 words"


def test_asking_rewards_what_they_declare_leaves_no_process(tmp_path):
    (tmp_path / "my.py").write_text(
        f"import os, pathlib\npathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "def f(completion, problem): return 1.0\n"
    )
    declarations([Reward(use=f"{tmp_path}/my.py:f")])
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
