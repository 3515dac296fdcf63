"""Attacks on the judge (parts F and G) earn nothing: what is expected stays outside, and is compared there."""

from __future__ import annotations

import time
from typing import get_args

import pytest

from rewards.code_tests.compare import Mode, same_output, same_value
from rewards.sandbox import Limits, Opaque, Sandbox
from tests.sandbox.attacks import Attack
from tests.sandbox.attacks_judge import CALLS, EXPECTED, SEARCHES, SECRET, STDIN

MODES: tuple[Mode, ...] = get_args(Mode)
ARGUMENTS = [3, 4]
# Without `secret` in it: these tests are a second sight of the judge, in which test code is ours and runs apart.
ASSERTS = "for x in (3, 4):\n    assert candidate(x) == [x, 'sec' + 'ret']\n"


def verdicts(sandbox: Sandbox, source: str, limits: Limits, expected: str = EXPECTED) -> set[str]:
    """Of a test with stdin and stdout, in each mode."""
    ran = sandbox.run_stdin(source, f"{SECRET[::-1]}\n".encode(), limits)
    if ran.reason != "ok":
        return {ran.reason}
    if ran.exit_code != 0:
        return {"runtime_error"}
    printed = ran.stdout.decode("utf-8", "replace")
    return {"pass" if same_output(printed, expected, mode) else "wrong_answer" for mode in MODES}


def call_verdicts(sandbox: Sandbox, source: str, limits: Limits) -> set[str]:
    """Of function tests, up to the first that fails in every mode."""
    found = {"not_called"}
    for x, returned in zip(
        ARGUMENTS, sandbox.call_functions(source, "f", [[x] for x in ARGUMENTS], limits), strict=False
    ):
        if returned.reason != "ok":
            return {returned.reason}
        equal = [same_value(returned.value, [x, "secret"], mode) for mode in MODES]
        found = {"pass" if one else "wrong_answer" for one in equal}
        if not any(equal):
            return found
    return found


@pytest.mark.parametrize("attack", STDIN, ids=lambda one: one.label)
def test_program_earns_nothing_by_its_output(sandbox: Sandbox, attack: Attack) -> None:
    found = verdicts(sandbox, attack.source, attack.limits)
    assert "pass" not in found
    assert not attack.reasons or found <= set(attack.reasons.split())
    assert verdicts(sandbox, f"print({EXPECTED!r})", attack.limits) == {"pass"}


@pytest.mark.parametrize("attack", CALLS, ids=lambda one: one.label)
def test_function_earns_nothing_by_what_it_returns(sandbox: Sandbox, attack: Attack) -> None:
    found = call_verdicts(sandbox, attack.source, attack.limits)
    assert found <= set(attack.reasons.split())
    assert call_verdicts(sandbox, "def f(x): return [x, 'secret']", attack.limits) == {"pass"}


@pytest.mark.parametrize("attack", CALLS, ids=lambda one: one.label)
def test_function_earns_nothing_in_test_code_of_ours(sandbox: Sandbox, attack: Attack) -> None:
    checked = sandbox.check_asserts(attack.source, "f", ASSERTS, attack.limits)
    assert checked.reason != "pass"
    assert sandbox.check_asserts("def f(x): return [x, 'secret']", "f", ASSERTS, attack.limits).reason == "pass"


@pytest.mark.parametrize("name", SEARCHES)
def test_search_of_memory_finds_what_is_there_and_nothing_else(sandbox: Sandbox, name: str) -> None:
    limits = Limits(cpu=6)
    planted = f"kept = [{SECRET!r} + str(n) for n in range(200)]\n"
    assert b"FOUND" in sandbox.run_stdin(planted + SEARCHES[name], b"", limits).stdout
    sandbox.run_stdin(planted, SECRET.encode() * 1000, limits)  # another rollout of the same group
    sandbox.run_stdin(planted, SECRET.encode() * 1000, limits)  # in the other keeper
    after = sandbox.run_stdin(SEARCHES[name], b"", limits)
    assert (after.reason, after.stdout) == ("ok", b"")


def test_nothing_is_said_on_stdout_by_the_expected_blank_line(sandbox: Sandbox) -> None:
    assert verdicts(sandbox, "pass", Limits(), expected="\nanswer\n") == {"wrong_answer"}


def test_program_may_print_long_integers(sandbox: Sandbox) -> None:
    ran = sandbox.run_stdin("print(10**5000)", b"")
    assert ran.stdout == b"1" + b"0" * 5000 + b"\n"
    assert sandbox.run_stdin("print(10**60000)", b"").reason == "runtime_error"


def test_judging_a_number_of_a_million_digits_takes_no_time() -> None:
    printed, started = "7" * 1_000_000, time.monotonic()
    assert not any(same_output(printed, "42", mode) for mode in MODES)
    assert time.monotonic() - started < 1


def test_tests_that_call_nothing_do_not_pass(sandbox: Sandbox) -> None:
    assert sandbox.check_asserts("def f(x): return 1", "f", "assert True").reason == "not_called"


def test_tests_that_are_no_python_are_our_mistake(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="tests are not Python"):
        sandbox.check_asserts("def f(x): return 1", "f", "assert (")
    assert sandbox.run_stdin("print(1)", b"").stdout == b"1\n"


def test_only_the_expected_exception_passes_a_test_that_expects_one(sandbox: Sandbox) -> None:
    tests = "try:\n    candidate(1)\nexcept KeyError:\n    pass\nelse:\n    raise AssertionError\n"
    raising = "class E({0}): pass\ndef f(x): raise E('no')"
    assert sandbox.check_asserts(raising.format("KeyError"), "f", tests).reason == "pass"
    assert sandbox.check_asserts(raising.format("LookupError"), "f", tests).reason == "runtime_error"
    assert sandbox.check_asserts("def f(x): return 1", "f", tests).reason == "wrong_answer"


def test_what_a_program_cannot_send_arrives_as_unequal_to_everything(sandbox: Sandbox) -> None:
    (returned,) = sandbox.call_functions("class A: pass\ndef f(): return A()", "f", [[]])
    assert isinstance(returned.value, Opaque)
    assert returned.value != returned.value
    assert returned.value.kind == "A"
