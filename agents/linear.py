"""A linear policy with few parameters: one weight a feature, the same for every candidate.

A candidate's score is a weighted sum of its features; "nobody", "as the rule" and each boost have a score that is a
weighted sum of the features of yielder and host, and a bias. The highest score wins.
"""

import numpy as np

from vcpu_env.envs.action import Actions
from vcpu_env.envs.observe import NR_CANDIDATE_FEATURES, NR_FEATURES
from vcpu_env.policy.view import AS_KERNEL, FIRST_CANDIDATE
from vcpu_env.policy.weights import Layer, PolicyWeights

ROW = NR_FEATURES + 1
"""Parameters of an action that is no candidate: a weight a feature, and the bias."""


def nr_parameters(actions: Actions) -> int:
    """How many numbers make a policy for these actions."""
    return NR_CANDIDATE_FEATURES + ROW * (FIRST_CANDIDATE + actions.nr_boosts)


def as_the_rule(actions: Actions, own_boost: int) -> np.ndarray:
    """Parameters of the policy that always leaves the choice to the rule, with one boost."""
    parameters = np.zeros(nr_parameters(actions))
    rows = parameters[NR_CANDIDATE_FEATURES:].reshape(-1, ROW)
    rows[AS_KERNEL, -1] = 1.0
    if actions.nr_boosts:
        rows[FIRST_CANDIDATE + own_boost, -1] = 1.0
    return parameters


def linear_policy(parameters: np.ndarray, actions: Actions) -> PolicyWeights:
    """The network of one layer that these parameters mean."""
    nr_shown = actions.nr_candidates - FIRST_CANDIDATE
    outputs = actions.nr_candidates + actions.nr_boosts
    weight = np.zeros((NR_FEATURES + nr_shown * NR_CANDIDATE_FEATURES, outputs), np.float32)
    bias = np.zeros(outputs, np.float32)
    candidate, rows = np.split(parameters.astype(np.float32), [NR_CANDIDATE_FEATURES])
    rows = rows.reshape(-1, ROW)
    others = [*range(FIRST_CANDIDATE), *range(actions.nr_candidates, outputs)]
    weight[:NR_FEATURES, others], bias[others] = rows[:, :-1].T, rows[:, -1]
    for i in range(nr_shown):
        at = NR_FEATURES + i * NR_CANDIDATE_FEATURES
        weight[at : at + NR_CANDIDATE_FEATURES, FIRST_CANDIDATE + i] = candidate
    sizes = tuple(n for n in (actions.nr_candidates, actions.nr_boosts) if n)
    return PolicyWeights(actor=(Layer(weight, bias),), head="categorical", sizes=sizes)
