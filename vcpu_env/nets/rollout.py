"""Rollouts collected inside the machines: a policy given as weights decides, and Python sees only the filled buffers.

Step for step the same as driving the batched environment (SAME_STEP) from Python with `nets.network.act`, the same
keys and the same counts.
"""

from dataclasses import dataclass

import numpy as np
from numba import prange

from vcpu_env.base.interrupts import INTERRUPTED
from vcpu_env.base.jit import kjit, parallel_kjit
from vcpu_env.base.random import mix64
from vcpu_env.base.stop import stop_asked
from vcpu_env.engine.state import FAILED
from vcpu_env.envs.batch import HostVectorEnv
from vcpu_env.envs.compiled.step import env_step
from vcpu_env.envs.compiled.types import action_mask, env_state, observation
from vcpu_env.envs.start import nr_features
from vcpu_env.nets.network import act, forward, scratch_size
from vcpu_env.nets.packing import pack
from vcpu_env.nets.weights import PolicyWeights


@dataclass(frozen=True)
class Rollout:
    """T steps of N machines; arrays are (T, N, ...), step t of machine i at [t, i].

    Attributes:
        observations, masks: before the step; masks have length 0 where there are none.
        actions: as sampled, (T, N, dimensions); Gaussian ones are clipped to the space only on their way in.
        log_probs, values: of the policy, before the step.
        rewards, elapsed_ns: of the step.
        dones: the step was the last of its episode (always by truncation).
        final_values: the value of the observation that such an episode ended with, else 0.
        scenarios: of which scenario of the environment's mix the step is.
        last_observations, last_values: after the last step, (N, ...).
    """

    observations: np.ndarray
    masks: np.ndarray
    actions: np.ndarray
    log_probs: np.ndarray
    values: np.ndarray
    rewards: np.ndarray
    elapsed_ns: np.ndarray
    dones: np.ndarray
    final_values: np.ndarray
    scenarios: np.ndarray
    last_observations: np.ndarray
    last_values: np.ndarray


@kjit
def show_policy(w, observed, mask):
    """Copy what the policy sees out of a machine."""
    for j in range(len(observed)):
        observed[j] = observation(w, j).value
    for j in range(len(mask)):
        mask[j] = action_mask(w, j).legal


@kjit
def put_action(w, action, continuous):
    """Give the machine an action; a continuous one is clipped to the space."""
    state = env_state(w)
    for j in range(len(action)):
        state.action[j] = min(max(float(action[j]), -1.0), 1.0) if continuous else float(action[j])


@parallel_kjit
def roll_machines(machines, which, positions, statuses, layout, weights, keys, counts, continuous, deterministic,
                  observations, masks, actions, log_probs, values, rewards, elapsed_ns, dones,
                  final_values):  # fmt: skip
    """Let each of these machines fill its column of the buffers, up to the end of its episode or of the buffers.

    Returns how many a signal has cut short; called again, they go on.
    """
    cut = 0
    for k in prange(len(which)):
        i = which[k]
        w = machines[i]
        # Copies of its own: threads that share an array also share the counter of references to it.
        own_layout, own_weights = layout.copy(), weights.copy()
        scratch = np.empty(scratch_size(own_layout), np.float32)
        observed = np.empty(observations.shape[2], np.float32)
        mask = np.empty(masks.shape[2], np.int8)
        action = np.empty(actions.shape[2], np.float32)
        t, stopped = positions[i], False
        while t < len(rewards):
            stopped = stop_asked() != 0
            if stopped:
                break
            show_policy(w, observed, mask)
            log_prob, value = act(
                own_layout, own_weights, observed, mask, keys[i], counts[i] + t, deterministic, scratch, action
            )
            put_action(w, action, continuous)
            status = env_step(w)
            stopped = status == INTERRUPTED
            if stopped:
                break
            statuses[i] = status
            for j in range(len(observed)):
                observations[t, i, j] = observed[j]
            for j in range(len(mask)):
                masks[t, i, j] = mask[j]
            for j in range(len(action)):
                actions[t, i, j] = action[j]
            log_probs[t, i], values[t, i] = log_prob, value
            state = env_state(w)
            rewards[t, i], elapsed_ns[t, i] = state.reward, state.elapsed_ns
            t += 1
            if state.truncated or statuses[i] == FAILED:
                dones[t - 1, i] = True
                show_policy(w, observed, mask)
                final_values[t - 1, i] = forward(own_layout, own_weights, observed, scratch)
                break
        positions[i] = t
        cut += 1 if stopped else 0
    return cut


