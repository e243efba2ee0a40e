"""A machine that stands at one decision: its spinner is in kvm_vcpu_on_spin(), and nobody has been chosen yet."""

from collections.abc import Callable

from vcpu_env.base.jit import call
from vcpu_env.engine.loop import run_until
from vcpu_env.engine.search import answer_as_rule
from vcpu_env.engine.state import STOPPED_AT_DECISION
from vcpu_env.machine import Machine
from vcpu_env.nets.play import Decided, PolicyMachine
from vcpu_env.policy.rules import RULE_EXTERNAL, RULE_POINTER

STEP_NS = 1_000_000


def decisions(machine: Machine) -> int:
    """kvm_vcpu_on_spin() calls so far."""
    return int(machine.world["engine"]["decisions"][0])


def policy_pending(machine: Machine) -> bool:
    """Whether the host still runs stock, because its policy takes over later."""
    return machine.now_ns < machine.scenario.policy_from_ns


def answer_by_policy(machine: Machine) -> Decided | None:
    """Answer the decision at which the machine stands as the policy that is in force would have.

    Returns what a network saw and said, if one was asked.
    """
    if isinstance(machine, PolicyMachine) and machine.network_decides:
        return machine.answer_decision()
    answer_as_rule(machine.world.handle, machine.world["decision_rules"]["target_rule"][0] == RULE_POINTER)
    return None


def stand_at(
    machine: Machine, wanted: Callable[[Machine], bool], passed: Callable[[Machine], bool], end_ns: int
) -> Machine | None:
    """Run a machine up to the first decision that is wanted; returns a copy that stands there, None if there is none.

    Args:
        wanted: of a machine that stands at a decision.
        passed: of a running machine: the decision may have come already; must be true once it has.
        end_ns: the last moment at which it may come.
    """
    while True:
        before = machine.fork()
        limits = [machine.now_ns + STEP_NS, end_ns]
        if policy_pending(machine):
            limits.append(machine.scenario.policy_from_ns)
        until_ns = min(limits)
        machine.run_until(until_ns)
        if passed(machine) and (found := step(before, wanted, until_ns)) is not None:
            return found
        if until_ns == end_ns:
            return None


def step(machine: Machine, wanted: Callable[[Machine], bool], until_ns: int) -> Machine | None:
    """From decision to decision, each answered as the machine's policy does, to the first that is wanted."""
    rules = machine.world["decision_rules"]
    own = int(rules["target_rule"][0])
    rules["target_rule"] = RULE_EXTERNAL
    while call(run_until, machine.world.handle, until_ns) == STOPPED_AT_DECISION:
        rules["target_rule"] = own
        if wanted(machine):
            return machine
        answer_by_policy(machine)
        rules["target_rule"] = RULE_EXTERNAL
    machine.check()
    return None
