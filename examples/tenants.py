"""What if tenants chose? Every VM plays one of four answers to its own spins; what each earns beside what others do.

Needs PettingZoo: ``pip install -e '.[tenants]'``. A row of the table is the answer of the first VM, a column that of
all others; a cell, what the first VM earns in 20 ms and the mean of the others, in ms of work as under the host's rule.
"""

import sys

import numpy as np

from vcpu_env.envs.tenants import TenantsEnv

EPISODES = int(sys.argv[1]) if len(sys.argv) > 1 else 8
NOBODY, RULE = 0, 1


def nobody(legal, rng):
    """Spin on."""
    return NOBODY


def rule(legal, rng):
    """As the host's rule."""
    return RULE


def first(legal, rng):
    """The first candidate there is."""
    return int(legal[2]) if len(legal) > 2 else NOBODY


def anybody(legal, rng):
    """Any legal answer."""
    return int(rng.choice(legal))


env = TenantsEnv("dedup-3vm", horizon_ns=20_000_000)
first_vm, *others = env.possible_agents


def earned(mine, theirs):
    """Means over episodes: of the first VM, and of the others."""
    total = dict.fromkeys(env.possible_agents, 0.0)
    for seed in range(EPISODES):
        env.reset(seed=seed)
        rng = np.random.default_rng(seed)
        for agent in env.agent_iter():
            observation, reward, _, truncated, _ = env.last()
            total[agent] += reward / EPISODES
            legal = np.flatnonzero(observation["action_mask"])
            answer = mine if agent == first_vm else theirs
            env.step(None if truncated else answer(legal, rng))
    return total[first_vm], sum(total[agent] for agent in others) / len(others)


answers = (nobody, rule, first, anybody)
print("| the first VM | " + " | ".join(f"others: {answer.__name__}" for answer in answers) + " |")
print("|---|" + "---:|" * len(answers))
for mine in answers:
    cells = ["{:.1f}, {:.1f}".format(*earned(mine, theirs)) for theirs in answers]
    print(f"| {mine.__name__} | " + " | ".join(cells) + " |")
