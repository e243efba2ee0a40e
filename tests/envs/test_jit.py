"""The same environment compiled and uncompiled: the same observations, rewards and masks, bit by bit.

``python -m tests.envs.test_jit ID``: play some episodes and print the hash of what was seen.
"""

import hashlib
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers.at_once import at_once
from tests.helpers.paths import ROOT
from tests.helpers.small_env import (
    CANDIDATE_CHOICE,
    HOST_TUNER,
    IDS,
    MSEC,
    PENALTY_SCALE,
    WIDE_YIELD,
    answer,
    make,
    make_vec,
    play,
    stack,
)
from vcpu_env.scenario import Scenario

TINY = at_once(
    Scenario(
        name="tiny",
        host={"cpus": 2, "cgroups": "flat"},
        vms=[{"name": "vm", "count": 2, "vcpus": 3, "workload": "dbench"}],
        run={"warmup_ns": 2 * MSEC},
    )
)


def episodes_hash(env_id: str) -> str:
    """Of 15 random steps of a single environment, and 5 of a batch of two."""
    arguments = {"scenario": TINY, "horizon_ns": 500_000, "epoch_ns": 100_000, "warm_starts": 1}
    if env_id == PENALTY_SCALE:
        arguments["horizon_ns"] = 10 * MSEC
    env, batch = make(env_id, **arguments), make_vec(env_id, 2, **arguments)
    results = [env.reset(seed=3), play(env, np.random.default_rng(1), 15), batch.reset(seed=4)]
    rng = np.random.default_rng(2)
    for _ in range(5):
        masks = batch.action_masks() if batch.actions.nr_candidates else [None] * 2
        results.append(batch.step(stack([answer(batch, rng, mask) for mask in masks])))
    return hashlib.sha256(pickle.dumps(results)).hexdigest()


def hash_elsewhere(env_id: str, disable_jit: str) -> str:
    command = [sys.executable, "-W", "ignore", "-m", "tests.envs.test_jit", env_id]
    environment = os.environ | {"NUMBA_DISABLE_JIT": disable_jit}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "env_id",
    [
        pytest.param(env_id, marks=[] if env_id in (CANDIDATE_CHOICE, HOST_TUNER) else pytest.mark.slow)
        for env_id in IDS
    ],
)
def test_compiled_and_uncompiled_episodes_are_equal(env_id):
    assert hash_elsewhere(env_id, "1") == hash_elsewhere(env_id, "0")


def test_the_hash_tells_episodes_apart():
    assert episodes_hash(CANDIDATE_CHOICE) == episodes_hash(CANDIDATE_CHOICE) != episodes_hash(WIDE_YIELD)


if __name__ == "__main__":
    print(episodes_hash(sys.argv[1]))
