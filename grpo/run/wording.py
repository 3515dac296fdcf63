"""Numbers as a person writes them; the console and the report say the same thing the same way."""

from __future__ import annotations

import math


def percent(value: float) -> str:
    """0.4127 → "41.3%"."""
    return f"{100 * value:.1f}%"


def whole_percent(value: float) -> str:
    """0.4127 → "41%"."""
    return f"{100 * value:.0f}%"


def count(value: float) -> str:
    """84 → "84", 12345 → "12.3k", 4300000 → "4.3M"."""
    if value < 9999.5:
        return f"{value:.0f}"
    return f"{value / 1e3:.1f}k" if value < 999_950 else f"{value / 1e6:.1f}M"


def seconds(value: float) -> str:
    """0.05 → "0.05s", 3.14 → "3.1s", 754 → "754s", 2000 → "33m"."""
    if value >= 999.5:
        return f"{value / 60:.0f}m"
    return f"{value:.{2 if value < 0.995 else 1 if value < 99.95 else 0}f}s"


def duration(value: float) -> str:
    """Seconds in words: "45 s", "38 min", "2 h 05 min"."""
    if value < 90:
        return f"{value:.0f} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def plain(value: float) -> str:
    """Three digits that matter: 0.12345 → "0.123", 3.1e-06 → "3.1e-06", 12.5 → "12.5"."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "–"
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def plural(number: int, noun: str) -> str:
    """1, "step" → "1 step"; 1234, "step" → "1,234 steps"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def cut(text: str, length: int) -> str:
    """The first `length` characters, and a word on how many more there are."""
    return text if len(text) <= length else f"{text[:length]} … {plural(len(text) - length, 'more character')}"
