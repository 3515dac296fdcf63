"""`grpo doctor`: one page about the machine, whatever it lacks."""

from __future__ import annotations

import pytest

import rewards.sandbox
from grpo import doctor
from rewards.sandbox import SandboxUnavailable


@pytest.fixture(autouse=True)
def briefly(monkeypatch):
    monkeypatch.setattr(doctor, "MEASURED", 0.2)


def test_the_doctor_names_versions_memory_samplers_and_the_sandbox():
    text = "\n".join(doctor.report())
    for part in ("grpo 0.", "torch", "CPU cores", "GiB of memory", "sampling.backend", "sandbox for programs"):
        assert part in text
    assert "short programs per second" in text or "refuses to run here" in text


def test_a_machine_without_a_sandbox_is_told_why_and_what_still_works(monkeypatch):
    def unavailable():
        raise SandboxUnavailable("no Landlock; boot with lsm=landlock")

    monkeypatch.setattr(rewards.sandbox, "Sandbox", unavailable)
    lines = list(doctor.report())
    assert "  none: no Landlock; boot with lsm=landlock" in lines
    assert lines[-1] == '  the reward "code" refuses to run here; other rewards do not need it'


def test_a_package_that_is_not_there_is_said_to_be_missing(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("no-such-package",))
    assert "  no-such-package not installed" in list(doctor.report())
