"""Rows of metrics by column, as the report draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def column(rows: Sequence[Row], key: str) -> list[float | None]:
    """One value per row; `None` where it is absent or not a finite number."""
    values = [row.get(key) for row in rows]
    return [float(v) if isinstance(v, int | float) and math.isfinite(v) else None for v in values]


def known(rows: Sequence[Row], key: str) -> list[float]:
    return [value for value in column(rows, key) if value is not None]


def mean(rows: Sequence[Row], key: str) -> float | None:
    values = known(rows, key)
    return sum(values) / len(values) if values else None
