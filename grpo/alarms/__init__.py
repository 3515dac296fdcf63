"""Alarms: what a run says of itself when its numbers look as they do in runs that went wrong (docs/alarms.md).

An alarm is a statement with its evidence, not a verdict: such signs tell afterwards what has happened more reliably
than they warn, and healthy runs show some of them.  So each is relative to the run's own start where it can be, must
hold in two windows of steps in a row, is raised once, and is cleared when it has not held in two.
"""

from grpo.alarms.alarms import Alarms
from grpo.alarms.evaluations import EVALUATION_RULES, evaluated
from grpo.alarms.rules import RULES, Rule

__all__ = ["EVALUATION_RULES", "RULES", "Alarms", "Rule", "evaluated"]
