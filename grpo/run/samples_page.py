"""The part of the report that shows what the model wrote, group by group, and why each completion was marked as it was.

Everything here is text that a model or a data set chose, so `as_html` is the only way in: it escapes, cuts, and makes
control characters visible.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from grpo.run.wording import cut, plain, plural

REASON = 240  # characters shown of a reason, an answer or a name
_TEXT = 2_000  # characters shown of a prompt or completion
_GROUPS = 3  # problems shown per step
_COMPLETIONS = 4  # shown per problem

Row = Mapping[str, Any]


def samples_html(path: Path, steps: Sequence[int]) -> str:
    """What the model wrote in the first, the middle and the last step."""
    wanted = sorted({steps[0], steps[len(steps) // 2], steps[-1]}) if steps else []
    groups: dict[int, dict[str, list[Row]]] = {step: {} for step in wanted}
    for row in rows_of(path):
        if row["step"] in groups:
            groups[row["step"]].setdefault(str(row.get("problem")), []).append(row)
    parts = []
    for step, by_problem in groups.items():
        # Groups whose rewards differ teach the reader most, as they do the model.
        chosen = sorted(by_problem.values(), key=lambda rows: len({row.get("reward") for row in rows}) == 1)[:_GROUPS]
        parts += [f"<h2>What it wrote in step {step}</h2>"] if chosen else []
        parts += [_group(rows, is_open=index == 0) for index, rows in enumerate(chosen)]
    return "".join(parts)


def _group(rows: Sequence[Row], *, is_open: bool) -> str:
    """One problem with its best and its worst completions."""
    ordered = sorted(rows, key=lambda row: -(row.get("advantage") or 0.0))
    half = _COMPLETIONS // 2
    shown = ordered if len(ordered) <= _COMPLETIONS else [*ordered[:half], *ordered[-half:]]
    rewards = [row["reward"] for row in rows if row.get("reward") is not None]
    mean = f", mean reward {plain(sum(rewards) / len(rewards))}" if rewards else ""
    few = f"; the {half} best and the {half} worst are shown" if len(shown) < len(rows) else ""
    return (
        f'<details class="card"{" open" if is_open else ""}>'
        f"<summary><b>{as_html(str(rows[0].get('problem')), REASON)}</b>"
        f'<span>{plural(len(rows), "completion")}{mean}{few}</span></summary><div class="inside">'
        f'<pre class="prompt">{as_html(str(rows[0].get("prompt", "")), _TEXT)}</pre>{_gold(rows[0].get("gold"))}'
        f'<div class="samples">{"".join(sample_html(row) for row in shown)}</div></div></details>'
    )


def _gold(gold: object) -> str:
    return "" if gold is None else f'<p class="gold"><b>gold answer</b> {as_html(str(gold), _TEXT)}</p>'


def sample_html(row: Row) -> str:
    reward, advantage = row.get("reward"), row.get("advantage") or 0.0
    kind = "good" if advantage > 0 else "bad" if advantage < 0 else ""
    verdict = "not scored" if reward is None else f"reward {plain(reward)}"
    finish = "ran out of room" if row.get("finish") == "length" else "ended by itself"
    text = re.sub(
        r"(&lt;/?(?:think|answer)&gt;)", r'<span class="tag">\1</span>', as_html(str(row.get("completion", "")), _TEXT)
    )
    scores = row.get("scores") or {}
    reasons = "".join(_reason(name, score) for name, score in list(scores.items())[:6])
    return (
        f'<article class="sample"><p><span class="verdict {kind}">{verdict}</span>'
        f"<span>advantage {advantage:+.2f}</span>"
        f"<span>{as_html(str(row.get('tokens', '?')), 12)} tokens, {finish}</span></p>"
        f"<pre>{text}</pre><ul>{reasons}</ul></article>"
    )


def _reason(name: str, score: Row) -> str:
    value = score.get("value")
    parts = [
        f"<b>{as_html(name, 60)} {'–' if value is None else plain(value)}</b>",
        f"read as {as_html(str(score['answer']), REASON)}" if score.get("answer") is not None else "",
        as_html(str(score.get("failure") or ""), REASON),
        as_html(str(score.get("why") or ""), REASON),
    ]
    return f"<li>{' · '.join(part for part in parts if part)}</li>"


def rows_of(path: Path) -> Iterator[Row]:
    """The rows of a .jsonl file that have a step."""
    return (row for row in lines_of(path) if isinstance(row.get("step"), int))


def lines_of(path: Path) -> Iterator[Row]:
    """The rows of a .jsonl file.  A half line, which a kill may have left, is passed over."""
    if not path.exists():
        return
    with path.open("rb") as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row


# Characters that would be invisible or act on the page: shown as their pictures, U+2400 and up.
_CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {127: 0x2421}


def as_html(text: str, length: int) -> str:
    """At most `length` characters of hostile text, made harmless."""
    return escape(cut(text, length).translate(_CONTROLS))
