"""Trainings of a few seconds."""

from typing import Any

from agents.config import TrainConfig, parse_config
from tests.helpers.at_once import AT_ONCE

BRIEF = tuple(f"host.{name}={value}" for name, value in AT_ONCE.items())
"""Nothing to wait for: all VMs are there from the start."""

QUICK: dict[str, Any] = {
    "name": "quick",
    "environment": "WideYield",
    "algorithm": "maskable_ppo",
    "total_steps": 512,
    "num_envs": 4,
    "checkpoint_every": 0.2,
    "net_arch": [8],
    "environment_arguments": {"horizon_ns": 500_000, "warm_starts": 1, "nr_candidates": 4},
    "hyperparameters": {"n_steps": 32, "batch_size": 64, "n_epochs": 2, "learning_rate": "lin_1e-3"},
    "stages": [{"scenarios": ["vips-3vm-8cpu"]}],
    "validation": {
        "every": 0.5,
        "seeds": 1,
        "scenarios": ["dedup-2vm-8cpu"],
        "set": [*BRIEF, "run.warmup_ns=10_000_000", "run.duration_ns=20_000_000"],
    },
}


def quick(**changes: Any) -> TrainConfig:
    return parse_config(QUICK | changes)


EVOLVE = {"algorithm": "cma_es", "total_steps": 4, "hyperparameters": {"population_size": 4}}
PENALTY = {
    "environment": "PenaltyScale",
    "environment_arguments": {"horizon_ns": 20_000_000, "warm_starts": 1, "nr_candidates": 4},
}
