"""The last fenced block: found where models put it, in one pass, whatever the text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.code_tests.fences import Fenced, last_block

line = st.text(st.characters(exclude_characters="`\n"), max_size=20)


@given(before=st.lists(line), code=st.lists(line, min_size=1), after=st.lists(line))
def test_a_block_comes_back_as_it_was_written(before, code, after):
    text = "\n".join([*before, "```python", *code, "```", *after])
    assert last_block(text).code == "\n".join(code)


@given(first=st.lists(line), last=st.lists(line))
def test_the_last_of_two_blocks_counts(first, last):
    text = "\n".join(["```", *first, "```", "or rather", "```py", *last, "```"])
    assert last_block(text).code == "\n".join(last)


@given(st.text(st.sampled_from("`~ \na<>")))
def test_any_text_has_a_last_block_or_none(text):
    found = last_block(text)
    assert found.opened or found.code is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("<answer>```python\nx\n```</answer>", "x"),
        ("The answer is \\boxed{```python\nx\n```}", "x"),
        ("1. First\n   ```python\n   if x:\n       y\n   ```", "if x:\n    y"),
        ("````\n```\nx\n```\n````", "```\nx\n```"),  # longer fences hold shorter ones
        ("Use `a` or ```b``` here.\n```\nx\n```", "x"),  # code within a line is no fence
        ("```python\r\nx\r\n```\r\n", "x\r"),
        ("```python\nx\n```\n```python\ncut off", "x"),  # the last one that closes
        ("```\ns = '\u2028'\n```", "s = '\u2028'"),
    ],
)
def test_blocks_as_models_write_them(text, code):
    assert last_block(text).code == code


def test_a_text_without_a_fence_has_none_and_one_that_never_closes_says_so():
    assert last_block("x = 1") == Fenced(None, opened=False)
    assert last_block("```python\nx = 1") == Fenced(None, opened=True)


@pytest.mark.parametrize("text", ["`" * 10_000_000, "```\n" * 2_500_001, "```a" * 2_500_000, "\n" * 10_000_000])
def test_ten_megabytes_of_backticks_take_seconds_at_most(text):
    begun = time.process_time()
    last_block(text)
    assert time.process_time() - begun < 20


def block(tag: str, content: str) -> str:
    return f"```{tag}\n{content}\n```\n"


python = st.sampled_from(["python", "py", "Python3", "python title=x"])
other = st.sampled_from(["bash", "text", "json", "console", "output"])


@given(
    st.lists(st.tuples(other | st.just(""), line), max_size=3), python, st.lists(st.tuples(other | st.just(""), line))
)
def test_a_block_of_python_goes_before_any_other_wherever_it_stands(before, tag, after):
    text = "".join(block(*one) for one in [*before, (tag, "the program"), *after])
    assert last_block(text).code == "the program"


@given(st.lists(st.tuples(other, line)), st.lists(st.tuples(other, line)))
def test_a_block_that_does_not_say_what_it_is_goes_before_other_languages(before, after):
    text = "".join(block(*one) for one in [*before, ("", "the program"), *after])
    assert last_block(text).code == "the program"


@given(st.lists(st.tuples(other, line), min_size=1))
def test_of_blocks_of_other_languages_the_last_counts(blocks):
    assert last_block("".join(block(*one) for one in blocks)).code == blocks[-1][1]


@given(st.lists(st.sampled_from(["`sort`", "``a``", "use", "x:", "`a b`"]), max_size=6))
def test_code_within_the_line_before_a_fence_does_not_hide_it(words):
    assert last_block(f"{' '.join(words)} ```python\nx\n```").code == "x"


@given(
    st.lists(line, max_size=2), st.sampled_from(["def f(x):", "class f:", "f = g", "f: int = 3", "  def f ():"]), python
)
def test_what_defines_the_name_goes_before_what_uses_it(code, definition, tag):
    defining, using = "\n".join([*code, definition]), "print(f(3))\nassert f(3) == 9\ndef fg(): pass\nx = f"
    for blocks in ([defining, using], [using, defining], [using, defining, using]):
        assert last_block("".join(block(tag, one) for one in blocks), ["g2", "f"]).code == defining


@pytest.mark.parametrize("unit", ["f ", " f", "def ", "\n", "f:", "class f", "async "])
def test_looking_for_a_definition_takes_time_with_the_length(unit):
    spent = []
    for count in (100_000, 800_000):
        begun = time.process_time()
        last_block(f"```\n{unit * count}\n```", ["f"])
        spent.append(time.process_time() - begun)
    assert spent[1] < 8 * 4 * spent[0] + 0.5
