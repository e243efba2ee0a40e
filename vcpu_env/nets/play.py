"""Machines in which a network decides: no Python at a decision, the observation that it was trained on, to the bit."""

from dataclasses import replace

import numpy as np
from numba import prange

from vcpu_env.base.interrupts import INTERRUPTED, run_interruptibly
from vcpu_env.base.jit import kjit, parallel_kjit
from vcpu_env.base.random import mix64
from vcpu_env.base.stop import stop_asked
from vcpu_env.engine.loop import cut_short
from vcpu_env.engine.state import RUNNING, engine
from vcpu_env.envs.compiled.reward import earned
from vcpu_env.envs.compiled.step import advance, env_begin, look, take_action
from vcpu_env.envs.compiled.types import env_params, env_state
from vcpu_env.envs.config import rule_of
from vcpu_env.envs.start import equip, nr_features
from vcpu_env.guest.types import guest_vm
from vcpu_env.machine import Machine
from vcpu_env.nets.learned import LearnedPolicy
from vcpu_env.nets.network import act, scratch_size
from vcpu_env.nets.packing import pack
from vcpu_env.nets.rollout import action_key, put_action, show_policy
from vcpu_env.scenario import Scenario


@kjit
def follow(w, end_ns, layout, weights, key, count, continuous, deterministic, observed, new, mask, scratch, action):
    """Run up to `end_ns`; a network answers the agent's decisions. Returns how many it has answered in all.

    `observed` is what the network sees: the last observation at its end (`new` is room for it), older ones before it.
    """
    state, old = env_state(w), len(observed) - len(new)
    if not state.at_decision:
        advance(w, end_ns)
        if state.at_decision:
            look(w)
    while state.at_decision:
        show_policy(w, new, mask)
        for j in range(old):
            observed[j] = observed[j + len(new)]
        for j in range(len(new)):
            observed[old + j] = new[j]
        act(layout, weights, observed, mask, key, count, deterministic, scratch, action)
        count += 1
        put_action(w, action, continuous)
        take_action(w)
        advance(w, end_ns)
        if state.at_decision:
            look(w)
    return count


@kjit
def follow_until(w, end_ns, layout, weights, key, decisions, continuous, deterministic, observed, new, mask, scratch,
                 action):  # fmt: skip
    """`follow`, to be called from Python; `decisions` holds their count. Returns the machine's status."""
    decisions[0] = follow(
        w, end_ns, layout, weights, key, decisions[0], continuous, deterministic, observed, new, mask, scratch, action
    )
    return INTERRUPTED if cut_short(w, end_ns) else engine(w).status


@kjit
def count_work(w, works, sign):
    """Add (or take away) the units that each VM has completed so far."""
    for vm_id in range(env_params(w).nr_vms):
        works[vm_id] += sign * guest_vm(w, vm_id).work


@parallel_kjit
def play_episodes(machines, seeds, jitters_ns, layout, weights, nr_features, mask_length, width, continuous,
                  rewards, works, decisions, statuses):  # fmt: skip
    """An episode on each machine under the network of its own row of weights.

    Filled in: rewards in all, work done by each VM (machines, VMs; added), decisions (-1: not begun), statuses
    (INTERRUPTED: not yet over). Returns how many are not over, because of a signal; called again, they go on.
    """
    cut = 0
    for i in prange(len(machines)):
        w = machines[i]
        own_layout, own_weights = layout.copy(), weights[i].copy()
        observed, new = np.zeros(nr_features, np.float32), np.empty(nr_features, np.float32)
        mask, action = np.empty(mask_length, np.int8), np.empty(width, np.float32)
        scratch = np.empty(scratch_size(own_layout), np.float32)
        if decisions[i] < 0 and not stop_asked() and env_begin(w, seeds[i], jitters_ns[i]) != INTERRUPTED:
            rewards[i] = -earned(w)
            count_work(w, works[i], -1)
            decisions[i] = 0
        if decisions[i] >= 0 and statuses[i] == INTERRUPTED and not stop_asked():
            end_ns = env_state(w).end_ns
            decisions[i] = follow(
                w, end_ns, own_layout, own_weights, 0, decisions[i], continuous, True, observed, new, mask, scratch,
                action,
            )  # fmt: skip
            if not cut_short(w, end_ns):
                statuses[i] = engine(w).status
                rewards[i] += earned(w)
                count_work(w, works[i], 1)
        cut += 1 if statuses[i] == INTERRUPTED else 0
    return cut


class PolicyMachine(Machine):
    """A simulated host whose decisions a learned policy takes, from time 0 on.

    Args:
        scenario, seed: as of `Machine`.
        policy: whose network decides; its configured rule answers the rest.
    """

    def __init__(self, scenario: Scenario, policy: LearnedPolicy, seed: int = 0):
        super().__init__(scenario, rule_of(policy.about.rule), seed)
        equip(self, policy.kind, policy.about.config)
        with np.errstate(over="ignore"):
            self.world["env_state"]["sample_key"] = mix64(np.int64(seed))
            key = np.int64(action_key(seed, 0))
        features = nr_features(policy.kind, policy.about.config)
        weights = replace(policy.weights, critic=())  # values are for training
        layout, packed = pack(weights)
        self._decisions = np.zeros(1, np.int64)
        self._network = layout, packed, key
        self._how = weights.head != "categorical", policy.about.deterministic
        self._memory = (
            np.zeros(features * policy.about.frame_stack, np.float32),
            np.empty(features, np.float32),
            np.zeros(sum(weights.sizes) if policy.about.masked else 0, np.int8),
            np.empty(scratch_size(layout), np.float32),
            np.empty(weights.nr_dims, np.float32),
        )

    def run_until(self, end_ns: int) -> bool:
        """Run up to and including the absolute simulated time `end_ns`.

        Raises:
            RuleError: the configured rule gave an answer that is not allowed; the machine is lost.
        """
        with np.errstate(over="ignore"):
            status = run_interruptibly(
                lambda: follow_until(
                    self.world.handle, end_ns, *self._network, self._decisions, *self._how, *self._memory
                )
            )
        self.check()
        return bool(status == RUNNING)

    @property
    def decisions(self) -> int:
        """Taken by the network so far."""
        return int(self._decisions[0])

    def fork(self) -> "PolicyMachine":
        """An independent machine in the same state, with the same future."""
        other = super().fork()
        assert isinstance(other, PolicyMachine)
        other._decisions = self._decisions.copy()
        other._memory = tuple(array.copy() for array in self._memory)  # type: ignore[assignment]
        return other
