"""The report's part about cost: what cost.json says, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from grpo.run.samples_page import as_html
from grpo.run.wording import count, duration, plain, plural, seconds

HOUR = 3600  # seconds


def cost_of_run(folder: Path) -> dict[str, Any]:
    """{} where there is none that can be read."""
    try:
        cost = json.loads((folder / "cost.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cost if isinstance(cost, dict) else {}


def cost_html(folder: Path) -> str:
    """One table; nothing where nothing was accounted for."""
    cost = cost_of_run(folder)
    if not cost:
        return ""
    body = "".join(
        f"<tr><th>{as_html(name, 60)}</th><td>{as_html(value, 200)}</td></tr>" for name, value in facts(cost)
    )
    return f'<h2>Cost <small>of all that is on record</small></h2><div class="card scroll"><table>{body}</table></div>'


def facts(cost: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, value) of what is known."""
    for name, key in (("Time", "hours"), ("in steps", "hours_in_steps"), ("in evaluations", "hours_in_evaluations")):
        if (hours := cost.get(key)) is not None:
            yield name, duration(HOUR * hours)
    for phase, hours in (cost.get("hours_by_phase") or {}).items():
        yield f"in steps, {phase}", duration(HOUR * hours)
    if cost.get("hardware"):
        yield "Hardware", str(cost["hardware"])
    if (hours := cost.get("device_hours")) is not None:
        yield "Device hours", f"{plain(hours)}, {plural(int(cost.get('devices') or 1), 'device')}"
    if (money := cost.get("money")) is not None:
        yield "Money", f"{money:,.2f}, at {cost.get('price') or 0:g} for a device's hour"
    for what in ("sampled", "learned", "evaluated"):
        if tokens := cost.get(f"tokens_{what}"):
            yield f"Tokens {what}", count(tokens)
    yield from _each(cost, "A solved problem", "solved_problem")
    yield from _each(cost, "A point gained, held out", "point")
    for phase, gib in (cost.get("peak_gib") or {}).items():
        yield f"Memory at the peak, {phase}" if phase != "peak" else "Memory at the peak", f"{gib:.1f} GiB"


def _each(cost: Mapping[str, Any], name: str, what: str) -> Iterator[tuple[str, str]]:
    hours, money = cost.get(f"device_hours_per_{what}"), cost.get(f"money_per_{what}")
    if hours is not None:
        yield name, f"{seconds(HOUR * hours)} of a device" + ("" if money is None else f", {plain(money)} of money")
