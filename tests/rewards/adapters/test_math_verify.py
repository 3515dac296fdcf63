"""The stand-in for Math-Verify, beside Math-Verify itself."""

from __future__ import annotations

import inspect
import threading

import math_verify
import pytest

from rewards.adapters.math_verify import parse, verify

AGREED = [
    (r"$\frac{1}{2}$", r"so the answer is $\boxed{0.5}$.", True),
    (r"$\frac{1}{2}$", r"so the answer is $\boxed{0.25}$.", False),
    (r"$x^2 - 1$", r"Therefore $\boxed{(x-1)(x+1)}$.", True),
    (r"$x^2 - 1$", r"Therefore $\boxed{(x-1)(x-1)}$.", False),
    (r"$\{1, 2, 3\}$", r"\boxed{\{3, 2, 1\}}", True),
    (r"$(1, 2)$", r"\boxed{(2, 1)}", False),
    ("$42$", "The final answer is $42$. I hope it is correct.", True),
    ("$42$", "The final answer is $41$. I hope it is correct.", False),
    (r"$2\sqrt{3}$", r"The area is $\boxed{\sqrt{12}}$.", True),
]


@pytest.mark.parametrize("name", ["parse", "verify"])
def test_arguments_have_the_names_and_the_order_of_math_verify_s(name: str) -> None:
    theirs = inspect.signature(getattr(math_verify, name)).parameters
    ours = inspect.signature({"parse": parse, "verify": verify}[name]).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    assert all(ours[key].kind is inspect.Parameter.KEYWORD_ONLY for key in list(ours)[len(theirs) :])


def test_settings_that_are_checked_have_math_verify_s_defaults() -> None:
    theirs = inspect.signature(math_verify.verify).parameters
    ours = inspect.signature(verify).parameters
    for name in ("float_rounding", "numeric_precision", "strict"):
        assert ours[name].default == theirs[name].default


@pytest.mark.parametrize(("gold", "completion", "right"), AGREED)
def test_a_program_goes_on_as_it_was_when_its_import_changes(gold: str, completion: str, right: bool) -> None:
    for package in (math_verify, None):
        read, check = (package.parse, package.verify) if package else (parse, verify)
        assert check(read(gold), read(completion)) is right


def test_no_answer_is_an_empty_list_as_there() -> None:
    assert parse("") == math_verify.parse("") == []
    assert verify(parse("$42$"), parse("")) is False
    assert verify([], parse("$42$")) is False


def test_a_config_of_math_verify_s_is_taken() -> None:
    config = [math_verify.LatexExtractionConfig(boxed_match_priority=0), math_verify.ExprExtractionConfig()]
    answer = parse(r"\boxed{7}", extraction_config=config, extraction_mode="first_match", parsing_timeout=3)
    assert verify(parse("7"), answer, timeout_seconds=3)


def test_an_answer_is_text() -> None:
    (answer,) = parse(r"First \boxed{1}; wait, it is \boxed{\frac{3}{4}}.")
    assert answer == r"\frac{3}{4}"
    assert verify("0.75", answer) and verify("0.75", r"\frac{3}{4}") and not verify("0.5", answer)


def test_the_policy_of_training_pays_for_announced_answers_only() -> None:
    told = "Then we add the two numbers and get 42."
    assert verify("42", parse(told))
    assert parse(told, policy="train") == []


def test_a_looser_comparison_is_refused_not_ignored() -> None:
    with pytest.raises(ValueError, match="float_rounding = 2"):
        verify("1", "1", float_rounding=2)
    with pytest.raises(ValueError, match="strict = False"):
        verify("1", "1", strict=False)
    with pytest.raises(TypeError, match="int given; answers are text"):
        verify([1], ["1"])  # type: ignore[list-item]


def test_it_works_where_signals_do_not() -> None:
    verdicts: list[bool] = []
    thread = threading.Thread(target=lambda: verdicts.append(verify(parse(r"$\pi$"), parse(r"\boxed{\pi}"))))
    thread.start()
    thread.join()
    assert verdicts == [True]
