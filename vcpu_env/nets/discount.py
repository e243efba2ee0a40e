"""Discounting by simulated time: steps have unequal length, so each has its own discount factor.

A constant factor a step would make an agent that asks often look less far ahead than one that asks rarely. Here the
worth of a reward halves every `half_life_ns`, whatever the number of steps (a semi-Markov decision process: Bradtke and
Duff, NIPS 1994). Advantages are estimated as by Schulman et al., ICLR 2016, with a factor for each step.
"""

import numpy as np


def discounts(elapsed_ns: np.ndarray, half_life_ns: float) -> np.ndarray:
    """The factor of each step from its simulated time: 1/2 for a step that takes `half_life_ns`.

    Raises:
        ValueError: a half-life that is not above 0, or a step of negative length.
    """
    if not 0 < half_life_ns < float("inf"):
        raise ValueError(f"half_life_ns: value {half_life_ns} (allowed: above 0)")
    elapsed = np.asarray(elapsed_ns, np.float64)
    if not (elapsed >= 0).all():
        raise ValueError(f"elapsed_ns: value {elapsed.min():.0f} (allowed: from 0)")
    return np.exp2(-elapsed / half_life_ns)


def advantages(
    rewards: np.ndarray,
    values: np.ndarray,
    dones: np.ndarray,
    final_values: np.ndarray,
    last_values: np.ndarray,
    gammas: np.ndarray,
    lam: float | np.ndarray,
) -> np.ndarray:
    """Generalised advantage estimates of T steps of N machines; the value's targets are these plus `values`.

    Args:
        rewards, values, dones, final_values, gammas: (T, N), as `vcpu_env.nets.rollout.Rollout` has them; `gammas` is
            the factor of what follows each step. Episodes are only truncated: one that ends goes on in thought, with
            the value of its last observation.
        last_values: (N,), of the observations after the last step.
        lam: 0 (one step) to 1 (all that was collected); one number, or (T, N), each step's own.

    Raises:
        ValueError: shapes that do not agree, or a `lam` outside 0..1.
    """
    lams = np.asarray(lam, np.float64)
    if not ((lams >= 0) & (lams <= 1)).all():
        raise ValueError(f"lam: value {lams.ravel()[np.argmax(~((lams >= 0) & (lams <= 1)))]:g} (allowed: 0..1)")
    shape = np.shape(rewards)
    lams = np.broadcast_to(lams, shape)
    given = {"values": values, "dones": dones, "final_values": final_values, "gammas": gammas}
    for name, array in given.items():
        if np.shape(array) != shape:
            raise ValueError(f"{name}: shape {np.shape(array)} (allowed: {shape}, that of rewards)")
    if len(shape) != 2 or np.shape(last_values) != shape[1:]:
        raise ValueError(f"last_values: shape {np.shape(last_values)} (allowed: (N,) with rewards of shape (T, N))")
    result = np.empty(shape)
    next_values, next_advantages = np.asarray(last_values, np.float64), np.zeros(shape[1])
    for t in reversed(range(shape[0])):
        next_values = np.where(dones[t], final_values[t], next_values)
        next_advantages = np.where(dones[t], 0.0, next_advantages)
        surprise = rewards[t] + gammas[t] * next_values - values[t]
        result[t] = next_advantages = surprise + gammas[t] * lams[t] * next_advantages
        next_values = values[t]
    return result
