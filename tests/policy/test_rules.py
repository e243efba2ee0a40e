"""The two decision points, answered by the kernel's rule, by a user's rule, and from outside."""

import pytest

from tests.helpers.at_once import at_once
from vcpu_env.base.jit import NIL
from vcpu_env.machine import Machine
from vcpu_env.policy.named import SERIES_PATCHES, Policy, policy_named
from vcpu_env.policy.rules import EXTERNAL, RuleError
from vcpu_env.policy.view import AS_KERNEL, FIRST_CANDIDATE, NOBODY
from vcpu_env.scenario import load_scenario

SCENARIO = at_once(load_scenario("dedup-2vm"))
PENALISED = at_once(load_scenario("vips-4vm"))
"""Here siblings share run queues, without which there is no penalty."""
UNTIL_NS = 15_000_000


def behaviour(machine: Machine) -> dict:
    """What a machine did, without the structs of the decision points themselves."""
    return machine.counters()


def as_kernel(view):
    return 1


def nobody(view):
    return 0


def first_good(view):
    for i in range(view.nr_candidates):
        if view.good[i]:
            return 2 + i
    return 0


def series_penalty(view):
    return view.series_penalty_ns


def no_penalty(view):
    return 0


def run(policy: Policy, until_ns: int = UNTIL_NS, scenario=SCENARIO) -> Machine:
    machine = Machine(scenario, policy, 3)
    machine.run_until(until_ns)
    return machine


def drive(machine: Machine, target, penalty, until_ns: int = UNTIL_NS) -> int:
    """Answer all decisions with Python functions of the view; returns how many there were."""
    decisions = 0
    while not machine.run_until(until_ns):
        while (view := machine.decision) is not None:
            decisions += 1
            if view["target"] == NIL:
                machine.answer_target(target(view))
            else:
                machine.answer_penalty(penalty(view))
    return decisions


@pytest.fixture(scope="module")
def series() -> dict:
    return behaviour(run(policy_named("series-v2")))


def test_a_rule_that_answers_as_the_kernel_changes_nothing(series):
    policy = Policy("rules", "", SERIES_PATCHES, target_rule=as_kernel, penalty_rule=series_penalty)
    assert behaviour(run(policy)) == series


def test_external_answers_as_the_kernel_change_nothing(series):
    machine = Machine(SCENARIO, Policy("external", "", SERIES_PATCHES, target_rule=EXTERNAL, penalty_rule=EXTERNAL), 3)
    decisions = drive(machine, lambda view: AS_KERNEL, lambda view: int(view["series_penalty_ns"]))
    assert decisions > 1000
    assert behaviour(machine) == series


def test_rule_and_external_answers_agree():
    rule = run(Policy("rule", "", SERIES_PATCHES, target_rule=first_good, penalty_rule=no_penalty))
    machine = Machine(SCENARIO, Policy("external", "", SERIES_PATCHES, target_rule=EXTERNAL, penalty_rule=EXTERNAL), 3)

    def answer(view):
        good = [i for i in range(int(view["nr_candidates"])) if view["good"][i]]
        return FIRST_CANDIDATE + good[0] if good else NOBODY

    drive(machine, answer, lambda view: 0)
    assert behaviour(machine) == behaviour(rule)


def test_nobody_means_no_directed_yield():
    counted = behaviour(run(Policy("nobody", "", target_rule=nobody)))
    assert counted["decisions"] > 100
    assert counted["kvm"]["ple_yield_ok"] == 0


def test_no_penalty_charges_nothing():
    free = run(Policy("free", "", SERIES_PATCHES, penalty_rule=no_penalty), 200_000_000, PENALISED)
    assert free.counters()["deboost"]["penalty_ns"] == 0
    assert run(policy_named("series-v2"), 200_000_000, PENALISED).counters()["deboost"]["penalty_ns"] > 0


def test_an_answer_that_is_not_allowed_is_refused():
    def wild(view):
        return 99

    with pytest.raises(RuleError, match="answered 99"):
        run(Policy("wild", "", target_rule=wild))
    machine = Machine(SCENARIO, Policy("external", "", target_rule=EXTERNAL), 3)
    assert not machine.run_until(UNTIL_NS)
    with pytest.raises(ValueError, match="answer_target: value 99"):
        machine.answer_target(99)
    with pytest.raises(ValueError, match="does not wait"):
        machine.answer_penalty(0)
    with pytest.raises(ValueError, match="unanswered decision"):
        machine.run_until(UNTIL_NS)
    machine.answer_target(NOBODY)
    with pytest.raises(ValueError, match="does not wait"):
        machine.answer_target(NOBODY)


def test_a_rule_that_does_not_compile_says_so():
    def broken(view):
        return view.no_such_field

    with pytest.raises((RuleError, ValueError), match="no_such_field"):
        run(Policy("broken", "", target_rule=broken))
    with pytest.raises(RuleError, match="one argument"):
        run(Policy("two", "", target_rule=lambda a, b: 0))
    with pytest.raises(ValueError, match="penalty_rule"):
        Policy("late", "", frozenset(range(1, 5)), penalty_rule=no_penalty)


def least_lag(machine: Machine, task: int) -> float:
    """The smallest lag on the levels of a task's chain, from the entities that are on each queue."""
    entities = machine.world["sched_entity"]
    lags, at = [], task
    while at != NIL:
        queue = entities["cfs_rq"][at]
        there = entities[(entities["cfs_rq"] == queue) & (entities["on_rq"] != 0)]
        weights = (there["weight"] >> 10).astype(float)
        base = there["vruntime"].min()
        average = float(base) + ((there["vruntime"] - base) * weights).sum() / weights.sum()
        lags.append(average - float(entities["vruntime"][at]))
        at = entities["parent"][at]
    return min(lags)


def test_the_lag_of_a_chain_is_that_of_the_level_furthest_ahead():
    machine = Machine(SCENARIO, Policy("external", "", SERIES_PATCHES, target_rule=EXTERNAL), 3)
    own, below, seen = [], 0, 0
    while not machine.run_until(UNTIL_NS):
        while (view := machine.decision) is not None:
            seen += 1
            for task, lag in [
                (view["vcpu"], view["chain_lag_ns"]),
                *zip(view["candidate"], view["candidate_chain_lag_ns"], strict=True),
            ][: 1 + view["nr_candidates"] if seen % 50 == 0 else 0]:
                assert lag == pytest.approx(least_lag(machine, int(task)), abs=2)
            own.append(max(map(abs, view["candidate_lag_ns"][: view["nr_candidates"]]), default=0))
            below += sum(lag < 0 for lag in view["candidate_chain_lag_ns"][: view["nr_candidates"]])
            machine.answer_target(AS_KERNEL)
    assert len(own) > 1000 and not any(own), "in a group of its own a vCPU has no lag"
    assert below > 100, "what it owes shows at its VM's entity"
