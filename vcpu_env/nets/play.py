"""Machines in which a network decides: no Python at a decision, the observation that it was trained on, to the bit."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numba import prange

from vcpu_env.base.interrupts import INTERRUPTED, run_interruptibly
from vcpu_env.base.jit import kjit, parallel_kjit
from vcpu_env.base.random import mix64
from vcpu_env.base.stop import stop_asked
from vcpu_env.engine.loop import cut_short
from vcpu_env.engine.state import RUNNING, engine
from vcpu_env.envs.compiled.reward import earned
from vcpu_env.envs.compiled.step import advance, answer_as_rule, asks, env_begin, look, take_action
from vcpu_env.envs.compiled.types import env_arrays, env_params, env_state
from vcpu_env.envs.config import rule_of
from vcpu_env.envs.start import equip, nr_features
from vcpu_env.guest.types import guest_vm
from vcpu_env.machine import Machine
from vcpu_env.nets.learned import LearnedPolicy
from vcpu_env.nets.network import OUTPUTS_AT, act, scratch_size
from vcpu_env.nets.packing import pack
from vcpu_env.nets.rollout import action_key, put_action, show_policy
from vcpu_env.scenario import Scenario


@kjit
def choose(w, layout, weights, key, count, deterministic, observed, new, mask, scratch, action):
    """What a network would answer to the decision that the machine has looked at, its `count`-th, into `action`.

    `observed` is what the network sees: the last observation at its end (`new` is room for it), older ones before it.
    """
    old = len(observed) - len(new)
    show_policy(w, new, mask)
    for j in range(old):
        observed[j] = observed[j + len(new)]
    for j in range(len(new)):
        observed[old + j] = new[j]
    act(layout, weights, observed, mask, key, count, deterministic, scratch, action)


@kjit
def decide(w, layout, weights, key, count, continuous, deterministic, observed, new, mask, scratch, action):
    """A network answers the decision that the machine has looked at."""
    choose(w, layout, weights, key, count, deterministic, observed, new, mask, scratch, action)
    put_action(w, action, continuous)
    take_action(w)


@kjit
def answer_one(w, layout, weights, key, decisions, continuous, deterministic, observed, new, mask, scratch, action):
    """Answer the decision at which the machine stands, as `follow_until` would; returns whether the network did."""
    if not asks(w):
        answer_as_rule(w)
        return False
    env_state(w).at_decision = 1
    look(w)
    decide(w, layout, weights, key, decisions[0], continuous, deterministic, observed, new, mask, scratch, action)
    env_state(w).at_decision = 0
    decisions[0] += 1
    return True


@kjit
def follow(w, end_ns, layout, weights, key, count, continuous, deterministic, observed, new, mask, scratch, action):
    """Run up to `end_ns`; a network answers the agent's decisions. Returns how many it has answered in all."""
    state = env_state(w)
    if not state.at_decision:
        advance(w, end_ns)
        if state.at_decision:
            look(w)
    while state.at_decision:
        decide(w, layout, weights, key, count, continuous, deterministic, observed, new, mask, scratch, action)
        count += 1
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


@dataclass(frozen=True)
class Decided:
    """What a network saw at a decision, and what it said.

    Attributes:
        observation: the present one, as `envs.compiled.observe.feature_names` names it.
        legal: of each entry whether it may be taken; empty: all.
        scores: the network's outputs: of a choice the logits, a dimension after the other.
        action: what it took.
    """

    observation: np.ndarray
    legal: np.ndarray
    scores: np.ndarray
    action: np.ndarray


class PolicyMachine(Machine):
    """A simulated host whose decisions a learned policy takes, as every policy from the scenario's `policy_from_ns` on.

    Args:
        scenario, seed: as of `Machine`.
        policy: whose network decides; its configured rule answers the rest.
    """

    def __init__(self, scenario: Scenario, policy: LearnedPolicy, seed: int = 0):
        super().__init__(scenario, rule_of(policy.about.rule), seed)
        self._load(policy)
        if self._policy_due_ns is None:
            self._take_over()

    def _load(self, policy: LearnedPolicy) -> None:
        """The network, and the memory that it works in."""
        self.learned = policy
        with np.errstate(over="ignore"):
            key = np.int64(action_key(self.seed, 0))
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

    @classmethod
    def from_here(cls, machine: Machine, policy: LearnedPolicy) -> Self:
        """A copy of a machine under stock (or a policy whose settings are gone) in which a network takes over."""
        other = object.__new__(cls)
        other.__dict__ |= machine.__dict__
        other.world = machine.world.copy()
        other.policy, other._policy_due_ns = rule_of(policy.about.rule), None
        other.policy.check_kernel(machine.scenario.host.kernel)
        other.policy.apply(other.world)
        other._load(policy)
        other._take_over()
        return other

    def without_network(self) -> Machine:
        """A copy that leaves every decision to the rule."""
        other = object.__new__(Machine)
        other.__dict__ |= self.__dict__
        of_environment = {array.name for array in env_arrays(1, 1, 1)}
        other.world = self.world.narrowed([a for a in self.world.arrays.values() if a.name not in of_environment])
        if self.network_decides:
            other.policy.apply(other.world)
        return other

    def _take_over(self) -> None:
        """The rule is in force; from now on the network decides."""
        equip(self, self.learned.kind, self.learned.about.config)
        state = self.world["env_state"]
        with np.errstate(over="ignore"):
            state["sample_key"], state["last_ns"] = mix64(np.int64(self.seed)), self.now_ns

    def run_until(self, end_ns: int) -> bool:
        """Run up to and including the absolute simulated time `end_ns`.

        Raises:
            RuleError: the configured rule gave an answer that is not allowed; the machine is lost.
        """
        if self._policy_due_ns is not None:
            due_ns = self._policy_due_ns
            super().run_until(min(due_ns, end_ns))
            if end_ns < due_ns:
                return True
            self._take_over()
        with np.errstate(over="ignore"):
            status = run_interruptibly(
                lambda: follow_until(
                    self.world.handle, end_ns, *self._network, self._decisions, *self._how, *self._memory
                )
            )
        self.check()
        return bool(status == RUNNING)

    @property
    def policy_name(self) -> str:
        """The network's."""
        return self.learned.name

    @property
    def network_decides(self) -> bool:
        """Whether it has taken over."""
        return self._policy_due_ns is None

    def answer_decision(self) -> Decided | None:
        """Answer the decision at which the machine has stopped as its policy does; None: the network was not asked."""
        with np.errstate(over="ignore"):
            asked = answer_one(self.world.handle, *self._network, self._decisions, *self._how, *self._memory)
        if not asked:
            return None
        _, new, mask, scratch, action = self._memory
        begin, weights = int(self._network[0][OUTPUTS_AT]), self.learned.weights
        scores = scratch[begin : begin + (sum(weights.sizes) or weights.nr_dims)]
        return Decided(new.copy(), mask.copy(), scores.copy(), action.copy())

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
