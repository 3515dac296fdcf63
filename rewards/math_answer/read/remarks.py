r"""Remarks beside an answer that are no part of its value: "about", a decimal in words, what kind of number k is.

    `\sqrt2 \text{ (about 1.41)}`            →  `\sqrt2 \approx 1.41`, which must be a rounding of it
    `f(x) = 2x \text{ for all real } x`      →  `f(x) = 2x` and the domain ℝ
    `2\pi k, \text{ where } k \in \mathbb{Z}`  →  `2\pi k` and the domain ℤ

Only conditions of these forms are taken off, on names that the answer has: `x > 0` is a part of the answer.
"""

from __future__ import annotations

import re

_TAIL = 160  # characters at the end in which a condition is looked for
_ABOUT = r"(?:approximately|approx\.?|about|roughly|around)"
_PREFIX = re.compile(r"(?:approximately|about|roughly|exactly|only)\s+(?=[\d$\\.-])", re.IGNORECASE)
_TEXT = r"\\(?:text|textrm|mathrm|mbox)\s?\{"
_BESIDE = re.compile(
    rf"(?:\\q?quad|\\[ ,;]|[,;\s]){{0,4}}(?:{_TEXT})?\s{{0,3}}\(?\s?(?:{_TEXT}\s?)?(?:or|which is|i\.e\.)?\s?"
    rf"(?:\b{_ABOUT}(?![A-Za-z])|\\approx(?![A-Za-z])|(?P<equal>(?<=\()=|(?<=\( )=))"
    r"[\s$~}]{0,3}(?P<value>-?\s?\d[^()]{0,40}?)[\s$}]{0,3}\)?[\s$}]{0,3}$",
    re.IGNORECASE,
)
# Pieces of text without which there is no remark: the search for them is cheaper than that for a pattern.
_HINTS = ("pprox", "bout", "oughly", "round", "xactly", "nly", "(=", "( =")
_CONDITION_HINTS = ("\\in\\", "\\in ", "\\in{", " in ", "all ", "any ", "every ", "each ", " is ", " are ", "\\forall")
_BEGINS = re.compile(r"\\forall|\bfor\b|\bwhere\b|\bwith\b|[,;(]|\\q?quad|\\[, ;]|\\(?:text|textrm|mathrm|mbox)\s?\{")
_OPENED = re.compile(r"(?:\\(?:text|textrm|mathrm|mbox)\s?\{|[\s,;($]|\\q?quad|\\[,; ])+$")
_MARKUP = re.compile(r"\\(?:text|textrm|mathrm|mathbb|Bbb|mbox|q?quad|[,;: !])|[\s{}$()~,;.]")
_NAME = r"[A-Za-z](?:_?\d)?"
_NAMES = rf"(?P<names>{_NAME}(?:(?: and)? {_NAME}){{0,4}})"
_SET = r"(?P<set>[RZNQC]) ?(?P<plus>[\^_] ?(?:[+*]|\\geq? ?[01]|> ?0))?"
_SIGN = r"(?:(?P<sign>positive|non-?negative|arbitrary|fixed|any) )?"
_KIND = (
    rf"{_SIGN}(?P<kind>integer|whole number|natural number|real number|real constant|real|rational number|"
    r"complex number|number|constant|parameter)s?"
)
_FORMS = tuple(
    re.compile(rf"(?:(?:and|where|with|for|given) )?{form}", re.IGNORECASE)
    for form in (
        rf"(?:(?:all|any|every|each|forall) )?(?:{_KIND} )?{_NAMES} (?:is )?in {_SET}",
        rf"(?:all|any|every|each|forall) (?:{_KIND} )?(?:values? of )?{_NAMES}",
        rf"{_NAMES} (?:is|are) (?:an? |any |some )?{_KIND}",
        rf"(?:all|any|every|each) {_KIND}",
        rf"(?:all|any|every|each|forall) (?:{_KIND} )?{_NAMES} ?(?P<bound>(?:[<>]=?|\\[gl]e?q?|\\[gl]t) ?-?\d+)",
    )
)
_DOMAINS = {"integer": "ZZ", "whole number": "ZZ", "natural number": "ZZ+", "real number": "RR", "real": "RR"}
_DOMAINS |= {"real constant": "RR", "rational number": "QQ", "complex number": "CC"}
_DOMAINS |= {"R": "RR", "Z": "ZZ", "N": "ZZ+", "Q": "QQ", "C": "CC"}
_SIGNS = {"positive": "+", "nonnegative": "0", "non-negative": "0"}


def without_prefix(text: str) -> str:
    """`about 5` as `5`."""
    if not any(hint in text for hint in _HINTS):
        return text
    return _PREFIX.sub("", text, count=1)


def with_decimal_beside(text: str) -> str:
    r"""`\pi \text{ (about 3.14)}` as `\pi \approx 3.14`, `\frac12 (= 0.5)` as `\frac12 = 0.5`."""
    if not any(hint in text for hint in _HINTS):
        return text
    found = _BESIDE.search(text)
    head = text[: found.start()] if found else ""
    if not found or not head or head.count("{") != head.count("}"):
        return text
    sign = "=" if found["equal"] else "\\approx"
    return f"{head} {sign} {found['value']}"


def without_condition(text: str) -> tuple[str, str]:
    """The answer without what its last words say of its variables, and their domain, if there is one."""
    start = max(0, len(text) - _TAIL)
    if not any(hint in text for hint in _CONDITION_HINTS):
        return text, ""
    for begin in _BEGINS.finditer(text, start):
        head = _OPENED.sub("", text[: begin.start()][-_TAIL:])
        head = text[: max(0, begin.start() - _TAIL)] + head
        if not head or head.count("{") != head.count("}") or head.count("(") != head.count(")"):
            continue
        condition = _MARKUP.sub(" ", text[begin.start() :].replace("\\in", " in ").replace("\\forall", " forall "))
        words = " ".join(condition.split())
        found = next((match for form in _FORMS if (match := form.fullmatch(words))), None)
        if found is not None and _concerns(found, head):
            return head, _domain(found)
    return text, ""


def _concerns(found: re.Match[str], head: str) -> bool:
    """Whether the condition is on a name that the answer has."""
    names = found.groupdict().get("names")
    return names is None or any(name in head for name in names.replace(" and", "").split())


def _domain(found: re.Match[str]) -> str:
    """The domain in one word: `ZZ+`, `RR`, `x>0`; none where a name is only called a constant."""
    said = {name: words or "" for name, words in found.groupdict().items()}
    kind = said.get("set") or said.get("kind", "").lower()
    domain = _DOMAINS.get(kind.upper() if len(kind) == 1 else kind, "")
    if bound := said.get("bound"):
        return f"{domain}{said['names']}{bound}".replace(" ", "")
    sign = _SIGNS.get(said.get("sign", "").lower(), "")
    if plus := said.get("plus"):
        sign = "0" if plus.endswith("0") and ">" not in plus else "+"
    return domain if not sign or domain.endswith(sign) else domain + sign
