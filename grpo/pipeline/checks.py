"""What can be known of a pipeline before its first expensive hour: inputs that are missing, and evaluation sets whose
problems are trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from grpo.config import Data, Reward
from grpo.errors import DataError, GrpoError
from grpo.pipeline.plan import Stage, reference
from grpo.pipeline.records import places
from grpo.problems import load_problems
from grpo.problems.files import is_file_name
from grpo.problems.sources import read_rows
from grpo.run.wording import plural
from grpo.scoring.load import load_reward

CHEAP = 64 * 2**20  # bytes of a file that is read twice without a second thought


def missing(stage: Stage) -> Iterator[str]:
    """Inputs of `stage` that must lie on this machine and do not: "data.source = train.jsonl"."""
    for key, text, place in places(stage):
        if place is None or place.exists():
            continue
        if is_file_name(text) or text.startswith((".", "/", "~")) or ".py:" in text:
            yield f"{key} = {text}"
        elif key in ("model.name", "distill.teacher"):
            from grpo import hub

            if not hub.may_be_an_id(text):
                yield f"{key} = {text}"


def check_inputs(stages: Sequence[Stage]) -> None:
    """Raises `DataError` for the first input that is not there or cannot be read, and for a reward that is none."""
    looked_at: set[str] = set()
    for stage in stages:
        for what in missing(stage):
            raise DataError(f"stage {stage.name}: {what}: no such file or directory; check the path")
        try:
            for text in _files_of_rows(stage) - looked_at:
                looked_at.add(text)
                read_rows(Data(source=text, limit=None if _is_cheap(text) else 1))
            _check_rewards(stage)
        except GrpoError as error:
            raise DataError(f"stage {stage.name}: {error}") from error


def _files_of_rows(stage: Stage) -> set[str]:
    return {text for _, text, place in places(stage) if place is not None and place.is_file() and is_file_name(text)}


def _check_rewards(stage: Stage) -> None:
    """Those that are built in or installed; the code in a file of yours does not run in here."""
    for table in stage.settings.get("reward", ()):
        if ":" not in table["use"]:
            load_reward(Reward(**table))


def overlaps(stages: Sequence[Stage]) -> Iterator[str]:
    """One sentence for each pair of a training and an evaluation set that have problems in common, as far as both can
    be read without a download."""
    seen = set()
    for stage in stages:
        held_out = _held_out(stage.settings)
        for group in ("sft", "data"):
            learned = _trained_on(stage, group)
            if learned is None or held_out is None or (learned, held_out) in seen:
                continue
            seen.add((learned, held_out))
            if sentence := _overlap(learned, held_out):
                yield f"stage {stage.name}: {sentence}"


_Key = tuple[str, str | None, str, str | None, int | None]  # source, subset, split, problem, limit


def _overlap(learned: _Key, held_out: _Key) -> str | None:
    of_file = is_file_name(learned[0])
    if learned[:2] == held_out[:2] and (of_file or learned[2] == held_out[2]):
        where = learned[0] if of_file else f"{learned[0]} ({learned[2]})"
        return f"trains on and is evaluated on the same problems, {where}; its score will say how much it remembers"
    if not (_is_cheap(learned[0]) and _is_cheap(held_out[0])):
        return None
    ours, theirs = _questions(learned), _questions(held_out)
    shared = ours & theirs
    if not shared:
        return None
    return (
        f"eval.source = {held_out[0]} shares {plural(len(shared), 'problem')} of its {len(theirs)} with the training "
        f"data {learned[0]}, such as {min(shared)[:60]!r}; take them out of one of the two"
    )


def _trained_on(stage: Stage, group: str) -> _Key | None:
    reads = {"sft": ("sft",), "data": ("train", "distill", "collect")}[group]
    table = stage.settings.get(group, {})
    wanted = stage.command in reads or (group == "sft" and table.get("steps"))
    if not wanted or "source" not in table or reference(table["source"]) is not None:
        return None
    return _key(table, "train", stage.settings)


def _held_out(settings: Mapping[str, Any]) -> _Key | None:
    table = settings.get("eval", {})
    return _key(table, "test", settings) if "source" in table and reference(table["source"]) is None else None


def _key(table: Mapping[str, Any], split: str, settings: Mapping[str, Any]) -> _Key:
    problem = settings.get("data", {}).get("problem")
    return (table["source"], table.get("subset"), table.get("split") or split, problem, table.get("limit"))


def _is_cheap(source: str) -> bool:
    path = Path(source).expanduser()
    return source.startswith("builtin:") or (path.is_file() and path.stat().st_size <= CHEAP)


def _questions(key: _Key) -> frozenset[str]:
    """The problems as plain words; nothing where the rows are none that we can read, of which the stage will speak."""
    source, subset, split, problem, limit = key
    data = Data(source=source, subset=subset, split=split, problem=problem, limit=limit)
    try:
        rows = read_rows(data)
        if "messages" in rows[0]:
            asked = [turn["content"] for row in rows for turn in row["messages"] if turn["role"] == "user"]
        else:
            asked = [str(one.messages[-1]["content"]) for one in load_problems(data, needs=())]
    except (GrpoError, LookupError, TypeError):
        return frozenset()
    return frozenset(" ".join(text.casefold().split()) for text in asked)


def count_problems(settings: Mapping[str, Any], group: str) -> int | None:
    """How many problems [data] or [eval] has; None where that takes a download to know."""
    table = settings.get(group, {})
    source = table.get("source")
    if source is None:
        return 0
    limit: int | None = table.get("limit")
    if reference(source) is not None or not _is_cheap(source):
        return limit
    split = table.get("split") or ("test" if group == "eval" else "train")
    return len(read_rows(Data(source=source, subset=table.get("subset"), split=split, limit=limit)))
