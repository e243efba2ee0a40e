"""A linear policy with few parameters: one weight a feature, the same for every candidate.

A candidate's score is a weighted sum of its features; that of "nobody" and "as the rule" is one of the features of
yielder and host; that of a boost is one of the candidates' features, summed over all of them, so that what the yield
does can depend on who waits. All but the candidates have a bias. The highest score wins.
"""

from typing import Any

import numpy as np
import torch

from agents.config import ConfigError
from agents.teacher import Lessons
from vcpu_env.envs.action import Actions
from vcpu_env.envs.compiled.observe import NR_CANDIDATE_FEATURES, NR_FEATURES
from vcpu_env.nets.learned import LearnedPolicy
from vcpu_env.nets.weights import Layer, PolicyWeights
from vcpu_env.policy.view import AS_KERNEL, FIRST_CANDIDATE

OTHERS_ROW = NR_FEATURES + 1
"""Parameters of "nobody" and "as the rule": a weight a feature, and the bias."""

BOOST_ROW = NR_CANDIDATE_FEATURES + 1
"""Parameters of a boost."""

LEAD = 0.5
"""By how much the rule wins at the start."""


LARGEST = 2.0
"""Size of the largest parameter after cloning."""

BATCH = 1024


def nr_parameters(actions: Actions) -> int:
    """How many numbers make a policy for these actions."""
    return NR_CANDIDATE_FEATURES + OTHERS_ROW * FIRST_CANDIDATE + BOOST_ROW * actions.nr_boosts


def split(parameters: Any) -> tuple[Any, Any, Any]:
    """Views of the candidates' weights, of the rows of nobody and the rule, and of those of the boosts."""
    end = NR_CANDIDATE_FEATURES + OTHERS_ROW * FIRST_CANDIDATE
    others, rows = parameters[NR_CANDIDATE_FEATURES:end], parameters[end:]
    return parameters[:NR_CANDIDATE_FEATURES], others.reshape(-1, OTHERS_ROW), rows.reshape(-1, BOOST_ROW)


def as_the_rule(actions: Actions, own_boost: int) -> np.ndarray:
    """Parameters of the policy that always leaves the choice to the rule, with one boost."""
    parameters = np.zeros(nr_parameters(actions))
    _, others, rows = split(parameters)
    others[AS_KERNEL, -1] = LEAD
    if actions.nr_boosts:
        rows[own_boost, -1] = LEAD
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
        weight[at : at + NR_CANDIDATE_FEATURES, actions.nr_candidates :] = rows[:, :-1].T
    sizes = tuple(n for n in (actions.nr_candidates, actions.nr_boosts) if n)
    return PolicyWeights(actor=(Layer(weight, bias),), head="categorical", sizes=sizes)


def parameters_of(policy: LearnedPolicy) -> np.ndarray:
    """The parameters that a linear policy was made from.

    Raises:
        ConfigError: it was not made by `linear_policy`.
    """
    actions = Actions(policy.kind, policy.about.config)
    parameters, layer = np.zeros(nr_parameters(actions)), policy.weights.actor[0]
    if len(policy.weights.actor) == 1:
        candidate, others, rows = split(parameters)
        end = NR_FEATURES + NR_CANDIDATE_FEATURES
        candidate[:] = layer.weight[NR_FEATURES:end, FIRST_CANDIDATE]
        others[:, :-1], others[:, -1] = layer.weight[:NR_FEATURES, :FIRST_CANDIDATE].T, layer.bias[:FIRST_CANDIDATE]
        rows[:, :-1] = layer.weight[NR_FEATURES:end, actions.nr_candidates :].T
        rows[:, -1] = layer.bias[actions.nr_candidates :]
    if not np.array_equal(linear_policy(parameters, actions).actor[0].weight, layer.weight):
        raise ConfigError(f"policy: {policy.name} (allowed: linear ones, of cma_es)")
    return parameters


def imitate(taught: Lessons, actions: Actions, start: np.ndarray, epochs: int, rate: float, seed: int) -> np.ndarray:
    """Parameters under which a teacher's actions are likely: logistic regression, from `start`, by Adam."""
    parameters = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer, rng = torch.optim.Adam([parameters], lr=rate), np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(len(taught.observations))
        for first in range(0, len(order), BATCH):
            rows = order[first : first + BATCH]
            logits = scores(parameters, torch.tensor(taught.observations[rows], dtype=torch.float64))
            forbidden = torch.as_tensor(taught.masks[rows, : actions.nr_candidates] == 0)
            chosen = torch.as_tensor(taught.actions[rows].astype(np.int64))
            candidates = logits[:, : actions.nr_candidates].masked_fill(forbidden, -torch.inf)
            loss = torch.nn.functional.cross_entropy(candidates, chosen[:, 0])
            if actions.nr_boosts:
                loss = loss + torch.nn.functional.cross_entropy(logits[:, actions.nr_candidates :], chosen[:, 1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return scaled(parameters.detach().numpy())


def scores(parameters: torch.Tensor, observations: torch.Tensor) -> torch.Tensor:
    """The logits of `linear_policy`, differentiable."""
    candidate, others, rows = split(parameters)
    host, shown = observations[:, :NR_FEATURES], observations[:, NR_FEATURES:]
    shown = shown.reshape(len(observations), -1, NR_CANDIDATE_FEATURES)
    rest = host @ others[:, :-1].T + others[:, -1]
    boosts = shown.sum(1) @ rows[:, :-1].T + rows[:, -1]
    return torch.cat([rest, shown @ candidate, boosts], 1)


def scaled(parameters: np.ndarray) -> np.ndarray:
    """The same choices with numbers of the size that a search begins with: only differences of scores matter."""
    parts = split(parameters := parameters.copy())
    for group in (parts[:2], parts[2:]):
        largest = max((float(np.abs(part).max()) for part in group if part.size), default=0.0)
        for part in group:
            part /= max(largest, 1e-9) / LARGEST
    return parameters
