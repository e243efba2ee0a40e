"""Rollouts collected inside the machines: the network decides in compiled code, and time is what discounts."""

import time
from itertools import pairwise

import numpy as np

from vcpu_env.envs.batch import CandidateChoiceVectorEnv
from vcpu_env.nets.discount import advantages, discounts
from vcpu_env.nets.rollout import RolloutCollector
from vcpu_env.nets.weights import Layer, PolicyWeights

MACHINES, STEPS = 16, 256
HALF_LIFE_NS = 1_000_000

env = CandidateChoiceVectorEnv(MACHINES, scenario="dedup-2vm", autoreset_mode="SameStep")
observations, _ = env.reset(seed=0)
features, choices = observations.shape[1], env.actions.nr_candidates
random = np.random.default_rng(0)


def network(*widths):
    """Layers with random weights; `vcpu_env.nets.from_sb3.from_sb3(model)` takes them from a trained model."""
    return tuple(
        Layer(random.normal(0, a**-0.5, (a, b)).astype(np.float32), np.zeros(b, np.float32))
        for a, b in pairwise(widths)
    )


policy = PolicyWeights(
    actor=network(features, 64, 64, choices), head="categorical", sizes=(choices,), critic=network(features, 64, 64, 1)
)
collector = RolloutCollector(env, seed=0)
collector.collect(policy, STEPS)  # compiles
begin = time.perf_counter()
rollout = collector.collect(policy, STEPS)
seconds = time.perf_counter() - begin
gammas = discounts(rollout.elapsed_ns, HALF_LIFE_NS)
estimates = advantages(
    rollout.rewards, rollout.values, rollout.dones, rollout.final_values, rollout.last_values, gammas, lam=0.95
)
print(f"{MACHINES * STEPS / seconds:,.0f} decisions/s, network included")
print(f"a step takes {rollout.elapsed_ns.mean() / 1000:.1f} us, gamma {gammas.mean():.4f} on average")
print(f"advantages {estimates.mean():.4f} +- {estimates.std():.4f}")