@parallel_kjit
def value_machines(machines, layout, weights, observations, values):
    """The value of what each machine shows now."""
    for i in prange(len(values)):
        own_layout, own_weights = layout.copy(), weights.copy()
        scratch = np.empty(scratch_size(own_layout), np.float32)
        observed = np.empty(observations.shape[1], np.float32)
        show_policy(machines[i], observed, np.empty(0, np.int8))
        values[i] = forward(own_layout, own_weights, observed, scratch)
        for j in range(len(observed)):
            observations[i, j] = observed[j]


class RolloutCollector:
    """Collects rollouts from a batched environment.

    Args:
        environment: with autoreset mode SAME_STEP, already reset.
        seed: of the actions' random numbers: machine i draws from its own stream, its n-th step from the n-th place.

    Raises:
        ValueError: another autoreset mode.
    """

    def __init__(self, environment: HostVectorEnv, seed: int = 0):
        mode = environment.autoreset_mode
        if mode.name != "SAME_STEP":
            raise ValueError(f"autoreset_mode: value {mode.value} (allowed: SameStep, for rollouts)")
        self.environment = environment
        self.keys = np.array([action_key(seed, i) for i in range(environment.num_envs)], np.int64)
        self.counts = np.zeros(environment.num_envs, np.int64)

    def collect(self, policy: PolicyWeights, steps: int, deterministic: bool = False, masked: bool = True) -> Rollout:
        """`steps` steps of every machine. Without masks the policy may choose a candidate that is not there: nobody.

        Raises:
            ValueError: the policy does not fit the environment, or fewer than one step.
        """
        environment = self.environment
        if steps < 1:
            raise ValueError(f"steps: value {steps} (allowed: 1 or more)")
        check_fits(policy, environment)
        count, width = environment.num_envs, environment.actions.width
        features = nr_features(environment.kind, environment.config)
        shape = (steps, count)
        buffers: dict[str, np.ndarray] = {
            "observations": np.empty((*shape, features), np.float32),
            "masks": np.empty((*shape, environment.actions.mask_length if masked else 0), np.int8),
            "actions": np.empty((*shape, width), np.float32),
            "log_probs": np.empty(shape),
            "values": np.empty(shape),
            "rewards": np.empty(shape),
            "elapsed_ns": np.empty(shape, np.int64),
            "dones": np.zeros(shape, np.bool_),
            "final_values": np.zeros(shape),
        }
        layout, weights = pack(policy)
        positions, scenarios = np.zeros(count, np.int64), np.zeros(shape, np.int64)
        names = [scenario.name for scenario in environment.mix.scenarios]
        while (going := np.flatnonzero(positions < steps)).size:
            for i in going:
                scenarios[positions[i] :, i] = names.index(environment.lanes[i].running.scenario.name)
            environment.roll(
                roll_machines, going, positions, layout, weights, self.keys, self.counts,
                policy.head != "categorical", deterministic, *buffers.values(),
            )  # fmt: skip
        self.counts += steps
        last_observations, last_values = np.empty((count, features), np.float32), np.empty(count)
        environment.run_together(value_machines, layout, weights, last_observations, last_values)
        environment.refresh()
        return Rollout(**buffers, scenarios=scenarios, last_observations=last_observations, last_values=last_values)


def action_key(seed: int, machine: int) -> int:
    """The key of a machine's stream of random actions."""
    return int(mix64(np.int64(mix64(np.int64(seed)) + machine)))


def check_fits(policy: PolicyWeights, environment: HostVectorEnv) -> None:
    """Refuse a policy for other observations or actions.

    Raises:
        ValueError: naming what does not fit.
    """
    features, actions = nr_features(environment.kind, environment.config), environment.actions
    if policy.nr_inputs != features:
        raise ValueError(f"policy: takes {policy.nr_inputs} features (allowed: {features})")
    sizes = tuple(n for n in (actions.nr_candidates, actions.nr_boosts) if n)
    if actions.nr_candidates and len(sizes) != actions.width:
        raise ValueError("environment: has mixed actions (allowed: all discrete, or all continuous)")
    if sizes and (policy.head != "categorical" or policy.sizes != sizes):
        raise ValueError(f"policy: head {policy.head} of {list(policy.sizes)} (allowed: categorical of {list(sizes)})")
    if not sizes and (policy.head == "categorical" or policy.nr_dims != actions.width):
        raise ValueError(f"policy: head {policy.head} of {policy.nr_dims} (allowed: gaussian of {actions.width})")
