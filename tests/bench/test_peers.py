"""Others beside this simulator: each loop counts what it does, and the command makes both tables."""

import json
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from tests.helpers.paths import ROOT
from vcpu_env.bench import peers


def test_heap_loop_counts_its_events():
    run = peers.heap_loop()
    assert run() == 1000 and run() == 1000


def test_free_environments_take_steps_that_change_nothing():
    like = gymnasium.make("CartPole-v1")
    single, batch = peers.FreeEnv(like), peers.FreeVectorEnv(like)
    assert peers.single_steps(single, 0)() == peers.STEPS and peers.batch_steps(batch, 0)() == peers.BATCH
    observation, reward, terminated, truncated, _ = single.step(0)
    assert observation in like.observation_space and not (reward or terminated or truncated)
    shown, rewards, over, _, _ = batch.step(np.zeros(peers.BATCH, np.int64))
    assert shown in batch.observation_space and not rewards.any() and not over.any()


def test_what_is_not_installed_is_left_out_by_name(monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda module: None)
    assert peers.missing() == ["SimPy", "SimSo", "EnvPool"]
    effort = peers.Effort(1, 0.001)
    found = peers.measured(effort, {"there": ("", peers.heap_loop), "not there": ("simpy", peers.simpy_loop)})
    assert found.keys() == {"there"} and found["there"] > 0


@pytest.mark.slow
def test_command_compares_simulators_and_environments():
    command = [sys.executable, "-m", "vcpu_env.bench", "peers", "--quick", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 0 and len({row["table"] for row in rows}) == 2
    assert all(row["value"] > 0 for row in rows)
    of_loop = {row["row"]: row["value"] for row in rows if row["column"] == "of the loop's"}
    assert of_loop["a loop around heapq"] == 1.0 and of_loop["vcpu_env's machine, a host of 16 CPUs"] > 0.5
