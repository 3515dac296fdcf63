"""Runs programs that a model wrote, and keeps them where they are."""

from rewards.sandbox.levels import Grants
from rewards.sandbox.pool import Sandbox
from rewards.sandbox.types import (
    REASONS,
    Checked,
    Limits,
    Opaque,
    Ran,
    Reason,
    Returned,
    SandboxError,
    SandboxUnavailable,
)

__all__ = [
    "REASONS",
    "Checked",
    "Grants",
    "Limits",
    "Opaque",
    "Ran",
    "Reason",
    "Returned",
    "Sandbox",
    "SandboxError",
    "SandboxUnavailable",
]
