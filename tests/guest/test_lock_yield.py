"""Waiters that yield to their spin lock's holder by hypercall, as guests on s390 do."""

import pytest

from tests.helpers.guest_probe import Probe
from vcpu_env.counters import measure
from vcpu_env.guest import locks
from vcpu_env.guest.types import HC_NONE, KVM_HC_SCHED_YIELD
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario, ScenarioError, apply_overrides, load_scenario

RETRY_NS = 45 * 1000
YIELDS = ("vms.*.lock=fifo", "vms.*.steal_time=every", "vms.*.pv_lock_yield=true", "kvm.ple=off")


@pytest.mark.core
def test_waiter_looks_at_the_holder_once_in_a_thousand_turns():
    vm = Probe(lock="fifo", steal_time="every", pv_lock_yield=True)
    assert [int(locks.acquire(vm.w, t, 0, 0, 0)) for t in (0, 1)] == [1, 0]
    vm.set("kvm_vcpu", 0, preempted=1)

    def yields(spun_ns: int) -> bool:
        vm.set("guest_thread", 1, spun_ns=spun_ns)
        vm.set("guest_vcpu", 1, hypercall=HC_NONE)
        answer = bool(locks.yields_to_holder(vm.w, 1))
        assert vm.get("guest_vcpu", 1, "hypercall") == (KVM_HC_SCHED_YIELD if answer else HC_NONE)
        return answer

    assert [yields(ns) for ns in (RETRY_NS - 1, RETRY_NS, RETRY_NS + 1, 2 * RETRY_NS)] == [False, True, False, True]
    assert vm.get("guest_vcpu", 1, "hypercall_target") == 0
    vm.set("kvm_vcpu", 0, preempted=0)
    assert not yields(3 * RETRY_NS)


@pytest.mark.core
@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"lock": "fifo"}, "vms.0.pv_lock_yield: value True (allowed: with steal_time 'every' or 'reported')"),
        ({}, "vms.0.pv_lock_yield: value True (allowed: with lock 'fifo' or 'tas')"),
    ],
)
def test_needs_steal_time_and_a_lock_without_halts(fields, line):
    vm = {"name": "vm", "vcpus": 2, "workload": "dbench", "pv_lock_yield": True, **fields}
    with pytest.raises(ScenarioError) as error:
        Scenario(name="a", vms=[vm])
    assert str(error.value) == line


@pytest.mark.parametrize("workload", ["micro-lwp", "dbench-2vm"])
def test_yields_help_where_nothing_else_does(workload):
    """No PAUSE-loop exits, siblings on one CPU: who spins for a vCPU without one spins for its whole slice."""
    fields = ["host.placement=random_pinning", "run.warmup_ns=20_000_000", "run.duration_ns=100_000_000"]
    results = []
    for overrides in (YIELDS, (*YIELDS, "vms.*.pv_lock_yield=false")):
        scenario = apply_overrides(load_scenario(workload), [*fields, *overrides])
        results.append(measure(Machine(scenario), scenario.run))
    helped, alone = (sum(vm["work_units"] for vm in result["vms"]) for result in results)
    assert helped > 2 * alone
    assert results[0]["kvm"]["directed_yield_successful"] > 1000 > results[1]["kvm"]["hypercalls"] == 0
