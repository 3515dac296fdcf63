"""From characters to one alphabet: unicode becomes the LaTeX or ASCII it stands for, markup that says nothing is cut.

Each step is one pass, so the whole is linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata

_FRACTIONS = {"½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5)}
_FRACTIONS |= {"⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅐": (1, 7), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8)}
_FRACTIONS |= {"⅑": (1, 9), "⅒": (1, 10)}

_MAP: dict[str, str] = {char: rf"\frac{{{a}}}{{{b}}}" for char, (a, b) in _FRACTIONS.items()}
_MAP |= dict.fromkeys("−–‒—―﹣‐‑➖", "-")
_MAP |= dict.fromkeys("×✕✖⨯", r"\times ") | dict.fromkeys("·⋅∙•∗", r"\cdot ") | dict.fromkeys("÷∕⁄", "/")
_MAP |= {"√": r"\sqrt ", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]", "∞": r"\infty ", "±": r"\pm ", "∓": r"\mp "}
_MAP |= {"≤": r"\le ", "⩽": r"\le ", "≦": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≧": r"\ge ", "≠": r"\ne "}
_MAP |= {"≈": r"\approx ", "≃": r"\approx ", "≅": r"\cong ", "≡": r"\equiv ", "∈": r"\in ", "∉": r"\notin "}
_MAP |= {"∪": r"\cup ", "∩": r"\cap ", "∖": r"\setminus ", "∅": r"\emptyset ", "ø": r"\emptyset ", "Ø": r"\emptyset "}
_MAP |= {"ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}"}
_MAP |= {"°": r"^\circ ", "º": r"^\circ ", "˚": r"^\circ ", "′": "'", "″": "''", "’": "'", "‘": "'", "“": '"', "”": '"'}
_MAP |= {"∠": r"\angle ", "△": r"\triangle ", "∆": r"\Delta ", "…": r"\ldots ", "⋯": r"\ldots ", "→": r"\to "}
_MAP |= {"⇒": r"\Rightarrow ", "∑": r"\sum ", "∏": r"\prod ", "∫": r"\int ", "∧": r"\land ", "∨": r"\lor "}
_MAP |= {
    "⌊": r"\lfloor ",
    "⌋": r"\rfloor ",
    "⌈": r"\lceil ",
    "⌉": r"\rceil ",
    "⟨": "(",
    "⟩": ")",
    "∣": "|",
    "µ": r"\mu ",
    "∥": r"\parallel ",
    "⊥": r"\perp ",
}
_MAP |= {"，": ", ", "、": ", ", "；": "; ", "。": ". ", "：": ":", "¬": r"\neg ", "✓": "", "✔": "", "✅": "", "∎": ""}
_MAP |= {"€": r"\text{ eur }", "£": r"\text{ gbp }", "¥": r"\text{ yen }", "₹": r"\text{ rs }", "¢": r"\text{ cents }"}
# Zero-width and direction characters are invisible; nothing invisible may change an answer.
_MAP |= dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2061\u2062", "")
_GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho _ sigma tau upsilon"
for _offset, _name in enumerate((_GREEK + " phi chi psi omega").split()):
    _MAP[chr(0x3B1 + _offset)] = rf"\{_name} " if _name != "_" else r"\sigma "
    if _name in ("gamma", "delta", "theta", "lambda", "xi", "pi", "sigma", "upsilon", "phi", "psi", "omega"):
        _MAP[chr(0x391 + _offset)] = rf"\{_name.capitalize()} "
_MAP |= {"∶": ":", "ϕ": r"\phi ", "ϵ": r"\epsilon ", "ϑ": r"\theta ", "ϖ": r"\pi "}
_TABLE = str.maketrans(_MAP)

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ", "0123456789+-()ni")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙₖᵢₓ", "0123456789+-()nkix")
_SUPER_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ]+")
_SUB_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙₖᵢₓ]+")
_CIRCLED_RUN = re.compile("[①-⑳]{2,}")  # names of statements: ①③ is 1 and 3, not 13
_ROOT_OF_NUMBER = re.compile(r"√\s*(\d+(?:\.\d+)?)")

_DOUBLED = re.compile(r"\\\\(?=[A-Za-z!,;:{}%$()\[\]])")


def plain(text: str) -> str:
    """`text` in ASCII as far as it has an ASCII or LaTeX spelling."""
    if text.isascii():
        return text
    text = _SUPER_RUN.sub(lambda run: "^{" + run[0].translate(_SUPERSCRIPTS) + "}", text)
    text = _SUB_RUN.sub(lambda run: "_{" + run[0].translate(_SUBSCRIPTS) + "}", text)
    text = _CIRCLED_RUN.sub(lambda run: ", ".join(run[0]), text)
    text = _ROOT_OF_NUMBER.sub(r"\\sqrt{\1}", text)
    return unicodedata.normalize("NFKC", text.translate(_TABLE)).translate(_TABLE)


def undouble(text: str) -> str:
    r"""Undo doubled backslashes (`\\frac`), as JSON and `repr` leave them; keep `\\` where it ends a matrix row."""
    if "\\\\" not in text:
        return text
    if "\\\\begin" in text:
        return text.replace("\\\\", "\\")
    return text if "\\begin" in text else _DOUBLED.sub(lambda _: "\\", text)


_WRAPPERS = (
    ("$$", "$$"),
    ("$", "$"),
    (r"\(", r"\)"),
    (r"\[", r"\]"),
    ("**", "**"),
    ("`", "`"),
    ('\\"', '\\"'),
    ('"', '"'),
    ("__", "__"),
)
_STARTS = tuple(start for start, _ in _WRAPPERS)
_LEADING = frozenset(("\\,", "\\;", "\\:", "\\!", "\\ ", "~ "))
_TRAILING = (".", ",", ";", ":", "\\", "\\ ", "\\,", "\\;", "\\!", "~", "\\checkmark", "\\blacksquare", "\\square")


def unwrap(text: str) -> str:
    """Cut what surrounds an answer and says nothing: delimiters of mathematics, bold marks, a full stop."""
    if text.isalnum():
        return text
    before = None
    while before != text:
        before = text
        text = text.strip()
        if text[:2] in _LEADING:
            text = text[2:]
        for tail in _TRAILING if text.endswith(_TRAILING) else ():
            if text.endswith(tail) and len(text) > len(tail) and not text.endswith(("\\\\", "..")):
                text = text[: -len(tail)].rstrip()
        for start, end in _WRAPPERS if text.startswith(_STARTS) else ():
            inner = text[len(start) : len(text) - len(end)]
            wrapped = len(text) > len(start) + len(end) and text.startswith(start) and text.endswith(end)
            if wrapped and start not in inner and not inner.endswith("\\"):
                text = inner
                break
    return text
