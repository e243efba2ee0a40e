"""A policy's decision in plain numpy and Python: the same operations in the same order as the compiled one."""

import math

import numpy as np

from vcpu_env.nets import network
from vcpu_env.nets.weights import Layer, PolicyWeights

U64 = (1 << 64) - 1
P = [network.P0, network.P1, network.P2, network.P3, network.P4]
Q = [network.Q0, network.Q1, network.Q2, network.Q3, network.Q4]


def polynomial(u: np.ndarray, coefficients: list[np.float32]) -> np.ndarray:
    value = np.full_like(u, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * u + coefficient
    return value


def tanh32(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, np.float32(-8), np.float32(8))
    return x * polynomial(x * x, P) / polynomial(x * x, Q)


def affine(x: np.ndarray, layer: Layer) -> np.ndarray:
    y = layer.bias.copy()
    for i in np.flatnonzero(x):
        y += x[i] * layer.weight[i]
    return y


def net(x: np.ndarray, layers: tuple[Layer, ...], activation: str) -> np.ndarray:
    for layer in layers[:-1]:
        y = affine(x, layer)
        x = tanh32(y) if activation == "tanh" else np.maximum(y, np.float32(0))
    return affine(x, layers[-1])


def forward(policy: PolicyWeights, observation: np.ndarray) -> tuple[np.ndarray, float]:
    """(logits or means, value)"""
    x = observation
    if policy.normalisation is not None:
        mean, inv_std, clip = policy.normalisation
        x = np.clip((x - mean) * inv_std, np.float32(-clip), np.float32(clip))
    value = float(net(x, policy.critic, policy.activation)[0]) if policy.critic else math.nan
    return net(x, policy.actor, policy.activation), value


def uniform(key: int, count: int) -> float:
    x = (int(key) + count * 0x9E3779B97F4A7C15) & U64  # splitmix64
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & U64
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & U64
    return (((x ^ x >> 31) >> 32) + 0.5) / 2**32


def normal(key: int, count: int) -> float:
    return math.sqrt(-2 * math.log(uniform(key, count))) * math.cos(2 * math.pi * uniform(key, count + 1))


def categorical(logits: list[float], legal: list[bool], randoms: list[float] | None) -> tuple[int, float]:
    entries = [j for j, allowed in enumerate(legal) if allowed]
    top = max(logits[j] for j in entries)
    likelihood = {j: math.exp(logits[j] - top) for j in entries}
    if randoms is None:
        choice = max(entries, key=lambda j: logits[j])
    else:
        choice = max(entries, key=lambda j: likelihood[j] / -math.log(randoms[j]))
    total = 0.0
    for j in entries:
        total += likelihood[j]
    return choice, logits[choice] - top - math.log(total)


def act(
    policy: PolicyWeights, observation: np.ndarray, mask: np.ndarray, key: int, count: int, deterministic: bool
) -> tuple[list[float], float, float]:
    """(action, log-probability, value)"""
    outputs, value = forward(policy, observation)
    logits = [float(x) for x in outputs]
    action: list[float] = []
    log_prob = 0.0
    if policy.head == "categorical":
        first = 0
        for size in policy.sizes:
            span = slice(first, first + size)
            legal = [bool(x) for x in mask[span]] if len(mask) else [True] * size
            randoms = [uniform(key, count * len(logits) + j) for j in range(first, first + size)]
            choice, choice_log_prob = categorical(logits[span], legal, None if deterministic else randoms)
            action.append(choice)
            log_prob += choice_log_prob
            first += size
        return action, log_prob, value
    n = policy.nr_dims
    for d, mean in enumerate(logits[:n]):
        z = 0.0 if deterministic else normal(key, (count * n + d) * 2)
        if policy.log_std is not None:
            log_std = float(policy.log_std[d])
            action.append(float(np.float32(mean + math.exp(log_std) * z)))
            z = (action[-1] - mean) / math.exp(log_std)
            log_prob -= 0.5 * z * z + log_std + 0.5 * math.log(2 * math.pi)
        else:
            log_std = max(-20.0, min(2.0, logits[n + d]))
            squashed = math.tanh(mean + math.exp(log_std) * z)
            action.append(float(np.float32(squashed)))
            log_prob -= 0.5 * z * z + log_std + 0.5 * math.log(2 * math.pi) + math.log(1 - squashed * squashed + 1e-6)
    return action, log_prob, value
