"""A linear policy with few parameters: one weight a feature, the same for every candidate.

A candidate's score is a weighted sum of its features; that of "nobody" and "as the rule" is one of the features of
yielder and host; that of a boost is one of the candidates' features, summed over all of them, so that what the yield
does can depend on who waits. All but the candidates have a bias. The highest score wins.
"""

import numpy as np

from vcpu_env.envs.action import Actions
from vcpu_env.envs.observe import NR_CANDIDATE_FEATURES, NR_FEATURES
from vcpu_env.policy.view import AS_KERNEL, FIRST_CANDIDATE
from vcpu_env.policy.weights import Layer, PolicyWeights

OTHERS_ROW = NR_FEATURES + 1
"""Parameters of "nobody" and "as the rule": a weight a feature, and the bias."""

BOOST_ROW = NR_CANDIDATE_FEATURES + 1
"""Parameters of a boost."""

SUM_SCALE = 0.25
"""Sums over candidates are scaled to the size of one feature."""


def nr_parameters(actions: Actions) -> int:
    """How many numbers make a policy for these actions."""
    return NR_CANDIDATE_FEATURES + OTHERS_ROW * FIRST_CANDIDATE + BOOST_ROW * actions.nr_boosts


def split(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Views of the candidates' weights, of the rows of nobody and the rule, and of those of the boosts."""
    candidate, others, rows = np.split(
        parameters, [NR_CANDIDATE_FEATURES, NR_CANDIDATE_FEATURES + OTHERS_ROW * FIRST_CANDIDATE]
    )
    return candidate, others.reshape(-1, OTHERS_ROW), rows.reshape(-1, BOOST_ROW)


def as_the_rule(actions: Actions, own_boost: int) -> np.ndarray:
    """Parameters of the policy that always leaves the choice to the rule, with one boost."""
    parameters = np.zeros(nr_parameters(actions))
    _, others, rows = split(parameters)
    others[AS_KERNEL, -1] = 1.0
    if actions.nr_boosts:
        rows[own_boost, -1] = 1.0
    return parameters


def linear_policy(parameters: np.ndarray, actions: Actions) -> PolicyWeights:
    """The network of one layer that these parameters mean."""
    nr_shown = actions.nr_candidates - FIRST_CANDIDATE
    outputs = actions.nr_candidates + actions.nr_boosts
    weight = np.zeros((NR_FEATURES + nr_shown * NR_CANDIDATE_FEATURES, outputs), np.float32)
    bias = np.zeros(outputs, np.float32)
    candidate, others, rows = split(parameters.astype(np.float32))
    weight[:NR_FEATURES, :FIRST_CANDIDATE], bias[:FIRST_CANDIDATE] = others[:, :-1].T, others[:, -1]
    bias[actions.nr_candidates :] = rows[:, -1]
    for i in range(nr_shown):
        at = NR_FEATURES + i * NR_CANDIDATE_FEATURES
        weight[at : at + NR_CANDIDATE_FEATURES, FIRST_CANDIDATE + i] = candidate
        weight[at : at + NR_CANDIDATE_FEATURES, actions.nr_candidates :] = np.float32(SUM_SCALE) * rows[:, :-1].T
    sizes = tuple(n for n in (actions.nr_candidates, actions.nr_boosts) if n)
    return PolicyWeights(actor=(Layer(weight, bias),), head="categorical", sizes=sizes)
