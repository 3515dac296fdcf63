"""Where sentences end and formulas stand."""

from __future__ import annotations

from rewards.math_answer.find.sentences import after_formula, formulas, last_sentence_start


def test_formulas_are_found_by_their_delimiters() -> None:
    text = r"$a$ and \(b\), \[c\], $$d$$, \$5"
    assert [text[start:end] for start, end in formulas(text)] == ["$a$", r"\(b\)", r"\[c\]", "$$d$$"]


def test_a_full_stop_in_a_formula_ends_no_sentence() -> None:
    text = "It is 3. Then $x. Y$ holds."
    assert text[last_sentence_start(text, formulas(text)) :] == " Then $x. Y$ holds."
    assert after_formula("  $x. Y$ holds", 0) == len("  $x. Y$")
