"""Small hosts and short episodes for tests of the environments, and answers to their decisions."""

from typing import Any

import gymnasium
import numpy as np

import vcpu_env  # noqa: F401  (registers the ids)
from tests.helpers.at_once import at_once
from vcpu_env.envs.register import IDS as NAMES
from vcpu_env.envs.register import id_of
from vcpu_env.scenario import Scenario

MSEC = 1_000_000
IDS = tuple(map(id_of, NAMES))
DIRECTED_YIELD, PENALTY_SCALE, CANDIDATE_CHOICE, JOINT_YIELD, WIDE_YIELD, HOST_TUNER = IDS
CHOOSING = (DIRECTED_YIELD, CANDIDATE_CHOICE, JOINT_YIELD, WIDE_YIELD)
"""The environments whose agent chooses a candidate."""


def small(name: str, workload: str, vcpus: int = 4, count: int = 2, **host: Any) -> Scenario:
    return at_once(
        Scenario(
            name=name,
            host={"cpus": 4, **host},
            vms=[{"name": "vm", "count": count, "vcpus": vcpus, "workload": workload}],
            run={"warmup_ns": 20 * MSEC},
        )
    )


SMALL = small("small", "dedup")
"""4 CPUs, two VMs of 4 vCPUs."""
FLAT = small("flat", "dbench", vcpus=6, cpus=3, cgroups="flat")
CROWDED = small("crowded", "vips", vcpus=4, count=4, placement="one_to_one")
"""Siblings share run queues here only if they are stacked, so penalties are rare; spins are frequent."""
STACKED = small("stacked", "vips", vcpus=8, count=2, placement="one_to_one")
"""vCPU i and i + 4 of each VM share a CPU: yields to one's own queue, so penalties."""

SHORT = dict.fromkeys(IDS, {"horizon_ns": 1 * MSEC, "jitter_ns": 200_000, "warm_starts": 2}) | {
    PENALTY_SCALE: {"horizon_ns": 60 * MSEC, "jitter_ns": 200_000, "warm_starts": 2, "rule": "series-v2"},
    CANDIDATE_CHOICE: {
        "horizon_ns": 1 * MSEC,
        "jitter_ns": 200_000,
        "warm_starts": 2,
        "rule": "series-v2",
        "boost": "rule",
    },
    DIRECTED_YIELD: {"horizon_ns": 1 * MSEC, "jitter_ns": 200_000, "warm_starts": 2, "rule": "series-v2"},
    JOINT_YIELD: {
        "horizon_ns": 1 * MSEC,
        "jitter_ns": 200_000,
        "warm_starts": 2,
        "rule": "series-v2",
        "penalty_levels": (0.0, 0.25, 0.5, 1.0, 2.0, 4.0),
    },
    HOST_TUNER: {"horizon_ns": 4 * MSEC, "epoch_ns": 1 * MSEC, "jitter_ns": 200_000, "warm_starts": 2},
}
"""Arguments that make episodes of a few to a few hundred steps; the series decides what the agent does not."""


def scenario_for(env_id: str) -> Scenario:
    return STACKED if env_id == PENALTY_SCALE else SMALL


def make(env_id: str, **arguments: Any) -> Any:
    """One environment, unwrapped."""
    return gymnasium.make(env_id, **{"scenario": scenario_for(env_id)} | SHORT[env_id] | arguments).unwrapped


def make_vec(env_id: str, num_envs: int, autoreset_mode: str = "SameStep", **arguments: Any) -> Any:
    arguments = {"scenario": scenario_for(env_id)} | SHORT[env_id] | arguments
    return gymnasium.make_vec(env_id, num_envs=num_envs, autoreset_mode=autoreset_mode, **arguments)


def answer(env: Any, rng: np.random.Generator, mask: np.ndarray | None = None) -> Any:
    """A random legal action; `mask`: the flat mask if it is not the environment's own."""
    actions = env.actions
    width = actions.width
    if not actions.nr_candidates:
        return rng.uniform(-1, 1, width).astype(np.float32)
    mask = env.action_masks() if mask is None else mask
    candidate = rng.choice(np.flatnonzero(mask[: actions.nr_candidates]))
    if actions.nr_boosts:
        return np.array([candidate, rng.integers(actions.nr_boosts)])
    if width == 2:
        return {"candidate": candidate, "penalty_scale": rng.uniform(-1, 1, 1).astype(np.float32)}
    return candidate


def stack(answers: list[Any]) -> Any:
    """Actions of single environments as the batch takes them."""
    if isinstance(answers[0], dict):
        return {key: np.stack([answer[key] for answer in answers]) for key in answers[0]}
    return np.stack(answers)


def play(env: Any, rng: np.random.Generator, steps: int) -> list[tuple]:
    """Random steps, a reset after each episode's end: (action, observation, reward, truncated, info) of each."""
    played = []
    for _ in range(steps):
        if env.lane.over:
            observation, info = env.reset()
            played.append((None, observation, 0.0, False, info))
            continue
        action = answer(env, rng)
        observation, reward, _, truncated, info = env.step(action)
        played.append((action, observation, reward, truncated, info))
    return played


def same(a: Any, b: Any) -> bool:
    """Whether two results are equal to the last bit, types included."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray) and a.dtype != object:
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and same(list(a), list(b))
    return type(a) is type(b) and (a == b or a is b)
