"""The cross-entropy method on any environment, in numpy: python examples/cross_entropy.py [NAME] [MINUTES]

A linear policy. Candidates are scored by their own features, with the same weights for all; nobody, the rule, and what
else the action has, by those of yielder and host. Each machine plays an episode with weights of its own, paid for what
it earns beyond the rule (`over_rule`); the best quarter makes the next generation.
"""

import sys
import time

import gymnasium
import numpy as np
from gymnasium import spaces

from vcpu_env import gain_over_rule
from vcpu_env.envs.compiled.observe import NR_CANDIDATE_FEATURES, NR_FEATURES
from vcpu_env.envs.register import id_of

NAME = sys.argv[1] if len(sys.argv) > 1 else "WideYield"
SECONDS = 60 * float(sys.argv[2]) if len(sys.argv) > 2 else 30.0
POPULATION, ELITE, REPORTS = 32, 8, 4
ID = f"vcpu_env:{id_of(NAME)}"

env = gymnasium.make_vec(ID, num_envs=POPULATION, autoreset_mode="SameStep", over_rule=True, threads=1)
space, chooses = env.single_action_space, not isinstance(env.single_action_space, spaces.Box)
others = 2  # scores beside the candidates': nobody, as the rule, then what else the action has
if isinstance(space, spaces.MultiDiscrete):
    others += int(space.nvec[1])
elif isinstance(space, spaces.Dict):
    others += 1
host = NR_FEATURES if chooses else spaces.flatdim(env.single_observation_space)
outputs = others if chooses else spaces.flatdim(space)
size = (host + 1) * outputs + (NR_CANDIDATE_FEATURES if chooses else 0)


def act(weights, observations, info):
    """Actions of all machines, each by its own row of weights."""
    count = len(observations)
    rows = weights[:, : (host + 1) * outputs].reshape(count, host + 1, outputs)
    scores = np.einsum("nf,nfo->no", observations[:, :host], rows[:, :-1]) / host**0.5 + rows[:, -1]
    if not chooses:
        return np.tanh(scores).astype(np.float32)
    shown = observations[:, host:].reshape(count, -1, NR_CANDIDATE_FEATURES)
    candidates = np.concatenate([scores[:, :2], np.einsum("ncf,nf->nc", shown, weights[:, -NR_CANDIDATE_FEATURES:])], 1)
    legal = info["action_mask"][:, : candidates.shape[1]].astype(bool)
    candidate = np.where(legal, candidates, -np.inf).argmax(axis=1)
    if isinstance(space, spaces.Dict):
        return {"candidate": candidate, "penalty_scale": np.tanh(scores[:, 2:]).astype(np.float32)}
    return candidate if others == 2 else np.column_stack([candidate, scores[:, 2:].argmax(axis=1)])


def play(weights, seed):
    """The gain over the rule of each row of weights in an episode, and the decisions of all."""
    observations, info = env.reset(seed=seed)
    gains, going, decisions = np.zeros(POPULATION), np.ones(POPULATION, bool), 0
    while going.any():
        observations, rewards, _, truncated, info = env.step(act(weights, observations, info))
        gains += rewards * going
        decisions += going.sum()
        going &= ~truncated
    return gains, decisions


def proved(weights):
    """The gain of one policy on episodes that none has been chosen on."""
    return gain_over_rule(ID, lambda *seen: act(np.tile(weights, (64, 1)), *seen), threads=1)


rng, mean, spread = np.random.default_rng(0), np.zeros(size), np.full(size, 0.5)
if chooses:
    mean[host * outputs + 1] = 0.5  # as the rule, to begin with
began, decisions, generation, reports = time.process_time(), 0, 0, 0
while True:
    spent = time.process_time() - began
    if spent >= reports * SECONDS / REPORTS:
        pause = time.process_time()
        gain = proved(mean)
        began += time.process_time() - pause
        print(f"{spent:.0f} s, {decisions:,} decisions: {gain}", flush=True)
        reports += 1
    if spent >= SECONDS:
        break
    weights = rng.normal(mean, spread, (POPULATION, size))
    gains, count = play(weights, seed=POPULATION * generation)
    best = weights[np.argsort(gains)[-ELITE:]]
    mean, spread = 0.5 * (mean + best.mean(axis=0)), 0.5 * (spread + best.std(axis=0)) + 0.01
    decisions, generation = decisions + int(count), generation + 1
