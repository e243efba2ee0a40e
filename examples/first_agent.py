"""A first agent, in numpy: the cross-entropy method finds what a penalty should cost where siblings share run queues.

PenaltyScale's rule always takes the series' own penalty (action 0). The agent is linear in the observation with a bias;
each generation plays as many episodes as there are machines, the best quarter makes the next one. `over_rule=True` pays
for what is earned beyond the rule in the same episode, so that luck of the draw does not count.
"""

import gymnasium
import numpy as np

import vcpu_env

gymnasium.register_envs(vcpu_env)
GENERATIONS, POPULATION, ELITE, PROOF = 8, 32, 8, 64

env = gymnasium.make_vec("vcpu_env/PenaltyScale-v2", num_envs=POPULATION, over_rule=True)
rng = np.random.default_rng(0)
mean = np.zeros(gymnasium.spaces.flatdim(env.single_observation_space) + 1)  # a weight a feature, and a bias
spread = np.full_like(mean, 0.02)
spread[-1] = 0.5


def play(weights, seed):
    """Each row's gain over the rule in one episode: the sum of its rewards, ms a CPU."""
    observations, _ = env.reset(seed=seed)
    gains, going = np.zeros(POPULATION), np.ones(POPULATION, bool)
    while going.any():
        actions = np.tanh((observations * weights[:, :-1]).sum(axis=1) + weights[:, -1])
        observations, rewards, _, truncated, _ = env.step(actions[:, None].astype(np.float32))
        gains += rewards * going
        going &= ~truncated
    return gains


for generation in range(GENERATIONS):
    weights = rng.normal(mean, spread, (POPULATION, mean.size))
    gains = play(weights, seed=1000 + generation * POPULATION)
    best = weights[np.argsort(gains)[-ELITE:]]
    mean, spread = best.mean(axis=0), best.std(axis=0) + 0.005
    print(f"generation {generation + 1}: {gains.mean():+.3f} ms a CPU over the rule")

proof = np.concatenate([play(np.tile(mean, (POPULATION, 1)), seed) for seed in range(0, PROOF, POPULATION)])
error = proof.std(ddof=1) / len(proof) ** 0.5
print(f"{PROOF} other episodes: {proof.mean():+.3f} over the rule, standard error {error:.3f}")
