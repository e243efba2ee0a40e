"""A host rule written as an agent: it reads the observation by name, and is compared with the series on equal seeds.

Yield to whom the spinner's last IPI went, else to the candidate that has waited longest.
"""

import gymnasium
import numpy as np

from vcpu_env.envs.compiled.observe import feature_names

EPISODES = 4
AS_KERNEL, FIRST_CANDIDATE = 1, 2

env = gymnasium.make("vcpu_env:vcpu_env/CandidateChoice-v2", scenario="dedup-2vm", rule="series-v2", boost="rule")
K = env.get_wrapper_attr("config").nr_candidates
NAMES = feature_names(K)
RECEIVER, WAITED, PRESENT = (
    np.array([NAMES.index(f"{name}[{i}]") for i in range(K)]) for name in ("ipi_receiver", "waited", "present")
)


def receiver_or_longest_wait(observation):
    """Candidates without one of the two features score by the other; absent ones not at all."""
    score = observation[PRESENT] * (1 + observation[WAITED] + 2 * observation[RECEIVER])
    return FIRST_CANDIDATE + int(np.argmax(score)) if score.any() else AS_KERNEL


def play(agent, seed):
    """One episode's return."""
    observation, _ = env.reset(seed=seed)
    total, truncated = 0.0, False
    while not truncated:
        observation, reward, _, truncated, _ = env.step(agent(observation))
        total += reward
    return total


for seed in range(EPISODES):
    mine, series = play(receiver_or_longest_wait, seed), play(lambda observation: AS_KERNEL, seed)
    print(f"seed {seed}: receiver or longest wait {mine:.3f}, series-v2 {series:.3f} ms a CPU")
