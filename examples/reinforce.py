"""REINFORCE in numpy, a first learner for CandidateChoice: python examples/reinforce.py [MINUTES]

Written from the environment's page alone. Candidates are scored by their own features, with the same weights for all;
"nobody" and "as the rule" by those of yielder and host; a softmax over the legal ones decides, and in the end
the likeliest is taken. A decision is paid for
what the host earns beyond the rule in the time after it, discounted by simulated time, less what a linear fit expects.
"""

import sys
import time

import gymnasium
import numpy as np

from vcpu_env import gain_over_rule
from vcpu_env.envs.compiled.observe import NR_CANDIDATE_FEATURES, NR_FEATURES

ID = "vcpu_env:vcpu_env/CandidateChoice-v2"
SECONDS = 60 * float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
MACHINES, HALF_LIFE_NS, RATE, REPORTS = 32, 200_000, 0.2, 6

env = gymnasium.make_vec(ID, num_envs=MACHINES, autoreset_mode="SameStep", over_rule=True, threads=1)
rng = np.random.default_rng(0)
candidate, others = np.zeros(NR_CANDIDATE_FEATURES), np.zeros((NR_FEATURES, 2))


def split(observations):
    """Features of yielder and host, (N, features), and of the candidates, (N, candidates, features)."""
    host, shown = np.split(observations, [NR_FEATURES], axis=1)
    return host, shown.reshape(len(host), -1, NR_CANDIDATE_FEATURES)


def logits(observations, info):
    """Scores of all actions; illegal ones have none."""
    host, shown = split(observations)
    return np.where(info["action_mask"], np.concatenate([host @ others, shown @ candidate], axis=1), -np.inf)


def sample(scores):
    """An action of each row, by Gumbel's trick."""
    return (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)


def episodes(seed):
    """Observations, scores, actions and returns of every decision of an episode on each machine."""
    observations, info = env.reset(seed=seed)
    going, steps = np.ones(MACHINES, bool), []
    while going.any():
        scores = logits(observations, info)
        actions = sample(scores)
        after, rewards, _, truncated, info = env.step(actions)
        elapsed_ns = np.where(truncated, info["final_info"]["elapsed_ns"], 0) if truncated.any() else 0
        discount = 0.5 ** (np.where(truncated, elapsed_ns, info["elapsed_ns"]) / HALF_LIFE_NS)
        steps.append((observations, scores, actions, rewards, discount * ~truncated, going.copy()))
        observations, going = after, going & ~truncated
    observed, scores, actions, rewards, discounts, there = map(np.array, zip(*steps, strict=True))
    for t in range(len(rewards) - 2, -1, -1):
        rewards[t] += discounts[t] * rewards[t + 1]
    return observed[there], scores[there], actions[there], rewards[there]


def gradient(observed, scores, actions, returns):
    """Of the mean log-probability, each decision weighed by what it brought more than a linear fit expects."""
    host, shown = split(observed)
    expected = host @ np.linalg.lstsq(host, returns, rcond=1e-6)[0]
    advantage = (returns - expected) / (returns - expected).std()
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    error = -chances / chances.sum(axis=1, keepdims=True)
    error[np.arange(len(actions)), actions] += 1
    error *= advantage[:, None] / len(actions)
    return np.concatenate([np.einsum("nc,ncf->f", error[:, 2:], shown), (host.T @ error[:, :2]).ravel()])


first, second, decisions, updates, reports, spent = 0.0, 0.0, 0, 0, 0, 0.0
while True:
    if spent >= reports * SECONDS / REPORTS:
        gain = gain_over_rule(ID, lambda *seen: logits(*seen).argmax(axis=1), threads=1)
        print(f"{spent:.0f} s, {decisions:,} decisions: {gain}", flush=True)
        reports += 1
    if spent >= SECONDS:
        break
    began, updates = time.process_time(), updates + 1
    played = episodes(seed=MACHINES * updates)
    slope = gradient(*played)
    first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope**2  # Adam
    step = RATE * (1 - spent / SECONDS) * first / (1 - 0.9**updates) / (np.sqrt(second / (1 - 0.99**updates)) + 1e-8)
    candidate += step[:NR_CANDIDATE_FEATURES]
    others += step[NR_CANDIDATE_FEATURES:].reshape(others.shape)
    decisions, spent = decisions + len(played[2]), spent + time.process_time() - began
