"""The suite of 171 attacks is all there: each number is an attack in the lists, or a test by name."""

from __future__ import annotations

import importlib

import pytest

from tests.sandbox.attacks_judge import CALLS, STDIN
from tests.sandbox.contain import ATTACKS

BY_TEST = {
    120: "test_judging:test_search_of_memory_finds_what_is_there_and_nothing_else",
    129: "test_judging:test_program_may_print_long_integers",
    144: "test_judging:test_tests_that_call_nothing_do_not_pass",
    153: "test_judging:test_tests_that_are_no_python_are_our_mistake",
    155: "test_containment:test_attack_is_contained",  # a clean program runs after each attack
    156: "test_containment:test_nothing_is_left_behind",
    157: "test_sandbox:test_batch_of_sleepers_ends_within_its_walls_and_holds_nobody_up_for_longer",
    158: "test_sandbox:test_same_program_gets_the_same_verdict_under_load",
    159: "test_sandbox:test_same_program_gets_the_same_verdict_under_load",
    160: "test_human_eval:test_every_reference_passes",
    161: "test_human_eval:test_tests_kill_most_references_with_one_operator_changed",
    162: "test_containment:test_a_machine_without_landlock_and_namespaces_is_refused_with_what_is_missing",
    163: "test_containment:test_a_kernel_that_claims_what_it_does_not_enforce_is_refused",
    164: "test_sandbox:test_kernel_short_of_memory_takes_a_job_before_the_trainer",
    170: "test_codec:test_keys_that_get_in_each_others_way_are_malformed",
    171: "test_containment:test_promise_is_kept",  # keepers that are stopped, killed, or drowned in calls
}


def test_every_number_of_the_suite_is_there() -> None:
    numbers = {attack.number for attack in (*ATTACKS, *STDIN, *CALLS)} | set(BY_TEST)
    assert sorted(set(range(1, 172)) - numbers) == []


def test_no_two_attacks_have_one_name() -> None:
    labels = [attack.label for attack in (*ATTACKS, *STDIN, *CALLS)]
    assert len(labels) == len(set(labels))


@pytest.mark.parametrize("number", BY_TEST)
def test_test_that_stands_for_an_attack_exists(number: int) -> None:
    module, _, name = BY_TEST[number].partition(":")
    assert callable(getattr(importlib.import_module(f"tests.sandbox.{module}"), name))
