"""Rewards: find them, run them in worker processes with timeouts, add them up."""

from grpo.scoring.check import RejectedGold, RewardCheck, check_golds, check_rewards
from grpo.scoring.load import load_reward, reward_name, reward_names
from grpo.scoring.pool import declarations
from grpo.scoring.scorer import Scorer, failures, total

__all__ = [
    "RejectedGold",
    "RewardCheck",
    "Scorer",
    "check_golds",
    "check_rewards",
    "declarations",
    "failures",
    "load_reward",
    "reward_name",
    "reward_names",
    "total",
]
