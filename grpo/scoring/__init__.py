"""Rewards: find them, run them in worker processes with deadlines, add them up."""

from grpo.scoring.check import RejectedGold, RewardCheck, check_golds, check_rewards
from grpo.scoring.load import load_reward, reward_name, reward_names
from grpo.scoring.scorer import Scorer, mishaps, total

__all__ = [
    "RejectedGold",
    "RewardCheck",
    "Scorer",
    "check_golds",
    "check_rewards",
    "load_reward",
    "mishaps",
    "reward_name",
    "reward_names",
    "total",
]
