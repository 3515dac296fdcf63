"""docs/objectives.md says what the code says: its tables are read, and its example is run as it is printed."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from grpo import objectives
from grpo.algorithm import policy_loss
from grpo.config import Objective
from grpo.learning.batch import Targets
from grpo.objectives import OBJECTIVES, advantages, choose, surrogates, weights
from grpo.objectives.ratios import CORRECTIONS, ESTIMATORS
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8")


def table(first_column: str) -> dict[str, list[str]]:
    """The rows of the table with this heading, by the name in backticks that each begins with."""
    _, _, after = TEXT.partition(f"\n| {first_column} | ")
    rows = after.partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
    return {found.group(1): row[1:] for row in cells if (found := re.match(r"`([^`]+)`", row[0]))}


def numbers(cell: str, separator: str) -> tuple[float, ...]:
    return tuple(float(number) for number in cell.split(separator))


def test_the_docs_table_of_objectives_is_the_one_in_the_code() -> None:
    rows = table("name")
    assert list(rows) == list(OBJECTIVES)
    for name, named in OBJECTIVES.items():
        *parts, clip, correction, source = rows[name]
        assert parts == [named.advantages, named.weights, named.surrogate, named.ratio], name
        assert numbers(clip, " / ") == (named.clip_low, named.clip_high), name
        assert correction == named.correction, name
        assert source, name


@pytest.mark.parametrize(
    ("first_column", "functions"),
    [
        ("advantages", advantages.ADVANTAGES),
        ("weights", weights.WEIGHTS),
        ("surrogate", surrogates.SURROGATES),
        ("correction", CORRECTIONS),
        ("estimator", ESTIMATORS),
    ],
)
def test_every_part_of_an_objective_has_its_row_in_the_docs(first_column: str, functions: dict[str, object]) -> None:
    assert table(first_column).keys() == functions.keys()


def test_the_docs_bounds_of_corrections_are_those_of_the_code() -> None:
    rows = table("correction")
    assert rows.pop("off")[1] == "–"
    for name, (_, cell, _) in rows.items():
        assert numbers(cell, " – ") == CORRECTIONS[name][1:], name


@pytest.fixture
def reinforce(monkeypatch: pytest.MonkeyPatch) -> None:
    """The three pieces of code of the example, put where the text says."""
    _, _, section = TEXT.partition("\n## Adding one\n")
    function, of_surrogates, of_objectives = re.findall(r"```python\n(.*?)```", section, re.S)
    in_surrogates, in_objectives = dict(vars(surrogates)), dict(vars(objectives))
    exec(function, in_surrogates)
    for place, line, names in (
        (surrogates.SURROGATES, of_surrogates, in_surrogates),
        (OBJECTIVES, of_objectives, in_objectives),
    ):
        ((name, value),) = eval(f"{{{line}}}", names).items()
        monkeypatch.setitem(place, name, value)  # type: ignore[arg-type]


@pytest.mark.usefixtures("reinforce")
@pytest.mark.parametrize("settings", [{"name": "reinforce"}, {"name": "dapo", "surrogate": "reinforce"}])
@pytest.mark.parametrize("moved", [0.0, 3.0])
def test_the_docs_example_of_a_surrogate_follows_the_advantage_times_the_gradient_of_log_pi(
    settings: dict[str, Any], moved: float
) -> None:
    """On-policy, and, as it has no ratio, wherever the policy has moved to.  ρ of the second token is e^0.5."""
    logits_BTV = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    tokens_BT1 = torch.tensor([[[0], [1], [2]], [[4], [4], [3]]])
    mask_BT = torch.tensor([[True, True, True], [True, True, False]])
    advantages_BT = torch.tensor([[1.5], [-2.0]]).expand(2, 3)
    weights_BT = 0.2 * mask_BT
    logprobs_BT = logits_BTV.log_softmax(dim=-1).gather(-1, tokens_BT1).squeeze(-1)
    old_BT = logprobs_BT.detach() - moved
    log_rho_BT = torch.tensor([0.0, 0.5, 0.0]).expand(2, 3)
    per_token = {"old": old_BT, "sampler": old_BT - log_rho_BT, "advantages": advantages_BT}

    objective = choose(Objective(**settings))
    assert objective.surrogate.__name__ == "reinforce"  # type: ignore[attr-defined]
    terms = policy_loss(logprobs_BT, Targets(mask_BT, weights_BT, per_token), objective=objective)
    (found,) = torch.autograd.grad(terms.loss, logits_BTV, retain_graph=True)

    factors_BT = -weights_BT * log_rho_BT.exp() * advantages_BT
    probabilities_BTV = logits_BTV.detach().softmax(dim=-1)
    drawn_BTV = torch.zeros_like(probabilities_BTV).scatter(-1, tokens_BT1, 1.0)
    expected = factors_BT.unsqueeze(-1) * (drawn_BTV - probabilities_BTV)  # ∇ log π of a softmax
    assert torch.allclose(found, expected, atol=1e-6)
    assert float(terms.sums["policy/clipped"]) == 0
