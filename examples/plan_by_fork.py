"""One-step lookahead: try every candidate in a fork, let the rule go on for 1 ms, take the best.

A fork has the same future as the original, random demands included: the planner is clairvoyant, an upper bound for
what one better choice every 100 us can do, not a policy for a host. Between its choices the rule decides in both.
"""

import gymnasium
import numpy as np

AS_KERNEL = 1
LOOKAHEAD_NS = 1_000_000

env = gymnasium.make(
    "vcpu_env:vcpu_env/CandidateChoice-v2",
    scenario="dedup-2vm",
    decision_filter="period_ns:100_000",
    horizon_ns=5_000_000,
).unwrapped


def worth(branch, action, until_ns):
    """What the branch earns by this action, and by the rule after it."""
    total, truncated = 0.0, False
    while not truncated:
        _, reward, _, truncated, info = branch.step(action)
        total += reward
        if info["time_ns"] >= until_ns:
            break
        action = AS_KERNEL
    return total


def plan(info):
    """The best legal action."""
    actions = np.flatnonzero(info["action_mask"])
    return max(actions, key=lambda action: worth(env.fork(), action, info["time_ns"] + LOOKAHEAD_NS))


def play(agent, seed):
    """One episode's return."""
    _, info = env.reset(seed=seed)
    total, truncated = 0.0, False
    while not truncated:
        _, reward, _, truncated, info = env.step(agent(info))
        total += reward
    return total


for seed in range(3):
    planned, rule = play(plan, seed), play(lambda info: AS_KERNEL, seed)
    print(f"seed {seed}: lookahead {planned:.3f}, series-v2 {rule:.3f} ms a CPU of useful time, less unfairness")
