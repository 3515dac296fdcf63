"""What machines of a cluster must have in common."""

from __future__ import annotations

from pathlib import Path

import pytest

from grpo.cluster.nodes import Seen, refuse
from grpo.errors import ClusterError

FIRST = Seen("10.0.0.1", {"python": "3.11.7", "torch": "2.13.0"}, (), True)


def refusal(*others: Seen) -> str:
    with pytest.raises(ClusterError) as error:
        refuse([FIRST, *others], Path("/runs/math"))
    assert error.value.exit_code == 2
    return str(error.value)


def test_machines_that_are_alike_pass():
    refuse([FIRST, FIRST._replace(address="10.0.0.2")], Path("/runs/math"))


def test_another_version_is_named_with_both_machines():
    other = FIRST._replace(address="10.0.0.2", versions={"python": "3.11.7", "torch": "2.12.0"})
    told = refusal(FIRST, other)
    assert "10.0.0.2 has torch 2.12.0, and 10.0.0.1 has 2.13.0" in told


def test_a_model_that_only_one_machine_has_is_named_with_the_machine_that_lacks_it():
    assert "10.0.0.3 has no /models/qwen" in refusal(FIRST._replace(address="10.0.0.3", lacking=("/models/qwen",)))


def test_a_run_folder_that_is_not_shared_is_refused():
    told = refusal(FIRST._replace(address="10.0.0.4", shares=False))
    assert "10.0.0.4 does not see what is written into /runs/math" in told
    assert "--out" in told
