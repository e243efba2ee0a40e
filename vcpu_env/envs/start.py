"""Where episodes start: machines that ran through their warm-up under the configured rule, kept to be copied."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from vcpu_env.envs.action import Actions, boosts, one_boost
from vcpu_env.envs.compiled.observe import GROUPS, NR_CANDIDATE_FEATURES, NR_FEATURES, hidden_features
from vcpu_env.envs.compiled.tuner import TUNER_FEATURES
from vcpu_env.envs.compiled.types import CANDIDATE_CHOICE, HOST_TUNER, PENALTY_SCALE, REWARD_TERMS, env_arrays
from vcpu_env.envs.config import EnvConfig, EnvConfigError, parse_filter
from vcpu_env.kernel.yield_types import SCALE_ONE_Q16
from vcpu_env.machine import Machine
from vcpu_env.policy.named import Policy
from vcpu_env.policy.rules import RULE_EXTERNAL, RULE_POINTER
from vcpu_env.precompile import ensure_compiled
from vcpu_env.scenario import Scenario

Kept = TypeVar("Kept")

SHARE_ONE = 1_000_000
"""A VM's share of the CPU time is kept in millionths."""

FEWEST_UNITS = 10
"""Work units that a VM must complete in the warm-up for the reward's ``work`` to be defined."""

MOST_KEPT = 512
"""Warmed machines kept; about 0.4 MiB each."""


@dataclass(frozen=True)
class Warmed:
    """A machine at the end of its warm-up, and what its VMs did in the part that the policy governed.

    Attributes:
        work: units of each VM, from `since_ns` to the end of the warm-up.
    """

    machine: Machine
    work: np.ndarray
    since_ns: int


_warmed: dict[Hashable, Warmed] = {}
_starts: dict[Hashable, Machine] = {}


def rule_key(rule: Policy) -> Hashable:
    """What tells one policy from another."""
    settings = tuple(sorted(rule.settings.items()))
    return (rule.name, rule.patches, rule.deboost_v1, rule.target_rule, rule.penalty_rule, settings, rule.keep_apart)


def keep(kept: dict[Hashable, Kept], key: Hashable, value: Kept) -> Kept:
    """Remember a machine, and forget the oldest if there are too many."""
    if len(kept) >= MOST_KEPT:
        kept.pop(next(iter(kept)))
    kept[key] = value
    return value


def warmed_machine(scenario: Scenario, rule: Policy, number: int) -> Warmed:
    """A machine at the end of the scenario's warm-up. The number is its seed."""
    key = (scenario.model_dump_json(), rule_key(rule), number)
    if key not in _warmed:
        ensure_compiled()
        machine, since_ns = Machine(scenario, rule, number), scenario.policy_from_ns
        machine.run_until(since_ns)
        before = machine.world["guest_vm"]["work"].copy()
        machine.run_until(scenario.run.warmup_ns)
        keep(_warmed, key, Warmed(machine, machine.world["guest_vm"]["work"] - before, since_ns))
    return _warmed[key]


def start(scenario: Scenario, rule: Policy, kind: int, config: EnvConfig, number: int) -> Machine:
    """The machine that an episode starts from; copy it."""
    key = (scenario.model_dump_json(), rule_key(rule), kind, config.model_dump_json(), number)
    if key not in _starts:
        keep(_starts, key, make_start(scenario, rule, kind, config, number))
    return _starts[key]


def make_start(scenario: Scenario, rule: Policy, kind: int, config: EnvConfig, number: int) -> Machine:
    """A copy of a warmed machine as an environment."""
    warmed = warmed_machine(scenario, rule, number)
    machine = warmed.machine.fork()
    equip(machine, kind, config)
    fill_reward(machine, config, warmed)
    return machine


