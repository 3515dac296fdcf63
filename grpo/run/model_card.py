"""A model card of a run's model, from the files of its folder and the cards that this machine has of what it came from.

What nobody has written down, a licence above all, is "not known": a card that guesses is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import tomli_w
from huggingface_hub import EvalResult, ModelCard, ModelCardData, try_to_load_from_cache

from grpo import DISTRIBUTION, hub
from grpo.run.cost_page import cost_of_run, facts
from grpo.run.samples_page import rows_of
from grpo.run.summary import Summary, is_measure
from grpo.run.wording import cut, percent, plain, plural

UNKNOWN = "not known"
MEASURES = 6  # columns of the table of results
RESULTS = 12  # rows
ALARMS = 20
PRIVATE = ("notify", "trackers", "push_to_hub")


def card_of(folder: Path, model: Path, repository: str) -> str:
    """README.md for `model`, a checkpoint or an export of the run in `folder`."""
    run = Summary.of(folder)
    base, source = _name(run, "model", "name"), _name(run, "sft" if run.is_tuning else "data", "source")
    licence, held_out = licence_of(base, "model"), _name(run, "eval", "source")
    config, rewards = _settings(run), _rewards(run)
    card = ModelCard.from_template(
        _data(run, base, source, held_out, licence, repository),
        template_str=resources.files("grpo.run").joinpath("model_card.md").read_text(encoding="utf-8"),
        name=repository.rpartition("/")[2],
        base=base,
        adapter=(model / "adapter_config.json").is_file(),
        steps=plural(int(run.steps[-1]["step"]), "step") if run.steps else "no step",
        command="sft" if run.is_tuning else "train",
        control=run.settings.get("run", {}).get("control"),
        results=_results(run),
        held_out=held_out,
        revision=run.settings.get("model", {}).get("revision"),
        base_licence=licence,
        data=source,
        data_licence=licence_of(source, "data set"),
        rewards=_listed(_line(f"Reward: {one.get('use')}, weight {one.get('weight', 1)}") for one in rewards),
        version=metadata.version(DISTRIBUTION),
        seed=run.settings.get("run", {}).get("seed", 0),
        config=config.strip(),
        fence="`" * max(3, 1 + max(map(len, re.findall("`+", config)), default=0)),
        cost=_listed(f"{name}: {value}" for name, value in facts(cost_of_run(folder)))
        or "Not known: the run has not ended yet.",
        alarms=_alarms(folder),
    )
    return str(card)


def licence_of(name: str, kind: hub.Kind) -> str:
    """As the card says that lies beside the files or in the cache; asks nobody."""
    place = Path(name)
    path: Any = place / "README.md" if place.is_dir() else place.parent / "README.md" if place.is_file() else None
    if path is None and hub.may_be_an_id(name):
        path = try_to_load_from_cache(name, "README.md", repo_type="model" if kind == "model" else "dataset")
    if not isinstance(path, str | Path):
        return UNKNOWN
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError):  # none, or not UTF-8
        return UNKNOWN
    block = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    found = re.search(r"^license:\s*-?\s*([\w.+-]+)", block[1], re.MULTILINE) if block else None
    return found[1] if found else UNKNOWN


def _data(run: Summary, base: str, source: str, held_out: str, licence: str, repository: str) -> ModelCardData:
    """What the Hub reads.  Names that are places of this machine, or made on the spot, mean nothing there."""
    found = [
        EvalResult(
            task_type="text-generation",
            dataset_type=held_out if _is_public(held_out) else "held-out",
            dataset_name=held_out if _is_public(held_out) else "held-out problems",
            metric_type="pass@1",
            metric_value=round(last.value, 4),
        )
        for last in run.evaluations[-1:]
    ]
    return ModelCardData(
        base_model=base if _is_public(base) else None,
        datasets=[source] if _is_public(source) else None,
        license=licence if licence != UNKNOWN else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["grpo"],
        model_name=repository.rpartition("/")[2] if found else None,
        eval_results=found or None,
    )


def _is_public(name: str) -> bool:
    return "/" in name and not Path(name).exists() and hub.may_be_an_id(name)


def _name(run: Summary, group: str, key: str) -> str:
    return str(run.settings.get(group, {}).get(key) or UNKNOWN)


def _rewards(run: Summary) -> list[Mapping[str, Any]]:
    return [reward for reward in run.settings.get("reward", []) if isinstance(reward, dict)]


def _cell(measure: Any) -> str:
    if not is_measure(measure):
        return "–"
    show = percent if 0 <= measure["mean"] <= 1 else plain
    low, high = measure.get("low"), measure.get("high")
    return show(measure["mean"]) + (f" [{show(low)}, {show(high)}]" if low is not None and high is not None else "")


def _results(run: Summary) -> str:
    """A table, the first evaluations and the last."""
    found = list(run.results.items())
    if not found:
        return "Nothing was evaluated on held-out problems."
    shown = found if len(found) <= RESULTS else [*found[: RESULTS // 2], *found[-RESULTS // 2 :]]
    measures = list(dict.fromkeys(n for _, result in shown for n in result if is_measure(result[n])))[:MEASURES]
    rows = [[label, *(_cell(result.get(name)) for name in measures)] for label, result in shown]
    lines = [["held-out evaluation", *measures], ["---"] * (1 + len(measures)), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n\nIn brackets are 95% intervals."


def _settings(run: Summary) -> str:
    """Without where the run's messages went, which is nobody else's."""
    tree = {group: values for group, values in run.settings.items() if group != "run"}
    own = {name: value for name, value in run.settings.get("run", {}).items() if name not in PRIVATE}
    return tomli_w.dumps(tree | ({"run": own} if own else {})).strip()


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _alarms(folder: Path) -> str:
    raised = [row for row in rows_of(folder / "alarms.jsonl") if not row.get("cleared")]
    if not raised:
        return "None was raised."
    lines = (f"step {row.get('step')}, {_line(str(row.get('name')))}: {_line(str(row.get('text')))}" for row in raised)
    said = _listed([*lines][-ALARMS:])
    return f"What the run saw in its own numbers, statements to be looked at and not verdicts:\n\n{said}"


def _line(text: str) -> str:
    """On one line, and no mark-up of its own."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", cut(" ".join(text.split()), 300))