def equip(machine: Machine, kind: int, config: EnvConfig) -> None:
    """Give a machine the state of an environment, and let its decisions be answered from outside."""
    actions = Actions(kind, config)
    vms = machine.scenario.expanded_vms
    world = machine.world.extended(env_arrays(nr_features(kind, config), actions.mask_length, len(vms)))
    machine.world = world
    params = world["env_params"]
    params["kind"], params["nr_candidates"] = kind, config.nr_candidates
    params["filter"], params["filter_arg"] = parse_filter(config.decision_filter)
    params["horizon_ns"], params["epoch_ns"] = config.horizon_ns, config.epoch_ns
    params["max_decisions"] = config.max_decisions or 0
    params["max_penalty_scale"] = config.max_penalty_scale
    params["nr_vms"] = len(vms)
    params["over_rule"] = config.over_rule
    params["unit"][0] = term_units(machine.scenario)
    second = boosts(kind, config.penalty_levels) if kind != CANDIDATE_CHOICE else [one_boost(config.boost)]
    for i, (_, boost, scale) in enumerate(second):
        params["boost"][0][i] = boost
        params["penalty_scale_q16"][0][i] = round(scale * SCALE_ONE_Q16)
    if kind != HOST_TUNER and set(config.observe) != set(GROUPS):
        indices = hidden_features(frozenset(config.observe), config.nr_candidates)
        world["hidden"]["index"][: len(indices)] = indices
        params["nr_hidden"] = len(indices)
    world["action_mask"]["legal"] = 1
    if kind != HOST_TUNER:
        rules = world["decision_rules"]
        params["own_rule"] = rules["target_rule"] == RULE_POINTER
        params["own_penalty_rule"] = rules["penalty_rule"] == RULE_POINTER
        point = "penalty_rule" if kind == PENALTY_SCALE else "target_rule"
        rules[point] = RULE_EXTERNAL


def nr_features(kind: int, config: EnvConfig) -> int:
    """Length of the observation."""
    if kind == HOST_TUNER:
        return len(TUNER_FEATURES)
    return NR_FEATURES + config.nr_candidates * NR_CANDIDATE_FEATURES


def fill_reward(machine: Machine, config: EnvConfig, warmed: Warmed) -> None:
    """Weights and units of the reward, and what the VMs are entitled to and have done in the warm-up."""
    world, scenario = machine.world, machine.scenario
    weights = np.array([config.reward.get(term, 0.0) for term in REWARD_TERMS])
    world["env_params"]["reward_scale"][0] = weights * term_units(scenario)
    accounts, work = world["vm_account"], warmed.work
    accounts["weight"] = np.rint(np.array(vm_shares(scenario)) * SHARE_ONE)
    enough = work >= FEWEST_UNITS
    accounts["unit_ns"] = np.where(enough, (scenario.run.warmup_ns - warmed.since_ns) // np.maximum(work, 1), 0)
    if config.reward.get("work") and not enough.all():
        vm = int(np.argmin(work))
        name = scenario.expanded_vms[vm].name
        raise EnvConfigError(
            f"reward.work: {name} of {scenario.name} completes {work[vm]} units in the warm-up from "
            f"{warmed.since_ns / 1e6:g} ms on (allowed: "
            f"{FEWEST_UNITS} or more, to know what one is worth; lengthen run.warmup_ns)"
        )


def term_units(scenario: Scenario) -> np.ndarray:
    """What a reward term's counter is multiplied by: ms a CPU for times, ms a VM for work, 1000 a CPU for switches."""
    own = {"work": 1e-6 / len(scenario.expanded_vms), "switches": 1e-3 / scenario.host.cpus}
    return np.array([own.get(term, 1e-6 / scenario.host.cpus) for term in REWARD_TERMS])


def vm_shares(scenario: Scenario) -> list[float]:
    """The share of the host's CPU time that each VM's cgroup weights entitle it to."""
    flat, libvirt = scenario.host.cgroups == "flat", scenario.host.cgroups == "libvirt"
    slices = [("machine.slice", None, 100)] if libvirt else []
    children = [*slices, *((group.name, group.parent, group.weight) for group in scenario.groups)]
    for i, vm in enumerate(scenario.expanded_vms):
        parent = vm.group or ("machine.slice" if libvirt else None)
        children.append((f"vm {i}", parent, 100 * vm.vcpus if flat else vm.weight))
    used = {parent for _, parent, _ in children} | {name for name, _, _ in children if name.startswith("vm ")}
    children = [child for child in children if child[0] in used]
    weights: dict[str | None, int] = {}
    for _, parent, weight in children:
        weights[parent] = weights.get(parent, 0) + weight
    shares: dict[str | None, float] = {None: 1.0}
    while len(shares) <= len(children):
        for name, parent, weight in children:
            if name not in shares and parent in shares:
                shares[name] = shares[parent] * weight / weights[parent]
    return [shares[f"vm {i}"] for i in range(len(scenario.expanded_vms))]
